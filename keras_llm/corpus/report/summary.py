"""What the tasks left, put together into one report."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from keras_llm.corpus.counts import (
    Count,
    Files,
    Leaks,
    RuleCount,
    commonest,
    merged,
)
from keras_llm.corpus.documents import SPLITS
from keras_llm.corpus.duplicates.hashing import counted
from keras_llm.corpus.plan import EXACT_DUPLICATE, Plan
from keras_llm.corpus.report.contents import Contents
from keras_llm.corpus.report.corpus_report import (
    Cluster,
    CorpusReport,
    Duplicates,
    lengths_of,
)
from keras_llm.corpus.report.warnings import warnings_of
from keras_llm.corpus.sources.listing import SourceFile
from keras_llm.corpus.store import Store
from keras_llm.recipes.corpus_settings import CorpusSettings

LARGEST_CLUSTERS = 5
CLUSTER_IDS = 5
BEGINNING = 160  # characters
MOST_KINDS = 40  # of files


def merged_rules(records: list[dict[str, Any]]) -> dict[str, RuleCount]:
    """What each rule did in all tasks."""
    counts = {
        name: merged(RuleCount, [record[name]["count"] for record in records])
        for name in records[0]
    }
    for count in counts.values():
        count.reasons = commonest(count.reasons)
    return counts


def merged_files(records: list[dict[str, Any]]) -> Files:
    """What became of the files of all tasks."""
    files = merged(Files, records)
    kinds = files.read, files.skipped, files.repaired
    return Files(files.found, *map(_told, kinds))


def summarise(
    files: list[SourceFile],
    settings: CorpusSettings,
    store: Store,
    plan: Plan,
    rules: dict[str, RuleCount],
    leaks: Mapping[str, Leaks],
) -> CorpusReport:
    """The report of a corpus, from what its tasks left in the store.

    Args:
        files: That were read.
        settings: How.
        store: Holds the records of all tasks.
        plan: What was decided about each document.
        rules: What each did, in the order in which they ran.
        leaks: `"leaks"` from the test split and `"contamination"` from
            evaluation files, if they were looked for.
    """
    first, last = list(rules.values())[0], list(rules.values())[-1]
    read = Count(first.seen, first.characters_before)
    kept = Count(last.seen - last.dropped, last.characters_after)
    report = CorpusReport(
        sources=list(dict.fromkeys(file.source for file in files)),
        licences=sorted({file.licence for file in files if file.licence}),
        cleaning=settings.cleaning,
        split_method=plan.division.method,
        files=merged_files(store.records("files")),
        read=read,
        kept=kept,
        dropped=Count(
            read.documents - kept.documents,
            sum(rule.characters_dropped for rule in rules.values()),
        ),
        rules=rules,
        duplicates=_duplicates(store, plan, rules),
        leaks=leaks.get("leaks"),
        contamination=leaks.get("contamination"),
        **_contents(store),
    )
    return replace(report, warnings=warnings_of(report))


def _told(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts, the commonest first; the rare ones beyond a number as one."""
    ordered = list(commonest(counts).items())
    rest = sum(count for _, count in ordered[MOST_KINDS:])
    told = ordered[:MOST_KINDS] + [("others", rest)]
    return {name: count for name, count in told if count}


def _contents(store: Store) -> dict[str, Any]:
    """What the documents hold, by fields of the report."""
    found = merged(Contents, store.records("written"))
    lengths = [np.empty(0, np.int64), *store.arrays("lengths")]
    return {
        "splits": {k: found.splits[k] for k in SPLITS if k in found.splits},
        "lengths": lengths_of(np.concatenate(lengths)),
        "signs": found.signs,
        "unusual": dict(sorted(found.unusual.items())),
        "languages": commonest(found.languages) or None,
        "suspects": dict(sorted(found.suspects.items())),
    }


def _duplicates(
    store: Store, plan: Plan, rules: Mapping[str, RuleCount]
) -> Duplicates:
    names, sizes = counted(plan.clusters[plan.verdicts != EXACT_DUPLICATE])
    names, sizes = names[sizes > 1], sizes[sizes > 1]
    values, counts = counted(sizes)
    order = np.lexsort((names, -sizes))[:LARGEST_CLUSTERS]
    searched = bool(store.arrays("keys"))
    has_paragraphs = "paragraph_duplicates" in rules
    return Duplicates(
        exact=rules["exact_duplicates"].dropped,
        near=int((sizes - 1).sum()) if searched else None,
        clusters=len(names),
        sizes=np.stack([values, counts], axis=1).tolist(),
        largest=[_cluster(store, plan, int(names[i])) for i in order],
        paragraphs=len(plan.repeated) if has_paragraphs else None,
    )


def _cluster(store: Store, plan: Plan, name: int) -> Cluster:
    members = np.flatnonzero(
        (plan.clusters == name) & (plan.verdicts != EXACT_DUPLICATE)
    )
    others = members[members != name][: CLUSTER_IDS - 1]
    first = store.document(name)
    ids = [first["id"]]
    ids += [store.document(int(each))["id"] for each in others]
    begins = first["text"][:BEGINNING]
    return Cluster(size=len(members), ids=ids, begins=begins)
