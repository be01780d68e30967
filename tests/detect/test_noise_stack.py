"""The noise stack on simulated data with a known answer; Bayes and redistribution by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from graphclean.detect.noise_stack import (
    NoiseStack,
    directed_excess,
    fit_noise_stack,
    given_posterior,
)

PLANTED = np.array([[0.85, 0.15, 0.0], [0.0, 0.9, 0.1], [0.05, 0.05, 0.9]])
HEAVY = np.array([[0.6, 0.4, 0.0], [0.0, 0.6, 0.4], [0.4, 0.0, 0.6]])
WEIGHTS = (1.6, 0.7)


def simulate(n: int, transition: np.ndarray, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return log evidence, given labels and true class probabilities from the stack's own model."""
    rng = np.random.default_rng(seed)
    classes = len(transition)
    evidence = np.log(rng.dirichlet(np.full(classes, 0.6), (n, len(WEIGHTS))) + 0.01)
    logits = (evidence * np.array(WEIGHTS)[:, None]).sum(axis=1) + np.linspace(0, 0.5, classes)
    truth = torch.from_numpy(logits).softmax(dim=1)
    true = (truth.cumsum(1).numpy() < rng.random((n, 1))).sum(1).clip(max=classes - 1)
    given = (transition[true].cumsum(1) < rng.random((n, 1))).sum(1).clip(max=classes - 1)
    return torch.from_numpy(evidence).transpose(1, 2), torch.from_numpy(given), truth


@pytest.mark.parametrize("transition", [PLANTED, HEAVY, np.eye(3)], ids=["some", "heavy", "none"])
def test_planted_transition_and_sharpness_are_recovered(transition: np.ndarray) -> None:
    log_evidence, given, truth = simulate(6000, transition)
    stack = fit_noise_stack(log_evidence, given)
    np.testing.assert_allclose(stack.transition.sum(dim=1).numpy(), 1.0)
    assert np.abs(stack.transition.numpy() - transition).mean() < 0.015
    np.testing.assert_allclose(stack.weights.numpy(), WEIGHTS, atol=0.2)
    found = stack.class_probs(log_evidence)
    np.testing.assert_allclose(found.sum(dim=1).numpy(), 1.0)
    assert (found - truth).abs().mean() < 0.02


def test_search_does_not_stop_at_a_soft_stack_without_noise() -> None:
    """Evidence that carries the same one-way noise: votes of ten and of forty noisy neighbours.

    Begun soft, the search ends in T = I with q as soft as the votes: that is 0.12 away from T.
    """
    transition = 0.8 * np.eye(3) + 0.2 * np.roll(np.eye(3), 1, axis=1)
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 3000)
    votes = [np.stack([rng.multinomial(d, transition[k]) / d for k in true]) for d in (10, 40)]
    given = (transition[true].cumsum(1) < rng.random((3000, 1))).sum(1).clip(max=2)
    log_evidence = torch.from_numpy(np.log(np.stack(votes, axis=-1) + 0.01))
    stack = fit_noise_stack(log_evidence, torch.from_numpy(given))
    assert np.abs(stack.transition.numpy() - transition).mean() < 0.02


def test_ignoring_the_noise_would_blur_the_stack() -> None:
    """The same data without T: multinomial logit on the given labels is far less sharp."""
    log_evidence, given, _ = simulate(6000, PLANTED)
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=50)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(log_evidence @ weights, given)
        loss.backward()
        return loss

    optimiser.step(closure)
    stack = fit_noise_stack(log_evidence, given)
    assert stack.weights.sum() > 1.2 * weights.detach().sum()


def test_fit_is_deterministic_and_survives_the_least_data() -> None:
    log_evidence, given, _ = simulate(200, PLANTED)
    first, again = (fit_noise_stack(log_evidence, given) for _ in range(2))
    assert torch.equal(first.transition, again.transition)
    assert torch.equal(first.weights, again.weights)
    for rows in (1, 2):
        tiny = fit_noise_stack(log_evidence[:rows], given[:rows])
        assert torch.isfinite(tiny.transition).all()
        assert torch.isfinite(tiny.class_probs(log_evidence)).all()
    two = fit_noise_stack(log_evidence[:, :2], given.clamp_max(1))
    np.testing.assert_allclose(two.transition.sum(dim=1).numpy(), 1.0)


