from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from graphclean.detect import FirstLearnedEpoch
from graphclean.nn import SIGN
from graphclean.types import InputError

Make = Callable[..., Any]
EPOCHS, STREAK = 30, 4


def test_equals_a_count_over_the_recorded_epochs(planted: Make) -> None:
    data = planted(90, noise=0.2)
    data.y[::10] = -1
    given = data.y.numpy()
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def spy(logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        seen.append((index.numpy(), logits.detach().double().softmax(dim=1).numpy()))
        return F.cross_entropy(logits, target, reduction="none")

    judge = FirstLearnedEpoch(
        classifier=SIGN(hops=1, hidden=8, loss=spy), epochs=EPOCHS, streak=STREAK
    ).fit(data)
    assert len(seen) == EPOCHS
    frame = judge.find_label_issues().frame
    levels, counted = EPOCHS - STREAK + 1, []
    for place, node in enumerate(seen[0][0]):
        probs = np.array([epoch[place] for _, epoch in seen])
        right = probs.argmax(axis=1) == given[node]
        learned = next((t for t in range(STREAK, EPOCHS + 1) if right[t - STREAK : t].all()), None)
        level = levels if learned is None else learned - STREAK
        mean = probs.mean(axis=0)
        quality = (levels - level + mean[given[node]]) / (levels + 1)
        assert judge.label_quality_[node] == pytest.approx(quality, rel=1e-5)
        assert frame.loc[node, "first_learned_epoch"] == (learned or 0)
        issue = learned is None and mean.argmax() != given[node]
        assert judge.is_label_issue_[node] == issue
        if issue:
            assert judge.suggested_label_[node] == mean.argmax()
        counted.append(learned)
    assert counted.count(None) > 3
    assert len(set(counted)) > 5
    assert judge.is_label_issue_.any()


def test_later_learned_labels_rank_below_earlier_ones(planted: Make) -> None:
    data = planted(240, noise=0.15, degree=12)
    judge = FirstLearnedEpoch(epochs=60).fit(data)
    epoch = judge.find_label_issues().frame["first_learned_epoch"].to_numpy()
    order = np.where(epoch == 0, 61, epoch)
    earlier = order[:, None] < order
    quality = judge.label_quality_
    assert (quality[:, None] > quality)[earlier].all()
    wrong = data.noise_mask.numpy()
    assert (quality[wrong][:, None] < quality[~wrong]).mean() > 0.85
    assert judge.is_label_issue_[wrong].mean() > 0.6
    assert judge.is_label_issue_[~wrong].mean() < 0.2


@pytest.mark.parametrize(
    ("params", "argument"),
    [
        ({"epochs": 0}, "epochs"),
        ({"streak": 0}, "streak"),
        ({"streak": 2.5}, "streak"),
        ({"epochs": 20, "streak": 21}, "streak"),
        ({"classifier": LogisticRegression()}, "classifier"),
        ({"random_state": -1}, "random_state"),
    ],
)
def test_bad_parameter(params: dict[str, Any], argument: str, planted: Make) -> None:
    with pytest.raises(InputError) as caught:
        FirstLearnedEpoch(**params).fit(planted(30))
    assert caught.value.argument == argument
