"""``graphclean convert``: a table of edges of any length becomes a memory-mapped graph."""

from __future__ import annotations

from pathlib import Path

import click

from graphclean.cli.examples import ExampleCommand
from graphclean.cli.out_folder import out_path

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    cls=ExampleCommand,
    examples=(
        "graphclean convert edges.parquet graph.csr/",
        "graphclean convert edges.csv.gz graph.csr/ --source citing --target cited --memory 4GiB",
        "graphclean convert edges.parquet graph.csr/ --nodes nodes.parquet --id paper",
        "graphclean convert edges.tsv graph.csr/ --weight count --directed --renumber",
    ),
)
@click.argument("edges", type=_FILE)
@click.argument("out", type=out_path)
@click.option(
    "--source", metavar="COLUMN", help="First end. Default: source, src or from, else the first."
)
@click.option(
    "--target", metavar="COLUMN", help="Second end. Default: target, dst or to, else the second."
)
@click.option("--weight", metavar="COLUMN", help="Weights. Default: none.")
@click.option("--nodes", type=_FILE, help="Table of nodes, whose order the graph takes.")
@click.option("--id", metavar="COLUMN", help="Column of --nodes with the ids.")
@click.option(
    "--renumber",
    is_flag=True,
    help="Number the ids in sorted order. Ids that are no integers always are.",
)
@click.option(
    "--num-nodes",
    type=click.IntRange(min=1),
    help="Default: the largest id plus one.",
)
@click.option("--directed", is_flag=True, help="Keep directions. Default: edges run both ways.")
@click.option(
    "--memory",
    metavar="SIZE",
    default="1GiB",
    show_default=True,
    help="Working memory, such as 512MiB; 16 bytes a node and the ids come on top.",
)
@click.option("--overwrite", is_flag=True, help="Replace a graph that was converted before.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def convert(
    edges: Path,
    out: Path,
    source: str | None,
    target: str | None,
    weight: str | None,
    nodes: Path | None,
    id: str | None,
    renumber: bool,
    num_nodes: int | None,
    directed: bool,
    memory: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Convert a table of edges into a graph on disk that is mapped instead of loaded.

    EDGES is a .parquet, .csv or .tsv file (.csv.gz too), one row an edge, its ends integers
    0..N-1 or, with --nodes or --renumber, any ids. OUT is the folder to write: CSR arrays, ids and
    meta.json. Self-loops are dropped, parallel edges merged (their weights summed). Edges are
    sorted on disk beside OUT in bounded memory; OUT appears whole or not at all.
    """
    from graphclean.sparse.convert import convert_edges

    graph = convert_edges(
        edges,
        out,
        source=source,
        target=target,
        weight=weight,
        nodes=nodes,
        id=id,
        renumber=renumber,
        num_nodes=num_nodes,
        directed=directed,
        memory=memory,
        overwrite=overwrite,
        progress=not quiet,
    )
    meta = graph.meta
    click.echo(
        f"Read {meta['read']['rows']:,} edges ({meta['read']['self_loops']:,} self-loops dropped)\n"
        f"Wrote {meta['num_nodes']:,} nodes and {meta['num_edges']:,} entries, "
        f"{'directed' if directed else 'both directions'}, to {out}"
    )
