"""What a detector found: one row per labelled node, its summary, and its files on disk."""

from graphclean.issues.checks import REQUIRED_COLUMNS
from graphclean.issues.files import write_atomic
from graphclean.issues.label_issues import LabelIssues
from graphclean.issues.summary import IssueSummary, NoiseRate
from graphclean.issues.tables import printable

__all__ = [
    "REQUIRED_COLUMNS",
    "IssueSummary",
    "LabelIssues",
    "NoiseRate",
    "printable",
    "write_atomic",
]
