"""One training step: the gradients of every capacity, integrated into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunnet.pruning.prunable import PrunableEncoder
from prunnet.train.recipe.method import MethodSpec
from prunnet.train.step.integrate import Integration, integrate
from prunnet.train.step.synced import average, joined_statistics, share
from prunnet.train.step.trial import check_trains

Row = list[Tensor | None]
"""The gradients of one loss, parameter by parameter."""


class Classifier(nn.Module):
    """Class logits of an embedding.

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
        classifier: The classifier that all capacities share; a frozen one is not trained.
        method: How capacities are trained together.
        precision: "fp32", "bf16", or "auto": bf16 on a GPU.

    Raises:
        EncoderError: A step would fail (`prunnet.train.step.trial`).
    """

    def __init__(
        self, prunable: PrunableEncoder, classifier: Classifier, method: MethodSpec, precision: str = "auto"
    ) -> None:
        self.prunable, self.classifier, self.method = prunable, classifier, method
        self._precision_name = precision
        named = dict(prunable.encoder.named_parameters())
        self.named = {name: p for name, p in named.items() if p.requires_grad}
        self._frozen = {name: p for name, p in named.items() if not p.requires_grad}
        self._adapters = [] if prunable.adapters is None else list(prunable.adapters.parameters())
        heads = [p for p in classifier.parameters() if p.requires_grad]
        self._trained = [*self.named.values(), *heads, *self._adapters]
        self._ranked = method.learn_scores
        self.parameters = [*self._trained, *(prunable.scores.values() if self._ranked else ())]
        self._shared = self._reached_by_subnetworks(len(heads))
        check_trains(prunable, method.capacities, self._precision)

    @joined_statistics()
    def __call__(self, pixels: Tensor, labels: Tensor, capacities: Sequence[float]) -> Tensor:
        """Set the gradient of every parameter and score; under `torchrun`, that of the processes' joined batch.

        Args:
            pixels: float32 [N, 3, H, W], raw RGB in 0..255.
            labels: int64 [N].
            capacities: The subnetworks of this step.

        Returns:
            The losses, float32 [1 + capacities]: dense, then each capacity. A GPU is not waited for.
        """
        trained, part = self._trained, share(len(labels), pixels.device)
        with self._precision(pixels):
            normal = self.prunable.encoder.pixels(pixels)
            features = self.prunable.encoder.features_of(normal)
            logits = self.classifier(features).float()
            loss = part * F.cross_entropy(logits, labels)
        signs = self._signs()
        rows = [self._with_scores(list(torch.autograd.grad(loss, trained, allow_unused=True)), signs)]
        losses, logits_of_all = [loss.detach()], [logits.detach()]
        goal = F.normalize(features.detach().float(), dim=1)
        shared = [trained[number] for number in self._shared]
        self.prunable.expect(capacities)
        for capacity in capacities:
            with self._precision(pixels):
                out = self.prunable.features_of(capacity, normal, {**self.named, **self._frozen})
                loss, logits = self._subnetwork_loss(out, goal, labels)
                loss = part * loss
            found = torch.autograd.grad(self.method.subnetwork_weight * loss, shared, allow_unused=True)
            row: Row = [None] * len(trained)
            for number, gradient in zip(self._shared, found, strict=True):
                row[number] = gradient
            rows.append(self._with_scores(row, signs, capacity))
            losses.append(loss.detach())
            logits_of_all.append(logits.detach())
        if self.method.weighting == "uncertainty" and len(rows) > 1:
            rows = _weighed(rows, uncertainties(logits_of_all, part))
        return self._integrated(losses, rows)

    @joined_statistics()
    def follow(self, pixels: Tensor, capacities: Sequence[float]) -> Tensor:
        """Set the gradient of what belongs to the subnetworks alone; the dense encoder gets none.

        They learn its embedding on the statistics of the batch, by which they are normalised too: what the running ones
        differ by is no property of the encoder.

        Args:
            pixels: float32 [N, 3, H, W], raw RGB in 0..255.
            capacities: The subnetworks of this step.

        Returns:
            The loss of each capacity, one minus the cosine to the dense embedding: float32 [capacities].
        """
        part = share(len(pixels), pixels.device)
        weights = {name: p.detach().requires_grad_(self._ranked) for name, p in self.named.items()}
        everything = {**weights, **self._frozen}
        with torch.no_grad(), self._precision(pixels):
            normal = self.prunable.encoder.pixels(pixels)
            goal = F.normalize(self.prunable.features_of(1.0, normal, everything).float(), dim=1)
        self.prunable.expect(capacities)
        first = len(self._trained) - len(self._adapters)
        signs = self._signs()
        losses: list[Tensor] = []
        rows: list[Row] = [[None] * len(self.parameters)]  # the dense encoder's
        for capacity in capacities:
            with self._precision(pixels):
                out = self.prunable.features_of(capacity, normal, everything)
            loss = part * _distance(out, goal)
            sources = [*self._adapters, *(weights.values() if self._ranked else ())]
            found = torch.autograd.grad(self.method.subnetwork_weight * loss, sources, allow_unused=True)
            row: Row = [*found[len(self._adapters) :]] if self._ranked else [None] * len(self.named)
            row += [None] * (first - len(self.named))
            scored = self._with_scores([*row, *found[: len(self._adapters)]], signs, capacity)
            rows.append([None if number < first else g for number, g in enumerate(scored)])
            losses.append(loss.detach())
        return self._integrated(losses, rows)

    def _integrated(self, losses: list[Tensor], rows: list[Row]) -> Tensor:
        """Set every parameter's gradient to the integration of the losses' own; returns the losses."""
        joint_losses = torch.stack(losses)
        average([joint_losses])
        for row in rows:
            average([g for g in row if g is not None])
        method = self.method
        how = Integration(method.project, method.protect_dense, method.alpha, method.balance)
        joint = integrate(rows, how) if len(rows) > 1 else rows[0]
        for parameter, joined in zip(self.parameters, joint, strict=True):
            parameter.grad = joined
        return joint_losses

    def _reached_by_subnetworks(self, heads: int) -> list[int]:
        """Return the numbers of the parameters that learn from subnetworks too."""
        norms = {
            name
            for name, module in self.prunable.encoder.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
        }
        withheld = self.method.dense_only
        reached = []
        for number, name in enumerate(self.named):
            module = name.rpartition(".")[0]
            part = "norms" if module in norms else "projector" if name.startswith("head.") else None
            if part not in withheld:
                reached.append(number)
        first = len(self.named) + (heads if "classifier" in withheld else 0)
        # What follows the classifier are the adapters, the subnetworks' own.
        return reached + list(range(first, len(self._trained)))

    def _subnetwork_loss(self, features: Tensor, goal: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of one subnetwork, and its logits (empty where no labels are learned)."""
        distance = _distance(features, goal)
        if self.method.objective == "embedding":
            return distance, features.new_empty(0)
        logits = self.classifier(features).float()
        loss = F.cross_entropy(logits, labels)
        if self.method.distillation:
            loss = loss + self.method.distillation * distance
        return loss, logits

    def _signs(self) -> dict[str, Tensor]:
        """Return the sign of every score that is learned, which all capacities have in common."""
        return {k: s.detach().sign() for k, s in self.prunable.scores.items()} if self._ranked else {}

    def _with_scores(self, row: Row, signs: Mapping[str, Tensor], capacity: float = 1.0) -> Row:
        if not signs:
            return row
        gradients = {n: g for n, g in zip(self.named, row, strict=False) if g is not None}
        with torch.no_grad():
            used = self.prunable.at(capacity).adapted(self.named)
        scores = self.prunable.cutter.score_gradients(used, gradients)
        # A group that only the projector reads may have no gradient from a subnetwork.
        return [*row, *(scores[k].mul_(sign) if k in scores else None for k, sign in signs.items())]

    def is_low(self, pixels: Tensor) -> bool:
        """Tell whether the passes on these pixels are in bfloat16."""
        return pixels.is_cuda if self._precision_name == "auto" else self._precision_name == "bf16"

    def _precision(self, pixels: Tensor) -> torch.autocast:
        return torch.autocast(pixels.device.type, torch.bfloat16, enabled=self.is_low(pixels))


def _distance(features: Tensor, goal: Tensor) -> Tensor:
    """Return the mean of one minus the cosine between embeddings [N, D] and unit vectors [N, D]."""
    return (1 - (F.normalize(features.float(), dim=1) * goal).sum(1)).mean()


def uncertainties(logits: Sequence[Tensor], part: float = 1.0) -> Tensor:
    """Return the evidential uncertainty of each loss, relative to their mean (SFSC; Sensoy et al., NeurIPS 2018).

    The exponentials of the logits are the evidence of a Dirichlet distribution over the K classes; its uncertainty is
    K / (K + all evidence). A capacity that is less sure gets more weight.

    Args:
        logits: One float32 [N, K] for each loss.
        part: What a mean over this process's images counts for in that of the joined batch.

    Returns:
        float32 [losses], mean 1.
    """
    found = [(each.shape[1] / (each.clamp(-10, 10).exp() + 1).sum(1)).mean() for each in logits]
    values = part * torch.stack(found)
    average([values])
    return values / values.mean()


def _weighed(rows: list[Row], weights: Tensor) -> list[Row]:
    return [
        [None if g is None else g * weight for g in row] for row, weight in zip(rows, weights, strict=True)
    ]
