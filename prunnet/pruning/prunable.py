"""The prunable encoder: a dense encoder, its scores, and a subnetwork at any capacity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from prunnet.encoder.admission import check_storable
from prunnet.encoder.encoder import Encoder
from prunnet.errors import UnknownNameError
from prunnet.pruning.adapters import Adapters
from prunnet.pruning.channel import ChannelCut, score_key
from prunnet.pruning.cut import Cut
from prunnet.pruning.grouping.alone import check_alone
from prunnet.pruning.rule import PLAIN, CutRule
from prunnet.pruning.weight import WeightCut
from runtime_py.framing import Framing

_CUTS: dict[str, type[ChannelCut] | type[WeightCut]] = {"channel": ChannelCut, "weight": WeightCut}


class PrunableEncoder(nn.Module):
    """One network from which a subnetwork of any capacity can be cut.

    Args:
        encoder: The dense encoder.
        rule: How subnetworks are cut out of it.

    Raises:
        UnknownNameError: No such granularity.
        EncoderError: Nothing of this encoder can be cut, it holds weights that would not be stored or an InstanceNorm
            with running statistics, its embedding of a picture depends on others, switched adapters without capacities,
            `spare_narrow` out of its range, or `keep_factors` that do not fit the encoder.
    """

    @torch.inference_mode(False)
    def __init__(self, encoder: Encoder, rule: CutRule = PLAIN) -> None:
        super().__init__()
        if rule.granularity not in _CUTS:
            raise UnknownNameError("granularity", rule.granularity, _CUTS)
        check_storable(encoder)
        check_alone(encoder)
        self.encoder = encoder
        self.rule = rule
        self.cutter = _CUTS[rule.granularity](encoder, rule)
        self.scores = self.cutter.new_scores()
        self.adapters: Adapters | None = None
        if rule.adapters != "none":
            self.adapters = Adapters(encoder, rule.adapters, self._switches())
        self._trained: dict[float, Encoder] = {}

    @property
    def granularity(self) -> str:
        """Return "channel" or "weight"."""
        return self.cutter.granularity

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Return (3, H, W) of the images, pixels."""
        return (3, *self.encoder.image_size)

    @property
    def framing(self) -> Framing:
        """The size of the images, and how pictures are brought to it."""
        return self.encoder.framing

    @property
    def ranking(self) -> dict[str, Tensor]:
        """The scores by group or tensor; what is kept are those of the largest absolute value."""
        return dict(self.scores.items())

    @property
    def fixed(self) -> dict[str, str]:
        """What keeps its full width: module name -> reason."""
        return self.cutter.fixed

    def capacities(self, multiple: int | None = None) -> tuple[float, ...]:
        """Return the capacities that can be told apart, ascending, the last 1.0."""
        if isinstance(self.cutter, WeightCut):
            return self.cutter.capacities()
        return self.cutter.capacities(multiple or self.rule.channel_multiple)

    def at(self, capacity: float, multiple: int | None = None) -> Cut:
        """Look up the subnetwork of a capacity.

        Args:
            capacity: In (0, 1].
            multiple: Overrides the rule's `channel_multiple`; single weights have none.

        Raises:
            EncoderError: `capacity` is not in (0, 1], or no subnetwork is as small.
        """
        used: int | None = None
        if isinstance(self.cutter, WeightCut):
            achieved, widths = self.cutter.widths(capacity)
        else:
            used = multiple or self.rule.channel_multiple
            achieved, widths = self.cutter.widths(capacity, used)
        return Cut(capacity, achieved, used, widths, self.encoder, self.cutter, self.ranking, self.adapters)

    def reset_scores(self, kind: str = "magnitude") -> None:
        """Start the ranking anew: by the weights' magnitude, at random ("random"), or first channels first ("prefix").

        Raises:
            UnknownNameError: No such kind, or weights are to be ranked by prefix.
        """
        fresh: Mapping[str, Tensor]
        if kind == "magnitude":
            fresh = self.cutter.magnitude_scores(self.encoder.state_dict())
        elif kind == "random":
            fresh = dict(self.cutter.new_scores().items())
        elif kind == "prefix" and isinstance(self.cutter, ChannelCut):
            fresh = {n: torch.linspace(1, 1 / len(s), len(s)) for n, s in self.scores.items()}
        else:
            known = ("magnitude", "random") + (("prefix",) if self.granularity == "channel" else ())
            raise UnknownNameError("score initialisation", kind, known)
        with torch.no_grad():
            for name, score in self.scores.items():
                score.copy_(fresh[name])

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return weights and scores; a tensor that two modules share is copied, as files hold no shared ones."""
        tensors: dict[str, Any] = super().state_dict(*args, **kwargs)
        seen: set[tuple[int, torch.Size]] = set()
        for name, tensor in tensors.items():
            place = (tensor.data_ptr(), tensor.shape)
            if tensor.numel() and place in seen:
                tensors[name] = tensor.clone()
            seen.add(place)
        return tensors

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights and scores; channel groups without scores keep their full width, as they did in training."""
        self.restrict(state_dict)
        return super().load_state_dict(state_dict, strict, assign)

    def restrict(self, names: Iterable[str]) -> None:
        """Keep the full width of channel groups whose scores are not among the names of a state dict."""
        prefix = "scores."
        scored = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
        if isinstance(self.cutter, ChannelCut) and scored:
            self.cutter.restrict(scored)
            kept = {score_key(g) for g in self.cutter.groups}
            for name in [n for n in self.scores if n not in kept]:
                del self.scores[name]
            self._trained.clear()
            if self.adapters is not None and self.adapters.switches is not None:
                self.adapters.switches = self._switches()

    def expect(self, capacities: Sequence[float]) -> None:
        """Say which subnetworks `features_of` is going to run, so that they are ranked together; it need not be."""
        self.cutter.expect([self.at(capacity).widths for capacity in capacities], self.ranking)

    def forget(self) -> None:
        """Free rankings that are kept between steps."""
        self.cutter.forget()

    def features_at(self, capacity: float, pixels: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """Run one subnetwork in training: batch statistics, weights cut out of `parameters` differentiably.

        The running statistics of the dense encoder are neither read nor touched.

        Args:
            capacity: In (0, 1].
            pixels: float32 [N, 3, H, W], raw RGB in 0..255.
            parameters: The dense encoder's parameters by name (or stand-ins for them).

        Returns:
            float32 [N, D], the embedding before its normalisation.
        """
        return self.features_of(capacity, self.encoder.pixels(pixels), parameters)

    def features_of(self, capacity: float, normal: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """Do the same with pixels that are normalised already, which is alike for all capacities."""
        cut = self.at(capacity)
        module = self._trained_as(cut)
        # BatchNorm's statistics are not asked for; of other buffers (pixel statistics, fixed scales) as of parameters.
        # Copies, as a module may write into its buffers in training.
        dense = dict(self.encoder.named_buffers())
        buffers = {name: dense[name].clone() for name, _ in module.named_buffers()}
        tensors = cut.of({**cut.adapted(parameters), **buffers})
        out: Tensor = functional_call(
            _Features(module), {f"encoder.{n}": t for n, t in tensors.items()}, normal
        )
        return out

    def trained(self, capacity: float) -> Encoder:
        """Return the module without weights that `features_of` runs, on the meta device; the same each time."""
        return self._trained_as(self.at(capacity))

    def _switches(self) -> tuple[float, ...]:
        """Return what each trained capacity of switched adapters achieves by the rule; itself if none is as small."""
        if self.rule.adapters != "switched":
            return ()
        least = self.capacities()[0]
        return tuple(c if c < least else self.at(c).achieved for c in self.rule.trained)

    def _trained_as(self, cut: Cut) -> Encoder:
        shape = 1.0 if cut.multiple is None else cut.achieved  # masks leave tensors their shape
        if shape not in self._trained:
            self._trained[shape] = _on_batch_statistics(cut.skeleton())
        return self._trained[shape]


class _Features(nn.Module):
    """Lets `functional_call` run `Encoder.features_of`."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, normal: Tensor) -> Tensor:
        return self.encoder.features_of(normal)


def _on_batch_statistics(module: Encoder) -> Encoder:
    for norm in _batch_norms(module.modules()):
        norm.track_running_stats = False
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    return module.train()


def _batch_norms(modules: Iterable[nn.Module]) -> list[nn.modules.batchnorm._BatchNorm]:
    return [m for m in modules if isinstance(m, nn.modules.batchnorm._BatchNorm)]
