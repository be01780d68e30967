from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from graphclean.detect import default_classifier
from graphclean.evaluate.grid import (
    Cell,
    Grid,
    Learner,
    Method,
    TransitionMethod,
    make_grid,
    probs_key,
    read_grid,
    run_key,
    select,
)
from graphclean.noise import TransitionEstimator
from graphclean.types import InputError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

SGC = Learner("sgc", "sgc", {"epochs": 20})
MLP = Learner("mlp", "mlp", {"epochs": 20})
CELL = Cell("karateclub", "uniform", 0.1, 0)
ON_SGC = Method("self-confidence", "self_confidence", probs="sgc")
ON_BEST = Method("best", "self_confidence", probs="best")


def write(folder: Path, text: str) -> Path:
    path = folder / "grid.toml"
    path.write_text(text)
    return path


def test_toml_becomes_a_grid(tmp_path: Path) -> None:
    grid = read_grid(
        write(
            tmp_path,
            """
            n_folds = 3
            actions = ["relabel"]
            measures = ["downstream", "strata"]
            [[grid]]
            graphs = ["Cora", "photo"]
            noise = ["pair"]
            rates = [0.1]
            seeds = [0, 1]
            [[grid]]
            protocol = "published"
            graphs = ["cora"]
            noise = ["uniform"]
            rates = [0.05]
            seeds = [7]
            [learners.sgc]
            params = { hops = 3, patience = "none" }
            [learners.features]
            classifier = "mlp"
            version = 2
            [[method]]
            detector = "neighbour_agreement"
            [[method]]
            name = "two views"
            detector = "graphcleaner"
            params = { draws = 2 }
            probs = ["best", "features"]
            [[estimator]]
            estimator = "dual_t"
            params = { quantile = "none" }
            probs = "sgc"
            [[estimator]]
            name = "half"
            estimator = "verified"
            params = { verified_share = 0.5 }
            version = 2
            """,
        )
    )
    assert grid == Grid(
        cells=(
            Cell("cora", "pair", 0.1, 0),
            Cell("photo", "pair", 0.1, 0),
            Cell("cora", "pair", 0.1, 1),
            Cell("photo", "pair", 0.1, 1),
            Cell("cora", "uniform", 0.05, 7, "published"),
        ),
        learners=(
            Learner("sgc", "sgc", {"hops": 3, "patience": None}),
            Learner("features", "mlp", version=2),
        ),
        methods=(
            Method("neighbour_agreement", "neighbour_agreement"),
            Method("two views", "graphcleaner", {"draws": 2}, ("best", "features")),
        ),
        actions=("relabel",),
        n_folds=3,
        estimators=(
            TransitionMethod("dual_t", "dual_t", {"quantile": None}, "sgc"),
            TransitionMethod("half", "verified", {"verified_share": 0.5}, version=2),
        ),
        measures=("strata", "downstream"),
    )
    assert grid.runs == 20


@pytest.mark.parametrize(
    ("name", "cells", "methods"),
    [
        ("detection_published.toml", 4 * 2 * 3 * 5, {"graphcleaner", "graphcleaner, paper"}),
        ("detection_whole.toml", 7 * 5 * 3 + 2 * 5 * 2 * 3, {"graphcleaner", "self_confidence"}),
    ],
)
def test_shipped_grids_are_those_of_the_results_page(
    name: str, cells: int, methods: set[str]
) -> None:
    grid = read_grid(BENCHMARKS / name)
    assert len(grid.cells) == cells
    assert methods <= {method.name for method in grid.methods}
    assert [learner.name for learner in grid.learners] == ["sign", "mlp", "appnp"]
    if name == "detection_whole.toml":
        estimators = {each.estimator for each in grid.estimators}
        assert estimators == set(TransitionEstimator.registry)


GOOD = """
[[grid]]
graphs = ["cora"]
noise = ["pair"]
rates = [0.1]
seeds = [0]
[learners.sgc]
[[method]]
detector = "self_confidence"
probs = "sgc"
"""


