"""SIGN: propagate once, then learn an MLP on all hops at once."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from sklearn.decomposition import TruncatedSVD
from torch import Tensor, nn
from torch_geometric.nn.dense.linear import Linear

from graphclean.nn.dropout import Dropout
from graphclean.nn.features import Features, features_of
from graphclean.nn.matrix import SparseMatrix
from graphclean.nn.mlp import FeatureMLP
from graphclean.nn.neural import NeuralClassifier
from graphclean.nn.params import estimator
from graphclean.nn.prepared import Prepared
from graphclean.sparse.propagator import Propagator
from graphclean.types import InputError

WIDE = 512
"""Features with more columns are reduced before they are propagated."""


@estimator
class SIGN(NeuralClassifier):
    r"""Scalable inception graph network (Frasca et al., https://arxiv.org/abs/2004.11198).

    .. math::
        Z = \mathrm{MLP}\left( \sigma\left(
            [X \Theta_0 \,\|\, S X \Theta_1 \,\|\, \dots \,\|\, S^K X \Theta_K] \right) \right),
        \quad S = D^{-1/2} A D^{-1/2}

    The hops are computed once, in ``prepare``; all folds share them and training reads only the
    rows it needs. They take N (K + 1) F floats of memory, so features with more than 512 columns
    are first reduced to their leading ``svd`` singular vectors, without a look at any label.

    Args:
        hidden: Width of every hop and of the hidden layers.
        num_layers: Number of layers of the MLP.
        hops: Number of hops K.
        svd: Columns that wide features are reduced to; None to keep all. A reduced model predicts
            only on the graph it was fitted on.
        norm: Normalisation of the hidden layers: ``"batch_norm"`` or None.
        dropout: Dropout probability of the hidden layers.
    """

    name: ClassVar[str] = "sign"

    hidden: int = 64
    num_layers: int = 1
    hops: int = 3
    svd: int | None = 128
    norm: str | None = None
    dropout: float = 0.5

    def _prepare(self, data: Any) -> Prepared:
        x, basis = self._reduced(features_of(data, self.feature_norm))
        adj = self._adjacency(data)
        hops = [x]
        for _ in range(self.hops):
            hops.append(adj @ hops[-1])
        return Prepared(torch.cat(hops, dim=1), basis=basis)

    def _reduced(self, x: Features) -> tuple[Tensor, Tensor | None]:
        matrix: Any = x.to_scipy() if isinstance(x, SparseMatrix) else x.numpy()
        if self.svd is None or x.shape[1] <= WIDE:
            return (torch.from_numpy(matrix.toarray()) if isinstance(x, SparseMatrix) else x), None
        svd = TruncatedSVD(min(self.svd, min(x.shape)), random_state=0)
        reduced = torch.from_numpy(svd.fit_transform(matrix)).to(torch.float32)
        return reduced, torch.from_numpy(svd.components_).to(torch.float32)

    def _adjacency(self, data: Any) -> Propagator:
        return Propagator.from_data(data, norm="sym")

    def _check_inputs(self, inputs: Prepared) -> None:
        super()._check_inputs(inputs)
        fitted: Any = self.module_.body.basis
        if fitted is not None and not _same(fitted, inputs.basis):
            raise InputError(
                "data",
                "another graph than that of the fit, whose features were reduced by svd",
                "Pass svd=None to predict on other graphs.",
            )

    def _network(self, inputs: Prepared, num_classes: int) -> nn.Module:
        return _SIGN(
            inputs.num_features // (self.hops + 1),
            self.hidden,
            num_classes,
            self.num_layers,
            self.hops,
            self.dropout,
            self.norm,
            inputs.basis,
        )


class _SIGN(nn.Module):
    basis: Tensor | None

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        num_layers: int,
        hops: int,
        dropout: float,
        norm: str | None,
        basis: Tensor | None,
    ) -> None:
        super().__init__()
        self.lins = nn.ModuleList(Linear(in_channels, hidden) for _ in range(hops + 1))
        self.dropout = Dropout(dropout)
        width = (hops + 1) * hidden
        self.mlp = FeatureMLP(width, hidden, out_channels, num_layers, dropout, norm)
        self.register_buffer("basis", basis, persistent=False)

    def forward(self, x: Tensor, adj: None) -> Tensor:
        hops = x.chunk(len(self.lins), dim=1)
        hidden = [lin(hop) for lin, hop in zip(self.lins, hops, strict=True)]
        logits: Tensor = self.mlp(self.dropout(torch.cat(hidden, dim=1).relu()))
        return logits


def _same(fitted: Tensor, given: Tensor | None) -> bool:
    return (
        given is not None
        and given.shape == fitted.shape
        and torch.allclose(given, fitted, atol=1e-3)
    )
