"""GAMLP: propagate once, then let every node weigh its hops."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch_geometric.nn.dense.linear import Linear

from graphclean.nn.batches import predict
from graphclean.nn.dropout import Dropout
from graphclean.nn.mlp import FeatureMLP
from graphclean.nn.params import estimator
from graphclean.nn.prepared import Prepared
from graphclean.nn.sign import SIGN
from graphclean.types import InputError

_ATTENTIONS = ("recursive", "jk")
_SLOPE = 0.2


@estimator
class GAMLP(SIGN):
    r"""Graph attention multi-layer perceptron (Zhang et al., https://arxiv.org/abs/2108.10097).

    .. math::
        H_k = \sigma(S^k X \Theta_k), \quad
        w_k = \mathrm{softmax}_k\left(\mathrm{LeakyReLU}(a^\top [R_k \,\|\, H_k])\right), \quad
        Z = \mathrm{MLP}\left(\sum_{k=0}^K w_k H_k\right)

    Where `SIGN` gives all nodes the same weights, here every node has its own reach: each hop is
    held against a reference, either what the nearer hops came to,
    :math:`R_k = \sum_{j < k} \mathrm{softmax}_j(\cdot) H_j` with :math:`R_0 = H_0` (recursive), or
    all hops at once, :math:`R_k = \sigma([H_0 \| \dots \| H_K] \Theta_R)` (JK).

    Hops are computed once, in ``prepare``, as in `SIGN`, and training reads only its own rows.
    Differences from the released code: one linear map a hop in front of the attention, which the
    release has as an option, and no residual connection. The channel of propagated labels
    ("reliable label utilization") is left out: it reads labels of training rows as inputs of
    training rows.

    Args:
        hidden: Width of every hop and of the hidden layers.
        num_layers: Number of layers of the MLP.
        hops: Number of hops K.
        svd: Columns that wide features are reduced to; None to keep all. A reduced model predicts
            only on the graph it was fitted on.
        norm: Normalisation of the hidden layers: ``"batch_norm"`` or None.
        dropout: Dropout probability of the hops and of the hidden layers.
        attention: ``"recursive"`` or ``"jk"``.
    """

    name: ClassVar[str] = "gamlp"

    num_layers: int = 2
    attention: str = "recursive"

    def check_parameters(self) -> None:
        """Raise InputError for a parameter that is out of its range."""
        super().check_parameters()
        if self.attention not in _ATTENTIONS:
            raise InputError("attention", self.attention, "Use 'recursive' or 'jk'.")

    def hop_weights(self, data: Any, *, prepared: Prepared | None = None) -> Tensor:
        """Return how much every node takes of each hop ``[N, K + 1]``, float32, rows sum to one.

        Raises:
            InputError: The number of features is not that of the fit.
            sklearn.exceptions.NotFittedError: ``fit`` was not called.
        """
        check_is_fitted(self, "module_")
        inputs = self._inputs(data, prepared)
        self._check_inputs(inputs)
        body: Any = self.module_.body
        with torch.no_grad():
            return predict(lambda part: body.attend(part.x)[0], inputs, torch.device("cpu"))

    def _network(self, inputs: Prepared, num_classes: int) -> nn.Module:
        return _GAMLP(
            inputs.num_features // (self.hops + 1),
            self.hidden,
            num_classes,
            self.num_layers,
            self.hops,
            self.dropout,
            self.norm,
            self.attention,
            inputs.basis,
        )


class _GAMLP(nn.Module):
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
        attention: str,
        basis: Tensor | None,
    ) -> None:
        super().__init__()
        self.lins = nn.ModuleList(Linear(in_channels, hidden) for _ in range(hops + 1))
        self.all_hops = Linear((hops + 1) * hidden, hidden) if attention == "jk" else None
        self.score = Linear(2 * hidden, 1)
        self.dropout = Dropout(dropout)
        self.mlp = FeatureMLP(hidden, hidden, out_channels, num_layers, dropout, norm)
        self.register_buffer("basis", basis, persistent=False)

    def forward(self, x: Tensor, adj: None) -> Tensor:
        weights, hops = self.attend(x)
        logits: Tensor = self.mlp(_mixed(weights, hops))
        return logits

    def attend(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return weights ``[N, K + 1]`` and what they weigh, one ``[N, hidden]`` a hop."""
        parts = x.chunk(len(self.lins), dim=1)
        hops = [self.dropout(lin(part).relu()) for lin, part in zip(self.lins, parts, strict=True)]
        reference = None if self.all_hops is None else self.all_hops(torch.cat(hops, dim=1)).relu()
        scores: list[Tensor] = []
        for k, hop in enumerate(hops):
            if self.all_hops is None:
                nearer = torch.cat(scores, dim=1).softmax(dim=1) if k else None
                reference = hop if nearer is None else _mixed(nearer, hops[:k])
            compared = torch.cat([reference, hop], dim=1)  # type: ignore[list-item]
            scores.append(F.leaky_relu(self.score(compared), _SLOPE))
        return torch.cat(scores, dim=1).softmax(dim=1), hops


def _mixed(weights: Tensor, hops: list[Tensor]) -> Tensor:
    """Return the weighted sum of the hops ``[N, hidden]``."""
    total = weights[:, :1] * hops[0]
    for k in range(1, len(hops)):
        total = total + weights[:, k : k + 1] * hops[k]
    return total