def estimator(name: str, rest: str) -> str:
    return f'[[estimator]]\nestimator = "{name}"\n{rest}\n[[method]]'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[[grid]]", "[[gird]]", "the file: unknown key 'gird'. It takes: grid"),
        ('"cora"', '"kora"', "graphs: "),
        ('["cora"]', '"cora"', "graphs: 'cora'. Pass a list"),
        ("seeds = [0]", "", "grid: no key 'seeds'"),
        ("seeds = [0]", "seeds = []", "seeds: []. Pass a list"),
        ("seeds = [0]", "seeds = [-1]", "-1"),
        ("seeds = [0]", "seeds = [true]", "seeds: True"),
        ("seeds = [0]", 'seeds = [0]\nprotocol = "all"', "protocol: all. Choose one of: whole"),
        ("rates = [0.1]", "rates = [10]", "rate: 10"),
        ('"pair"', '"pear"', "noise: 'pear:0.1'"),
        ("[learners.sgc]", "[learners.sgc]\nkind = 1", "learners.sgc: unknown key 'kind'"),
        ("[learners.sgc]", "[learners.sgc]\nparams.hop = 1", "unknown parameter 'hop'"),
        ("[learners.sgc]", "[learners.best]\nclassifier = 'sgc'", "learners: best"),
        ("detector =", "detectors =", "method: unknown key 'detectors'"),
        ('"self_confidence"', '"selfconfidence"', "detector: selfconfidence"),
        ('probs = "sgc"', 'probs = "gcn"', "method 'self_confidence': probs: gcn. Name a learner"),
        ('probs = "sgc"', 'probs = ["sgc", "best"]', "'best' only as the first"),
        ('probs = "sgc"', 'probs = ["sgc", "sgc"]', "Name different learners"),
        ('"self_confidence"', '"neighbour_agreement"', "reads no probabilities"),
        ("[[method]]", GOOD[GOOD.index("[[method]]") :] + "[[method]]", "methods: self_confidence"),
        ("\n[[grid]]", "n_folds = 1\n[[grid]]", "n_folds: 1"),
        ("\n[[grid]]", 'actions = ["soft"]\n[[grid]]', "actions: soft. Choose one of: drop"),
        ("\n[[grid]]", "n_folds = = 1\n[[grid]]", "Pass a TOML file"),
        ("\n[[grid]]", 'measures = ["classes"]\n[[grid]]', "measures: classes. Choose one of: st"),
        ("\n[[grid]]", 'measures = "strata"\n[[grid]]', "measures: 'strata'. Pass a list"),
        ("[[method]]", estimator("dual-t", ""), "transition: dual-t. Choose one of: anchors"),
        ("[[method]]", estimator("dual_t", ""), "'dual_t': probs: None. dual_t reads"),
        ("[[method]]", estimator("dual_t", 'probs = ["sgc"]'), "name one learner, or 'best'"),
        (
            "[[method]]",
            estimator("dual_t", 'probs = "gcn"'),
            "'dual_t': probs: gcn. Name a learner",
        ),
        ("[[method]]", estimator("hoc", 'probs = "sgc"'), "hoc reads no probabilities"),
        ("[[method]]", estimator("hoc", "params.n = 1"), "unknown parameter 'n'"),
        ("[[method]]", estimator("hoc", "detector = 1"), "estimator: unknown key 'detector'"),
        ("[[method]]", estimator("hoc", 'name = "self_confidence"'), "methods: self_confidence"),
        ("[[method]]", estimator("hoc", "params.verified_share = 0.1"), "'verified_share'"),
        ("[[method]]", estimator("verified", "params.verified_share = 0"), "verified_share: 0. P"),
        ("[[method]]", estimator("verified", "params.verified = [0]"), "Pass verified_share"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert read_grid(write(tmp_path, GOOD)).runs == 1
    with pytest.raises(InputError) as caught:
        read_grid(write(tmp_path, GOOD.replace(old, new, 1)))
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.toml"):
        read_grid(tmp_path / "no.toml")


def test_published_noise_is_uniform_or_pair() -> None:
    with pytest.raises(InputError, match="The published protocol has: pair, uniform"):
        make_grid(["cora"], ["confusion"], protocol="published")


def test_a_grid_of_names_gives_probabilities_to_those_that_read_them() -> None:
    grid = make_grid(["cora"], methods=["self_confidence", "neighbour_agreement"])
    assert [method.probs for method in grid.methods] == ["best", None]
    assert make_grid(["cora"]).runs >= 6


def test_estimators_by_name_get_probabilities_where_they_read_them() -> None:
    grid = make_grid(["cora"], methods=[], estimators=["dual_t", "hoc", "verified"])
    assert [each.probs for each in grid.estimators] == ["best", None, None]
    assert [each.verified_share for each in grid.estimators] == [None, None, 0.1]
    assert grid.runs == 3
    assert make_grid(["cora"]).estimators == ()


def test_a_grid_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="methods: none"):
        make_grid(["cora"], methods=[])


def test_a_grid_shares_the_default_base_learner_of_the_detectors() -> None:
    (learner,) = make_grid(["cora"], methods=["self_confidence"]).learners
    default = default_classifier()
    assert type(learner.build()) is type(default)
    assert learner.build().get_params() == default.get_params()
    assert "random_state" not in learner.params


def test_the_first_seed_of_every_setting_comes_first() -> None:
    grid = make_grid(["cora", "photo"], ["pair"], [0.1, 0.2], [3, 1], methods=["self_confidence"])
    assert [cell.seed for cell in grid.cells] == [3] * 4 + [1] * 4


def test_select_keeps_a_slice() -> None:
    grid = make_grid(["cora", "photo"], ["pair"], [0.1, 0.2], [0, 1], methods=["self_confidence"])
    part = select(grid, graph=["photo"], rate=[0.2], seed=(), method=["self_confidence"])
    assert part.cells == (Cell("photo", "pair", 0.2, 0), Cell("photo", "pair", 0.2, 1))
    assert select(grid) == grid
    with pytest.raises(InputError, match=r"graph: digits. The grid has: cora, photo"):
        select(grid, graph=["digits"])
    with pytest.raises(InputError, match="method: unheard_of"):
        select(grid, method=["unheard_of"])


