"""What a report holds adds up, and is read back as it was written."""

import io
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from rich.console import Console

from keras_llm.corpus.counts import Drop, RuleCount
from keras_llm.corpus.report.corpus_report import (
    lengths_of,
    load_report,
    save_report,
)
from keras_llm.corpus.report.figures import percent, short_count
from keras_llm.corpus.report.summary import merged_rules
from keras_llm.corpus.report.table import funnel_table
from keras_llm.errors import InputError


def test_a_report_is_read_back_in_the_same_order(made, tmp_path):
    read = load_report(made.folder)
    assert read == made.report
    assert list(read.rules) == list(made.report.rules)
    save_report(read, tmp_path)
    written = [f / "report.json" for f in (tmp_path, made.folder)]
    assert written[0].read_bytes() == written[1].read_bytes()
    assert json.loads(written[0].read_text("utf-8")) == read.to_dict()


def test_what_utf_8_cannot_hold_is_read_back(made, tmp_path):
    # A file name that is not UTF-8, and half a character out of JSON.
    hostile = "\udcff \ud83d \\udc00 \ude00\u2028\x00"
    report = replace(made.report, sources=[hostile])
    save_report(report, tmp_path)
    assert load_report(tmp_path) == report


def test_counts_that_contradict_one_another_are_a_defect(made):
    report = made.report
    for field in ("read", "kept", "dropped"):
        more = replace(getattr(report, field), documents=7)
        with pytest.raises(ValueError, match="kept|reached|dropped"):
            replace(report, **{field: more})
    with pytest.raises(ValueError, match="kept"):
        replace(report, rules={})
    nfc = replace(report.rules["nfc"], seen=report.rules["nfc"].seen - 1)
    with pytest.raises(ValueError, match="reached nfc"):
        replace(report, rules=report.rules | {"nfc": nfc})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"read": 3}', "[" * 9999])
def test_a_damaged_report_is_named(tmp_path, content):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(InputError, match=r"report\.json must be"):
        load_report(tmp_path)


def test_a_missing_report_is_named(tmp_path):
    with pytest.raises(InputError, match="keras-llm prepare"):
        load_report(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        ("rules.html.seen", None, r"rules\.html lacks seen"),
        ("lengths.mean", 3, "lengths has unknown mean"),
        (
            "duplicates.largest.0.size",
            "many",
            r"largest\[0\]\.size must be a whole.*'many'",
        ),
        (
            "duplicates.exact",
            True,
            r"duplicates\.exact must be a whole.*True",
        ),
        ("kept.documents", 3, "the rules kept"),
    ],
)
def test_what_is_wrong_in_a_report_is_said(made, tmp_path, place, value, named):
    record = json.loads((made.folder / "report.json").read_text("utf-8"))
    *path, last = place.split(".")
    part = record
    for key in path:
        part = part[int(key) if isinstance(part, list) else key]
    part[last] = value
    if value is None:
        del part[last]
    (tmp_path / "report.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=named):
        load_report(tmp_path)


def test_every_rule_did_what_it_is_for(made):
    rules = made.report.rules
    assert [n for n, r in rules.items() if not (r.changed or r.dropped)] == [
        "empty"
    ]
    assert made.report.leaks.documents and made.report.contamination.documents


def test_counts_of_tasks_add_up_in_order():
    tasks = []
    for number in range(3):
        count = RuleCount()
        count.keep(f"kept {number}", "as it is", "as it is")
        for n in range(2):
            count.keep(f"{number}-{n}", "before", "after it")
            count.drop(f"{number}-{n}", f"reason {number}", "", "a detail")
        tasks.append({"nfc": {"count": asdict(count)}})
    total = merged_rules(tasks)["nfc"]
    assert (total.seen, total.changed, total.dropped) == (15, 6, 6)
    assert total.characters_before == 3 * 8 + 6 * 6
    assert total.characters_after == 3 * 8 + 6 * 8
    assert total.reasons == {f"reason {n}": 2 for n in range(3)}
    assert [each.id for each in total.changes] == ["0-0", "0-1", "1-0"]
    assert total.drops[2] == Drop("1-0", "reason 1", "a detail")


def test_lengths_are_counted_by_powers_of_two():
    lengths = np.random.default_rng(0).integers(1, 70_000, 500)
    found = lengths_of([*lengths, 7, 7])
    counted = {}
    for length in [*lengths.tolist(), 7, 7]:
        lower = 2 ** (length.bit_length() - 1)
        counted[lower] = counted.get(lower, 0) + 1
    assert {k: n for k, n in found.histogram if n} == counted
    lowers = [lower for lower, _ in found.histogram]
    assert lowers == [lowers[0] * 2**n for n in range(len(lowers))]
    assert (found.shortest, found.longest) == (
        min(7, *lengths),
        max(lengths),
    )


def test_the_commonest_length_is_found():
    found = lengths_of([5, 9, 9, 9, 1000])
    assert (found.commonest, found.commonest_documents) == (9, 3)
    assert found.median == 9
    assert lengths_of([]).histogram == []


def test_every_rule_is_timed(made):
    timings = json.loads((made.folder / "timings.json").read_text("utf-8"))
    assert list(timings["rules"]) == list(made.report.rules)
    assert all(rule["seconds"] > 0 for rule in timings["rules"].values())
    assert {"clean", "write"} <= timings["stages"].keys()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10.0 k"),
        (999_499, "999 k"),
        (999_999, "1.00 M"),
        (12_400_000, "12.4 M"),
        (3 * 10**15, "3000 T"),
    ],
)
def test_counts_are_short(number, text):
    assert short_count(number) == text


@pytest.mark.parametrize(
    ("part", "text"),
    [(0, "0%"), (1, "<0.1%"), (1_234, "12.3%"), (9_999, ">99.9%")],
)
def test_shares_are_neither_none_nor_all_by_rounding(part, text):
    assert percent(part, 10_000) == text
    assert percent(10_000, 10_000) == "100%"
    assert percent(0, 0) == "0%"


def printed(table, width=80):
    output = io.StringIO()
    Console(file=output, width=width).print(table)
    return output.getvalue()


def rows(text):
    lines = text.split("─")[-1].splitlines()
    return {line.split()[0]: line.split() for line in lines if line.strip()}


def test_a_row_a_rule_fits_eighty_columns(made):
    report = made.report
    text = printed(funnel_table(report))
    found = rows(text)
    assert list(found) == [*report.rules, "kept"]
    language = report.rules["language"]
    share = f"({percent(language.dropped, language.seen)})"
    assert found["language"][1:4] == [
        f"{language.seen}",
        f"{language.dropped}",
        share,
    ]
    assert found["kept"][1] == f"{report.kept.documents:,}"
    assert "…" not in text


@pytest.mark.parametrize("width", [40, 60, 200])
def test_any_width_will_do_and_names_are_no_markup(made, width):
    rules = {f"[red]{name}": rule for name, rule in made.report.rules.items()}
    report = replace(made.report, rules=rules)
    text = printed(funnel_table(report), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert width < 200 or "[red]html" in text
