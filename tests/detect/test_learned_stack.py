from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch_geometric.data import Data

import graphclean.detect.probability
from graphclean.data import check
from graphclean.detect import Detector, LearnedStack
from graphclean.detect.base_learner import feature_view_classifier
from graphclean.detect.vote import VoteDetector, Votes
from graphclean.nn import SGC, cross_fit
from graphclean.nn.crossfit import OutOfFold
from graphclean.nn.params import estimator
from graphclean.types import InputError

Make = Callable[..., Any]
Register = Callable[[str, Tensor], str]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    """Register a detector that votes as it is told, for the length of a test."""

    def add(name: str, share: Tensor) -> str:
        @estimator
        class Told(VoteDetector):
            reads_probs: ClassVar[bool] = False

            def votes(self, graph: Any, source: Any) -> Votes:
                return Votes(share, torch.ones(len(share), dtype=torch.bool))

        monkeypatch.setitem(Detector.registry, name, Told)
        return name

    return add


@pytest.fixture
def noisy(planted: Make) -> Data:
    graph: Data = planted(240, noise=0.2, seed=5, degree=4.0, homophily=0.7)
    return graph


@pytest.fixture
def ready(noisy: Data) -> OutOfFold:
    return cross_fit(SGC(epochs=20), noisy, n_folds=3)


def stack(*members: str, **params: Any) -> LearnedStack:
    return LearnedStack(members=members, hops=2, draws=2, feature_view=False, **params)


def test_a_member_that_knows_is_believed_and_one_that_guesses_is_not(
    noisy: Data, ready: OutOfFold, register: Register
) -> None:
    truth = torch.nn.functional.one_hot(noisy.y_clean, 3).double()
    generator = torch.Generator().manual_seed(0)
    guess = torch.rand(240, 3, generator=generator, dtype=torch.float64)
    told = {
        "knows": 0.9 * truth + 0.1 / 3,
        "guesses": guess / guess.sum(dim=1, keepdim=True),
        "is silent": torch.full((240, 3), 1 / 3, dtype=torch.float64),
    }
    found = {}
    for name, share in told.items():
        detector = stack(register(name, share)).fit(noisy, ready)
        score = average_precision_score(noisy.noise_mask, 1.0 - detector.label_quality_)
        found[name] = (score, detector.noise_rate_.value)
    assert found["knows"][0] > 0.97
    assert found["is silent"][0] < 0.93
    assert found["guesses"][0] > found["is silent"][0] - 0.08
    realised = float(noisy.noise_mask.float().mean())
    assert found["knows"][1] == pytest.approx(realised, abs=0.05)


def test_votes_for_the_given_class_are_reported(noisy: Data, ready: OutOfFold) -> None:
    detector = stack("label_propagation", "relation_graph", random_state=3).fit(noisy, ready)
    frame = detector.find_label_issues().frame
    assert [name for name in frame.columns if name.startswith("vote_")] == [
        "vote_label_propagation",
        "vote_relation_graph",
    ]
    for name, source in (("label_propagation", None), ("relation_graph", ready)):
        member = Detector.create(name, random_state=3)
        share = member.votes(check(noisy), source).share
        np.testing.assert_allclose(
            frame[f"vote_{name}"], share[torch.arange(240), noisy.y], atol=1e-12
        )


def test_the_mislabel_probabilities_add_up_to_the_noise_rate(noisy: Data, ready: OutOfFold) -> None:
    detector = stack("label_dependency").fit(noisy, ready)
    expected = (1.0 - detector.label_quality_).mean()
    assert detector.noise_rate_.value == pytest.approx(expected, abs=1e-3)
    assert detector.find_label_issues().meta["calibrated"] is True


def test_members_share_the_probabilities_of_the_hop_evidence(
    noisy: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(*args: Any, **options: Any) -> OutOfFold:
        calls.append(options["random_state"])
        return cross_fit(*args, **options)

    monkeypatch.setattr(graphclean.detect.probability, "cross_fit", counted)
    stack("relation_graph", classifier=SGC(epochs=5), n_folds=3, random_state=7).fit(noisy)
    assert calls == [7]


def test_nothing_is_trained_on_features_beside_your_own_matrix(
    planted: Make, some_probs: Make
) -> None:
    data = planted(60, seed=2)
    probs = some_probs(data, 3)
    plain = stack("label_propagation").fit(data, probs)
    viewed = stack("label_propagation").set_params(feature_view=True).fit(data, probs)
    np.testing.assert_array_equal(plain.label_quality_, viewed.label_quality_)
    ready = cross_fit(SGC(epochs=5), data, n_folds=3)
    plain, viewed = plain.fit(data, ready), viewed.fit(data, ready)
    assert not np.array_equal(plain.label_quality_, viewed.label_quality_)


def test_a_second_view_takes_the_place_of_the_mlp(noisy: Data, ready: OutOfFold) -> None:
    learner = feature_view_classifier(check(noisy))
    view = cross_fit(learner, check(noisy), folds=ready.fold, random_state=0)
    detector = stack("relation_graph").set_params(feature_view=True)
    own = detector.fit(noisy, ready).label_quality_
    np.testing.assert_array_equal(own, detector.fit(noisy, [ready, view]).label_quality_)
    assert not np.array_equal(own, detector.fit(noisy, [ready, ready]).label_quality_)


@pytest.mark.parametrize(
    ("params", "argument", "value"),
    [
        ({"members": ("self_confidence",)}, "members", "self_confidence"),
        ({"members": ()}, "members", "()"),
        ({"hops": 0}, "hops", "0"),
        ({"draws": 0}, "draws", "0"),
        ({"draws": None}, "draws", "None"),
    ],
)
def test_bad_parameters_are_named(
    params: dict[str, Any], argument: str, value: str, noisy: Data
) -> None:
    with pytest.raises(InputError) as caught:
        LearnedStack(classifier="unreached", **params).fit(noisy)
    assert caught.value.argument == argument
    assert value in str(caught.value)
