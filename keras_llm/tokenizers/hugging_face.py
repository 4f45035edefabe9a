"""The tokenizers of Hugging Face folders, read and written."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_llm.errors import InputError
from keras_llm.tokenizers.byte_pair_files import (
    END_OF_TEXT,
    BytePairVocabulary,
    from_tokenizer_json,
    read_files,
    spelled_by_text,
)
from keras_llm.tokenizers.byte_pair_rules import Rule
from keras_llm.tokenizers.control import (
    CHAT_TEMPLATE,
    END_OF_TURN,
    MASK,
    has_chat_tokens,
)
from keras_llm.tokenizers.hugging_face_reading import Pieces, pieces_of_json
from keras_llm.tokenizers.hugging_face_settings import (
    CONFIG,
    GENERATION,
    MORE_TEMPLATES,
    SETTINGS,
    TABLES,
    TEMPLATE,
    TOKENIZER,
    FolderSettings,
)
from keras_llm.tokenizers.hugging_face_writing import (
    byte_pair_json,
    post_processor,
    sentence_piece_json,
)
from keras_llm.tokenizers.processor import (
    MODEL_NAME,
    end_token,
    processor_of,
)
from keras_llm.tokenizers.scratch_byte_pair_tokenizer import (
    ScratchBytePairTokenizer,
)
from keras_llm.tokenizers.scratch_tokenizer import ScratchTokenizer
from keras_llm.tokenizers.sentence_piece_protos import with_control_pieces

VOCABULARY, MERGES = "vocab.json", "merges.txt"
# Where there is no tokenizer.json, which says it itself.
RULES_OF_CLASSES = {
    "GPT2Tokenizer": Rule("gpt2"),
    "Qwen2Tokenizer": Rule("qwen2", "NFC"),
}

ROLES = ("bos", "pad")  # beside eos, of which there may be several

AnyTokenizer = ScratchTokenizer | ScratchBytePairTokenizer


def read_tokenizer(folder: Path | str) -> AnyTokenizer:
    """The tokenizer of a folder that `transformers` loads.

    Ids are those of its `AutoTokenizer`, but that tokens written out in text
    are plain text. A SentencePiece model is taken at its word where
    `transformers` deviates from it (spaces that a text begins with). A unigram
    model adds up scores in float32 here and in float64 there: of two ways to
    cut a text that are equally likely (`▁ ▁▁` and `▁▁ ▁`) either may be taken.

    - A byte-level `tokenizer.json`, or `vocab.json` and `merges.txt`, become
      a `ScratchBytePairTokenizer`.
    - `tokenizer.model`, or a `tokenizer.json` that was made of one, become a
      `ScratchTokenizer`. Its start token is its bos piece even where the
      folder puts none before texts, because it always has one.

    Every token that `generation_config.json` (or else `config.json`) names
    ends an answer, besides the tokenizer's own.

    Args:
        folder: The folder.

    Raises:
        InputError: None of these files, damaged ones, or a tokenizer that
            would give other ids here; the message says which.
    """
    folder = Path(folder)
    try:
        settings = FolderSettings.of_folder(folder)
        if _is_byte_level(settings.content):
            parts = from_tokenizer_json(folder / TOKENIZER)
            return _byte_pairs(parts, settings)
        file = folder / MODEL_NAME
        if file.is_file():
            pieces = Pieces(file.read_bytes(), add_prefix_space=False)
            return _sentence_pieces(pieces, settings, file)
        if settings.content:
            file = folder / TOKENIZER
            return _sentence_pieces(_converted(settings), settings, file)
        return _byte_pairs(_of_two_files(settings), settings)
    except InputError:
        raise
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder} has a tokenizer that is not written as Hugging Face "
            f"writes it: {type(error).__name__} {error}. Get the files again."
        ) from error


def write_tokenizer(
    tokenizer: AnyTokenizer, folder: Path | str, is_encoder: bool = False
) -> None:
    """Writes files that `transformers.AutoTokenizer` loads, with equal ids.

    These are `tokenizer.json` and `tokenizer_config.json`; of a SentencePiece
    model `tokenizer.model` too, of which `read_tokenizer` makes the same
    tokenizer again. A tokenizer that was read from a folder gives its other
    settings back as they were, with its chat template; one that was trained
    here gives ours. The tokens that end answers belong into the model's
    `generation_config.json`.

    Args:
        tokenizer: a `ScratchTokenizer` or a `ScratchBytePairTokenizer`.
        folder: An existing folder.
        is_encoder: Whether a text has an end token after it, as encoders
            read them, and no conversations.

    Raises:
        InputError: A tokenizer that Hugging Face has no equal of.
    """
    folder = Path(folder)
    files = tokenizer.published
    if _is_for_chat(tokenizer) and not is_encoder:
        files[TEMPLATE] = CHAT_TEMPLATE
    files[TOKENIZER] = _content(tokenizer, files.get(TOKENIZER), is_encoder)
    files.setdefault(CONFIG, _config(tokenizer, is_encoder))
    for name in (TOKENIZER, *SETTINGS):
        if name in files and name != GENERATION:
            text = json.dumps(files[name], ensure_ascii=False, indent=2)
            # As `tokenizers` and `transformers` write them, to the byte.
            text += "" if name == TOKENIZER else "\n"
            (folder / name).write_bytes(text.encode())
    more = files.get(MORE_TEMPLATES, {})
    templates = {
        f"{MORE_TEMPLATES}/{Path(x).name}.jinja": more[x] for x in more
    }
    if TEMPLATE in files:
        templates[TEMPLATE] = files[TEMPLATE]
    for name, text in templates.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text.encode())
    # Which would be read instead, and does not tell such spaces apart.
    if not getattr(tokenizer, "add_prefix_space", True):
        (folder / MODEL_NAME).write_bytes(tokenizer.proto)


def token_ids(tokenizer: AnyTokenizer) -> dict[str, Any]:
    """The special ids for `config.json` and `generation_config.json`.

    They are those of the tokenizer's named tokens, and `None` where it has
    none: a batch that is filled with a token of text shows it.
    """
    said = tokenizer.published.get(GENERATION, {})
    ids = {f"{role}_token_id": said.get(f"{role}_token_id") for role in ROLES}
    names = tokenizer.named_tokens
    for role in ROLES:
        if f"{role}_token" in names:
            index = tokenizer.token_to_id(names[f"{role}_token"])
            ids[f"{role}_token_id"] = index
    ends, order = list(tokenizer.end_token_ids), said.get("eos_token_id")
    if _is_for_chat(tokenizer):
        ends.append(tokenizer.token_to_id(END_OF_TURN))
    if isinstance(order, list) and {*order} == {*ends}:
        ends = order
    return ids | {"eos_token_id": ends[0] if len(ends) == 1 else ends}


def _is_for_chat(tokenizer: AnyTokenizer) -> bool:
    """Whether our template is its, as of all that are trained here."""
    return has_chat_tokens(tokenizer) and not tokenizer.published


def _content(
    tokenizer: AnyTokenizer,
    published: Mapping[str, Any] | None,
    is_encoder: bool,
) -> dict[str, Any]:
    """`tokenizer.json`: as it was published, with the vocabulary in it."""
    if isinstance(tokenizer, ScratchBytePairTokenizer):
        content = byte_pair_json(tokenizer.byte_pairs)
    else:
        content = sentence_piece_json(tokenizer.proto)
    if published is not None:
        model = content["model"]
        tables = {name: model[name] for name in TABLES if name in model}
        return published | {"model": published["model"] | tables}
    if getattr(tokenizer, "add_prefix_space", False):
        raise InputError(
            "A ScratchTokenizer with add_prefix_space is written with the "
            "tokenizer.json that it was read from. Received: one made here."
        )
    names = _around(tokenizer)
    if is_encoder:
        names = names[0], [tokenizer.id_to_token(tokenizer.end_token_id)]
        _take_spaces_before(content, MASK)
    parts = [{x: tokenizer.token_to_id(x) for x in part} for part in names]
    content["post_processor"] = post_processor(*parts)
    return content


def _take_spaces_before(content: dict[str, Any], mask: str) -> None:
    """A space before a mask is of what is told there."""
    for token in content["added_tokens"]:
        token["lstrip"] |= token["content"] == mask


def _around(tokenizer: AnyTokenizer) -> tuple[list[str], list[str]]:
    """The tokens before and after a text, as the folder says without its own
    file; else the start token.
    """
    files = tokenizer.published
    if CONFIG in files:
        told, names = FolderSettings(files).tokenizer, tokenizer.named_tokens
        before, after = (
            [names[f"{kind}_token"]]
            if told.get(f"add_{kind}_token") and f"{kind}_token" in names
            else []
            for kind in ("bos", "eos")
        )
        return before, after
    start = tokenizer.start_token_id
    return [] if start is None else [tokenizer.id_to_token(start)], []


def _config(tokenizer: AnyTokenizer, is_encoder: bool) -> dict[str, Any]:
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
    } | tokenizer.named_tokens
    return config | ({"mask_token": MASK} if is_encoder else {})


def _is_byte_level(content: dict[str, Any]) -> bool:
    step = content.get("pre_tokenizer") or {}
    steps = step.get("pretokenizers", [step])
    return any(each.get("type") == "ByteLevel" for each in steps)


def _of_two_files(settings: FolderSettings) -> BytePairVocabulary:
    folder = settings.folder
    files = folder / VOCABULARY, folder / MERGES
    if not all(file.is_file() for file in files):
        raise InputError(
            f"{folder} has no tokenizer: expected {TOKENIZER}, {MODEL_NAME}, "
            f"or {VOCABULARY} and {MERGES}. Download them with the model."
        )
    rule = RULES_OF_CLASSES.get(settings.tokenizer_class)
    if rule is None:
        raise InputError(
            f"{folder} has {VOCABULARY} and {MERGES}, which do not say how "
            f"{settings.tokenizer_class or 'their tokenizer'} splits text. "
            f"Download its {TOKENIZER} too."
        )
    prefix = bool(settings.tokenizer.get("add_prefix_space"))
    tokens, merges = read_files(*files)
    ends = {END_OF_TEXT: tokens[END_OF_TEXT]} if END_OF_TEXT in tokens else {}
    return BytePairVocabulary(
        tokens,
        merges,
        replace(rule, add_prefix_space=prefix),
        control_tokens=ends,
        end_token_ids=tuple(ends.values()),
    )


def _byte_pairs(
    parts: BytePairVocabulary, settings: FolderSettings
) -> ScratchBytePairTokenizer:
    control, added = dict(parts.control_tokens), dict(parts.added_tokens)
    for name, (index, is_special) in settings.added_tokens().items():
        added.pop(name, None)
        (control if is_special else added)[name] = index
    for name in settings.special_names():
        if name in parts.tokens:
            control.setdefault(name, parts.tokens[name])
    parts = replace(parts, control_tokens=control, added_tokens=added)
    _check_control(parts, settings)
    find = (dict(parts.tokens) | added | control).get
    ends = settings.end_ids(find) or parts.end_token_ids
    start, pad = settings.start_name(), settings.name_of("pad_token")
    pad = find(pad) if pad else None
    return ScratchBytePairTokenizer.from_vocabulary(
        replace(
            parts,
            start_token_id=_found(start, find, settings),
            end_token_ids=ends,
        ),
        pad_token_id=None if pad in ends else pad,
        published=settings.published(),
    )


def _check_control(parts, settings):
    spelled = spelled_by_text(parts)
    if spelled:
        raise InputError(
            f"{settings.folder} has special tokens that ordinary text is "
            f"tokenized to as well: {', '.join(map(repr, spelled[:5]))}. A "
            "model that is to be used here needs special tokens of their own."
        )


def _found(name, find, settings):
    if name is not None and find(name) is None:
        raise InputError(
            f"{settings.folder} puts {name!r} before texts, which its "
            "vocabulary does not have. The files are of two models."
        )
    return None if name is None else find(name)


def _converted(settings: FolderSettings) -> Pieces:
    vocabulary = settings.content["model"]["vocab"]
    if isinstance(vocabulary, list):  # of pairs, of unigram models
        vocabulary = {name: i for i, (name, _) in enumerate(vocabulary)}
    names = settings.named_tokens(vocabulary.get)
    ids = {
        kind.removesuffix("_token"): vocabulary[name]
        for kind, name in names.items()
    }
    return pieces_of_json(settings.content, ids, settings.folder / TOKENIZER)


def _sentence_pieces(
    pieces: Pieces, settings: FolderSettings, file: Path
) -> ScratchTokenizer:
    proto = pieces.proto
    processor_of(proto, file)
    proto = with_control_pieces(proto, settings.added_tokens(), file)
    processor = processor_of(proto, file)
    names = [processor.id_to_piece(i) for i in range(processor.vocab_size())]
    find = {name: index for index, name in enumerate(names)}.get
    bos = processor.bos_id()
    bos = processor.id_to_piece(bos) if bos >= 0 else None
    start = settings.start_name(unsaid=bos) or bos
    _found(start, find, settings)
    ends = settings.end_ids(find)
    if max(ends, default=0) >= len(names):
        raise InputError(
            f"{settings.folder} has end tokens of ids that its {len(names)} "
            f"tokens do not have. Received: {list(ends)}"
        )
    end = end_token(processor)
    return ScratchTokenizer(
        proto,
        start_token=None if start == end else start,
        end_tokens=[names[index] for index in ends if names[index] != end],
        add_prefix_space=pieces.add_prefix_space,
        published=settings.published(),
    )
