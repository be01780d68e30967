"""The command line: ``graphclean clean | noise | list | report``."""

from graphclean.cli.app import main

__all__ = ["main"]
