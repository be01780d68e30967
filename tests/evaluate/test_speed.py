"""The benchmark itself: what it compares is right, complete and told as it is. No timing."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphclean.evaluate.speed import SpeedReport, markdown, run_speed, text, to_dict
from graphclean.evaluate.speed.cases import SYNTHETIC, Cases, is_at_hand
from graphclean.evaluate.speed.hops import hop_features, predicted_fill, released_step
from graphclean.evaluate.speed.plan import PLANS, Step, steps
from graphclean.evaluate.speed.product import product_traffic
from graphclean.types import InputError

PEERS = {
    "spmm/pl2k": {"pyg", "pyg_csr", "pyg_edge_index_class", "torch_native", "scipy"}
    | {"gather_index_add", "no_reuse_bound"},
    "build/pl2k": {"pyg_csr", "pyg_edge_index_class"},
    "label_propagation/pl2k": {"pyg", "pyg_csr"},
    "label_propagation_networkx/pl500": {"networkx"},
    "hops/pl500": {"released_scipy"},
    "hops_warm/pl500": {"pyg", "pyg_csr"},
    "gcn/pl500": {"pyg", "pyg_csr"},
    "sgc/pl500": {"pyg", "pyg_cached"},
    "appnp/pl500": {"pyg", "pyg_csr"},
    "sign_features/pl500": {"pyg"},
    "max/pl500": {"pyg", "pyg_csr"},
    "softmax/pl500": {"pyg"},
    "label_histogram/pl500": {"pyg", "pyg_csr"},
}


@pytest.fixture(scope="module")
def report() -> SpeedReport:
    return run_speed("small", rounds=2, thread_count=1)


@pytest.fixture(scope="module")
def content(report: SpeedReport) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(to_dict(report), allow_nan=False))
    return found


def test_every_path_is_right_and_has_its_ratio(report: SpeedReport) -> None:
    assert report.errors == []
    expected = {f"{name}/{peer}" for name, peers in PEERS.items() for peer in peers}
    assert set(report.ratios) - {"spmm/pl2k/torch_scatter"} == expected
    assert all(ratio > 0 for ratio in report.ratios.values())


def test_the_json_says_how_every_number_came_about(content: dict[str, Any]) -> None:
    assert content["settings"]["clock"] == "cpu"
    assert content["settings"]["threads"] == 1
    assert content["machine"]["versions"]["torch"] == torch.__version__
    assert content["machine"]["sparse_backend"]["threads"] == 1
    assert len(content["machine"]["load_before"]) == 3
    assert [each["name"] for each in content["comparisons"]] == list(PEERS)
    for each in content["comparisons"]:
        assert each["rounds"] == 2
        assert each["rows"][0]["name"] == "graphclean"
        for row in each["rows"]:
            if row["status"] == "ok":
                assert row["wall_s"]["p10"] <= row["wall_s"]["median"] <= row["wall_s"]["p90"]
                assert set(row["ratio_by_clock"]) == {"wall", "cpu"}
                assert row["first_s"]["wall"] > 0
                assert row["error"] is None or 0 <= row["error"] < 1e-2


def test_each_ratio_is_that_of_its_row(content: dict[str, Any]) -> None:
    rows = {
        f"{each['name']}/{row['name']}": row
        for each in content["comparisons"]
        for row in each["rows"]
    }
    for name, ratio in content["ratios"].items():
        if not name.endswith("no_reuse_bound"):
            assert rows[name]["ratio"]["median"] == ratio
            assert rows[name]["ratio_by_clock"]["cpu"] == ratio
            assert rows[name]["like_for_like"]
    beside = {name for name, row in rows.items() if not row["like_for_like"]}
    assert beside == {
        "hops/pl500/graphclean_warm",
        "label_propagation/pl2k/graphclean_until_settled",
        "label_propagation_networkx/pl500/sklearn_knn",
    }


def test_bandwidth_is_told_against_copy_and_bounds(content: dict[str, Any]) -> None:
    each = content["comparisons"][0]
    ours = each["rows"][0]
    assert each["bytes"] == {"compulsory": 168_004 + 640_000, "no_reuse": 168_004 + 3_520_000}
    rate = each["bytes"]["no_reuse"] / ours["cpu_s"]["median"]
    assert ours["bytes_per_second"] == pytest.approx(rate)
    assert ours["share_of_copy"] == pytest.approx(rate / each["bounds"]["copy"]["median"])
    moved = each["bounds"]["no_reuse"] / each["bounds"]["compulsory"]
    assert moved == pytest.approx(each["bytes"]["no_reuse"] / each["bytes"]["compulsory"])


def test_traffic_is_that_of_the_reference() -> None:
    """The figures of pl200k, C = 40: 0.098 GB and 0.706 GB."""
    traffic = product_traffic(200_000, 4_000_000, 40)
    assert traffic.compulsory / 1e9 == pytest.approx(0.098, abs=0.002)
    assert traffic.no_reuse / 1e9 == pytest.approx(0.706, abs=0.002)


def test_conversions_are_in_no_row(content: dict[str, Any]) -> None:
    prepared = {each["name"]: set(each["prepared_s"]) for each in content["comparisons"]}
    assert len(prepared["spmm/pl2k"]) == 6
    assert "graphclean: six products, to settle" in prepared["spmm/pl2k"]
    assert "graphclean: edges to CSR" in prepared["hops/pl500"]
    assert "graphclean: diagonals" in prepared["hops/pl500"]
    assert prepared["build/pl2k"] == set()


def test_text_and_markdown_show_every_row(report: SpeedReport) -> None:
    shown, page = text(report), markdown(report, "graphclean bench speed --size small")
    assert page.startswith("# Speed\n\n    graphclean bench speed --size small\n")
    for each in report.measured:
        assert f"\n{each.comparison.name}\n" in shown
        assert f"\n## {each.comparison.name}\n" in page
        for row in each.rows:
            assert f"  {row.name}" in shown
            assert f"| {row.name}" in page
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {3, 9}
    assert all(f"| {name} | " in page for name in report.ratios)


def test_a_run_leaves_the_state_of_the_process_as_it_was() -> None:
    before = torch.random.get_rng_state()
    run_speed("small", only=["gcn"], rounds=1, thread_count=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert gc.get_freeze_count() == 0


def test_a_wrong_path_is_an_error_and_no_row_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "graphclean.evaluate.speed.reductions.neighbour_softmax"
    monkeypatch.setattr(name, lambda adjacency, scores: scores)
    found = run_speed("small", only=["softmax"], rounds=1, thread_count=1)
    assert found.ratios == {}
    assert len(found.errors) == 1
    assert "softmax/pl500/graphclean: differs from float64 by" in found.errors[0]
    assert "wrong: differs" in text(found)
    assert to_dict(found)["errors"] == found.errors


@pytest.mark.parametrize("seed", [0, 5])
def test_published_step_equals_dense_powers(seed: int) -> None:
    case = Cases(seed).get("pl500")
    dense = case.operator.toarray()
    probs, onehot = case.probabilities().double().numpy(), case.onehot().double().numpy()
    labels = case.labels().numpy()
    power, columns, own = np.eye(len(dense)), [probs], []
    for _ in range(3):
        power = power @ dense
        own.append(power - np.diag(np.diag(power)))
    columns += [m @ x for x in (probs, onehot) for m in own]
    expected = np.stack([x[np.arange(len(x)), labels] for x in columns], axis=1)
    found = released_step(case.operator, probs, onehot, labels)
    assert np.abs(found - expected).max() < 1e-14


def test_predicted_fill_is_near_the_real_one() -> None:
    case = Cases(0).get("pl2k")
    fill = predicted_fill(case)
    square = case.operator @ case.operator
    cube = square @ case.operator
    assert fill.square == pytest.approx(square.nnz, rel=0.25)
    assert fill.cube == pytest.approx(cube.nnz, rel=0.25)
    assert fill.num_bytes == int(fill.square * 12 + fill.cube * 12)


def test_published_step_is_predicted_where_it_would_take_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("graphclean.evaluate.speed.hops._SECONDS", 0.0)
    found = hop_features(Cases(0).get("pl500"))
    assert "(predicted)" in found.skipped["released_scipy"]
    assert [each.name for each in found.implementations] == ["graphclean", "graphclean_warm"]


def test_plans_name_what_there_is() -> None:
    assert {step for plan in PLANS.values() for step in plan} == set(PLANS["default"])
    graphs = {graph for plan in PLANS.values() for own in plan.values() for graph in own}
    assert graphs - set(SYNTHETIC) == {"cora", "photo", "dblp", "tolokers"}


def test_graphs_that_are_not_at_hand_are_left_out_or_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for root in (None, str(tmp_path)):
        if root is None:
            monkeypatch.delenv("GRAPHCLEAN_DATA", raising=False)
        else:
            monkeypatch.setenv("GRAPHCLEAN_DATA", root)
        found, left_out = steps("default", [], ["hops", "spmm/cora"], "cpu")
        assert [step.graph for step in found] == ["photo-size", "pl200k"]
        assert set(left_out) == {"hops/cora", "hops/dblp", "hops/tolokers", "spmm/cora"}
        assert "GRAPHCLEAN_DATA" in left_out["hops/cora"]


def test_named_graphs_replace_those_of_the_plan() -> None:
    found, left_out = steps("small", ["digits", "pl5k"], ["gcn"], "cpu")
    assert found == [Step("gcn", "digits"), Step("gcn", "pl5k")]
    assert left_out == {}


def test_cuda_leaves_out_what_runs_on_a_cpu() -> None:
    found, left_out = steps("small", [], ["spmm", "hops"], "cuda")
    assert [step.name for step in found] == ["spmm/pl2k"]
    assert left_out == {"hops/pl500": "runs on a CPU only"}


def test_a_bundled_graph_becomes_simple_and_undirected() -> None:
    case = Cases(0).get("digits")
    row, col = case.edge_index
    assert bool((row != col).all())
    matrix = case.operator
    assert abs(matrix - matrix.T).max() < 1e-15
    assert len(torch.unique(row * case.num_nodes + col)) == case.num_edges


def test_a_real_graph_is_measured() -> None:
    if "GRAPHCLEAN_DATA" not in os.environ or not is_at_hand("cora"):
        pytest.skip("Cora's raw files are not below GRAPHCLEAN_DATA")
    found = run_speed("default", only=["hops/cora"], rounds=1, thread_count=1)
    assert set(found.ratios) == {"hops/cora/released_scipy"}
    assert found.errors == []


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("size", {"size": "huge"}),
        ("graph", {"graphs": ["nowhere"]}),
        ("only", {"only": ["spmmm"]}),
        ("only", {"only": ["spmm/cora"]}),
        ("rounds", {"rounds": 0}),
        ("threads", {"thread_count": 0}),
        ("device", {"device": "tpu"}),
        ("random_state", {"seed": -1}),
    ],
)
def test_what_there_is_not_is_refused(argument: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        run_speed(**{"size": "small", **options})
    assert caught.value.argument == argument


def test_cuda_needs_a_device() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(InputError, match="no CUDA device"):
        run_speed("small", device="cuda")
