"""What a module must be to become a backbone, and what an encoder must be to be cut and stored."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from prunnet.errors import EncoderError


def copied(backbone: nn.Module) -> nn.Module:
    """Return a copy of a user's module in eval mode.

    Raises:
        EncoderError: It is no module, has not made its parameters yet, or cannot be copied; says what to do.
    """
    kind = type(backbone).__name__
    if not isinstance(backbone, nn.Module):
        raise EncoderError(f"the backbone is a {kind}; it must be a torch.nn.Module")
    for name, tensor in [*backbone.named_parameters(), *backbone.named_buffers()]:
        if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
            raise EncoderError(
                f"the backbone {kind} is lazy: {name} has no shape yet; run it once on float32 [2, 3, H, W] first"
            )
        if tensor.is_inference():
            raise EncoderError(
                f"the backbone {kind} was built in torch.inference_mode, so {name} can never be changed; build it "
                "outside"
            )
    for name, module in backbone.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                raise EncoderError(
                    f"the backbone {kind} cannot be copied: {attribute} of {name or 'itself'} is computed from "
                    f"parameters outside of its forward; {_remedy(module, attribute)}"
                )
    try:
        return copy.deepcopy(backbone).eval()
    except Exception as error:  # what a user's attributes do when they are copied is theirs
        raise EncoderError(
            f"the backbone {kind} cannot be copied (copy.deepcopy): {type(error).__name__}: {error}; make what cannot "
            "be copied (locks, open files, generators) outside of the module, or give it __deepcopy__"
        ) from error


def _remedy(module: nn.Module, attribute: str) -> str:
    hooks = {type(hook).__module__: hook for hook in module._forward_pre_hooks.values()}
    if "torch.nn.utils.weight_norm" in hooks:
        return "use torch.nn.utils.parametrizations.weight_norm instead of torch.nn.utils.weight_norm"
    if "torch.nn.utils.prune" in hooks:
        return f"make it permanent with torch.nn.utils.prune.remove(module, {attribute!r})"
    return "compute it in the forward, or detach it"


def check_storable(encoder: nn.Module) -> None:
    """Make sure that all that an encoder learns is in its state dict, under names that can be told apart.

    Raises:
        EncoderError: It holds compiled TorchScript, an InstanceNorm with running statistics, weights of several types
            or that are not registered, or its state dict is another's.
    """
    for name, module in encoder.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise EncoderError(
                f"the module {name or 'encoder'} ({_original(module)}) is TorchScript, whose operations and "
                "widths are frozen; give the Python module that it was made from"
            )
    for name, module in encoder.named_modules():
        for attribute in _hidden(encoder, module):
            raise EncoderError(
                f"{attribute} of the module {name or 'encoder'} ({type(module).__name__}) holds weights that are not "
                "registered, so they would be neither trained nor stored; use nn.ModuleList, nn.ModuleDict or "
                "nn.ParameterList"
            )
    _check_norms(encoder)
    _check_types(encoder)
    _check_state(encoder)
    _check_names(encoder)


def _original(module: Any) -> str:
    return str(getattr(module, "original_name", type(module).__name__))


def _hidden(encoder: nn.Module, module: nn.Module) -> Iterator[str]:
    """Yield the plain attributes of a module, lists and the like, in which there are weights that nobody registered."""
    registered = {id(m) for m in encoder.modules()} | {id(p) for p in encoder.parameters()}
    for attribute, value in vars(module).items():
        if attribute.startswith("_") and attribute in _OF_TORCH:
            continue
        for item in _items(value):
            if id(item) in registered:
                continue
            held = [item] if isinstance(item, nn.Parameter) else []
            held += item.parameters() if isinstance(item, nn.Module) else []
            if any(id(p) not in registered for p in held):
                yield attribute


_OF_TORCH = frozenset(vars(nn.Module()))


def _items(value: object, depth: int = 3) -> Iterator[object]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | set) and depth:
        for item in value:
            yield from _items(item, depth - 1)
    else:
        yield value


def _check_norms(encoder: nn.Module) -> None:
    """Statistics of a subnetwork's own are only taken for BatchNorm."""
    for name, module in encoder.named_modules():
        if isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.track_running_stats:
            raise EncoderError(
                f"the module {name} ({type(module).__name__}) learns each picture by its own statistics and embeds it "
                "by running ones, which subnetworks would not have of their own; use track_running_stats=False, or "
                "a BatchNorm"
            )


def _check_types(encoder: nn.Module) -> None:
    """Weights are cut, tried and trained in one type."""
    first = ""
    for name, p in encoder.named_parameters():
        if not p.is_floating_point():
            continue
        kind = str(p.dtype).removeprefix("torch.")
        first = first or kind
        if kind != first:
            module = name.rpartition(".")[0]
            raise EncoderError(
                f"the module {module} ({type(encoder.get_submodule(module)).__name__}) holds {kind} parameters where "
                f"others are {first}; give all of them one type (module.float()): lower precision is chosen for "
                "training (schedule.precision) and export, not in the module"
            )


def _check_state(encoder: nn.Module) -> None:
    parameters = {name for name, _ in encoder.named_parameters(remove_duplicate=False)}
    known = parameters | {name for name, _ in encoder.named_buffers(remove_duplicate=False)}
    stored = set(encoder.state_dict())
    odd = sorted((stored - known) | (parameters - stored))
    if odd:
        raise EncoderError(
            f"the encoder's state dict is not what its parameters and buffers are called: {', '.join(odd[:3])}"
            f"{' ...' if len(odd) > 3 else ''}; leave out state dict hooks and get_extra_state, and keep such values "
            "in buffers"
        )


def _check_names(encoder: nn.Module) -> None:
    """Scores are stored under names with slashes for dots."""
    seen: dict[str, str] = {}
    tensors = [name for name, _ in encoder.named_parameters(remove_duplicate=False)]
    for name in [*(name for name, _ in encoder.named_modules()), *tensors]:
        other = seen.setdefault(name.replace(".", "/"), name)
        if other != name:
            raise EncoderError(
                f"the names {other!r} and {name!r} are one where dots are written as slashes, as in scores; call "
                "one of them something else"
            )
