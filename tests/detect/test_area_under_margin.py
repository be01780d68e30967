from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from graphclean.detect import AreaUnderMargin
from graphclean.nn import SIGN
from graphclean.types import InputError

Make = Callable[..., Any]


def test_equals_the_margins_that_the_loss_saw(planted: Make) -> None:
    """AUM, threshold samples, thresholds, flags and quality from the logits of every step."""
    data = planted(90, noise=0.2)
    data.y[::10] = -1
    given, steps = data.y.numpy(), []

    def spy(logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        steps.append((logits.detach().double().numpy(), target.numpy(), index.numpy()))
        return F.cross_entropy(logits, target, reduction="none")

    judge = AreaUnderMargin(
        classifier=SIGN(hops=1, hidden=8, batch_size=30, loss=spy),
        epochs=15,
        percentile=80.0,
        random_state=5,
    ).fit(data)
    n = int((given >= 0).sum())
    assert len(steps) == 2 * 15 * math.ceil(n / 30)
    aum, excess, fakes = [], [], []
    for half in (steps[: len(steps) // 2], steps[len(steps) // 2 :]):
        margins: dict[int, list[float]] = {}
        label = {}
        for logits, target, index in half:
            for row, y, node in zip(logits, target, index, strict=True):
                margins.setdefault(int(node), []).append(row[y] - np.delete(row, y).max())
                label[int(node)] = int(y)
        mean = {node: np.mean(values) for node, values in margins.items()}
        fake = {node for node, y in label.items() if y == 3}
        assert {len(values) for values in margins.values()} == {15}
        assert len(fake) == n // 4
        assert all(y == given[node] for node, y in label.items() if node not in fake)
        threshold = np.percentile([mean[node] for node in fake], 80.0)
        aum.append({node: m for node, m in mean.items() if node not in fake})
        excess.append({node: m - threshold for node, m in aum[-1].items()})
        fakes.append(fake)
    assert not fakes[0] & fakes[1]
    frame = judge.find_label_issues().frame
    flagged = 0
    for node in np.flatnonzero(given >= 0):
        above = np.mean([run[node] for run in excess if node in run])
        area = np.mean([run[node] for run in aum if node in run])
        assert judge.label_quality_[node] == pytest.approx(1 / (1 + math.exp(-above)), rel=1e-5)
        assert frame.loc[node, "area_under_margin"] == pytest.approx(area, rel=1e-4, abs=1e-6)
        assert judge.is_label_issue_[node] == (above <= 0)
        flagged += above <= 0
    assert 0 < flagged < n
    assert judge.noise_rate_.value == pytest.approx(flagged / n)


def test_default_network_finds_flips_in_its_first_epochs(planted: Make) -> None:
    data = planted(240, noise=0.15, degree=12)
    frame = AreaUnderMargin(epochs=30).fit(data).find_label_issues().frame
    wrong = data.noise_mask.numpy()
    margin = frame["area_under_margin"].to_numpy()
    assert (margin[wrong][:, None] < margin[~wrong]).mean() > 0.85
    flagged = frame["is_label_issue"].to_numpy()
    assert flagged[wrong].mean() > 0.7
    assert flagged[~wrong].mean() < 0.3


def test_higher_percentile_flags_more(planted: Make) -> None:
    data = planted(120, noise=0.2)
    low, high = (
        AreaUnderMargin(percentile=p, epochs=20).fit(data).is_label_issue_ for p in (10.0, 99.0)
    )
    assert (high >= low).all()
    assert high.sum() > low.sum()


@pytest.mark.parametrize(
    ("params", "argument"),
    [
        ({"epochs": 0}, "epochs"),
        ({"percentile": 100}, "percentile"),
        ({"percentile": "99"}, "percentile"),
        ({"classifier": LogisticRegression()}, "classifier"),
        ({"classifier": "gnc"}, "classifier"),
        ({"classifier": SIGN(lr=-1.0)}, "lr"),
        ({"random_state": -1}, "random_state"),
    ],
)
def test_bad_parameter(params: dict[str, Any], argument: str, planted: Make) -> None:
    with pytest.raises(InputError) as caught:
        AreaUnderMargin(**params).fit(planted(30))
    assert caught.value.argument == argument
