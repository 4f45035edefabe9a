"""A report such as a few thousand crawled pages and books would give."""

from dataclasses import replace

import numpy as np

from keras_llm.corpus.counts import (
    Change,
    Count,
    Drop,
    Files,
    Leak,
    Leaks,
    RuleCount,
)
from keras_llm.corpus.documents import SplitCount
from keras_llm.corpus.report.contents import CharacterCounter
from keras_llm.corpus.report.corpus_report import (
    Cluster,
    CorpusReport,
    Duplicates,
    lengths_of,
)
from keras_llm.corpus.report.timings import Speed, Timings
from keras_llm.corpus.report.warnings import warnings_of

PAGE = (
    '<!doctype html><html><head><title>Owls</title><script src="/a.js">'
    '</script></head><body><nav><a href="/">Home</a> <a href="/shop">Shop</a>'
    "</nav><div class=cookie>We use cookies. <button>Accept</button></div>"
    "<main><h1>The barn owl</h1><p>"
)
OWL = (
    "The barn owl is the most widely distributed species of owl in the world. "
    "It hunts by hearing alone, and will take a vole beneath the snow."
)
# Of each rule: changed, characters removed, reasons, changes, drops, MB/s.
RULES = {
    "unreadable": (
        0,
        0,
        {"not_text": 11, "damaged_archive": 2},
        [],
        [
            ("crawl/logo.txt", "not_text", ""),
            ("crawl/2019-04.zip", "damaged_archive", ""),
        ],
        900.0,
    ),
    "newlines": (
        412,
        190_113,
        {},
        [
            (
                "books/persuasion.txt",
                "CHAPTER I.\r\n\r\nSir Walter Elliot, of Kellynch Hall,\r\n",
                "CHAPTER I.\n\nSir Walter Elliot, of Kellynch Hall,\n",
            )
        ],
        [],
        1_310.0,
    ),
    "html": (
        2_904,
        31_422_871,
        {"no_content": 96},
        [
            ("crawl/owls/barn.html", (PAGE + OWL)[:240], OWL[:240]),
            (
                "crawl/faq.html",
                "<p>How long does it take?</p>\n<p>About a <b>week</b>.</p>",
                "How long does it take?\n\nAbout a week.",
            ),
        ],
        [("crawl/login.html", "no_content", '<form action="/login">')],
        2.6,
    ),
    "mojibake": (
        187,
        3_022,
        {},
        [
            (
                "crawl/cafe.html",
                "The cafÃ© on the corner doesnâ€™t open before ten.",
                "The café on the corner doesn’t open before ten.",
            ),
            ("mail/0412.txt", "Na\u00c3\u00afve questions", "Naïve questions"),
        ],
        [],
        38.0,
    ),
    "nfc": (
        31,
        514,
        {},
        [("notes/reise.md", "Stra\u00dfe, a\u0308hnlich", "Straße, ähnlich")],
        [],
        310.0,
    ),
    "control_characters": (
        203,
        1_902,
        {},
        [
            (
                "crawl/press/7.html",
                "A soft\u00adware\u200b release\ufeff, dated \x07today",
                "A software release, dated today",
            ),
            ("books/scan.txt", "page 12\x0c\nand then", "page 12\nand then"),
        ],
        [],
        240.0,
    ),
    "whitespace": (
        1_120,
        402_771,
        {},
        [
            (
                "crawl/menu.html",
                "Soup  of the\u00a0day   \n\n\n\n\nFish\t and chips",
                "Soup of the day\n\nFish and chips",
            )
        ],
        [],
        190.0,
    ),
    "repeated_lines": (
        344,
        210_338,
        {},
        [
            (
                "crawl/forum/88.html",
                "Log in to reply\nI had the same problem.\nLog in to reply\n"
                "Try turning it off.\nLog in to reply\n",
                "Log in to reply\nI had the same problem.\n"
                "Try turning it off.\n",
            )
        ],
        [],
        61.0,
    ),
    "personal_data": (0, 0, {}, [], [], 55.0),
    "language": (
        0,
        1_311_020,
        {"de": 118, "fr": 54, "und": 20},
        [],
        [
            (
                "crawl/impressum.html",
                "de",
                "Angaben gemäß § 5 TMG: Die Betreiber dieser Seiten",
            )
        ],
        14.0,
    ),
    "gopher_quality": (
        0,
        3_240_118,
        {
            "gopher_short_doc": 1_297,
            "gopher_below_alpha_threshold": 203,
            "gopher_enough_stop_words": 71,
        },
        [],
        [
            ("crawl/tag/9.html", "gopher_short_doc", "Posts tagged: owls"),
            (
                "crawl/price.html",
                "gopher_below_alpha_threshold",
                "12.50 | 13.00 | 14.25 | 9.99 | <script>alert(1)</script>",
            ),
            ("crawl/tag/10.html", "gopher_short_doc", "Nothing here yet."),
        ],
        5.2,
    ),
    "empty": (0, 0, {}, [], [], 2_000.0),
    "exact_duplicates": (
        0,
        812_004,
        {"exact_duplicate": 141},
        [],
        [("crawl/owls/barn.html?print", "exact_duplicate", OWL)],
        None,
    ),
    "near_duplicates": (
        0,
        1_020_778,
        {"near_duplicate": 167},
        [],
        [("mirror/owls.html", "near_duplicate", OWL[:100])],
        None,
    ),
    "paragraph_duplicates": (
        256,
        96_310,
        {"nothing_left": 3},
        [
            (
                "crawl/press/8.html",
                "The fair was a success.\n\nAbout us: founded in 1974, we sell "
                "nest boxes.",
                "The fair was a success.",
            )
        ],
        [],
        48.0,
    ),
}
SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def example_rules(documents=3_811, characters=48_310_552):
    """What each rule would have counted, and its megabytes a second."""
    rules, speeds = {}, {}
    for name, (
        changed,
        removed,
        reasons,
        changes,
        drops,
        rate,
    ) in RULES.items():
        rule = RuleCount(
            seen=documents,
            changed=changed,
            dropped=sum(reasons.values()),
            characters_before=characters,
            characters_after=characters - removed,
            characters_dropped=0 if changed else removed,
            reasons=reasons,
            changes=[Change(*example) for example in changes],
            drops=[Drop(*example) for example in drops],
        )
        speeds[name] = Speed(characters / 1e6 / rate if rate else 0.0, rate)
        documents -= rule.dropped
        characters = rule.characters_after
        rules[name] = rule
    return rules, speeds


