"""GMNN: neighbours' labels by hand, and who may know which label."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphclean.ensemble import GMNN, gmnn
from graphclean.ensemble.gmnn import draw_labels, known_or, neighbour_labels
from graphclean.nn import Prepared
from graphclean.nn.neural import NeuralClassifier
from graphclean.sparse import Propagator
from graphclean.types import InputError

FOLDS = torch.arange(90) % 3


def small(**params: Any) -> GMNN:
    settings = {
        "hidden": 8,
        "epochs": 15,
        "lr": 0.05,
        "iterations": 1,
        "n_folds": 3,
        "patience": None,
        "val_fraction": 0.0,
        "random_state": 0,
    }
    return GMNN(**(settings | params))


class Spy:
    """Notes what every network of a GMNN is fitted on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fits: list[dict[str, Any]] = []
        fit = NeuralClassifier.fit

        def spied(model: NeuralClassifier, data: Any, **options: Any) -> Any:
            noted = {k: v.clone() if isinstance(v, Tensor) else v for k, v in options.items()}
            self.fits.append({"name": model.name, **noted})
            return fit(model, data, **options)

        monkeypatch.setattr(NeuralClassifier, "fit", spied)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)


def test_neighbour_labels_by_hand() -> None:
    edges = torch.tensor([[0, 1, 0, 2, 1, 2], [1, 0, 2, 0, 2, 1]])
    data = Data(edge_index=edges, num_nodes=4)
    operator = Propagator.from_data(data, norm="none", direction="both")
    drawn = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.25, 0.75], [1.0, 0.0]])
    found = neighbour_labels(operator, drawn)
    counts = torch.tensor([[0.25, 1.75], [1.25, 0.75], [1.0, 1.0], [0.0, 0.0]])
    shares = torch.tensor([[0.125, 0.875], [0.625, 0.375], [0.5, 0.5], [0.0, 0.0]])
    torch.testing.assert_close(found, torch.cat([shares, counts.log1p()], dim=1))


def test_own_label_is_not_among_the_inputs(noisy: Data) -> None:
    operator = Propagator.from_data(noisy, norm="none", direction="both")
    drawn = torch.eye(3)[noisy.y]
    first = neighbour_labels(operator, drawn)
    drawn[7] = drawn[7].roll(1)
    second = neighbour_labels(operator, drawn)
    changed = (first != second).any(dim=1)
    neighbours = torch.zeros(90, dtype=torch.bool)
    neighbours[noisy.edge_index[1, noisy.edge_index[0] == 7]] = True
    assert torch.equal(changed, neighbours)
    assert not bool(changed[7])


