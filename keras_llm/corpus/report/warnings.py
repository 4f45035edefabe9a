"""What looks wrong in a corpus, and what to do about it."""

from collections.abc import Iterator

from keras_llm.corpus.counts import Leaks, RuleCount
from keras_llm.corpus.report.contents import MARKUP, STUB
from keras_llm.corpus.report.corpus_report import CorpusReport
from keras_llm.corpus.report.figures import percent

CUT_SHORT = "compressed files cut short"
FEW = 10  # documents below which a share says nothing
MUCH_DROPPED = 0.4
MUCH_REMOVED = 0.5
# Pages are mostly markup: only next to nothing left of them is suspicious.
MUCH_REMOVED_BY = {"html": 0.98}
MUCH_UNREADABLE = 0.1
MUCH_SKIPPED = 0.1  # of the files
WANTED = "not in corpus.include"  # skipped because the user said so
# Counted by warnings of their own.
UNJUDGED = {"unreadable"}

SMALL_CORPUS = 100_000  # characters
SMALL_SPLIT = 10_000
SHORT_DOCUMENT = 20
SAME_LENGTH = 0.5
ONE_DOCUMENT = 0.5
LARGE_CLUSTER = 0.1

OTHER_LANGUAGES = 0.05
MANY_DIGITS = 0.3
MANY_BRACKETS = 0.005
FEW_SPACES = 0.05
MANY_UNUSUAL = 1e-5

FEW_SUSPECTS = 3
MANY_SUSPECTS = 0.01
SUSPECT_ADVICE = {
    STUB: (
        "say little more than that a page is elsewhere or not at hand, such "
        "as {id}. Put a rule that drops short documents into corpus.rules, "
        "such as {{gopher_quality: {{min_doc_words: 50}}}}."
    ),
    MARKUP: (
        "are full of markup that no rule takes out, such as {id}. Convert "
        "them first (manual pages: `man -Tutf8 FILE | col -bx`), or name what "
        "to take in corpus.include."
    ),
}

UNUSUAL_ADVICE = {
    "control": "Put control_characters into corpus.rules.",
    "private use": (
        "They mean nothing outside one font, often that of a PDF: take the "
        "text from another format, or leave such files out."
    ),
    "replacement": (
        "They stand for bytes that could not be decoded: set "
        "corpus.encoding, or leave such files out."
    ),
    "surrogate": (
        "They are halves of characters that were cut in JSON, and no "
        "tokenizer can learn them: put control_characters into corpus.rules."
    ),
    "unassigned": (
        "They are in no Unicode that this Python knows, most likely wrongly "
        "decoded: set corpus.encoding, or leave such files out."
    ),
}


def warnings_of(report: CorpusReport) -> list[str]:
    """What looks wrong in a report, each with what to do; often nothing.

    Args:
        report: Its own `warnings` are ignored.
    """
    checks = (
        _of_leaks,
        _of_files,
        _of_repairs,
        _of_reading,
        _of_rules,
        _of_characters,
        _of_text,
        _of_suspects,
        _of_languages,
        _of_lengths,
        _of_clusters,
        _of_splits,
    )
    return [warning for check in checks for warning in check(report)]


def _of_leaks(report: CorpusReport) -> Iterator[str]:
    advice = "set corpus.leaks to drop."
    if "leaks" in report.rules:
        advice = "they are cut between splits; set corpus.split.method to hash."
    yield from _of_leak(
        report.leaks,
        "the test split",
        f"Results on it will be too good: {advice}",
    )
    yield from _of_leak(
        report.contamination,
        "the files of corpus.contamination",
        f"Results on them will be too good: {advice}",
    )


