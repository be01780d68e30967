"""Halves, trust in the peer, targets and the loss of the pair, against sums by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor, nn
from torch_geometric.data import Data

from graphclean.robust import CrossSplit
from graphclean.robust.cross_split import CrossSplitObjective, halves, peer_trust
from graphclean.robust.semi_supervised import jensen_shannon, prior_gap, sharpened
from graphclean.types import InputError, spawn_seeds

Make = Callable[..., Any]


def draw(rows: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(rows, 3, generator=generator, dtype=torch.float64)).softmax(dim=1)


class Pair(nn.Module):
    """A network whose body gives fixed logits ``[n, 2, C]``, scaled in training."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.body = nn.Module()
        self.logits = nn.Parameter(logits)


class Rows:
    def __init__(self, pair: Pair, target: Tensor, weight: Tensor | None = None) -> None:
        self.pair, self.target, self.weight = pair, target, weight
        self.reader = self

    def train_logits(self, rows: slice) -> Tensor:
        # Dropout of a kind: training reads other logits than evaluation.
        return self.pair.logits[rows] * (1.5 if self.pair.training else 1.0)

    def share(self, rows: slice) -> float:
        return 1.0


def test_parts_equal_references() -> None:
    p, q = draw(6), draw(6, seed=1)
    expected = [jensenshannon(a, b) ** 2 for a, b in zip(p.numpy(), q.numpy(), strict=True)]
    np.testing.assert_allclose(jensen_shannon(p, q), expected)
    one_hot = torch.eye(3, dtype=torch.float64)
    assert float(jensen_shannon(one_hot[:1], one_hot[1:2])) == pytest.approx(np.log(2))
    # The half of the least float32 is 0.
    least = torch.tensor([[1.0, 1e-45], [0.0, 1.0]])
    assert bool(torch.isfinite(jensen_shannon(one_hot[:2, :2].float(), least)).all())
    squared = p**2 / (p**2).sum(dim=1, keepdim=True)
    torch.testing.assert_close(sharpened(p, 0.5), squared)
    torch.testing.assert_close(sharpened(p, 1.0), p)
    prior, mean = torch.tensor([0.25, 0.75, 0.0], dtype=torch.float64), p.mean(dim=0)
    by_hand = 0.25 * np.log(0.25 / float(mean[0])) + 0.75 * np.log(0.75 / float(mean[1]))
    assert float(prior_gap(p, prior)) == pytest.approx(by_hand)


def test_halves_are_balanced_in_every_class() -> None:
    given = torch.tensor([0] * 10 + [1] * 6 + [2])
    split = halves(given, 0)
    assert bool((split[0] ^ split[1]).all())
    for half in split:
        assert torch.bincount(given[half], minlength=2)[:2].tolist() == [5, 3]
    assert not torch.equal(split, halves(given, 1))
    assert halves(torch.tensor([2]), 0).all()


@pytest.mark.parametrize("gamma", [0.6, 1.0])
def test_trust_grows_with_the_divergence_within_a_class(gamma: float) -> None:
    given = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2])
    target = torch.eye(3, dtype=torch.float64)[given]
    peer = draw(8)
    mine = torch.tensor([True, True, True, False, True, True, True, True])
    found = peer_trust(target, peer, given, mine, gamma)
    for c, rows in ((0, [0, 1, 2]), (1, [4, 5, 6])):
        j = np.array([jensenshannon(np.eye(3)[c], peer[r].numpy()) ** 2 for r in rows])
        scaled = (j - j.min()) / (j.max() - j.min())
        np.testing.assert_allclose(found[rows], gamma * (scaled - 0.5) + 0.5)
    assert float(found[7]) == 0.5


def test_gamma_rises_in_stages() -> None:
    target = torch.tensor([0, 1, 2, 0])
    pair = Pair(torch.zeros(4, 2, 3))
    for stage, expected in ((10, [0.6] * 20 + [0.8] * 10 + [1.0] * 5), (0, [1.0] * 35)):
        trainer = CrossSplit(warmup=5, stage=stage, random_state=0)
        objective = CrossSplitObjective(trainer, Rows(pair, target), pair, 3)  # type: ignore[arg-type]
        found = []
        for epoch in range(5, 40):
            objective.on_event({"event": "epoch", "epoch": epoch})
            found.append(objective.gamma())
        assert found == expected