def test_select_keeps_estimators_by_name_as_methods() -> None:
    grid = make_grid(["cora"], methods=["self_confidence"], estimators=["hoc", "verified"])
    part = select(grid, method=["hoc"])
    assert [each.name for each in part.entries] == ["hoc"]
    assert select(grid, method=["self_confidence"]).estimators == ()
    assert select(grid) == grid


CHANGED: list[tuple[str, Any, bool, bool]] = [
    ("cell", dataclasses.replace(CELL, seed=1), True, True),
    ("cell", dataclasses.replace(CELL, rate=0.2), True, True),
    ("cell", dataclasses.replace(CELL, protocol="published"), True, True),
    ("cell", Cell("KarateClub", "uniform", 0.1, 0), False, False),
    ("learners", [Learner("sgc", "sgc", {"epochs": 21}), MLP], True, True),
    ("learners", [Learner("sgc", "sgc", {"epochs": 20}, 2), MLP], True, True),
    ("learners", [SGC, Learner("mlp", "mlp", {"epochs": 21})], False, True),
    ("learners", [SGC], False, True),
    ("learners", [Learner("sgc", "sgc", {"epochs": 20, "hops": 2}), MLP], False, False),
    ("n_folds", 4, True, True),
    ("actions", ("drop",), True, True),
    ("version", 2, True, True),
    ("params", {"n_folds": 4}, True, True),
    ("params", {"random_state": 3}, True, True),
    ("params", {"n_folds": 5}, False, False),
    ("params", {"n_jobs": 2, "progress": True}, False, False),
]


@pytest.mark.parametrize(("what", "value", "on_sgc", "on_best"), CHANGED)
def test_a_key_changes_exactly_when_a_setting_does(
    what: str, value: Any, on_sgc: bool, on_best: bool
) -> None:
    base: dict[str, Any] = {"cell": CELL, "learners": [SGC, MLP], "n_folds": 5}
    for method, expected in ((ON_SGC, on_sgc), (ON_BEST, on_best)):
        before = run_key(method=method, **base)
        if what in ("version", "params"):
            after = run_key(method=dataclasses.replace(method, **{what: value}), **base)
        else:
            after = run_key(method=method, **{**base, what: value})
        assert (before != after) is expected


def test_a_method_without_probabilities_does_not_depend_on_learners_or_folds() -> None:
    method = Method("votes", "neighbour_agreement")
    assert run_key(CELL, method, [SGC], 5) == run_key(CELL, method, [], 3)


def test_probabilities_are_keyed_by_settings_alone() -> None:
    key = probs_key(CELL, SGC)
    assert key == probs_key(CELL, dataclasses.replace(SGC, name="linear"))
    others = [
        probs_key(CELL, MLP),
        probs_key(CELL, dataclasses.replace(SGC, version=2)),
        probs_key(CELL, SGC, 4),
        probs_key(dataclasses.replace(CELL, noise="pair"), SGC),
    ]
    assert len({key, *others}) == 5


def test_keys_are_the_same_in_every_process_and_version() -> None:
    """A change here makes every finished run anew: raise RESULT_FORMAT and say so."""
    method = Method("votes", "neighbour_agreement", {"hops": 2})
    assert run_key(CELL, method, []).startswith("323cf9b71d5b4094")
    assert run_key(CELL, ON_BEST, [SGC, MLP]).startswith("9ff09f78947fd80f")


def test_a_measure_makes_another_run_and_its_place_does_not() -> None:
    keys = [
        run_key(CELL, ON_SGC, [SGC], measures=make_grid(["cora"], measures=given).measures)
        for given in ((), ("strata",), ("downstream", "strata"), ("strata", "downstream"))
    ]
    assert keys[0] == run_key(CELL, ON_SGC, [SGC])
    assert len({*keys[:3]}) == 3
    assert keys[2] == keys[3]


def test_the_key_of_an_estimator_changes_exactly_when_a_setting_does() -> None:
    half = TransitionMethod("v", "verified", {"verified_share": 0.5})
    key = run_key(CELL, half, [SGC], 5)
    assert key == run_key(CELL, half, [], 3, ("drop",), ("strata",))
    tenth = run_key(CELL, TransitionMethod("v", "verified"), [])
    assert tenth == run_key(CELL, TransitionMethod("v", "verified", {"verified_share": 0.1}), [])
    dual = TransitionMethod("v", "dual_t", probs="best")
    others = [
        run_key(dataclasses.replace(CELL, seed=1), half, []),
        run_key(CELL, dataclasses.replace(half, version=2), []),
        run_key(CELL, dual, [SGC]),
        run_key(CELL, dual, [SGC, MLP]),
        run_key(CELL, dual, [SGC], 4),
    ]
    assert len({key, tenth, *others}) == 7