def _of_leak(leaks: Leaks | None, held_out: str, advice: str) -> Iterator[str]:
    if leaks is None:
        return
    if leaks.too_short:
        yield (
            f"{leaks.too_short:,} of {leaks.texts:,} texts of {held_out} have "
            "fewer than 8 words, and were not looked for in the train split: "
            "what is said of leaks does not hold for them. Give questions "
            "with their answers, by corpus.template, say."
        )
    left = leaks.documents - leaks.dropped
    if left > 0:
        yield (
            f"{left:,} document(s) of the train split hold phrases of "
            f"{held_out}, in all {percent(leaks.found, leaks.ngrams)} of its "
            f"13-grams. {advice}"
        )


def _of_files(report: CorpusReport) -> Iterator[str]:
    files = report.files
    chosen = files.found - files.skipped.get(WANTED, 0)
    skipped = chosen - sum(files.read.values())
    if chosen >= FEW and skipped > MUCH_SKIPPED * chosen:
        yield (
            f"{percent(skipped, chosen)} of the files were skipped, most of "
            f"them because they are no text ({files}). Name the folders that "
            "hold text, or the files in corpus.include."
        )


def _of_repairs(report: CorpusReport) -> Iterator[str]:
    lost = report.files.repaired.get("lines lost", 0)
    if lost:
        yield (
            f"{lost:,} line(s) are lost, for they are full of bytes that are "
            "no text: were files of several encodings joined, or is a binary "
            "named as text? Set corpus.encoding, or leave such files out."
        )
    if cut := report.files.repaired.get(CUT_SHORT, 0):
        yield (
            f"{cut:,} compressed file(s) end too early: what came before was "
            "read. Were they downloaded whole?"
        )


def _of_reading(report: CorpusReport) -> Iterator[str]:
    rule = report.rules.get("unreadable", RuleCount())
    if rule.dropped > MUCH_UNREADABLE * rule.seen:
        yield (
            f"{rule.dropped:,} of {rule.seen:,} documents could not be read "
            f"({percent(rule.dropped, rule.seen)}){_mostly(rule)}. See the "
            "examples of unreadable, and name only the files that hold text."
        )


def _of_rules(report: CorpusReport) -> Iterator[str]:
    for name, rule in report.rules.items():
        if rule.seen < FEW or name in UNJUDGED:
            continue
        reached = rule.characters_before - rule.characters_dropped
        removed = reached - rule.characters_after
        much = MUCH_REMOVED_BY.get(name, MUCH_REMOVED)
        if rule.dropped >= MUCH_DROPPED * rule.seen:
            yield (
                f"{name} dropped {percent(rule.dropped, rule.seen)} of the "
                f"documents that reached it{_mostly(rule)}. See its "
                "examples: if they are text that you want, take it out of "
                "corpus.rules or change its settings."
            )
        elif removed > much * reached:
            yield (
                f"{name} removed {percent(removed, reached)} of the "
                "characters of the documents that it let through. See its "
                "examples: if text that you want is gone, take it out of "
                "corpus.rules."
            )


def _mostly(rule: RuleCount) -> str:
    """The commonest reason, if there are several."""
    if len(rule.reasons) < 2:
        return ""
    reason, count = max(rule.reasons.items(), key=lambda item: item[1])
    return f", {count:,} of them for {reason}"


def _of_characters(report: CorpusReport) -> Iterator[str]:
    total = report.characters.total
    for kind, unusual in report.characters.unusual.items():
        if unusual.count > MANY_UNUSUAL * total:
            yield (
                f"{unusual.count:,} {kind} character(s) are in the text, "
                f"first in {unusual.id}. {UNUSUAL_ADVICE[kind]}"
            )


