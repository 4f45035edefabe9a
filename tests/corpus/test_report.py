import copy
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from report_example import example_report, example_timings

from keras_llm.corpus.counts import Count, Drop, RuleCount
from keras_llm.corpus.report.corpus_report import (
    lengths_of,
    load_report,
    save_report,
)
from keras_llm.corpus.report.figures import percent, rate, short_count
from keras_llm.corpus.report.summary import merged_rules
from keras_llm.corpus.report.timings import (
    Speed,
    load_timings,
    save_timings,
)
from keras_llm.errors import InputError


def test_a_report_is_read_back_in_the_same_order(tmp_path):
    report = example_report()
    save_report(report, tmp_path)
    read = load_report(tmp_path)
    assert read == report
    assert list(read.rules) == list(report.rules)
    written = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert written == report.to_dict()


def test_equal_reports_give_equal_files(tmp_path):
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_report(example_report(), tmp_path / name)
        files.append((tmp_path / name / "report.json").read_bytes())
    assert files[0] == files[1]


def test_what_utf_8_cannot_hold_is_read_back(tmp_path):
    # A file name that is not UTF-8, and half a character out of JSON.
    hostile = "\udcff \ud83d \\udc00 \ude00\u2028\x00"
    report = replace(example_report(), sources=[hostile])
    save_report(report, tmp_path)
    assert load_report(tmp_path) == report


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("read", Count(3_812, 48_310_552)),
        ("kept", Count(1_629, 9_600_000)),
        ("dropped", Count(7, 0)),
        ("rules", {}),
    ],
)
def test_counts_that_contradict_one_another_are_a_defect(field, value):
    with pytest.raises(ValueError, match="kept|reached|dropped"):
        replace(example_report(), **{field: value})


def test_a_rule_sees_what_the_one_before_let_through():
    report = example_report()
    rules = dict(report.rules)
    rules["nfc"] = replace(rules["nfc"], seen=rules["nfc"].seen - 1)
    with pytest.raises(ValueError, match="reached nfc"):
        replace(report, rules=rules)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"read": 3}', "[" * 9999])
def test_a_damaged_report_is_named(tmp_path, content):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(InputError, match=r"report\.json must be"):
        load_report(tmp_path)


def test_a_missing_report_is_named(tmp_path):
    with pytest.raises(InputError, match="keras-llm prepare"):
        load_report(tmp_path)


def _without(record):
    del record["rules"]["html"]["seen"]


def _with_more(record):
    record["lengths"]["mean"] = 3


def _of_other_type(record):
    record["characters"]["frequent"][3]["count"] = "many"


def _truth_for_number(record):
    record["duplicates"]["exact"] = True


def _contradiction(record):
    record["kept"]["documents"] += 1


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (_without, r"rules\.html lacks seen"),
        (_with_more, r"lengths has unknown mean"),
        (_of_other_type, r"frequent\[3\]\.count must be a whole.*'many'"),
        (_truth_for_number, r"duplicates\.exact must be a whole.*True"),
        (_contradiction, "the rules kept"),
    ],
)
def test_what_is_wrong_in_a_report_is_said(tmp_path, damage, named):
    record = copy.deepcopy(example_report().to_dict())
    damage(record)
    (tmp_path / "report.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=named):
        load_report(tmp_path)


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


def test_timings_are_read_back(tmp_path):
    timings = example_timings()
    assert load_timings(tmp_path) is None
    save_timings(timings, tmp_path)
    assert load_timings(tmp_path) == timings
    assert list(timings.rules) == list(example_report().rules)
    (tmp_path / "timings.json").write_text("{}")
    with pytest.raises(InputError, match=r"timings\.json must be"):
        load_timings(tmp_path)


def test_speed_is_of_what_was_measured():
    assert Speed.of(2.0, 3_000_000).megabytes_per_second == 1.5
    assert Speed.of(0.0, 10).megabytes_per_second is None


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


def test_rates_have_about_three_digits():
    rates = [None, 0.123, 4.56, 1234.5]
    assert [rate(r) for r in rates] == ["–", "0.12", "4.6", "1,234"]