def test_draws() -> None:
    probs = torch.tensor([[0.2, 0.8], [0.7, 0.3]]).repeat(2000, 1)
    assert draw_labels(probs, "mean", 0) is probs
    assert torch.equal(draw_labels(probs, "max", 0)[:2], torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    sampled = draw_labels(probs, "sample", 0)
    assert torch.equal(sampled, draw_labels(probs, "sample", 0))
    assert not torch.equal(sampled, draw_labels(probs, "sample", 1))
    assert bool(((sampled == 0) | (sampled == 1)).all())
    torch.testing.assert_close(sampled[::2].mean(dim=0), probs[0], rtol=0, atol=0.05)


def test_first_networks_know_the_given_labels_of_other_folds(noisy: Data, spy: Spy) -> None:
    small(folds=FOLDS).fit(noisy, val_mask=noisy.val_mask)
    assert [fit["name"] for fit in spy.fits] == ["gcn"] * 3 + ["mlp"] + ["gcn"] * 3
    onehot = torch.eye(3)[noisy.y]
    for k, fit in enumerate(spy.fits[:3]):
        known = noisy.train_mask & (k != FOLDS)
        assert torch.equal(fit["mask"], known)
        assert torch.equal(fit["y"][known], onehot[known])
        assert torch.equal(fit["val_mask"], noisy.val_mask)


def test_targets_of_both_steps(noisy: Data, spy: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    """M: given labels and draws, from labels that hide the fold. E: given labels, and p."""
    drawn: list[Tensor] = []
    said: list[Tensor] = []
    draw, predict = gmnn.draw_labels, gmnn.MLP.predict_proba

    def spied_draw(*arguments: Any) -> Tensor:
        drawn.append(draw(*arguments))
        return drawn[-1]

    def spied_predict(*arguments: Any, **options: Any) -> Tensor:
        said.append(predict(*arguments, **options))
        return said[-1]

    monkeypatch.setattr(gmnn, "draw_labels", spied_draw)
    monkeypatch.setattr(gmnn.MLP, "predict_proba", spied_predict)
    small(folds=FOLDS, draw="max", pseudo_weight=0.25).fit(noisy, val_mask=noisy.val_mask)
    train, held, onehot = noisy.train_mask, noisy.val_mask, torch.eye(3)[noisy.y]
    operator = Propagator.from_data(noisy, norm="none", direction="both")
    views = [known_or(onehot, train & (k != FOLDS), each) for k, each in enumerate(drawn)]
    inputs = [neighbour_labels(operator, each) for each in views]
    expected = torch.stack(inputs).mean(dim=0)
    for k in range(3):
        expected[train & (k == FOLDS)] = inputs[k][train & (k == FOLDS)]

    step = spy.fits[3]
    torch.testing.assert_close(step["prepared"].x, expected)
    assert torch.equal(step["mask"], ~held)
    others = ~(train | held)
    assert torch.equal(step["y"][train | held], onehot[train | held])
    torch.testing.assert_close(step["y"][others], torch.stack(views).mean(dim=0)[others])
    assert torch.equal(step["sample_weight"], torch.where(train, 1.0, 0.25))

    assert len(said) == 3
    for k, fit in enumerate(spy.fits[4:]):
        known = train & (k != FOLDS)
        taught = ~(known | held)
        assert torch.equal(fit["mask"], ~held)
        assert torch.equal(fit["y"][known | held], onehot[known | held])
        torch.testing.assert_close(fit["y"][taught], said[k][taught])
        assert torch.equal(fit["sample_weight"], torch.where(known, 1.0, 0.25))


def test_inputs_of_a_row_do_not_know_its_label(noisy: Data, spy: Spy) -> None:
    """Flip one label: what p reads to learn of it stays, to the bit; of a neighbour it does not."""
    row = int((noisy.train_mask & (FOLDS == 1)).nonzero()[3])
    flipped = copy.copy(noisy)
    flipped.y = noisy.y.clone()
    flipped.y[row] = (noisy.y[row] + 1) % 3
    for data in (noisy, flipped):
        small(folds=FOLDS).fit(data)
    first, second = spy.fits[3]["prepared"].x, spy.fits[10]["prepared"].x
    assert torch.equal(first[row], second[row])
    assert not torch.equal(first, second)
    assert not torch.equal(spy.fits[3]["y"][row], spy.fits[10]["y"][row])


def test_best_iteration_predicts(noisy: Data) -> None:
    model = small(iterations=3).fit(noisy, val_mask=noisy.val_mask)
    assert len(model.val_loss_) == 4
    assert model.best_iteration_ == int(torch.tensor(model.val_loss_).argmin())
    held = noisy.val_mask
    chosen = model.predict_proba(noisy)[held, noisy.y[held]].log()
    assert float(-chosen.mean()) == pytest.approx(min(model.val_loss_), abs=1e-5)
    assert small(iterations=2).fit(noisy).best_iteration_ == 2


def test_label_network_learns_which_labels_meet() -> None:
    """On a bipartite graph a neighbour's label says the other one."""
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(0, 100, (600,), generator=generator) * 2
    target = torch.randint(0, 100, (600,), generator=generator) * 2 + 1
    edges = torch.stack([source, target])
    y = torch.arange(200) % 2
    data = Data(
        x=torch.randn(200, 4, generator=generator) + 0.8 * y.unsqueeze(1),
        edge_index=torch.cat([edges, edges.flip(0)], dim=1),
        y=torch.where(torch.arange(200) < 150, y, -1),
    )
    model = small(backbone="sage", epochs=60).fit(data)
    shares = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    inputs = torch.cat([shares, (6.0 * shares).log1p()], dim=1)
    two = Data(x=torch.zeros(2, 1), edge_index=torch.empty(2, 0, dtype=torch.long))
    probs = model.label_model_.predict_proba(two, prepared=Prepared(inputs))
    assert probs[0, 1] > 0.8
    assert probs[1, 0] > 0.8
    assert (model.predict(data) == y)[150:].float().mean() > 0.8


@pytest.mark.parametrize(
    ("argument", "value"),
    [("backbone", "mlp"), ("iterations", 0), ("draw", "best"), ("pseudo_weight", 1.5),
     ("n_folds", 1), ("folds", "odd"), ("epochs", 0), ("lr", 0.0)],
)  # fmt: skip
def test_bad_parameter_is_named(noisy: Data, argument: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        small(**{argument: value}).fit(noisy)
    assert caught.value.argument == argument
