from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from graphclean.report.groups import by_agreement, by_class, by_degree


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    probability = rng.random(300)
    return pd.DataFrame(
        {
            "degree": np.concatenate([np.arange(150), rng.integers(0, 12, 150)]),
            "is_label_issue": probability > 0.7,
            "mislabel_probability": probability,
            "given_label": rng.choice(["b", "a"], 300),
        }
    )


def counted(frame: pd.DataFrame, chosen: pd.Series) -> tuple[int, int, float]:
    part = frame[chosen]
    return len(part), int(part["is_label_issue"].sum()), part["mislabel_probability"].sum()


def test_degree_bins_hold_what_their_names_say(frame: pd.DataFrame) -> None:
    groups = by_degree(frame)
    assert [group.name for group in groups][:6] == ["0", "1", "2", "3 to 4", "5 to 8", "9 to 16"]
    assert groups[-1].name == "129 or more"
    for group in groups:
        low, _, high = group.name.replace(" or more", " to 999").partition(" to ")
        nodes, flagged, expected = counted(
            frame, frame["degree"].between(int(low), int(high or low))
        )
        assert (group.nodes, group.flagged) == (nodes, flagged)
        assert group.expected == pytest.approx(expected)
        assert group.expected_share == pytest.approx(expected / nodes)
        assert group.flagged_share == pytest.approx(flagged / nodes)
    assert sum(group.nodes for group in groups) == len(frame)


def test_classes_keep_their_order_and_empty_ones_are_left_out(frame: pd.DataFrame) -> None:
    groups = by_class(frame, ["c", "b", "a"])
    assert [group.name for group in groups] == ["b", "a"]
    for group in groups:
        nodes, flagged, expected = counted(frame, frame["given_label"] == group.name)
        assert (group.nodes, group.flagged) == (nodes, flagged)
        assert group.expected == pytest.approx(expected)


def test_agreement_bins_are_closed_above_and_keep_the_ends_apart(frame: pd.DataFrame) -> None:
    cases = {
        "none agree": [0.0],
        "up to 25%": [0.001, 0.25],
        "25 to 50%": [0.251, 0.5],
        "50 to 75%": [0.501, 2 / 3, 0.75],
        "75 to 99%": [0.751, 0.999],
        "all agree": [1.0],
        "no labelled neighbour": [np.nan, np.nan],
    }
    values = [value for group in cases.values() for value in group]
    groups = by_agreement(frame.head(len(values)), np.array(values))
    assert {group.name: group.nodes for group in groups} == {k: len(v) for k, v in cases.items()}
    assert list(cases) == [group.name for group in groups]
