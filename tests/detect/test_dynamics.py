from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.detect.dynamics import dynamics_classifier, record_dynamics
from graphclean.nn import GCN, SGC, SIGN
from graphclean.nn.neural import NeuralClassifier
from graphclean.nn.params import estimator
from graphclean.nn.prepared import Prepared
from graphclean.types import InputError

Make = Callable[..., Any]
EPOCHS, CLASSES = 12, 4


@estimator
class Scripted(NeuralClassifier):
    """Says in epoch t what block t of the features says: ``x`` is ``[N, epochs * C]``."""

    steps: int = 1
    lr: float = 1e-30

    def _adjacency(self, data: Any) -> None:
        return None

    def _network(self, inputs: Prepared, num_classes: int) -> nn.Module:
        return Script(num_classes, self.steps)


class Script(nn.Module):
    def __init__(self, classes: int, steps: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(classes))
        self.steps, self.calls = steps, 0

    def forward(self, x: Tensor, adj: None) -> Tensor:
        epoch = self.calls // self.steps
        self.calls += self.training
        return x.view(len(x), -1, len(self.bias))[:, epoch] + self.bias


@pytest.fixture
def script() -> Data:
    rng = torch.Generator().manual_seed(0)
    y = torch.randint(0, CLASSES, (40,), generator=rng)
    logits = torch.randn(40, EPOCHS, CLASSES, generator=rng)
    logits[torch.arange(40), :, y] += torch.linspace(-2, 4, 40).unsqueeze(1)
    y[::7] = -1
    return Data(
        x=logits.view(40, -1), y=y, edge_index=torch.empty(2, 0).long(), class_names=list("abcd")
    )


@pytest.mark.parametrize("batch_size", [None, 9])
@pytest.mark.parametrize("streak", [1, 3, EPOCHS])
def test_statistics_of_known_logits(batch_size: int | None, streak: int, script: Data) -> None:
    steps = 1 if batch_size is None else -(-34 // batch_size)
    model = Scripted(batch_size=batch_size, steps=steps, patience=2, epochs=3)
    found = record_dynamics(model, script, script.y, epochs=EPOCHS, seed=0, streak=streak)
    logits = script.x.view(40, EPOCHS, CLASSES).double().numpy()
    learned_at = []
    for node, label in enumerate(script.y.tolist()):
        z = logits[node]
        if label < 0:
            assert found.margin[node] == 0
            assert (found.probs[node] == 0).all()
            assert found.first_learned[node] == 0
            continue
        margins = [row[label] - max(np.delete(row, label)) for row in z]
        assert found.margin[node] == pytest.approx(np.mean(margins), rel=1e-5, abs=1e-6)
        softmax = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(found.probs[node], softmax.mean(axis=0), rtol=1e-5)
        ends = [t for t in range(streak, EPOCHS + 1) if all(m > 0 for m in margins[t - streak : t])]
        assert found.first_learned[node] == (ends[0] if ends else 0)
        learned_at.append(int(found.first_learned[node]))
    assert 0 in learned_at
    assert max(learned_at) >= streak


class Spy:
    """A loss that keeps the logits of every node; two of the same seed see the same."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Spy:
        return self  # scikit-learn's clone copies parameters

    def __call__(self, logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        self.seen.append((index.clone(), logits.detach().clone()))
        return 0.5 * F.cross_entropy(logits, target, reduction="none")


@pytest.mark.parametrize(
    "classifier",
    [SIGN(hops=1, hidden=8, batch_size=13), SGC(), GCN(hidden=8), GCN(hidden=8, batch_size=20)],
    ids=repr,
)
def test_recording_does_not_change_the_training(classifier: Any, planted: Make) -> None:
    data, spies = planted(48), (Spy(), Spy())
    data.y[::6] = -1
    record_dynamics(classifier.set_params(loss=spies[0]), data, data.y, epochs=5, seed=7)
    plain = classifier.set_params(
        loss=spies[1], epochs=5, random_state=7, patience=None, val_fraction=0.0
    )
    plain.fit(data, mask=data.y >= 0)
    classifier.set_params(loss=None)
    assert len(spies[0].seen) == len(spies[1].seen) >= 5
    for (index, logits), (again, same) in zip(spies[0].seen, spies[1].seen, strict=True):
        assert torch.equal(index, again)
        assert torch.equal(logits, same)
    visits = torch.cat([index for index, _ in spies[0].seen]).bincount(minlength=48)
    assert torch.equal(visits, torch.where(data.y >= 0, 5, 0))


def test_classifier_is_not_changed_and_labels_may_name_another_class(planted: Make) -> None:
    data, model = planted(30), SIGN(hops=1, hidden=4, epochs=3)
    y = data.y.clone()
    y[:5] = 3
    found = record_dynamics(model, data, y, epochs=4, seed=0)
    assert found.probs.shape == (30, 4)
    torch.testing.assert_close(found.probs.sum(dim=1), torch.ones(30).double())
    assert not hasattr(model, "module_")
    assert (model.epochs, model.loss, model.val_fraction) == (3, None, 0.1)


def test_interrupt_does_not_pass_for_a_result(planted: Make) -> None:
    def stopped(logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        raise KeyboardInterrupt

    data = planted(30)
    with pytest.raises(KeyboardInterrupt):
        record_dynamics(SGC(loss=stopped), data, data.y, epochs=2, seed=0)


def test_choice_of_the_network(planted: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = check(planted(30))
    assert dynamics_classifier(None, graph).batch_size is None
    assert isinstance(dynamics_classifier("gcn", graph), GCN)
    monkeypatch.setattr("graphclean.detect.base_learner.LARGE_NODES", 29)
    assert dynamics_classifier(None, graph).batch_size == 4096
    with pytest.raises(InputError, match="LogisticRegression") as caught:
        dynamics_classifier(LogisticRegression(), graph)
    assert caught.value.argument == "classifier"