def _of_text(report: CorpusReport) -> Iterator[str]:
    scripts, total = report.characters.scripts, report.characters.total
    counts = {c.character: c.count for c in report.characters.frequent}
    if scripts.get("digits", 0) > MANY_DIGITS * total:
        yield (
            f"{percent(scripts['digits'], total)} of the characters are "
            "digits. Is corpus.text a column of numbers? Name the one that "
            "holds text."
        )
    if counts.get("<", 0) > MANY_BRACKETS * total:
        yield (
            f"One character in {total // counts['<']:,} is '<': markup is "
            "left. Name HTML files .html, so that they are read as pages, "
            "and put html into corpus.rules."
        )
    spaced = scripts.get("Latin", 0) + scripts.get("Cyrillic", 0)
    blank = scripts.get("spaces", 0) + scripts.get("line ends and tabs", 0)
    if spaced > 0.5 * total and blank < FEW_SPACES * total:
        yield (
            f"Only {percent(blank, total)} of the characters are spaces: "
            "words run together, as PDF files often yield them. Take the "
            "text from another format."
        )


def _of_suspects(report: CorpusReport) -> Iterator[str]:
    kept = report.kept.documents
    for kind, found in report.suspects.items():
        if found.documents >= FEW_SUSPECTS and (
            found.documents > MANY_SUSPECTS * kept
        ):
            yield (
                f"{kind}: {found.documents:,} document(s), "
                f"{percent(found.documents, kept)} of what was kept, "
                f"{SUSPECT_ADVICE[kind].format(id=found.id)}"
            )


def _of_languages(report: CorpusReport) -> Iterator[str]:
    languages = report.languages or {}
    total = sum(languages.values())
    if total < FEW:
        return
    main, *others = sorted(languages, key=lambda key: -languages[key])
    other = total - languages[main]
    if other > OTHER_LANGUAGES * total:
        named = ", ".join(
            f"{key} {percent(languages[key], total)}" for key in others[:3]
        )
        yield (
            f"{percent(other, total)} of the documents are not in the main "
            f"language, {main} ({named}). If that is not what you want, put "
            f"{{language: {{languages: [{main}]}}}} into corpus.rules."
        )


def _of_lengths(report: CorpusReport) -> Iterator[str]:
    lengths, kept = report.lengths, report.kept
    if kept.documents < FEW:
        return
    if lengths.commonest_documents > SAME_LENGTH * kept.documents:
        yield (
            f"{percent(lengths.commonest_documents, kept.documents)} of the "
            f"documents have exactly {lengths.commonest:,} characters: were "
            "they cut, or are they all one template? Look at a few."
        )
    if lengths.median < SHORT_DOCUMENT:
        yield (
            f"Half of the documents have at most {lengths.median:,} "
            "characters: is each line or cell read as a document of its "
            "own? Name the column of the text, or join them."
        )
    if lengths.longest > ONE_DOCUMENT * kept.characters:
        yield (
            f"One document holds {percent(lengths.longest, kept.characters)} "
            "of the text, and one split gets it whole: cut it into "
            "documents, or set corpus.split.method to position."
        )


def _of_clusters(report: CorpusReport) -> Iterator[str]:
    size = max((c.size for c in report.duplicates.largest), default=0)
    if size > max(FEW, LARGE_CLUSTER * report.read.documents):
        yield (
            f"{size:,} documents are near-duplicates of one another: a "
            "template or an error page? See the largest cluster; the rule "
            "boilerplate or repeated_lines may help."
        )


def _of_splits(report: CorpusReport) -> Iterator[str]:
    total = sum(split.characters for split in report.splits.values())
    if total < SMALL_CORPUS:
        yield (
            f"The corpus holds {total:,} characters in all: a model will "
            f"learn it by heart. {SMALL_CORPUS:,} are little, some millions "
            "are better."
        )
        return
    for name, split in report.splits.items():
        few = split.documents < FEW and report.split_method == "hash"
        if name != "train" and (few or split.characters < SMALL_SPLIT):
            yield (
                f"The {name} split holds {split.documents:,} document(s), "
                f"{split.characters:,} characters: what is measured on it "
                f"will be noise. Raise corpus.split.{name}."
            )
    train = report.splits.get("train")
    if train and train.characters < 0.5 * total:
        yield (
            f"Only {percent(train.characters, total)} of the text is left "
            "to train on. Lower corpus.split.validation and "
            "corpus.split.test."
        )
