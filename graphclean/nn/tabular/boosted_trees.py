"""What all boosted trees share: how many, how large, how cautious."""

from __future__ import annotations

from typing import ClassVar

from graphclean.nn.params import check_integer, check_number, estimator
from graphclean.nn.tabular.base import TabularClassifier
from graphclean.nn.tabular.encoder import CodeEncoder, TableEncoder


@estimator
class BoostedTrees(TabularClassifier):
    r"""Gradient-boosted trees on the rows of the nodes.

    .. math::
        F^{(t)}_c(x) = F^{(t-1)}_c(x) + \eta \, h^{(t)}_c(x), \quad
        p_c(x) = \frac{e^{F_c(x)}}{\sum_{c'} e^{F_{c'}(x)}}

    where the tree :math:`h^{(t)}_c` takes a Newton step on the cross-entropy of the training rows.
    Numbers and categories are split as they are, gaps are sent where they fit best. The settings
    are those of small, cautious trees: boosting fits right labels first and wrong ones later.

    Args:
        max_iter: Rounds; one round is one tree for each class, or one in all for two classes.
        lr: Learning rate :math:`\eta`.
        max_leaf_nodes: Leaves of a tree at most.
        min_samples_leaf: Training rows of a leaf at least.
        max_features: Share of the columns that are tried at a split, drawn anew for each.
        l2: L2 penalty on the values of the leaves.
        patience: Rounds without a lower cross-entropy of the validation rows after which the
            training stops, if ``fit`` is given a ``val_mask``; None for never. No training row is
            held back otherwise.

    Attributes:
        n_iter_: Rounds of the fitted model; absent where all training rows are of one class.
    """

    _encoder: ClassVar[type[TableEncoder]] = CodeEncoder

    max_iter: int = 300
    lr: float = 0.03
    max_leaf_nodes: int = 15
    min_samples_leaf: int = 20
    max_features: float = 0.2
    l2: float = 1.0
    patience: int | None = 10

    def check_parameters(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        super().check_parameters()
        check_integer("max_iter", self.max_iter, 1)
        check_integer("max_leaf_nodes", self.max_leaf_nodes, 2)
        check_integer("min_samples_leaf", self.min_samples_leaf, 1)
        check_number("max_features", self.max_features, 0, 1, open_low=True)