def test_loss_of_the_pair_is_the_published_one() -> None:
    rows = 12
    logits = draw(2 * rows).log().view(rows, 2, 3)
    target = torch.arange(rows) % 3
    weight = torch.linspace(0.5, 2.0, rows, dtype=torch.float64)
    pair = Pair(logits).train()
    trainer = CrossSplit(warmup=4, stage=10, ramp=10, guess_weight=7.0, random_state=0)
    objective = CrossSplitObjective(trainer, Rows(pair, target, weight), pair, 3)  # type: ignore[arg-type]
    labels = torch.eye(3, dtype=torch.float64)[target]
    objective.target = labels
    one = (1.5 * logits).log_softmax(dim=2)
    split = objective.mine
    early = sum(
        -(weight * one[torch.arange(rows), k, target])[split[k]].sum() / weight[split[k]].sum()
        for k in (0, 1)
    )
    torch.testing.assert_close(objective(slice(None), 1.0).detach(), early)
    objective.on_event({"event": "epoch", "epoch": 4 + 5})
    prior = (weight.unsqueeze(1) * labels).sum(dim=0) / weight.sum()
    expected = torch.zeros((), dtype=torch.float64)
    for k in (0, 1):
        mine, peer, own = split[k], logits[:, 1 - k].softmax(dim=1), logits[:, k].softmax(dim=1)
        beta = peer_trust(labels, peer, target, mine, 0.6).unsqueeze(1)
        mixed = (beta * peer + (1 - beta) * labels) ** 2
        mixed = mixed / mixed.sum(dim=1, keepdim=True)
        guess = own**2 / (own**2).sum(dim=1, keepdim=True)
        entropy = -(mixed * one[:, k]).sum(dim=1)
        square = ((one[:, k].exp() - guess) ** 2).mean(dim=1)
        expected += (weight * entropy)[mine].sum() / weight[mine].sum()
        expected += 0.5 * 7.0 * (weight * square)[~mine].sum() / weight[~mine].sum()
        expected += (prior * (prior / one[:, k].exp().mean(dim=0)).log()).sum()
    torch.testing.assert_close(objective(slice(None), 1.0).detach(), expected)
    assert pair.training


def test_no_network_sees_the_labels_of_the_other_half_early(build: Make, noisy: Data) -> None:
    """As long as it warms up, a network is a function of its own half."""
    given = noisy.y[noisy.train_mask]
    seed_rows = noisy.train_mask.nonzero().view(-1)
    first = build("cross_split", epochs=4, warmup=4).fit(noisy)
    split = halves(given, spawn_seeds(0, 5)[4])
    changed = noisy.y.clone()
    ends = (
        seed_rows[split[1]][given[split[1]] == 0][:2],
        seed_rows[split[1]][given[split[1]] == 1][:2],
    )
    changed[ends[0]], changed[ends[1]] = 1, 0
    soft = torch.eye(3)[noisy.y]
    soft[torch.cat(ends)] = (
        0.51 * soft[torch.cat(ends)] + 0.49 * torch.eye(3)[changed[torch.cat(ends)]]
    )
    second = build("cross_split", epochs=4, warmup=4).fit(noisy, y=soft)
    states = first.module_.body.state_dict(), second.module_.body.state_dict()
    same = {key: torch.allclose(states[0][key], states[1][key], atol=1e-6) for key in states[0]}
    assert all(value for key, value in same.items() if key.startswith("first."))
    assert not all(value for key, value in same.items() if key.startswith("second."))


@pytest.mark.parametrize(
    ("name", "value"), [("stage", -1), ("ramp", -1), ("guess_weight", -1.0), ("loss", "gce")]
)
def test_bad_settings_are_named(build: Make, noisy: Data, name: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        build("cross_split", **{name: value}).fit(noisy)
    assert caught.value.argument == name
