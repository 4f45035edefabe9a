import io
from dataclasses import replace

import pytest
from report_example import example_report, example_timings
from rich.console import Console

from keras_llm.corpus.report.table import funnel_table


def printed(table, width=80):
    output = io.StringIO()
    Console(file=output, width=width).print(table)
    return output.getvalue()


def rows(text):
    lines = text.split("─")[-1].splitlines()
    return {line.split()[0]: line.split() for line in lines if line.strip()}


def test_a_row_a_rule_fits_eighty_columns():
    report = example_report()
    text = printed(funnel_table(report, example_timings()))
    found = rows(text)
    assert list(found) == [*report.rules, "kept"]
    assert found["html"] == (
        ["html", "3,798", "2,904", "96", "(2.5%)", "16.7", "M", "2.6"]
    )
    assert found["kept"][1] == f"{report.kept.documents:,}"
    assert "…" not in text


def test_speeds_are_left_out_where_there_are_none():
    text = printed(funnel_table(example_report(), None))
    assert "MB/s" not in text
    assert rows(text)["html"][-2:] == ["16.7", "M"]


@pytest.mark.parametrize("width", [40, 60, 200])
def test_any_width_will_do(width):
    text = printed(funnel_table(example_report(), example_timings()), width)
    assert all(len(line) <= width for line in text.splitlines())


def test_names_are_no_markup():
    report = example_report()
    rules = {f"[red]{name}": rule for name, rule in report.rules.items()}
    text = printed(funnel_table(replace(report, rules=rules), None), 200)
    assert "[red]html" in text