def example_characters(total):
    """Inventory of English with a little of everything."""
    capitals = "".join(map(chr, range(65, 91))) * 3 + "0123456789 !?;:()-/"
    text = (
        OWL
        + capitals
        + " “naïve café” — 12.50 €, Straße\n\tСова 梟 \ue042 \ufffd ´´"
    )
    counter = CharacterCounter()
    counter.add("books/persuasion.txt", (OWL + "\n") * (total // len(OWL)))
    counter.add("notes/reise.md", text * 4)
    counter.add("crawl/emoji.html", "🦉 ½ ﬁ \u0301 ʼ ½½ Ωμέγα")
    return counter.inventory()


def example_report():
    """The report, with its warnings."""
    rules, _ = example_rules()
    first, last = rules["unreadable"], rules["paragraph_duplicates"]
    kept = Count(last.seen - last.dropped, last.characters_after)
    read = Count(first.seen, first.characters_before)
    random = np.random.default_rng(0)
    lengths = random.lognormal(7.8, 1.2, kept.documents).astype(int)
    report = CorpusReport(
        sources=["crawl.tar.gz", "books/", "notes", "mail.jsonl"],
        licences=["Public domain"],
        cleaning="web",
        split_method="hash",
        files=Files(
            found=3_021,
            read={".html": 2_790, ".txt": 188, "no suffix": 12},
            skipped={".png": 27, "broken link": 4},
        ),
        read=read,
        kept=kept,
        dropped=Count(
            read.documents - kept.documents,
            sum(rule.characters_dropped for rule in rules.values()),
        ),
        rules=rules,
        splits={
            name: SplitCount(
                int(kept.documents * share),
                int(kept.characters * share),
                int(kept.characters * share * 1.02),
            )
            for name, share in SPLITS.items()
        },
        lengths=lengths_of(lengths),
        characters=example_characters(kept.characters // 40),
        languages={"en": kept.documents - 61, "nl": 44, "af": 12, "sco": 5},
        duplicates=Duplicates(
            exact=141,
            near=167,
            clusters=74,
            sizes=[[2, 51], [3, 14], [4, 5], [6, 3], [19, 1]],
            largest=[
                Cluster(
                    19,
                    [f"crawl/error/{n}.html" for n in range(8)],
                    "Page not found. The page you are looking for may have "
                    "moved, or may never have been.",
                ),
                Cluster(6, ["crawl/owls/barn.html", "mirror/owls.html"], OWL),
                Cluster(6, ["books/emma.txt", "books/emma-2.txt"], "VOLUME I"),
            ],
            paragraphs=402,
        ),
        leaks=Leaks(
            texts=163,
            ngrams=88_120,
            found=1_204,
            documents=9,
            examples=[
                Leak(
                    "crawl/press/3.html",
                    "the spring fair opens its doors on saturday at ten in "
                    "the old",
                )
            ],
        ),
        contamination=Leaks(texts=900, too_short=31, ngrams=12_044),
    )
    return replace(report, warnings=warnings_of(report))


def example_timings():
    """How long that would have taken."""
    return Timings(
        total=Speed.of(31.4, 49_221_904),
        workers=2,
        rules=example_rules()[1],
        stages={"clean": 22.8, "plan": 1.9, "index": 1.2, "write": 5.5},
    )
