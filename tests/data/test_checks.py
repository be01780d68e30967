from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data, HeteroData
from torch_geometric.utils import coalesce, is_undirected, to_undirected

from graphclean.data import check, class_names, labelled_mask, node_ids, num_classes
from graphclean.data.check_edges import _is_simple_undirected
from graphclean.types import InputError


def changed(data: Data, **attributes: Any) -> Data:
    out = copy.copy(data)
    for key, value in attributes.items():
        out[key] = value
    return out


def edges(data: Data) -> set[tuple[int, int]]:
    return {(i, j) for i, j in data.edge_index.t().tolist()}


def test_a_clean_graph_passes_unchanged(six_nodes: Data) -> None:
    out = check(six_nodes)
    assert out is not six_nodes
    assert edges(out) == edges(six_nodes)
    assert torch.equal(out.x, six_nodes.x)
    assert torch.equal(out.y, six_nodes.y)
    assert out.class_names == ["left", "right"]
    assert out.check_notes == []


def messy() -> Data:
    return Data(
        x=torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8], [9, 9]]),
        edge_index=torch.tensor([[0, 0, 1, 2, 2, 1], [1, 1, 0, 2, 3, 2]], dtype=torch.int32),
        edge_weight=torch.tensor([1.0, 2.0, 1.0, 5.0, 0.5, 0.0]),
        edge_attr=torch.arange(12.0).view(6, 2),
        y=torch.tensor([[0.0], [1.0], [math.nan], [1.0], [2.0]]),
        train_mask=torch.tensor([1, 1, 0, 0, 0], dtype=torch.uint8),
        test_mask=torch.tensor([[0, 0], [0, 0], [0, 0], [0, 1], [1, 0]]),
        y_clean=torch.tensor([0, 1, 1, 1, 2]),
        node_ids=["a", "b", "c", "d", "ö"],
        anything=object(),
    )


def test_everything_at_once_leaves_the_input_untouched_and_is_idempotent() -> None:
    data = messy()
    before = {
        key: copy.deepcopy(value) for key, value in data.to_dict().items() if key != "anything"
    }
    once = check(data)
    for key, value in before.items():
        now = data[key]
        if isinstance(value, torch.Tensor):
            assert now.dtype == value.dtype
            assert torch.equal(now.nan_to_num(-9), value.nan_to_num(-9))
        else:
            assert now == value
    twice = check(once)
    assert once.to_dict().keys() == twice.to_dict().keys()
    for key, value in once.to_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, twice[key])
        else:
            assert value == twice[key]


def test_every_normalisation_by_hand() -> None:
    out = check(messy())
    assert (out.x.dtype, out.y.dtype, out.edge_index.dtype) == (
        torch.float32,
        torch.long,
        torch.long,
    )
    assert out.edge_index.tolist() == [[0, 1, 2, 3], [1, 0, 3, 2]]
    assert out.edge_weight.tolist() == [3.0, 3.0, 0.5, 0.5]  # 1 + 2 against 1 the other way
    assert out.y.tolist() == [0, 1, -1, 1, 2]
    assert out.class_names == ["0", "1", "2"]
    assert out.train_mask.tolist() == [True, True, False, False, False]
    assert out.test_mask.dtype == torch.bool
    assert out.test_mask.shape == (5, 2)
    assert "val_mask" not in out
    assert "edge_attr" not in out
    assert (out.node_ids, out.anything) == (messy().node_ids, out.anything)
    assert out.check_notes == [
        "1 self-loop removed",
        "1 edge of weight zero removed",
        "1 duplicate edge merged, weights summed",
        "1 reverse edge added: the graph is treated as undirected",
        "edge attribute 'edge_attr' dropped: the edge list changed",
        "1 of 5 nodes are isolated (no edge)",
        "class '0' has one labelled node",
        "class '2' has one labelled node",
        "1 of 5 nodes have no label",
    ]


