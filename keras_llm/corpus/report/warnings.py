"""What looks wrong in a corpus, and what to do about it."""

from collections.abc import Iterator

from keras_llm.corpus.counts import Leaks, RuleCount
from keras_llm.corpus.report.contents import MARKUP, STUB
from keras_llm.corpus.report.corpus_report import CorpusReport
from keras_llm.corpus.report.figures import percent
from keras_llm.corpus.sources.folders import NOT_INCLUDED
from keras_llm.corpus.sources.streams import CUT_SHORT

FEW = 10  # documents below which a share says nothing
MUCH_DROPPED = 0.4
MUCH_REMOVED = 0.5
# Pages are mostly markup: only next to nothing left of them is suspicious.
MUCH_REMOVED_BY = {"html": 0.98}
MUCH_UNREADABLE = 0.1
MUCH_SKIPPED = 0.1  # of the files

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
_REMOVE = "Put control_characters into corpus.rules."
_DECODE = "Set corpus.encoding, or leave such files out."
UNUSUAL_ADVICE = {
    "control": _REMOVE,
    "private use": "They are of one font: take another format than PDF.",
    "replacement": f"They stand for bytes that no decoder knew. {_DECODE}",
    "surrogate": f"They are halves of characters, as of JSON. {_REMOVE}",
    "unassigned": f"No Unicode known here has them. {_DECODE}",
}
# Each yields pairs: whether something is wrong, and what is to be said then.
Checks = Iterator[tuple[bool, str]]


def warnings_of(report: CorpusReport) -> list[str]:
    """What looks wrong in a report, each with what to do; often nothing.

    Args:
        report: Its own `warnings` are ignored.
    """
    checks = (
        *_of_leaks(report),
        *_of_files(report),
        *_of_rules(report),
        *_of_text(report),
        *_of_documents(report),
        *_of_splits(report),
    )
    return [told for is_wrong, told in checks if is_wrong]


def _of_leaks(report: CorpusReport) -> Checks:
    advice = "set corpus.leaks to drop."
    if "leaks" in report.rules:
        advice = "they are cut between splits; set corpus.split.method to hash."
    for leaks, held_out, pronoun in (
        (report.leaks, "the test split", "it"),
        (report.contamination, "the files of corpus.contamination", "them"),
    ):
        leaks = leaks or Leaks()
        yield (
            leaks.too_short > 0,
            f"{leaks.too_short:,} of {leaks.texts:,} texts of {held_out} have "
            "fewer than 8 words, and were not looked for in the train split: "
            "what is said of leaks does not hold for them. Give questions "
            "with their answers, by corpus.template, say.",
        )
        left = leaks.documents - leaks.dropped
        yield (
            left > 0,
            f"{left:,} document(s) of the train split hold phrases of "
            f"{held_out}, in all {percent(leaks.found, leaks.ngrams)} of its "
            f"13-grams. Results on {pronoun} will be too good: {advice}",
        )


def _of_files(report: CorpusReport) -> Checks:
    files = report.files
    chosen = files.found - files.skipped.get(NOT_INCLUDED, 0)
    skipped = chosen - sum(files.read.values())
    yield (
        chosen >= FEW and skipped > MUCH_SKIPPED * chosen,
        f"{percent(skipped, chosen)} of the files were skipped, most of "
        f"them because they are no text ({files}). Name the folders that "
        "hold text, or the files in corpus.include.",
    )
    lost = files.repaired.get("lines lost", 0)
    yield (
        lost > 0,
        f"{lost:,} line(s) are lost, for they are full of bytes that are "
        "no text: were files of several encodings joined, or is a binary "
        "named as text? Set corpus.encoding, or leave such files out.",
    )
    cut = files.repaired.get(CUT_SHORT, 0)
    yield (
        cut > 0,
        f"{cut:,} compressed file(s) end too early: what came before was "
        "read. Were they downloaded whole?",
    )


def _of_rules(report: CorpusReport) -> Checks:
    rule = report.rules.get("unreadable", RuleCount())
    yield (
        rule.dropped > MUCH_UNREADABLE * rule.seen,
        f"{rule.dropped:,} of {rule.seen:,} documents could not be read "
        f"({percent(rule.dropped, rule.seen)}){_mostly(rule)}. See the "
        "examples of unreadable, and name only the files that hold text.",
    )
    for name, rule in report.rules.items():
        if rule.seen < FEW or name == "unreadable":
            continue
        reached = rule.characters_before - rule.characters_dropped
        removed = reached - rule.characters_after
        much_dropped = rule.dropped >= MUCH_DROPPED * rule.seen
        yield (
            much_dropped,
            f"{name} dropped {percent(rule.dropped, rule.seen)} of the "
            f"documents that reached it{_mostly(rule)}. See its "
            "examples: if they are text that you want, take it out of "
            "corpus.rules or change its settings.",
        )
        much = MUCH_REMOVED_BY.get(name, MUCH_REMOVED)
        yield (
            not much_dropped and removed > much * reached,
            f"{name} removed {percent(removed, reached)} of the "
            "characters of the documents that it let through. See its "
            "examples: if text that you want is gone, take it out of "
            "corpus.rules.",
        )


