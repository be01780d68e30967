"""What a detector found: one row per labelled node, its summary, and its files on disk."""

from graphclean.issues.checks import ALTERNATIVE_COLUMNS, REQUIRED_COLUMNS
from graphclean.issues.files import write_atomic
from graphclean.issues.flags import flag_policy
from graphclean.issues.label_issues import LabelIssues
from graphclean.issues.multilabel_issues import MultiLabelIssues
from graphclean.issues.summary import IssueSummary, NoiseRate
from graphclean.issues.tables import printable

__all__ = [
    "ALTERNATIVE_COLUMNS",
    "REQUIRED_COLUMNS",
    "IssueSummary",
    "LabelIssues",
    "MultiLabelIssues",
    "NoiseRate",
    "flag_policy",
    "printable",
    "write_atomic",
]
