"""One training step: the gradients of every capacity, integrated into one (METHOD.md section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from prunnet.prunable import PrunableEncoder
from prunnet.train.integrate import Integration, integrate
from prunnet.train.recipe import MethodSpec


class Classifier(nn.Module):
    """Class logits of an embedding; only the dense loss trains it.

    Args:
        dimension: Dimension D of the embedding.
        classes: Number of classes.
        scale: Scale of the cosine logits; None for affine ones.
    """

    def __init__(self, dimension: int, classes: int, scale: float | None) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.randn(classes, dimension) * dimension**-0.5)
        self.bias = nn.Parameter(torch.zeros(classes)) if scale is None else None

    def forward(self, features: Tensor) -> Tensor:
        """Map the embedding before its normalisation, [N, D], to logits [N, classes]."""
        if self.scale is None:
            return F.linear(features, self.weight, self.bias)
        return self.scale * F.linear(F.normalize(features, dim=1), F.normalize(self.weight, dim=1))


class JointStep:
    """Computes the joint gradient of the dense encoder and its subnetworks.

    Args:
        prunable: The encoder that is trained.
        classifier: The dense classifier.
        method: How capacities are trained together.
        precision: "fp32", "bf16", or "auto": bf16 on a GPU.
    """

    def __init__(
        self, prunable: PrunableEncoder, classifier: Classifier, method: MethodSpec, precision: str = "auto"
    ) -> None:
        self.prunable, self.classifier, self.method = prunable, classifier, method
        self._precision_name = precision
        self.named = dict(prunable.encoder.named_parameters())
        adapters = [] if prunable.adapters is None else list(prunable.adapters.parameters())
        self._trained = [*self.named.values(), *classifier.parameters(), *adapters]
        self.parameters = [*self._trained, *prunable.scores.values()]
        norms = {
            n for n, m in prunable.encoder.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
        }
        # The paper: classifier, projector and BatchNorm's affine parameters learn from the dense loss only.
        self._shared = [
            number
            for number, name in enumerate(self.named)
            if name.rpartition(".")[0] not in norms and not name.startswith("head.")
        ]
        # The adapters are the subnetworks' own.
        self._shared += range(len(self._trained) - len(adapters), len(self._trained))

    def __call__(
        self, pixels: Tensor, labels: Tensor, capacities: Sequence[float], balance: float | None = None
    ) -> list[float]:
        """Set the gradient of every parameter and score.

        Args:
            pixels: float32 [N, 3, H, W], raw RGB in 0..255.
            labels: int64 [N].
            capacities: The subnetworks of this step.
            balance: Largest length of a subnetwork's gradient, in lengths of the dense one; None: no limit.

        Returns:
            The losses: dense, then each capacity.
        """
        with self._precision(pixels):
            features = self.prunable.encoder.features(pixels)
            dense_loss = F.cross_entropy(self.classifier(features).float(), labels)
        trained = self._trained
        rows = [self._with_scores(list(torch.autograd.grad(dense_loss, trained, allow_unused=True)))]
        losses = [dense_loss.detach()]
        goal = F.normalize(features.detach().float(), dim=1)
        for capacity in capacities:
            with self._precision(pixels):
                out = self.prunable.features_at(capacity, pixels, self.named)
                loss = self.method.subnetwork_weight * self._subnetwork_loss(out, goal, labels)
            shared = [trained[number] for number in self._shared]
            found = torch.autograd.grad(loss, shared, allow_unused=True)
            row: list[Tensor | None] = [None] * len(trained)
            for number, shared_gradient in zip(self._shared, found, strict=True):
                row[number] = shared_gradient
            rows.append(self._with_scores(row))
            losses.append(loss.detach())
        if dist.is_initialized():
            for row in rows:
                _average(row)
        method = self.method
        how = Integration(method.project, method.protect_dense, method.alpha, balance)
        joint = integrate(rows, how) if len(rows) > 1 else rows[0]
        for parameter, gradient in zip(self.parameters, joint, strict=True):
            parameter.grad = gradient
        return [float(loss) for loss in losses]

    def _subnetwork_loss(self, features: Tensor, goal: Tensor, labels: Tensor) -> Tensor:
        if self.method.objective == "embedding":
            return (1 - (F.normalize(features.float(), dim=1) * goal).sum(1)).mean()
        return F.cross_entropy(self.classifier(features).float(), labels)

    def _with_scores(self, row: list[Tensor | None]) -> list[Tensor | None]:
        gradients = {n: g for n, g in zip(self.named, row, strict=False) if g is not None}
        scores = self.prunable.cutter.score_gradients(self.named, gradients)
        # A group that only the projector reads has no gradient from a subnetwork: the projector is the dense loss's.
        signs = {k: s.detach().sign() for k, s in self.prunable.scores.items()}
        return [*row, *(scores[k] * sign if k in scores else None for k, sign in signs.items())]

    def _precision(self, pixels: Tensor) -> torch.autocast:
        low = pixels.is_cuda if self._precision_name == "auto" else self._precision_name == "bf16"
        return torch.autocast(pixels.device.type, torch.bfloat16, enabled=low)


def _average(row: list[Tensor | None]) -> None:
    """Average one loss's gradients over the processes, in one message."""
    present = [g for g in row if g is not None]
    flat = torch.cat([g.flatten() for g in present])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, part in zip(present, torch.split(flat, [g.numel() for g in present]), strict=True):
        gradient.copy_(part.view_as(gradient))
