"""GAMLP: every node weighs its hops, by formulas that are written out here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphclean.nn import GAMLP, SIGN
from graphclean.types import InputError

Build = Callable[..., Any]


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def leaky(value: float) -> float:
    return value if value > 0 else 0.2 * value


def brute_force(model: GAMLP, inputs: Tensor, node: int) -> tuple[np.ndarray, np.ndarray]:
    """Hop weights and logits of one node from the parameters alone."""
    state = {k.removeprefix("body."): v.double().numpy() for k, v in model.states_["best"].items()}
    parts = np.split(inputs[node].double().numpy(), model.hops + 1)
    hops = [
        np.maximum(state[f"lins.{k}.weight"] @ part + state[f"lins.{k}.bias"], 0)
        for k, part in enumerate(parts)
    ]
    scores: list[float] = []
    for k, hop in enumerate(hops):
        if model.attention == "jk":
            joint = state["all_hops.weight"] @ np.concatenate(hops) + state["all_hops.bias"]
            reference = np.maximum(joint, 0)
        elif k == 0:
            reference = hop
        else:
            reference = sum(w * h for w, h in zip(softmax(np.array(scores)), hops, strict=False))
        pair = np.concatenate([reference, hop])
        scores.append(leaky(float(state["score.weight"][0] @ pair + state["score.bias"][0])))
    weights = softmax(np.array(scores))
    mixed = sum(w * h for w, h in zip(weights, hops, strict=True))
    hidden = np.maximum(state["mlp.mlp.lins.0.weight"] @ mixed + state["mlp.mlp.lins.0.bias"], 0)
    return weights, state["mlp.mlp.lins.1.weight"] @ hidden + state["mlp.mlp.lins.1.bias"]


@pytest.mark.parametrize("attention", ["recursive", "jk"])
def test_forward_is_the_formula(attention: str, fast: Build, sbm: Data) -> None:
    model = fast("gamlp", attention=attention, hops=2, epochs=15).fit(sbm)
    inputs = model.prepare(sbm).x
    probs, weights = model.predict_proba(sbm), model.hop_weights(sbm)
    assert weights.shape == (90, 3)
    assert weights.std(dim=0).max() > 1e-4  # Each node has its own.
    for node in (0, 41, 89):
        expected, logits = brute_force(model, inputs, node)
        np.testing.assert_allclose(weights[node], expected, atol=1e-5)
        np.testing.assert_allclose(probs[node], softmax(logits), atol=1e-5)


def test_hops_are_those_of_sign(fast: Build, sbm: Data) -> None:
    assert torch.equal(fast("gamlp").prepare(sbm).x, fast("sign").prepare(sbm).x)
    assert issubclass(GAMLP, SIGN)


def test_no_other_row_is_read_in_training(fast: Build, sbm: Data, half: Tensor) -> None:
    """Through precomputed hops alone: rows outside the mask may hold anything."""
    model = fast("gamlp", epochs=5)
    prepared = model.prepare(sbm)
    first = model.fit(sbm, mask=half, prepared=prepared).states_["last"]
    prepared.x[~half] = torch.nan
    second = model.fit(sbm, mask=half, prepared=prepared).states_["last"]
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_nodes_with_useless_neighbours_look_at_themselves(fast: Build) -> None:
    """Half of the graph has neighbours at random: there, hop 0 has to weigh more."""
    generator = torch.Generator().manual_seed(0)
    n = 400
    y = torch.arange(n) % 2
    random = torch.arange(n) < n // 2
    source = torch.arange(n).repeat_interleave(8)
    drawn = torch.randint(0, n // 4, (len(source),), generator=generator)
    own = torch.where(
        random[source], torch.randint(0, 2, drawn.shape, generator=generator), y[source]
    )
    target = drawn * 2 + own + torch.where(random[source], 0, n // 2)
    x = torch.randn(n, 4, generator=generator)
    x[:, 0] += torch.where(y == 1, 1.0, -1.0) * torch.where(random, 4.0, 0.3)
    x[:, 1] = random.float()
    edges = torch.stack([source, target % n])
    data = Data(x=x, edge_index=torch.cat([edges, edges.flip(0)], dim=1), y=y)
    model = fast("gamlp", hops=1, epochs=150, dropout=0.0, lr=0.02).fit(data)
    near = model.hop_weights(data)[:, 0]
    assert near[random].mean() > near[~random].mean() + 0.1


def test_unknown_attention_is_named(sbm: Data) -> None:
    with pytest.raises(InputError) as caught:
        GAMLP(attention="smoothing").fit(sbm)
    assert caught.value.argument == "attention"
