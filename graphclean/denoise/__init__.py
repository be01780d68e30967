"""Repair: policies for flagged labels, planned and shown before anything changes."""

from graphclean.denoise.clean_labels import CleanLabels
from graphclean.denoise.plan import ACTIONS, RepairPlan, plan_repair
from graphclean.denoise.repair import clean

__all__ = ["ACTIONS", "CleanLabels", "RepairPlan", "clean", "plan_repair"]
