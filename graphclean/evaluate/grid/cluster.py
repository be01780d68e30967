"""Run a grid on a Dask cluster, through joblib's backend."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import joblib

from graphclean.types import InputError, MissingDependencyError


@contextmanager
def on_cluster(address: str, n_workers: int | None = None) -> Iterator[None]:
    """Send what joblib runs within the block to a Dask cluster.

    A task whose worker dies is done again by another one, where it leaves out the runs that it had
    finished. The workers need one thread each (``dask worker --nthreads 1``), graphclean, and the
    grid's folder on a file system that all of them share.

    Args:
        address: Address of a scheduler, such as ``"tcp://10.0.0.1:8786"``, or ``"local"`` for
            worker processes on this machine.
        n_workers: Processes of ``"local"``; None for all cores.

    Raises:
        MissingDependencyError: ``distributed`` is not installed.
        InputError: No scheduler answers there.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise MissingDependencyError("distributed", "scale", "--cluster") from error
    if address == "local":
        with (
            LocalCluster(
                n_workers=n_workers or int(joblib.cpu_count()),
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                memory_limit=0,
                silence_logs=logging.ERROR,
            ) as local,
            Client(local),
            joblib.parallel_config("dask"),
        ):
            yield
        return
    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise InputError(
            "cluster", address, f"No Dask scheduler answers there ({error}); or pass 'local'."
        ) from error
    with client, joblib.parallel_config("dask"):
        yield
