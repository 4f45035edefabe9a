"""`keras-llm prepare` beside stock datatrove, on one core.

Usage: python scripts/benchmark_corpus.py [--repeat 4] [--rounds 3] [--json]

Three comparisons, each in rounds that alternate, each number the median, of
megabytes for each second that the process had a core:

- `light` on plain text: Tiny Shakespeare and WikiText-2, each `--repeat` times
  with the round's number in it, so that no copy is an exact duplicate.
- `web` with near-duplicates on the articles of WikiText-2: the whole pipeline
  beside datatrove's own of the same steps (its formatter for mojibake, its
  Gopher, C4 and FineWeb filters and its four MinHash stages, with its default
  tokenizer, spaCy, and with ours). The language filter is in neither, for
  datatrove downloads its model.
- each rule of `web` beside datatrove's block for it.

`--files 200000` measures what a small file costs instead: `light` on so many
files of 200 bytes, seconds of a core for all, and for one.

Needs spaCy: pip install 'keras-llm[benchmark]'.
"""

import argparse
import io
import json
import re
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import redirect_stderr
from pathlib import Path
from statistics import median

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
)
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.formatters import FTFYFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig
from rich.console import Console
from rich.table import Table

from keras_llm.corpus.prepare import prepare
from keras_llm.corpus.rules.words import Words
from keras_llm.corpus.sources.catalogue import local_files
from keras_llm.recipes.corpus_settings import (
    CorpusSettings,
    ExecutionSettings,
    SplitSettings,
)

ONE_CORE = ExecutionSettings(workers=1)
ALL_TRAIN = SplitSettings(validation=0)
# Its other function: what it calls of xxhash takes no text since xxhash 4.
MINHASH = MinhashConfig(hash_config=HashConfig(hash_fc="sha1"))
# Names of our rules, and of the datatrove blocks that do the same.
SAME = {
    "mojibake": FTFYFormatter.name,
    "gopher_repetition": GopherRepetitionFilter.name,
    "gopher_quality": GopherQualityFilter.name,
    "c4_quality": C4QualityFilter.name,
    "fineweb_quality": FineWebQualityFilter.name,
}
WEB = CorpusSettings(
    cleaning="web",
    rules=list(SAME),
    paragraph_duplicates=False,
    split=ALL_TRAIN,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeat", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--files", type=int)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.files:
            seconds = seconds_of_files(Path(folder), options.files)
            each = 1e6 * seconds / options.files
            print(f"{seconds:.0f} s, {each:.0f} microseconds a file")
            return
        figures = measure(Path(folder), options.repeat, options.rounds)
    if options.json:
        json.dump(figures, sys.stdout, indent=1)
    else:
        show(figures)


def measure(folder: Path, repeat: int, rounds: int) -> dict[str, dict]:
    """Median MB/s of everything, by table and row."""
    texts = plain_texts(folder / "plain", repeat)
    articles = article_file(folder / "articles")
    found: dict[str, dict] = defaultdict(lambda: defaultdict(list))
    for _ in range(rounds):
        for name, path in texts.items():
            speed, rules = ours(path, CorpusSettings(split=ALL_TRAIN))
            found["light"][name].append(speed)
            for rule, value in rules.items():
                found[f"rules of light, {name}"][rule].append(value)
        speed, rules = ours(articles, WEB)
        stock_speed, stock_rules = stock(articles, "en")
        found["web"]["keras_llm"].append(speed)
        found["web"]["datatrove"].append(stock_speed)
        fast_speed, _ = stock(articles, Words())
        found["web"]["datatrove, our words"].append(fast_speed)
        for rule, block in SAME.items():
            found["rules of web, keras_llm"][rule].append(rules[rule])
            found["rules of web, datatrove"][rule].append(stock_rules[block])
        speed, rules = ours(articles, CorpusSettings("web", split=ALL_TRAIN))
        found["web"]["keras_llm, all rules of web"].append(speed)
        for rule, value in rules.items():
            found["rules of web, all"][rule].append(value)
    return {
        table: {row: median(values) for row, values in rows.items() if values}
        for table, rows in found.items()
    }


def seconds_of_files(folder: Path, count: int) -> float:
    """Seconds of a core that many files of 200 bytes take."""
    for number in range(count):
        part = folder / "files" / f"{number // 1000}"
        part.mkdir(parents=True, exist_ok=True)
        text = f"File {number} of many. ".ljust(199, "a") + "\n"
        (part / f"{number}.txt").write_text(text)
    start = time.process_time()
    settings = CorpusSettings(split=ALL_TRAIN)
    prepare(str(folder / "files"), folder / "corpus", settings, ONE_CORE)
    return time.process_time() - start


