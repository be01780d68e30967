"""``python -m graphclean`` is the command ``graphclean``."""

from graphclean.cli import main

main(prog_name="graphclean")
