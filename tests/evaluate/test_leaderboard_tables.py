from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest

from graphclean.evaluate import leaderboard_tables as tables


def board() -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "method": ["first", "a|b\n"],
            "rank": [1.0, np.nan],
            "ap": [0.71234, np.nan],
            "ap_se": [0.00456, np.nan],
            "difference": [0.1, 0.2],
            "difference_se": [0.01, np.nan],
            "runs": [12345, 6],
            "p_value": [0.0321, 1e-9],
            "seconds": [12.34, 5.0],
        }
    )
    table.attrs["notes"] = ["failed runs: x 3"]
    return table


def test_text_lines_up_and_puts_errors_beside_means() -> None:
    lines = tables.text(board()).splitlines()
    assert lines[0].split("  ")[0] == "method"
    assert lines[1].split() == [
        *("first", "1.000", "0.712", "±", "0.005", "0.100", "±", "0.010", "12,345", "0.032", "12.3")
    ]
    assert lines[2].split() == ["a|b\ufffd", "-", "-", "0.200", "6", "<0.0001", "5.0"]
    assert lines[3:] == ["note: failed runs: x 3"]
    ends = {
        line.index(cell) + len(cell)
        for line, cell in zip(lines, ("runs", "12,345", " 6"), strict=False)
    }
    assert len(ends) == 1


def test_columns_are_chosen_and_unknown_ones_left_out() -> None:
    lines = tables.text(board(), ("runs", "method", "charm")).splitlines()
    assert lines[0].split() == ["runs", "method"]
    assert "difference" not in lines[0]


def test_markdown_is_a_table_that_cells_cannot_break() -> None:
    lines = tables.markdown(board(), ("method", "ap", "p_value")).splitlines()
    assert lines == [
        "| method | ap | p value |",
        "| :--- | ---: | ---: |",
        "| first | 0.712 ± 0.005 | 0.032 |",
        "| a\\|b\ufffd | - | <0.0001 |",
        "",
        "- failed runs: x 3",
    ]


def test_csv_keeps_every_bit() -> None:
    written = tables.csv(board())
    assert "\r" not in written
    rows = list(csv.DictReader(io.StringIO(written)))
    assert [row["method"] for row in rows] == board()["method"].tolist()
    for name in ("rank", "ap", "ap_se", "difference", "p_value", "seconds"):
        read = [float(row[name] or "nan") for row in rows]
        assert np.array_equal(read, board()[name], equal_nan=True)


def test_settings_become_columns_and_methods_keep_their_names() -> None:
    index = pd.MultiIndex.from_tuples([("cora", 0.1)], names=["graph", "rate"])
    means = pd.DataFrame([[0.5, 0.25]], index, pd.Index(["the_one", "b"], name="method"))
    lines = tables.text(means).splitlines()
    assert lines[0].split() == ["graph", "rate", "the_one", "b"]
    assert lines[1].split() == ["cora", "0.100", "0.500", "0.250"]
    assert tables.csv(means).splitlines() == ["graph,rate,the_one,b", "cora,0.1,0.5,0.25"]


def test_the_error_of_a_difference_may_be_called_se() -> None:
    frame = pd.DataFrame({"other": ["x"], "difference": [0.5], "se": [0.1]})
    assert tables.text(frame).splitlines()[1].split() == ["x", "0.500", "±", "0.100"]


@pytest.mark.parametrize("write", [tables.text, tables.markdown, tables.csv])
def test_writing_changes_nothing(write: object) -> None:
    table = board()
    assert callable(write)
    assert write(table) == write(table)
    pd.testing.assert_frame_equal(table, board())