def plain_texts(folder: Path, repeat: int) -> dict[str, Path]:
    """Folders of plain text; every file differs in its first line."""
    made = {}
    for name in ("tinyshakespeare", "wikitext2"):
        made[name] = folder / name
        made[name].mkdir(parents=True)
        path = local_files(name)[0][0]
        text = path.read_text(encoding="utf-8")
        copies = repeat * (10 if name == "tinyshakespeare" else 1)
        for number in range(copies):
            copy = made[name] / f"{number}.txt"
            copy.write_text(f"Copy {number}\n{text}", encoding="utf-8")
    return made


def article_file(folder: Path) -> Path:
    """The articles of WikiText-2's training split, one a line.

    Their paragraphs, spaced as people space words; as WikiText has them, the
    quality filters drop nine of ten.
    """
    path = local_files("wikitext2")[0][0]
    text = path.read_text(encoding="utf-8")
    text = re.sub(r" @(.)@ | (?=[.,;:!?)%'])|(?<=[(]) ", r"\1", text)
    articles = re.split(r"^ = [^=].* = $", text, flags=re.MULTILINE)
    folder.mkdir()
    with (folder / "articles.jsonl").open("w", encoding="utf-8") as file:
        for article in articles:
            lines = [line.strip() for line in article.splitlines()]
            text = "\n".join(line for line in lines if len(line) > 80)
            if text:
                file.write(json.dumps({"text": text}) + "\n")
    return folder


def ours(source: Path, settings: CorpusSettings) -> tuple[float, dict]:
    """MB/s of a whole run and of each rule."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "corpus")
        start = time.process_time()
        prepare(str(source), out, settings, ONE_CORE)
        seconds = time.process_time() - start
        timings = json.loads((out / "timings.json").read_text("utf-8"))
    rules = {
        name: rule["bytes"] / 1e6 / rule["seconds"]
        for name, rule in timings["rules"].items()
        if rule["bytes"]
    }
    return size_of(source) / seconds, rules


def stock(source: Path, language: str | Words) -> tuple[float, dict]:
    """The same of datatrove's own blocks, with its tokenizer or ours."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        rules = run_stock(source, Path(folder), language)
        seconds = time.process_time() - start
    size = size_of(source)
    return size / seconds, {name: size / each for name, each in rules.items()}


def run_stock(
    source: Path, folder: Path, language: str | Words
) -> dict[str, float]:
    """Runs datatrove's pipeline; returns the seconds of each block."""
    filters = [
        FTFYFormatter(),
        GopherRepetitionFilter(language=language),
        GopherQualityFilter(language=language),
        C4QualityFilter(filter_no_terminal_punct=False, language=language),
        FineWebQualityFilter(language=language),
    ]
    clean, signatures = str(folder / "clean"), str(folder / "signatures")
    buckets, removed = str(folder / "buckets"), str(folder / "removed")
    sign = MinhashDedupSignature(signatures, MINHASH, language=language)
    reader = JsonlReader(str(source), glob_pattern="*.jsonl")
    writer = JsonlWriter(clean, compression=None)
    again = JsonlReader(clean)
    stages = [
        ([reader, *filters, writer], 1),
        ([again, sign], 1),
        ([MinhashDedupBuckets(signatures, buckets, config=MINHASH)], 14),
        ([MinhashDedupCluster(buckets, removed, config=MINHASH)], 1),
        (
            [
                again,
                MinhashDedupFilter(removed),
                JsonlWriter(str(folder / "out"), compression=None),
            ],
            1,
        ),
    ]
    seconds = {}
    for number, (pipeline, tasks) in enumerate(stages):
        logs = str(folder / f"logs{number}")
        with redirect_stderr(io.StringIO()):
            stats = LocalPipelineExecutor(
                pipeline, tasks=tasks, workers=1, logging_dir=logs
            ).run()
        for step in stats.stats:
            seconds[step.name.split(": ")[-1]] = step.time_stats.total
    return {name: value for name, value in seconds.items() if value}


def size_of(folder: Path) -> float:
    """Megabytes of all files."""
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def show(figures: dict[str, dict]) -> None:
    """Prints a table for each comparison."""
    console = Console(width=100)
    for title, rows in figures.items():
        table = Table(title, "MB/s")
        for name, value in rows.items():
            table.add_row(name, f"{value:.2f}")
        console.print(table)
    ratio = figures["web"]["keras_llm"] / figures["web"]["datatrove"]
    console.print(f"web: {ratio:.1f} times stock datatrove")


if __name__ == "__main__":
    main()
