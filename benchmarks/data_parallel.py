"""One decoupled model trained by several processes, and the same model trained by one.

    torchrun --nproc-per-node 2 benchmarks/data_parallel.py
    python benchmarks/data_parallel.py            # one process: the same script, the same model

Every process holds the graph and computes the gradients of its share of every batch; gloo adds
them up. Without dropout the result is that of one process, up to rounding: the first process
trains alone as well and prints how far apart the two are.
"""

from __future__ import annotations

import argparse
import os
import time

import torch
import torch.distributed as dist

import graphclean as gc
from graphclean.nn import MLP, SGC, SIGN


def main() -> None:
    """Train together, then alone, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graph", default="digits")
    parser.add_argument("--model", choices=["sign", "sgc", "mlp"], default="sign")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=256)
    options = parser.parse_args()
    launched = "RANK" in os.environ  # set by torchrun
    if launched:
        dist.init_process_group("gloo")
    rank, size = (dist.get_rank(), dist.get_world_size()) if launched else (0, 1)
    torch.set_num_threads(1)

    data = gc.check(gc.load(options.graph))
    builder = {"sign": SIGN, "sgc": SGC, "mlp": MLP}[options.model]
    model = builder(
        epochs=options.epochs, batch_size=options.batch_size, data_parallel=True, random_state=0
    )
    if options.model != "sgc":
        model.set_params(dropout=0.0)
    start = time.perf_counter()
    together = model.fit(data).predict_proba(data)
    seconds = time.perf_counter() - start
    if launched:
        dist.barrier()
    if rank == 0:
        start = time.perf_counter()
        alone = model.set_params(data_parallel=False).fit(data).predict_proba(data)
        known = data.y >= 0
        accuracy = float((together.argmax(dim=1) == data.y)[known].double().mean())
        print(f"{options.model} on {options.graph}: {data.num_nodes} nodes, {size} process(es)")
        print(f"together {seconds:.2f} s, alone {time.perf_counter() - start:.2f} s")
        print(f"accuracy on the given labels {accuracy:.3f}")
        print(f"largest difference of a probability {float((together - alone).abs().max()):.1e}")
    if launched:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
