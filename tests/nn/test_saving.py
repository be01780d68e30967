"""Saved classifiers predict the same bits, and files that are no such thing are refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from torch import Tensor
from torch_geometric.data import Data

from graphclean.nn import (
    GCN,
    LINKX,
    SGC,
    SIGN,
    NeuralClassifier,
    NodeClassifier,
    NodeIdClassifier,
    load_model,
    save_model,
)
from graphclean.nn.encoding import _ROOTS, Decoder, Encoder
from graphclean.nn.losses import GCE, ForwardCorrection
from graphclean.recipes import load_object
from graphclean.types import InputError

Build = Callable[..., Any]

NAMES = sorted(
    n for n, c in NodeClassifier.registry.items() if c.__module__.split(".")[0] == "graphclean"
)
FILES = ["model.json", "model.safetensors"]


@pytest.fixture
def fitted(sbm: Data) -> NodeClassifier:
    return SGC(epochs=2, random_state=0).fit(sbm)


@pytest.fixture
def saved(fitted: NodeClassifier, tmp_path: Path) -> Path:
    return save_model(fitted, tmp_path / "model")


@pytest.fixture
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("unpickled")

    for place in ("pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load"):
        monkeypatch.setattr(place, refuse)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads((folder / "model.json").read_text())
    change(record)
    (folder / "model.json").write_text(json.dumps(record))


@pytest.mark.usefixtures("no_pickle")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("graph", ["sbm", "words"])
def test_the_loaded_predicts_the_same_bits(
    name: str, graph: str, fast: Build, half: Tensor, tmp_path: Path, request: Any
) -> None:
    data: Data = request.getfixturevalue(graph)
    data.class_names = ["Ä", "b", "c"]
    model = fast(name, epochs=4, val_fraction=0.3).fit(data, mask=half)
    with torch.random.fork_rng():
        before = torch.get_rng_state()
        again = load_model(save_model(model, tmp_path / "deep" / "model"))
        assert torch.equal(torch.get_rng_state(), before)
    assert names(tmp_path / "deep" / "model") == FILES
    assert type(again) is type(model)
    assert again.get_params() == model.get_params()
    assert again.class_names_ == ["Ä", "b", "c"]
    assert vars(again).keys() == vars(model).keys()
    assert torch.equal(again.predict_proba(data), model.predict_proba(data))
    neural = isinstance(model, NeuralClassifier)
    kept = ("best_epoch_", "stop_reason_", "history_") if neural else ("seen_classes_",)
    for key in ("n_classes_", "n_features_in_", *kept):
        assert getattr(again, key) == getattr(model, key)
    for epoch in ("best", "last") if neural else ():
        first, second = (each.predict_proba(data, epoch=epoch) for each in (model, again))
        assert torch.equal(first, second)
    assert not neural or not again.module_.training
    other = data.subgraph(torch.arange(20, 90))
    if name == "linkx":
        with pytest.raises(InputError, match="own graph of 90 nodes"):
            again.predict_proba(other)
    else:
        assert torch.equal(again.predict_proba(other), model.predict_proba(other))


def test_reduced_features_keep_their_basis(sbm: Data, tmp_path: Path) -> None:
    sbm.x = torch.cat([sbm.x, torch.randn(90, 600, generator=torch.Generator().manual_seed(0))], 1)
    model = SIGN(svd=4, hidden=4, epochs=2, random_state=0).fit(sbm)
    again = load_model(save_model(model, tmp_path / "model"))
    assert torch.equal(again.predict_proba(sbm), model.predict_proba(sbm))
    with pytest.raises(InputError, match="reduced by svd"):
        again.predict_proba(sbm.subgraph(torch.arange(40)))


def test_parameters_come_back_as_they_were(sbm: Data, tmp_path: Path) -> None:
    transition = [[0.8, 0.1, 0.1], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]]
    loss = ForwardCorrection(transition=torch.tensor(transition))
    model = GCN(fanout=(3, -1), epochs=2, batch_size=20, loss=loss, select="last").fit(sbm)
    again = load_model(save_model(model, tmp_path / "model"))
    assert again.fanout == (3, -1)
    assert isinstance(again.loss, ForwardCorrection)
    assert torch.equal(again.loss.transition, loss.transition)
    assert torch.equal(again.predict_proba(sbm), model.predict_proba(sbm))
    named = load_model(save_model(SGC(epochs=1, loss="gce").fit(sbm), tmp_path / "named"))
    assert named.loss == "gce"


def test_values_that_json_lacks_come_back_exactly() -> None:
    given = {
        "list": [1, True, None, "x", 0.1, float("inf"), -float("inf")],
        "tuple": (1, (2.5,), []),
        "numbered": {1: "a", "$b": {}, (1, 2): "c"},
        "tagged": {"$tensor": "no"},
        "arrays": {"a.b": torch.ones(2), "a": {"b": torch.zeros(0, 3)}},
    }
    encoder = Encoder()
    text = json.dumps(encoder.encode(given, "model"), allow_nan=False)
    back = Decoder(encoder.tensors).decode(json.loads(text))
    arrays, expected = back.pop("arrays"), given.pop("arrays")
    assert back == given
    assert isinstance(back["tuple"][1], tuple)
    assert torch.equal(arrays["a.b"], expected["a.b"])
    assert arrays["a"]["b"].shape == (0, 3)
    nan = Decoder({}).decode(Encoder().encode(float("nan"), "model"))
    assert nan != nan


def test_a_network_is_its_weights_and_its_record(saved: Path, fitted: Any, sbm: Data) -> None:
    weights = load_file(saved / "model.safetensors")
    key = "model.states_.best.body.lin.weight"
    assert torch.equal(weights[key], fitted.states_["best"]["body.lin.weight"])
    record = json.loads((saved / "model.json").read_text())
    assert record["model"]["name"] == "sgc"
    assert record["model"]["class"] == "SGC"
    assert record["model"]["params"]["hops"] == 2
    assert record["model"]["fitted"]["n_classes_"] == 3


def test_equal_models_are_equal_files_and_replace_each_other(sbm: Data, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "notes.txt").write_text("mine")
    for seed, folder in ((1, "kept"), (0, "kept"), (0, "new")):
        save_model(SGC(epochs=2, random_state=seed).fit(sbm), tmp_path / folder)
    assert names(tmp_path / "kept") == [*FILES, "notes.txt"]
    for name in FILES:
        first, second = ((tmp_path / folder / name).read_bytes() for folder in ("kept", "new"))
        assert first == second


@pytest.mark.parametrize("folder", ["new", "old"])
def test_a_failed_save_leaves_what_was_there(
    folder: str, fitted: Any, sbm: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(fitted, tmp_path / "old")
    expected, write = fitted.predict_proba(sbm), Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        write(self, content[:10])
        raise OSError(28, "No space left on device")

    other = SGC(epochs=2, random_state=5).fit(sbm)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            save_model(other, tmp_path / folder)
    assert names(tmp_path) == ["old"]
    assert names(tmp_path / "old") == FILES
    assert torch.equal(load_model(tmp_path / "old").predict_proba(sbm), expected)


@pytest.mark.parametrize("where", ["loss", "within a loss's classifier"])
def test_what_needs_pickle_is_refused_and_named(where: str, sbm: Data, tmp_path: Path) -> None:
    def my_loss(logits: Tensor, target: Tensor, index: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(logits, target, reduction="none")

    model = SGC(epochs=1, loss=my_loss).fit(sbm)
    path = "model.loss"
    if where != "loss":
        model, path = SGC(epochs=1).fit(sbm), "model.helper_.1"
        model.helper_ = [1, slice(3)]
    with pytest.raises(InputError) as caught:
        save_model(model, tmp_path / "model")
    assert caught.value.argument == path
    assert ("my_loss" if where == "loss" else "a slice") in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("model", [RandomForestClassifier(), NodeIdClassifier(SGC(), Data()), 3])
def test_only_node_classifiers_can_be_saved(model: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"appnp, .*gat, gcn.* trainers and ensembles") as caught:
        save_model(model, tmp_path / "model")
    assert type(model).__name__ in str(caught.value)


def test_an_unfitted_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        save_model(SGC(), tmp_path / "model")
    assert names(tmp_path) == []


@pytest.fixture
def own() -> Iterator[type[NodeClassifier]]:
    """A classifier that a user has registered."""
    own = type("Own", (SGC,), {"name": "own", "__module__": "mine"})
    yield own
    del NodeClassifier.registry["own"]


def test_classes_of_others_are_neither_written_nor_built(
    own: type[Any], saved: Path, sbm: Data, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="Only graphclean's own methods"):
        save_model(own(epochs=1).fit(sbm), tmp_path / "own")
    edit(saved, lambda record: record["model"].update(name="own"))
    with pytest.raises(InputError, match="Only graphclean's own methods"):
        load_model(saved)
    below = type("Below", (SGC,), {})  # Without a name it would come back as its parent.
    with pytest.raises(InputError, match="Below"):
        save_model(below(epochs=1).fit(sbm), tmp_path / "below")


def test_a_file_in_the_place_of_the_folder_is_refused(fitted: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="It is a file"):
        save_model(fitted, tmp_path / "file")
    with pytest.raises(InputError, match=r"no file model\.json"):
        load_model(tmp_path / "file")


def _cut(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return cut


def _set(*path: str, to: Any) -> Callable[[Path], None]:
    def change(record: dict[str, Any]) -> None:
        for key in path[:-1]:
            record = record[key]
        record[path[-1]] = to

    return lambda folder: edit(folder, change)


def _not_safetensors(folder: Path) -> None:
    import hashlib

    content = pickle.dumps({"a": 1})
    (folder / "model.safetensors").write_bytes(content)
    edit(folder, lambda record: record.update(sha256=hashlib.sha256(content).hexdigest()))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "model.json").unlink(), "no file model.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no file model.safetensors"),
        (_cut("model.json"), "JSONDecodeError"),
        (_cut("model.safetensors"), "is not the file that model.json describes"),
        (_not_safetensors, "SafetensorError"),
        (lambda folder: (folder / "model.json").write_text("[]"), "TypeError"),
        (_set("format", to="another"), "is not of graphclean.NodeClassifier"),
        (_set("version", to=99), "Upgrade graphclean"),
        (_set("model", "name", to="future"), "Load it with graphclean"),
        (_set("model", "name", to="os.system"), "Choose one of"),
        (_set("model", "family", to="builtins"), "family: builtins"),
        (_set("model", "params", "future", to=1), "unknown parameter 'future'"),
        (_set("model", "fitted", "predict_proba", to=1), "no learned attribute of SGC"),
        (_set("model", "fitted", "states_", to={}), "KeyError"),
        (_set("model", "fitted", "n_classes_", to=7), "size mismatch"),
        (_set("model", "fitted", "basis_", to={"$pickle": "x"}), "nothing is encoded as $pickle"),
        (_set("model", "fitted", "basis_", to={"$tensor": "x"}), "KeyError"),
    ],
)
def test_what_is_no_sound_model_is_refused(
    damage: Callable[[Path], None], said: str, saved: Path
) -> None:
    damage(saved)
    with pytest.raises(InputError) as caught:
        load_model(saved)
    assert caught.value.argument == "folder"
    assert str(saved) in str(caught.value)
    assert said in str(caught.value)


def test_a_saved_loss_is_no_model(saved: Path) -> None:
    loss = Encoder().encode(GCE(), "model")["$method"]
    _set("model", to=loss)(saved)
    with pytest.raises(InputError, match="a GCE"):
        load_model(saved)


def test_weights_of_another_save_are_refused(saved: Path, sbm: Data, tmp_path: Path) -> None:
    other = save_model(SGC(epochs=2, random_state=9).fit(sbm), tmp_path / "other")
    (saved / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"model\.safetensors is not the file"):
        load_model(saved)


@pytest.mark.parametrize("family", sorted(_ROOTS))
def test_families_are_found_by_their_names(family: str) -> None:
    root = load_object(_ROOTS[family])
    assert root.family == family
    assert vars(root)["registry"]


def test_linkx_still_knows_its_graph(sbm: Data, tmp_path: Path) -> None:
    model = LINKX(hidden=4, epochs=1, random_state=0).fit(sbm)
    again = load_model(save_model(model, tmp_path / "model"))
    assert again.module_.body.num_nodes == 90
