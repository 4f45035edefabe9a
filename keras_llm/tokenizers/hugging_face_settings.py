"""Which tokens start, end and fill texts, as a Hugging Face folder says."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keras_llm.artifacts import read_object
from keras_llm.errors import InputError

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
GENERATION = "generation_config.json"
MODEL = "config.json"
# Beside the first, which is the tokenizer itself; each may be absent.
SETTINGS = (
    CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    GENERATION,
)
TEMPLATE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"
TABLES = ("vocab", "merges")  # of a model, which tokenizers keep themselves
NAMED = ("bos_token", "eos_token", "pad_token", "unk_token")
LISTED = ("additional_special_tokens", "extra_special_tokens")

Find = Callable[[str], int | None]


# What `transformers` takes where a folder names no token for a role.
NAMED_BY_CLASS = {
    "GPT2Tokenizer": dict.fromkeys(
        ("bos_token", "eos_token", "unk_token"), "<|endoftext|>"
    ),
    "LlamaTokenizer": dict(zip(NAMED, ("<s>", "</s>"), strict=False))
    | {"unk_token": "<unk>"},
    "Qwen2Tokenizer": dict.fromkeys(NAMED[1:], "<|endoftext|>"),
}


class FolderSettings:
    """What the files of a folder say of its tokenizer.

    Args:
        files: Their content by their names: dicts, and a str of `TEMPLATE`;
            under `MORE_TEMPLATES` a dict of templates by their names.
        folder: What errors call it.

    Attributes:
        content: dict, `tokenizer.json`; empty without the file.
        tokenizer: dict, `tokenizer_config.json`, and what it leaves out of
            `special_tokens_map.json`.

    Raises:
        InputError: A template that is no text.
    """

    def __init__(self, files: Mapping[str, Any], folder: Path | str = ""):
        self.folder = Path(folder)
        self.files = files
        self.content = files.get(TOKENIZER, {})
        names = files.get("special_tokens_map.json", {})
        self.tokenizer = names | files.get(CONFIG, {})
        self._generation = files.get(GENERATION, {})
        self._model = files.get(MODEL, {})
        if not isinstance(self.chat_template, str | None):
            raise InputError(
                f"{self.folder} has a chat_template that is no text. Get the "
                "files again."
            )

    @classmethod
    def of_folder(cls, folder: Path) -> "FolderSettings":
        """Reads the files, each of which may be absent.

        Raises:
            InputError: A file that is no JSON object, or no UTF-8.
        """
        files: dict[str, Any] = {}
        for name in (TOKENIZER, *SETTINGS, MODEL):
            if (folder / name).is_file():
                files[name] = read_object(folder / name)
        if (folder / TEMPLATE).is_file():
            files[TEMPLATE] = _read(folder / TEMPLATE)
        more = sorted((folder / MORE_TEMPLATES).glob("*.jinja"))
        if more:
            files[MORE_TEMPLATES] = {file.stem: _read(file) for file in more}
        return cls(files, folder)

    def published(self) -> dict[str, Any]:
        """The files as they go back to a folder, without the vocabulary.

        What `config.json` says of token ids is said in
        `generation_config.json`, and of the class in `tokenizer_config.json`.
        """
        kept = (*SETTINGS, TEMPLATE, MORE_TEMPLATES)
        files = {name: self.files[name] for name in kept if name in self.files}
        if self.content:
            model = dict(self.content["model"])
            for table in TABLES:
                model.pop(table, None)
            files[TOKENIZER] = self.content | {"model": model}
        if self.tokenizer_class and not self.tokenizer.get("tokenizer_class"):
            known = {"tokenizer_class": self.tokenizer_class}
            files[CONFIG] = files.get(CONFIG, {}) | known
        if CONFIG in files:
            # It names code, which does not travel.
            files[CONFIG] = {
                name: value
                for name, value in files[CONFIG].items()
                if name != "auto_map"
            }
        ids = {
            name: self._model[name]
            for name in ("bos_token_id", "eos_token_id", "pad_token_id")
            if name in self._model and name not in self._generation
        }
        if ids or self._generation:
            files[GENERATION] = self._generation | ids
        return files

    @property
    def chat_template(self) -> str | None:
        """The Jinja template of conversations; of several the default one."""
        template = self.files.get(TEMPLATE)
        if template is None:
            template = self.tokenizer.get("chat_template")
        if isinstance(template, list):
            template = {row["name"]: row["template"] for row in template}
        if isinstance(template, Mapping):
            template = template.get("default")
        return template

    @property
    def tokenizer_class(self) -> str | None:
        """The class that the folder names, or that its model has."""
        name = self.tokenizer.get("tokenizer_class")
        if name is None and self._model.get("model_type") == "gpt2":
            return "GPT2Tokenizer"
        return name and name.removesuffix("Fast")

    @property
    def space_after_control(self) -> bool:
        """Whether the space that is put before texts is put after control
        tokens as well.

        `LlamaTokenizer` goes by its own settings, whatever a
        `tokenizer.json` says.
        """
        if self.tokenizer_class == "LlamaTokenizer":
            return bool(self.tokenizer.get("legacy", False))
        words = self.content.get("pre_tokenizer") or {}
        return words.get("prepend_scheme") != "first"

    def name_of(self, kind: str) -> str | None:
        """The text of a special token, such as `"eos_token"`."""
        return _text(self.tokenizer.get(kind))

    def named_tokens(self, find: Find) -> dict[str, str]:
        """The tokens that have a role, by `bos_token` and the like.

        Args:
            find: The id of a token.
        """
        by_class = NAMED_BY_CLASS.get(self.tokenizer_class, {})
        names = {
            kind: _text(self.tokenizer.get(kind, by_class.get(kind)))
            for kind in NAMED
        }
        return {
            kind: name
            for kind, name in names.items()
            if name is not None and find(name) is not None
        }

    def special_names(self) -> list[str]:
        """The text of all tokens that have a role."""
        names = [self.name_of(kind) for kind in NAMED]
        for kind in LISTED:
            listed = self.tokenizer.get(kind) or []
            if isinstance(listed, Mapping):
                listed = listed.values()
            names += [_text(token) for token in listed]
        return [name for name in dict.fromkeys(names) if name]

    def added_tokens(self) -> dict[str, tuple[int, bool]]:
        """Id, and whether it is special, of tokens beside the vocabulary."""
        rows = {
            token["content"]: (token["id"], token["special"])
            for token in self.content.get("added_tokens") or []
        }
        decoder = self.tokenizer.get("added_tokens_decoder") or {}
        for index, token in decoder.items():
            row = int(index), token.get("special", False)
            rows.setdefault(token["content"], row)
        for name, index in self.files.get("added_tokens.json", {}).items():
            rows.setdefault(name, (index, False))
        special = self.special_names()
        return {
            name: (index, is_special or name in special)
            for name, (index, is_special) in rows.items()
        }

    def start_name(self, unsaid: str | None = None) -> str | None:
        """The token that is put before texts, or `None`.

        As in `transformers`, `add_bos_token` of `tokenizer_config.json` counts
        only where there is no `tokenizer.json`.

        Args:
            unsaid: What it is where no file says so.

        Raises:
            InputError: More than one, or a step of another kind.
        """
        if not self.content:
            told = self.tokenizer.get("add_bos_token")
            if told is None:
                return unsaid
            return self.name_of("bos_token") if told else None
        names = list(self._before(self.content.get("post_processor")))
        if len(names) > 1:
            raise self._error(
                f"puts {', '.join(names)} before texts: one token at most is "
                "supported"
            )
        return names[0] if names else None

    def _before(self, step):
        kind = step and step["type"]
        if kind == "Sequence":
            for inner in step["processors"]:
                yield from self._before(inner)
        elif kind == "TemplateProcessing":
            for item in step["single"]:
                if "Sequence" in item:
                    return
                name = item["SpecialToken"]["id"]
                yield from step["special_tokens"][name]["tokens"]
        elif kind not in (None, "ByteLevel"):
            raise self._error(
                f"has a post_processor of an unknown kind: {kind}"
            )

    def end_ids(self, find: Find) -> tuple[int, ...]:
        """All tokens that end texts; that of the tokenizer first.

        Args:
            find: The id of a token.

        Raises:
            InputError: A token that the vocabulary does not have.
        """
        ids = []
        name = self.name_of("eos_token")
        name = name or self.named_tokens(find).get("eos_token")
        if name is not None:
            ids.append(find(name))
            if ids[0] is None:
                raise InputError(
                    f"{self.folder} has eos_token {name!r}, which its "
                    "vocabulary does not have. The files are of two models."
                )
        more = self._generation.get("eos_token_id")
        if more is None:
            more = self._model.get("eos_token_id")
        if more is not None:
            ids += more if isinstance(more, list) else [more]
        return tuple(dict.fromkeys(ids))

    def _error(self, reason):
        return InputError(f"{self.folder / TOKENIZER} {reason}.")


def _text(token: Any) -> str | None:
    return token.get("content") if isinstance(token, Mapping) else token


def _read(path: Path) -> str:
    try:
        # Line ends as they are: a template is written back to the byte.
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