def test_directed_edges_are_kept_on_request(six_nodes: Data) -> None:
    one_way = changed(six_nodes, edge_index=torch.tensor([[1, 0, 2, 3, 4], [0, 2, 3, 4, 5]]))
    assert edges(check(one_way, directed=True)) == {(1, 0), (0, 2), (2, 3), (3, 4), (4, 5)}
    mirrored = check(one_way)
    assert is_undirected(mirrored.edge_index)
    assert edges(mirrored) == {(i, j) for i, j in edges(one_way)} | {
        (j, i) for i, j in edges(one_way)
    }


def test_edge_attributes_that_still_fit_are_kept(six_nodes: Data) -> None:
    clean = check(six_nodes)
    clean.edge_type = torch.arange(clean.edge_index.shape[1])
    assert torch.equal(check(clean).edge_type, clean.edge_type)


def test_a_graph_without_edges_is_accepted(six_nodes: Data) -> None:
    out = check(changed(six_nodes, edge_index=torch.empty(2, 0, dtype=torch.long)))
    assert out.edge_index.shape == (2, 0)
    assert "6 of 6 nodes are isolated (no edge)" in out.check_notes


@pytest.mark.parametrize("layout", ["coo", "csr", "csc"])
def test_sparse_features_become_csr(six_nodes: Data, layout: str) -> None:
    dense = six_nodes.x.double() * torch.tensor([[0.0, 1.0]])
    sparse = {"coo": dense.to_sparse, "csr": dense.to_sparse_csr, "csc": dense.to_sparse_csc}[
        layout
    ]()
    out = check(changed(six_nodes, x=sparse))
    assert (out.x.layout, out.x.dtype) == (torch.sparse_csr, torch.float32)
    assert torch.equal(out.x.to_dense(), dense.float())


def test_missing_features_are_replaced_by_the_structure(six_nodes: Data) -> None:
    for nothing in (None, torch.empty(6, 0)):
        data = changed(six_nodes, x=nothing)
        out = check(data)
        assert out.x.shape[0] == 6 == out.num_nodes
        degrees = torch.tensor([2.0, 2, 3, 3, 2, 2])
        assert torch.allclose(out.x[:, 0], torch.log1p(degrees))
        assert len(out.feature_names) == out.x.shape[1]
        assert "no features" in out.check_notes[0]
        relabelled = check(changed(data, y=1 - six_nodes.y))
        assert torch.equal(relabelled.x, out.x)


def test_structural_features_span_the_spectrum(six_nodes: Data) -> None:
    out = check(changed(six_nodes, x=None))
    adjacency = torch.zeros(6, 6)
    adjacency[tuple(six_nodes.edge_index)] = 1
    scale = adjacency.sum(1).rsqrt()
    values = torch.linalg.svdvals(scale[:, None] * adjacency * scale)
    assert torch.allclose(out.x[:, 1:].norm(dim=0) / math.sqrt(6), values[:5], atol=1e-4)


def test_wide_and_narrow_inputs_are_accepted(six_nodes: Data) -> None:
    assert check(changed(six_nodes, x=torch.arange(6))).x.shape == (6, 1)
    assert check(changed(six_nodes, x=np.ones((6, 2)))).x.dtype == torch.float32
    assert check(changed(six_nodes, y=six_nodes.y.view(-1, 1))).y.shape == (6,)
    assert check(changed(six_nodes, y=six_nodes.y.bool())).y.tolist() == [0, 0, 0, 1, 1, 1]
    assert check(changed(six_nodes, y=np.array([0, 0, 0, 1, 1, -1]))).y[-1] == -1


def test_the_labels_that_come_out_are_not_shared(six_nodes: Data) -> None:
    check(six_nodes).y[0] = 1
    assert six_nodes.y[0] == 0


