"""What must hold of a module before any converter sees it.

Converters turn a NaN or a module in training mode into an artifact without a word, so this is refused first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.errors import ExportError
from exporters.targets.spec import ExportSpec

if TYPE_CHECKING:
    import torch

LENGTH_TOLERANCE = 1e-3


def check_module(module: torch.nn.Module, spec: ExportSpec, target: str) -> None:
    """Raise ExportError of stage "check" unless `module` is what ExportSpec says.

    Args:
        module: The module to export.
        spec: Its input size, its dimension and real images to try it on.
        target: Target named in the error.

    Raises:
        ExportError: Training mode; a parameter or buffer with NaN or inf, by name; an embedding of another
            shape, not finite or not of unit length.
    """
    import torch

    training = next((name or "the module" for name, part in module.named_modules() if part.training), None)
    if training is not None:
        raise ExportError(target, "check", f"{training} is in training mode; call module.eval() first")
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise ExportError(
                target,
                "check",
                f"tensor {name!r} has {bad} of {tensor.numel()} values that are NaN or infinite",
            )
    with torch.inference_mode():
        embedding = module(example_input(spec))
    if tuple(embedding.shape) != (1, spec.identity.dimension):
        raise ExportError(
            target,
            "check",
            f"the output has shape {tuple(embedding.shape)}, not {(1, spec.identity.dimension)}",
        )
    length = float(embedding.double().norm())
    if not abs(length - 1) <= LENGTH_TOLERANCE:
        raise ExportError(target, "check", f"the embedding has length {length:.6g}, not 1")


def example_input(spec: ExportSpec) -> torch.Tensor:
    """Return float32 [1, 3, H, W] in 0..255: the first calibration image, or a ramp if there is none."""
    import torch

    from prunnet.tensors import as_batch

    height, width = spec.size
    if len(spec.calibration_images):
        return as_batch(spec.as_taken(spec.calibration_images[:1])).contiguous()
    return torch.linspace(0, 255, 3 * height * width).reshape(1, 3, height, width)
