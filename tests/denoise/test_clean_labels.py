from __future__ import annotations

import copy

import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.transforms import Compose

from graphclean.denoise import CleanLabels, clean
from graphclean.detect import NeighbourAgreement, find_label_issues
from graphclean.noise import FlipLabels
from graphclean.types import InputError


def test_it_is_find_and_clean_in_one(tiny_data: Data) -> None:
    noisy = FlipLabels("pair", 0.2, seed=0)(tiny_data)
    issues = find_label_issues(noisy, "neighbour_agreement", hops=1)
    for action in ("drop", "relabel", "soft", "weight"):
        out = CleanLabels("neighbour_agreement", action, hops=1)(noisy)
        expected = clean(noisy, issues, action)
        assert torch.equal(out.y, expected.y)
        assert out.cleaning == expected.cleaning
        assert out.keys() == expected.keys()


def test_it_composes_with_flip_labels(tiny_data: Data) -> None:
    before, y = copy.deepcopy(tiny_data), tiny_data.y
    flip = FlipLabels("uniform", 0.2, seed=1)
    out = Compose([flip, CleanLabels("neighbour_agreement", "relabel", min_confidence=0.5)])(
        tiny_data
    )
    noisy = flip(tiny_data)
    assert torch.equal(out.y_clean, before.y)
    assert torch.equal(out.noise_mask, noisy.noise_mask)
    assert (out.y == before.y).sum() > (noisy.y == before.y).sum()
    assert tiny_data.y is y
    assert torch.equal(tiny_data.y, before.y)
    assert tiny_data.keys() == before.keys()


def test_a_ready_detector_is_used_but_not_fitted(tiny_data: Data) -> None:
    noisy = FlipLabels("pair", 0.2, seed=0)(tiny_data)
    detector = NeighbourAgreement(hops=1)
    out = CleanLabels(detector)(noisy)
    assert not hasattr(detector, "label_quality_")
    named = CleanLabels("neighbour_agreement", hops=1)(noisy)
    assert torch.equal(out.y, named.y)
    assert out.y is not noisy.y


def test_repr_says_what_it_does() -> None:
    assert repr(CleanLabels()) == "CleanLabels('graphcleaner', action='drop')"
    shown = repr(CleanLabels("neighbour_agreement", "relabel", min_gain=0.1, hops=3))
    assert shown == "CleanLabels('neighbour_agreement', action='relabel', min_gain=0.1, hops=3)"


@pytest.mark.parametrize(
    "arguments",
    [
        {"detector": "no such detector"},
        {"detector": "neighbour_agreement", "no_such_parameter": 1},
        {"action": "remove"},
        {"min_confidence": 0.5},
        {"action": "relabel", "min_gain": 7},
        {"random_state": -1},
        {"detector": NeighbourAgreement(), "hops": 2},
        {"detector": NeighbourAgreement(), "random_state": 1},
        {"detector": NeighbourAgreement(), "n_jobs": 2},
        {"detector": NeighbourAgreement},
    ],
)
def test_mistakes_are_found_when_it_is_built(arguments: dict[str, object]) -> None:
    with pytest.raises(InputError):
        CleanLabels(**arguments)  # type: ignore[arg-type]
