"""graphclean: find, explain, repair and train through wrong node labels in graphs."""

__version__ = "0.1.0"
