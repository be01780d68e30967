"""From tables with strings and gaps to a stack, its issues and a saved model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

import graphclean as gc
from graphclean.ensemble import EnsembleClassifier, GraphStackingClassifier
from graphclean.nn import MLP, SGC
from graphclean.nn.tabular import HistGradientBoosting

N = 80


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Houses in two towns that differ in age and material; some cells and labels are missing."""
    rng = np.random.default_rng(0)
    town = np.arange(N) % 2
    age = rng.normal(20 + 30 * town, 8).round(1)
    age[::7] = np.nan
    material = np.where(rng.random(N) < 0.85, town, 1 - town)
    nodes = pd.DataFrame(
        {
            "house": [f"h{i}" for i in range(N)],
            "age": age,
            "material": pd.Series(np.array(["brick", "wood"])[material]).where(
                np.arange(N) % 9 > 0, None
            ),
            "garden": rng.random(N) < 0.5,
            "town": pd.Series(np.array(["Ulm", "Rom"])[town]).where(np.arange(N) % 8 > 0, None),
        }
    )
    source = rng.integers(0, N - 1, 300)
    target = (source + 2 * rng.integers(1, 20, 300)) % (N - 1)
    edges = pd.DataFrame({"source": source, "target": target})
    edges = edges[town[edges["source"]] == town[edges["target"]]]
    return nodes, edges.map(lambda i: f"h{i}")


def small(**params: object) -> GraphStackingClassifier:
    trees = HistGradientBoosting(max_iter=10, min_samples_leaf=3)
    members = [("trees", trees), ("mlp", MLP(hidden=8, epochs=20)), ("sgc", SGC(epochs=20))]
    settings = {"estimators": members, "stackers": ["logistic", ("trees", trees)], "n_folds": 3}
    return GraphStackingClassifier(**(settings | {"random_state": 0} | params))


@pytest.fixture(scope="module")
def houses() -> Data:
    nodes, edges = tables()
    return gc.from_tables(nodes, edges, id="house", label="town")


def test_a_frame_with_strings_gaps_and_a_lonely_house(houses: Data, tmp_path: Path) -> None:
    linked = torch.bincount(houses.edge_index.view(-1), minlength=N)
    assert int(linked[N - 1]) == 0
    assert bool((houses.y < 0).any())
    model = small(propagate_features=True, n_layers=3).fit(houses)
    probs = model.predict_proba(houses)
    assert bool(torch.isfinite(probs).all())
    torch.testing.assert_close(probs.sum(dim=1), torch.ones(N))
    truth = torch.arange(N) % 2
    names = [name[0] for name in houses.class_names]
    right = probs.argmax(dim=1) == torch.tensor([names.index("UR"[int(t)]) for t in truth])
    assert float(right[houses.y < 0].float().mean()) > 0.75
    issues = gc.find_label_issues(
        houses, "confident_learning", pred_probs=model.store_.pred_probs()
    )
    assert len(issues) == int((houses.y >= 0).sum())
    loaded = gc.load_model(gc.save_model(model, tmp_path / "stack"))
    assert isinstance(loaded, GraphStackingClassifier)
    assert torch.equal(loaded.predict_proba(houses), probs)
    assert loaded.weights_ == model.weights_
    pd.testing.assert_frame_equal(loaded.scores_, model.scores_)
    assert torch.equal(loaded.stack_oof_, model.stack_oof_)
    assert loaded.store_.model_probs == {}


def test_nothing_of_a_table_depends_on_labels(houses: Data) -> None:
    """The exactness of the issue, with categories and gaps among the features."""
    model = small(folds=torch.arange(N) % 4, holdout=0.0)
    before = model.cross_fit_members(houses)
    node = int((houses.y >= 0).nonzero()[5])
    changed = houses.clone()
    changed.y[node] = 1 - changed.y[node]
    after = model.cross_fit_members(changed)

    def row(members: object) -> Tensor:
        return model.layer_inputs(members)[0][node]  # type: ignore[arg-type]

    assert torch.equal(row(before), row(after))
    model.set_params(consistency="oof")
    assert not torch.equal(row(before), row(after))


@pytest.mark.parametrize("name", ["boosted_smoothing", "boosted_gnn", "correct_and_smooth"])
def test_a_new_table_is_read_as_the_members_learned_it(houses: Data, name: str) -> None:
    """Other frequencies of the levels change their order in a table that is made anew."""
    member = EnsembleClassifier.create(name)
    settings = {"n_folds": 2, "n_layers": 1, "meta": "mean", "random_state": 0}
    model = GraphStackingClassifier(estimators=[member], **settings).fit(houses)
    new = houses.clone()
    new.node_frame = houses.node_frame.copy()
    material = new.node_frame["material"]
    rarer = material.value_counts().index[-1]
    new.node_frame["material"] = material.where(material.isna() | (np.arange(N) % 4 == 0), rarer)
    fits = [each for repeat in model.models_[0][name] for each in repeat]
    expected = torch.stack([each.predict_proba(new) for each in fits]).mean(dim=0)
    assert torch.allclose(model.predict_proba(new), expected, atol=1e-6)