NAN, INF = math.nan, math.inf
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nan feature": (
        {"x": torch.tensor([[1.0, 2]] * 3 + [[1, NAN]] + [[1, 2]] * 2)},
        "row 3, column 1",
    ),
    "infinite feature": ({"x": torch.full((6, 2), INF)}, "row 0, column 0.*12 NaN or infinite"),
    "too large": ({"x": torch.full((6, 2), 1e300, dtype=torch.double)}, "x: NaN or infinite"),
    "nan sparse": (
        {"x": torch.tensor([[0.0, 0]] * 4 + [[0, NAN]] + [[1, 0]]).to_sparse()},
        "row 4, column 1",
    ),
    "complex": ({"x": torch.ones(6, 2, dtype=torch.cfloat)}, "x: dtype"),
    "cube": ({"x": torch.ones(6, 2, 2)}, r"x: shape \[6, 2, 2\]"),
    "objects": ({"x": np.array([["a"]] * 6)}, "x: a ndarray"),
    "index too large": (
        {"edge_index": torch.tensor([[0, 1], [1, 6]])},
        r"edge 1 joins \[1, 6\].*0 to 5",
    ),
    "index negative": ({"edge_index": torch.tensor([[-1], [1]])}, r"edge 0 joins \[-1, 1\]"),
    "float edges": ({"edge_index": torch.tensor([[0.0], [1.0]])}, "edge_index: dtype"),
    "edges transposed": ({"edge_index": torch.ones(7, 2).long()}, r"edge_index: shape \[7, 2\]"),
    "no edge_index": ({"edge_index": None}, "edge_index: missing"),
    "negative weight": ({"edge_weight": torch.tensor([1.0] * 13 + [-2])}, r"-2\.0 at edge 13"),
    "nan weight": ({"edge_weight": torch.tensor([NAN] + [1.0] * 13)}, "nan at edge 0"),
    "weights of another size": ({"edge_weight": torch.ones(3)}, "14 edges"),
    "label too small": ({"y": torch.tensor([0, 0, 0, 1, 1, -2])}, "-2 at node 5.*-1"),
    "label too large": ({"y": torch.tensor([0, 0, 2, 1, 1, 1])}, "label 2 at node 2"),
    "fraction": ({"y": torch.tensor([0, 0, 0.5, 1, 1, 1])}, "0.5 at node 2"),
    "infinite label": ({"y": torch.tensor([0, 0, INF, 1, 1, 1])}, "inf at node 2"),
    "one-hot": ({"y": torch.eye(2)[[0, 0, 0, 1, 1, 1]]}, r"shape \[6, 2\].*argmax"),
    "too few labels": ({"y": torch.tensor([0, 1])}, r"y: shape \[2\]"),
    "strings": ({"y": ["a"] * 6}, "y: a list"),
    "nothing labelled": ({"y": torch.full((6,), -1)}, "no labelled node"),
    "no y": ({"y": None}, "no labelled node"),
    "one class": ({"y": torch.tensor([1, 1, 1, -1, -1, 1])}, r"a single class \('right'\)"),
    "codes": ({"y": torch.tensor([0, 0, 0, 1, 1, 10**9]), "class_names": None}, "1000000000"),
    "names as one string": ({"class_names": "ab"}, "class_names: ab"),
    "names as numbers": ({"class_names": [1, 2]}, "list of strings"),
    "twin names": ({"class_names": ["a", "a"]}, "'a' appears twice"),
    "short mask": ({"train_mask": torch.ones(5).bool()}, r"train_mask: shape \[5\].*index_to_mask"),
    "index mask": ({"val_mask": torch.tensor([0, 1, 2, 3, 4, 5])}, "only True and False"),
    "deep mask": ({"test_mask": torch.ones(6, 2, 2).bool()}, "test_mask: shape"),
    "short clean labels": ({"y_clean": torch.zeros(5)}, "y_clean: 5 entries"),
    "short ids": ({"node_ids": ["a"]}, "node_ids: 1 entries"),
    "wrong num_nodes": ({"num_nodes": 7}, "num_nodes: 7. x has 6 rows"),
    "no nodes": ({"x": torch.empty(0, 2), "edge_index": torch.empty(2, 0).long()}, "without nodes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_its_name_and_place(six_nodes: Data, case: str) -> None:
    attributes, message = BAD[case]
    with pytest.raises(InputError, match=message):
        check(changed(six_nodes, **attributes))


@pytest.mark.parametrize("thing", [HeteroData(), {"x": 1}, None, "cora"])
def test_what_is_no_graph_is_refused(thing: Any) -> None:
    with pytest.raises(InputError, match=f"data: a {type(thing).__name__}"):
        check(thing)
    with pytest.raises(InputError, match="neither x, y nor num_nodes"):
        check(Data())


def test_labels_are_optional_on_request(six_nodes: Data) -> None:
    out = check(changed(six_nodes, y=None), require_labels=False)
    assert out.y.tolist() == [-1] * 6
    assert check(changed(six_nodes, y=torch.zeros(6).long()), require_labels=False).y.sum() == 0


def test_a_class_nobody_has_is_noted(six_nodes: Data) -> None:
    out = check(changed(six_nodes, class_names=["left", "right", "middle"]))
    assert out.check_notes == ["class 'middle' has no labelled node"]
    assert num_classes(out) == 3


def test_label_questions(six_nodes: Data) -> None:
    y = torch.tensor([0, 2, -1, 1, 1, -1])
    plain = Data(y=y, num_nodes=6)
    assert (num_classes(plain), class_names(plain)) == (3, ["0", "1", "2"])
    assert labelled_mask(plain).tolist() == [True, True, False, True, True, False]
    assert node_ids(plain) == [0, 1, 2, 3, 4, 5]
    assert (num_classes(six_nodes), class_names(six_nodes)) == (2, ["left", "right"])
    assert node_ids(Data(node_ids=["x", 7], num_nodes=2)) == ["x", 7]
    assert num_classes(Data(y=torch.full((3,), -1))) == 0


@settings(max_examples=80, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12),
    both=st.booleans(),
    tidy=st.booleans(),
)
def test_edges_that_need_no_work_are_told_from_those_that_do(
    pairs: list[tuple[int, int]], both: bool, tidy: bool
) -> None:
    if both:
        pairs = pairs + [(t, s) for s, t in pairs]
    if tidy:
        pairs = sorted({(s, t) for s, t in pairs if s != t})
    edges = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    wanted = sorted({(s, t) for a, b in pairs if a != b for s, t in ((a, b), (b, a))})
    data = Data(edge_index=edges, y=torch.tensor([0, 1, 0, 1, 0, 1]), x=torch.eye(6))
    checked = check(data)
    assert checked.edge_index.T.tolist() == [list(pair) for pair in wanted]
    assert _is_simple_undirected(edges, 6) == (pairs == wanted)