def _mostly(rule: RuleCount) -> str:
    """The commonest reason, if there are several."""
    if len(rule.reasons) < 2:
        return ""
    reason, count = max(rule.reasons.items(), key=lambda item: item[1])
    return f", {count:,} of them for {reason}"


def _of_text(report: CorpusReport) -> Checks:
    total = sum(split.characters for split in report.splits.values())
    for kind, found in report.unusual.items():
        yield (
            found.count > MANY_UNUSUAL * total,
            f"{found.count:,} {kind} character(s) are in the text, "
            f"first in {found.id}. {UNUSUAL_ADVICE[kind]}",
        )
    names = ("ascii", "blank", "digits", "<")
    plain, blank, digits, brackets = (report.signs.get(n, 0) for n in names)
    yield (
        digits > MANY_DIGITS * total,
        f"{percent(digits, total)} of the characters are "
        "digits. Is corpus.text a column of numbers? Name the one that "
        "holds text.",
    )
    yield (
        brackets > MANY_BRACKETS * total,
        f"One character in {total // max(brackets, 1):,} is '<': markup is "
        "left. Name HTML files .html, so that they are read as pages, "
        "and put html into corpus.rules.",
    )
    yield (
        plain > 0.5 * total and blank < FEW_SPACES * total,
        f"Only {percent(blank, total)} of the characters are spaces: "
        "words run together, as PDF files often yield them. Take the "
        "text from another format.",
    )


def _of_documents(report: CorpusReport) -> Checks:
    lengths, kept = report.lengths, report.kept
    for kind, found in report.suspects.items():
        yield (
            found.count >= FEW_SUSPECTS
            and found.count > MANY_SUSPECTS * kept.documents,
            f"{kind}: {found.count:,} document(s), "
            f"{percent(found.count, kept.documents)} of what was kept, "
            f"{SUSPECT_ADVICE[kind].format(id=found.id)}",
        )
    languages = report.languages or {"": 0}
    total = sum(languages.values())
    main, *others = sorted(languages, key=lambda key: -languages[key])
    other = total - languages[main]
    named = ", ".join(
        f"{key} {percent(languages[key], total)}" for key in others[:3]
    )
    yield (
        total >= FEW and other > OTHER_LANGUAGES * total,
        f"{percent(other, total)} of the documents are not in the main "
        f"language, {main} ({named}). If that is not what you want, put "
        f"{{language: {{languages: [{main}]}}}} into corpus.rules.",
    )
    many = kept.documents >= FEW
    yield (
        many and lengths.commonest_documents > SAME_LENGTH * kept.documents,
        f"{percent(lengths.commonest_documents, kept.documents)} of the "
        f"documents have exactly {lengths.commonest:,} characters: were "
        "they cut, or are they all one template? Look at a few.",
    )
    yield (
        many and lengths.median < SHORT_DOCUMENT,
        f"Half of the documents have at most {lengths.median:,} "
        "characters: is each line or cell read as a document of its "
        "own? Name the column of the text, or join them.",
    )
    yield (
        many and lengths.longest > ONE_DOCUMENT * kept.characters,
        f"One document holds {percent(lengths.longest, kept.characters)} "
        "of the text, and one split gets it whole: cut it into "
        "documents, or set corpus.split.method to position.",
    )
    size = max((c.size for c in report.duplicates.largest), default=0)
    yield (
        size > max(FEW, LARGE_CLUSTER * report.read.documents),
        f"{size:,} documents are near-duplicates of one another: a "
        "template or an error page? See the largest cluster; the rule "
        "boilerplate or repeated_lines may help.",
    )


def _of_splits(report: CorpusReport) -> Checks:
    total = sum(split.characters for split in report.splits.values())
    is_small = total < SMALL_CORPUS
    yield (
        is_small,
        f"The corpus holds {total:,} characters in all: a model will "
        f"learn it by heart. {SMALL_CORPUS:,} are little, some millions "
        "are better.",
    )
    for name, split in report.splits.items():
        few = split.documents < FEW and report.split_method == "hash"
        yield (
            not is_small
            and name != "train"
            and (few or split.characters < SMALL_SPLIT),
            f"The {name} split holds {split.documents:,} document(s), "
            f"{split.characters:,} characters: what is measured on it "
            f"will be noise. Raise corpus.split.{name}.",
        )
    train = report.splits.get("train")
    left = train.characters if train else total
    yield (
        not is_small and left < 0.5 * total,
        f"Only {percent(left, total)} of the text is left "
        "to train on. Lower corpus.split.validation and "
        "corpus.split.test.",
    )
