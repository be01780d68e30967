"""Two processes under torchrun train the model that one process trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from graphclean.nn import GCN, MLP, SGC, SIGN
from graphclean.nn.distributed import ALONE, Replicas

SCRIPT = """
import sys
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, sys.argv[1])
from test_distributed import fits, refusals, stopped_by_one

dist.init_process_group("gloo")
folder, rank = Path(sys.argv[2]), dist.get_rank()
data = torch.load(folder / "data.pt", weights_only=False)
results = {
    "fits": fits(data, data_parallel=True),
    "refused": refusals(data["dense"]),
    "stopped": stopped_by_one(data["dense"], rank),
}
torch.save(results, folder / f"{rank}.pt")
dist.destroy_process_group()
"""


def fits(graphs: dict[str, Data], **options: Any) -> dict[str, Any]:
    """Fit small models without dropout; return their parameters, history and probabilities."""
    weight = torch.rand(90, generator=torch.Generator().manual_seed(0)) + 0.1
    soft = torch.eye(3)[graphs["dense"].y] * 0.8 + 0.2 / 3
    small = {"epochs": 8, "random_state": 0, "val_fraction": 0.2, **options}
    mlp = MLP(hidden=8, dropout=0.0, **small)
    cases = {
        "full batch": (SIGN(hidden=8, dropout=0.0, **small), "dense", {}),
        "uneven batches": (SIGN(hidden=8, dropout=0.0, batch_size=25, **small), "dense", {}),
        "weighted": (SGC(batch_size=20, **small), "dense", {"sample_weight": weight}),
        "sparse": (mlp.set_params(batch_size=20), "sparse", {}),
        "soft": (SGC(batch_size=30, **small), "dense", {"y": soft}),
        "a row a step": (SGC(batch_size=1, **small | {"epochs": 1}), "dense", {}),
    }
    results = {}
    for key, (model, kind, arguments) in cases.items():
        model.fit(graphs[kind], **arguments)
        results[key] = (model.states_, model.history_, model.predict_proba(graphs[kind]))
    return results


def refusals(data: Data) -> list[str]:
    """Return the argument that each impossible request is refused for."""
    arguments = []
    for model in (
        GCN(data_parallel=True, random_state=0),
        MLP(norm="batch_norm", data_parallel=True, random_state=0),
        SGC(data_parallel=True),
        SGC(loss="elr", data_parallel=True, random_state=0),
    ):
        try:
            model.fit(data)
        except ValueError as error:
            arguments.append(error.argument)  # type: ignore[attr-defined]
    return arguments


def stopped_by_one(data: Data, rank: int) -> tuple[str, int]:
    """Let a callback of the second process alone stop the training."""
    model = SGC(epochs=9, random_state=0, data_parallel=True)
    model.fit(data, callbacks=[lambda event: rank == 1 and event.get("epoch") == 3])
    return model.stop_reason_, len(model.history_["loss"])


def test_two_processes_equal_one(sbm: Data, words: Data, tmp_path: Path) -> None:
    graphs = {"dense": sbm, "sparse": words}
    torch.save(graphs, tmp_path / "data.pt")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, str(script), str(Path(__file__).parent), str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2)]
    expected = fits(graphs)
    for key, (states, history, probs) in expected.items():
        for rank in ranks:
            other, values, predicted = rank["fits"][key]
            assert torch.allclose(predicted, probs, atol=1e-5), key
            for epoch, state in states.items():
                for name, value in state.items():
                    assert torch.allclose(other[epoch][name], value, atol=1e-4), (key, name)
            for name, series in history.items():
                assert values[name] == pytest.approx(series, rel=1e-4), (key, name)
        first, second = (rank["fits"][key][2] for rank in ranks)
        assert torch.equal(first, second), key
    for rank in ranks:
        assert rank["refused"] == ["data_parallel", "norm", "random_state", "loss"]
        assert rank["stopped"] == ("callback", 3)


def test_one_process_changes_nothing(sbm: Data) -> None:
    plain, parallel = (
        SIGN(hidden=8, epochs=4, batch_size=20, data_parallel=flag, random_state=0).fit(sbm)
        for flag in (False, True)
    )
    assert torch.equal(plain.predict_proba(sbm), parallel.predict_proba(sbm))
    assert Replicas.here() == ALONE


def test_processes_share_all_rows_once() -> None:
    rows = torch.arange(11)
    parts = [rows[Replicas(rank, 3).own] for rank in range(3)]
    assert torch.equal(torch.cat(parts).sort().values, rows)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