@settings(max_examples=80, deadline=None)
@given(
    entries=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 4)), max_size=14
    ),
    weighted=st.booleans(),
    directed=st.booleans(),
)
def test_edges_are_simplified_as_pyg_does(
    entries: list[tuple[int, int, int]], weighted: bool, directed: bool
) -> None:
    edges = torch.tensor([entry[:2] for entry in entries], dtype=torch.long).reshape(-1, 2).T
    weight = torch.tensor([entry[2] for entry in entries]) / 4 if weighted else None
    data = Data(edge_index=edges, y=torch.tensor([0, 1, 0, 1, 0, 1]), x=torch.eye(6))
    keep = edges[0] != edges[1]
    if weight is None:
        wanted = coalesce(edges[:, keep], num_nodes=6)
        wanted = wanted if directed else to_undirected(wanted, num_nodes=6)
    else:
        data.edge_weight = weight
        keep &= weight > 0
        wanted, weight = coalesce(edges[:, keep], weight[keep], num_nodes=6, reduce="sum")
        if not directed:
            wanted, weight = to_undirected(wanted, weight, num_nodes=6, reduce="max")
    checked = check(data, directed=directed)
    assert torch.equal(checked.edge_index, wanted)
    if weight is not None:
        assert torch.equal(checked.edge_weight, weight)
    again = check(checked, directed=directed)
    assert again.check_notes == checked.check_notes
    assert torch.equal(again.edge_index, wanted)


def test_many_repetitions_are_one_edge(six_nodes: Data) -> None:
    six_nodes.edge_index = torch.tensor([[0, 1], [1, 2]]).repeat_interleave(256, dim=1)
    checked = check(six_nodes)
    assert checked.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert "510 duplicate edges merged" in checked.check_notes
    six_nodes.edge_weight = torch.full((512,), 0.5)
    assert check(six_nodes).edge_weight.tolist() == [128.0] * 4
