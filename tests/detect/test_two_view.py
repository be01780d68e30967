from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from graphclean.data import check
from graphclean.detect import LabelDependency, TwoView
from graphclean.detect.base_learner import feature_view_classifier
from graphclean.nn import MLP, cross_fit
from graphclean.types import InputError

Make = Callable[..., Any]
MLP_VIEW = MLP(epochs=30, val_fraction=0.0, patience=None)


def test_quality_is_the_posterior_of_two_independent_views(planted: Make, some_probs: Make) -> None:
    """Bayes' rule node by node, in numpy."""
    data = planted(60, seed=2)
    data.y[::7] = -1
    probs = some_probs(data, 3)
    frame = TwoView(random_state=4).fit(data, probs).find_label_issues().frame
    labels = data.y.numpy()
    structure = LabelDependency(random_state=4).votes(check(data), None).share.numpy()
    for node, row in frame.iterrows():
        others = np.delete(labels, node)
        counts = np.array([(others == c).sum() for c in range(3)])
        views = [probs[node].numpy(), structure[node], counts / counts.sum()]
        features, edges, prior = ((view + 0.01) / 1.03 for view in views)
        joint = features * edges / prior
        joint /= joint.sum()
        given = labels[node]
        assert row["label_quality"] == pytest.approx(joint[given], abs=1e-9)
        assert row["is_label_issue"] == (joint.argmax() != given)
        assert row["feature_view"] == pytest.approx(features[given], abs=1e-9)
        assert row["structure_view"] == pytest.approx(edges[given], abs=1e-9)
        against = (features.argmax() != given, edges.argmax() != given)
        kinds = {
            (False, False): "neither",
            (True, False): "features",
            (False, True): "structure",
            (True, True): "both views",
        }
        assert row["contradicted_by"] == kinds[against]
    assert set(frame["contradicted_by"]) == {"neither", "features", "structure", "both views"}
    assert frame.loc[frame["contradicted_by"] == "both views", "is_label_issue"].mean() > 0.8


def test_features_see_no_edge_and_structure_sees_no_feature(planted: Make) -> None:
    data = planted(60, seed=2)
    rewired, renamed = data.clone(), data.clone()
    rewired.edge_index = (data.edge_index * 7 + 3) % 60
    renamed.x = data.x.flip(0)
    first, other_edges, other_features = (
        TwoView(classifier=MLP_VIEW).fit(graph).find_label_issues().frame
        for graph in (data, rewired, renamed)
    )
    assert first["feature_view"].equals(other_edges["feature_view"])
    assert not first["structure_view"].equals(other_edges["structure_view"])
    assert first["structure_view"].equals(other_features["structure_view"])
    assert not first["feature_view"].equals(other_features["feature_view"])


def test_without_edges_the_features_decide_alone(planted: Make) -> None:
    data = planted(60, seed=2)
    data.edge_index = torch.empty(2, 0, dtype=torch.long)
    frame = TwoView(classifier=MLP_VIEW).fit(data).find_label_issues().frame
    np.testing.assert_allclose(frame["label_quality"], frame["feature_view"], atol=1e-12)
    assert not frame["contradicted_by"].isin(["structure"]).any()


def test_both_views_together_find_more_than_either(planted: Make) -> None:
    data = planted(240, noise=0.2, seed=5, degree=5.0, homophily=0.75)
    frame = TwoView(classifier=MLP_VIEW).fit(data).find_label_issues().frame
    wrong = data.noise_mask.numpy()
    both, features, structure = (
        average_precision_score(wrong, 1.0 - frame[name])
        for name in ("label_quality", "feature_view", "structure_view")
    )
    assert both > max(features, structure) + 0.05


def test_the_default_learner_is_the_one_of_the_feature_view(planted: Make) -> None:
    data = planted(48, seed=2)
    learner = feature_view_classifier(check(data))
    ready = cross_fit(learner, check(data), n_folds=3, random_state=1)
    settings: dict[str, Any] = {"n_folds": 3, "random_state": 1}
    own = TwoView(**settings).fit(data).label_quality_
    np.testing.assert_array_equal(own, TwoView(**settings).fit(data, ready).label_quality_)
    named = TwoView(classifier=learner, **settings).fit(data).label_quality_
    np.testing.assert_array_equal(own, named)


def test_bad_hops_are_named(planted: Make, some_probs: Make) -> None:
    data = planted(30)
    with pytest.raises(InputError, match="hops"):
        TwoView(hops=0).fit(data, some_probs(data, 3))
