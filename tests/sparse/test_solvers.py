"""Propagation against PyG, closed forms and step-by-step dense arithmetic."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import spsolve
from torch_geometric.nn import APPNP
from torch_geometric.nn.models import LabelPropagation

from graphclean.sparse import Propagator, solvers
from graphclean.sparse.solvers import label_propagation, personalised_pagerank
from graphclean.types import InputError

NODES, CLASSES = 40, 5
NORMS = ["sym", "row", "col"]


def random_edges(seed=0, nodes=NODES, edges=90):
    generator = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(0, nodes - 1, (2, edges), generator=generator)  # the last has none
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    return torch.unique(torch.cat([edge_index, edge_index.flip(0)], dim=1), dim=1)


def labels(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, CLASSES, (NODES,), generator=generator)


def operator(norm="sym", **options):
    return Propagator(random_edges(), NODES, norm=norm, **{"dtype": torch.float64, **options})


def soft(seed=2, columns=CLASSES):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(NODES, columns, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("post", [None, lambda y: y.clamp_(0.0, 1.0)])
def test_label_propagation_equals_pyg(post):
    y, edge_index = labels(), random_edges()
    mask = (y >= 0) & (torch.arange(NODES) % 3 > 0)
    peer = LabelPropagation(num_layers=30, alpha=0.85)
    expected = peer(y.clamp(min=0), edge_index, mask, post_step=post or (lambda out: out))
    given = torch.where(mask, y, -1)
    found = label_propagation(
        operator(dtype=torch.float32), given, alpha=0.85, steps=30, tol=None, post=post
    )
    torch.testing.assert_close(found.values, expected, atol=1e-6, rtol=1e-5)
    assert found.steps == 30


@pytest.mark.parametrize("norm", NORMS)
def test_every_normalisation_follows_the_formula(norm):
    propagator, y0 = operator(norm), soft()
    expected = y0.numpy()
    for _ in range(7):
        expected = 0.7 * (propagator.matrix @ expected) + 0.3 * y0.numpy()
    found = label_propagation(propagator, y0, alpha=0.7, steps=7, tol=0)
    np.testing.assert_allclose(found.values.numpy(), expected, atol=1e-12)


def test_clamp_is_a_convex_combination_after_every_step():
    propagator, y0 = operator("row"), soft()
    trust = torch.linspace(0, 1, NODES, dtype=torch.float64)
    expected, held = y0.numpy(), trust.numpy()[:, None]
    for _ in range(6):
        moved = 0.8 * (propagator.matrix @ expected) + 0.2 * y0.numpy()
        expected = held * y0.numpy() + (1 - held) * moved
    found = label_propagation(propagator, y0, alpha=0.8, steps=6, tol=None, clamp=trust)
    np.testing.assert_allclose(found.values.numpy(), expected, atol=1e-12)
    assert torch.equal(found.values[-1], y0[-1])


def test_post_comes_before_the_clamp():
    propagator, y0 = operator("row"), soft()
    clamp = torch.arange(NODES) % 4 == 0
    expected = y0.clone()
    for _ in range(5):
        expected = 0.9 * torch.from_numpy(propagator.matrix @ expected.numpy()) + 0.1 * y0
        expected = expected / expected.sum(dim=1, keepdim=True)
        expected[clamp] = y0[clamp]
    found = label_propagation(
        propagator, y0, steps=5, tol=None, clamp=clamp,
        post=lambda y: y / y.sum(dim=1, keepdim=True),
    )  # fmt: skip
    torch.testing.assert_close(found.values, expected, atol=1e-12, rtol=0)


def test_clamped_row_propagation_is_the_harmonic_solution():
    """Zhu & Ghahramani: free nodes end at (I - P_uu)^-1 P_ul Y_l."""
    chain = torch.tensor([list(range(9)), list(range(1, 10))])
    propagator = Propagator(
        torch.cat([chain, chain.flip(0)], dim=1), 10, norm="row", dtype=torch.float64
    )
    y = torch.full((10,), -1)
    y[0], y[9] = 0, 1
    found = label_propagation(propagator, y, alpha=1.0, steps=5000, tol=1e-13, clamp=y >= 0)
    assert found.converged
    assert found.steps < 5000
    expected = torch.linspace(0, 1, 10, dtype=torch.float64)
    torch.testing.assert_close(found.values[:, 1], expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("norm", ["sym", "row"])
@pytest.mark.parametrize("self_loops", [False, True])
def test_pagerank_reaches_the_closed_form(norm, self_loops):
    propagator, x = operator(norm, self_loops=self_loops), soft(columns=3)
    found = personalised_pagerank(propagator, x, alpha=0.15, steps=1000, tol=1e-14)
    system = sp.eye_array(NODES, format="csc") - 0.85 * propagator.matrix.tocsc()
    expected = 0.15 * spsolve(system, x.numpy())
    np.testing.assert_allclose(found.values.numpy(), expected, atol=1e-12)
    assert found.converged


def test_pagerank_equals_appnp():
    x = soft().float()
    expected = APPNP(K=10, alpha=0.1)(x, random_edges())
    found = personalised_pagerank(
        operator(self_loops=True, dtype=torch.float32), x, alpha=0.1, steps=10, tol=None
    )
    torch.testing.assert_close(found.values, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("width", [1, 2, 5, 64])
def test_column_blocks_change_nothing(width):
    propagator, y0 = operator(), soft()
    clamp = torch.arange(NODES) % 2 == 0
    whole = label_propagation(propagator, y0, tol=1e-4, clamp=clamp)
    blocks = label_propagation(propagator, y0, tol=1e-4, clamp=clamp, column_block=width)
    torch.testing.assert_close(blocks.values, whole.values, atol=1e-15, rtol=0)
    assert (blocks.steps, blocks.converged) == (whole.steps, whole.converged)
    assert blocks.largest_change == pytest.approx(whole.largest_change, abs=1e-15)
    assert whole.steps < 50


def test_columns_go_in_blocks_where_the_product_outgrows_its_space(monkeypatch):
    widths = []

    class Watched(Propagator):
        def __matmul__(self, x):
            widths.append(x.shape[1])
            return super().__matmul__(x)

    propagator = Watched(random_edges(), NODES, dtype=torch.float64)
    wide = soft(columns=20)
    whole = personalised_pagerank(propagator, wide, steps=3, tol=None)
    assert set(widths) == {20}
    widths.clear()
    monkeypatch.setattr(solvers, "_SCRATCH_BYTES", NODES * 8 * 9)
    blocks = personalised_pagerank(propagator, wide, steps=3, tol=None)
    assert widths == [8, 8, 4] * 3
    torch.testing.assert_close(blocks.values, whole.values, atol=1e-15, rtol=0)


def test_stops_at_the_largest_change_and_reports_it():
    propagator, y0 = operator(), soft()
    found = label_propagation(propagator, y0, alpha=0.5, tol=1e-6, steps=500)
    assert found.converged
    assert 3 < found.steps < 100
    steps = [
        label_propagation(propagator, y0, alpha=0.5, tol=None, steps=found.steps - back)
        for back in (0, 1, 2)
    ]
    change = (steps[0].values - steps[1].values).abs().max().item()
    earlier = (steps[1].values - steps[2].values).abs().max().item()
    assert found.largest_change == pytest.approx(change, rel=1e-6)
    assert change <= 1e-6 < earlier
    assert not steps[0].converged
    assert not label_propagation(propagator, y0, tol=1e-12, steps=2).converged


def test_hard_labels_are_one_hot_rows_and_inputs_stay():
    propagator, y = operator(), labels()
    hot = torch.zeros(NODES, 7, dtype=torch.float64)
    hot[y >= 0, y[y >= 0]] = 1.0
    before = hot.clone()
    from_hot = label_propagation(propagator, hot, steps=4, tol=1e-9, post=lambda _: hot)
    assert torch.equal(from_hot.values, hot)
    assert torch.equal(hot, before)
    from_hard = label_propagation(propagator, y, num_classes=7, steps=4)
    torch.testing.assert_close(from_hard.values, label_propagation(propagator, hot, steps=4).values)
    assert torch.equal(hot, before)


def test_no_path_from_a_free_label_to_the_node_itself_in_one_step():
    """Without a restart the first step reads neighbours only."""
    propagator, y = operator(), labels()
    flipped = y.clone()
    flipped[3] = (y[3] + 1) % CLASSES
    one = [
        label_propagation(propagator, given, num_classes=CLASSES, alpha=1.0, steps=1).values[3]
        for given in (y, flipped)
    ]
    assert torch.equal(*one)


def test_takes_any_operator_with_a_product():
    class Streamed:
        def __init__(self, matrix):
            self.matrix, self.num_nodes, self.dtype = matrix, matrix.shape[0], torch.float64

        def __matmul__(self, x):
            return torch.from_numpy(self.matrix @ x.numpy())

    propagator = operator()
    found = label_propagation(Streamed(propagator.matrix), labels())
    torch.testing.assert_close(found.values, label_propagation(propagator, labels()).values)


@pytest.mark.parametrize(("nodes", "columns"), [(0, 3), (4, 0)])
def test_nothing_to_propagate(nodes, columns):
    propagator = Propagator(torch.zeros(2, 0, dtype=torch.long), nodes)
    found = label_propagation(propagator, torch.zeros(nodes, columns))
    assert found.values.shape == (nodes, columns)
    assert found.converged


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("alpha", {"alpha": 1.5}),
        ("alpha", {"alpha": float("nan")}),
        ("steps", {"steps": 0}),
        ("tol", {"tol": -1.0}),
        ("column_block", {"column_block": 0}),
        ("column_block", {"column_block": 2, "post": lambda y: y}),
        ("clamp", {"clamp": torch.ones(3)}),
        ("clamp", {"clamp": torch.full((NODES,), 1.1)}),
        ("clamp", {"clamp": torch.full((NODES,), float("nan"))}),
        ("post", {"post": lambda y: y[:, :1]}),
        ("num_classes", {"num_classes": CLASSES + 1}),
        ("y0", {"y0": torch.rand(NODES + 1, 2)}),
        ("y0", {"y0": torch.rand(NODES)}),
        ("labels", {"y0": torch.full((NODES,), 3), "num_classes": 3}),
        ("labels", {"y0": torch.full((NODES,), -2)}),
    ],
)
def test_refuses_what_does_not_fit(argument, options):
    options = {"y0": soft(), **options}
    with pytest.raises(InputError, match=argument):
        label_propagation(operator(), **options)


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_pagerank_names_its_own_alpha(alpha):
    with pytest.raises(InputError, match=f"alpha: {alpha}"):
        personalised_pagerank(operator(), soft(), alpha=alpha)