def test_class_probs_are_the_conditional_logit() -> None:
    weights, bias = np.array([1.0, 0.5]), np.array([0.1, 0.0, -0.3])
    stack = NoiseStack(torch.from_numpy(weights), torch.from_numpy(bias), torch.eye(3))
    evidence = np.random.default_rng(0).uniform(size=(5, 3, 2))
    probs = stack.class_probs(torch.from_numpy(np.log(evidence))).numpy()
    for node in range(5):
        score = np.exp(bias) * evidence[node, :, 0] ** 1.0 * evidence[node, :, 1] ** 0.5
        np.testing.assert_allclose(probs[node], score / score.sum())


def test_posterior_is_bayes() -> None:
    rng = np.random.default_rng(0)
    q, labels = rng.dirichlet(np.ones(3), 40), rng.integers(0, 3, 40)
    found = given_posterior(q, PLANTED, labels)
    for node in range(40):
        joint = [q[node, true] * PLANTED[true, labels[node]] for true in range(3)]
        np.testing.assert_allclose(found[node], np.array(joint) / sum(joint))
    impossible = given_posterior(np.array([[1.0, 0.0]]), np.eye(2), np.array([1]))
    assert np.isfinite(impossible).all()


def uniform(classes: int, rate: float) -> np.ndarray:
    transition = np.full((classes, classes), rate / (classes - 1))
    np.fill_diagonal(transition, 1 - rate)
    return transition


def test_two_classes_leave_nothing_to_redistribute() -> None:
    transition = np.array([[0.7, 0.3], [0.05, 0.95]])
    np.testing.assert_array_equal(directed_excess(transition, np.array([50.0, 900.0])), transition)


def test_uniform_noise_is_kept() -> None:
    transition = uniform(4, 0.12)
    np.testing.assert_allclose(directed_excess(transition, np.full(4, 250.0)), transition)


def test_one_way_flow_is_kept() -> None:
    transition = np.eye(3) * 0.9 + np.roll(np.eye(3), 1, axis=1) * 0.1
    np.testing.assert_allclose(directed_excess(transition, np.full(3, 1000.0)), transition)


def test_flow_within_the_spread_of_chance_becomes_uniform() -> None:
    """Ten nodes a class: a flow of one stays below 3 sqrt(1 + 0 + 1)."""
    transition = np.eye(3) * 0.9 + np.roll(np.eye(3), 1, axis=1) * 0.1
    np.testing.assert_allclose(directed_excess(transition, np.full(3, 10.0)), uniform(3, 0.1))


def test_mutual_confusion_is_capped_at_the_median() -> None:
    """Classes 0 and 1 swap 20 %, everything else 2 %: flows of 200 are capped at the common 20."""
    transition = np.full((4, 4), 0.02)
    transition[0, 1] = transition[1, 0] = 0.2
    np.fill_diagonal(transition, 0.0)
    np.fill_diagonal(transition, 1 - transition.sum(axis=1))
    found = directed_excess(transition, np.full(4, 1000.0))
    np.testing.assert_allclose(found[:2], uniform(4, 0.24)[:2])
    np.testing.assert_allclose(found[2:], transition[2:])


def test_directed_part_of_a_two_way_flow_is_kept() -> None:
    """0 to 1 flows 300, back 100: 100 mutual (capped at the median 0), 200 directed remain."""
    transition = np.array([[0.7, 0.3, 0.0], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]])
    found = directed_excess(transition, np.full(3, 1000.0))
    np.testing.assert_allclose(found[0], [0.7, 0.3, 0.0])
    np.testing.assert_allclose(found[1], [0.05, 0.9, 0.05])
    np.testing.assert_allclose(found[2], [0.0, 0.0, 1.0])


def test_redistribution_keeps_every_error_rate() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        transition = rng.dirichlet(np.ones(5), 5)
        counts = rng.uniform(0, 500, 5)
        found = directed_excess(transition, counts)
        np.testing.assert_allclose(np.diag(found), np.diag(transition))
        np.testing.assert_allclose(found.sum(axis=1), 1.0)
        assert (found >= 0).all()
