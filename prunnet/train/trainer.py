"""Training a prunable encoder by a recipe."""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from prunnet.data.source import RetrievalSet, TrainingSource
from prunnet.encoder.encoder import Encoder
from prunnet.encoder.space import space_id
from prunnet.errors import TrainingError
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.train.ahead import made_ahead, threads_for
from prunnet.train.checkpoint.best import Best, forget_best, load_best
from prunnet.train.checkpoint.checkpoint import (
    RunIdentity,
    check_folder,
    load_checkpoint,
    remove_scratch,
    save_checkpoint,
)
from prunnet.train.draw import capacities_of_step
from prunnet.train.recipe.recipe import Recipe
from prunnet.train.recipe.schedule import learning_rate
from prunnet.train.rounds import rounds_of
from prunnet.train.step.graphs import GraphedStep
from prunnet.train.step.optimizer import new_optimizer
from prunnet.train.step.step import Classifier, JointStep
from prunnet.train.turned import turned
from prunnet.train.validation import Validation, described
from prunnet.train.watch.health import check_state, check_step, warn_of_early_start
from prunnet.train.watch.log import StepRecord, TrainingLog
from prunnet.train.watch.progress import Progress

_NONE = torch.empty(0, 0, 0)
"""Has the shape of no parameter."""


@dataclass(frozen=True)
class Start:
    """Where a run starts, if not at a dense encoder with a fresh classifier.

    Attributes:
        capacity: Train a narrower network of this capacity by itself.
        classifier: Learn through this classifier, which stays as it is.
        dense: A finished dense encoder; the run begins with its second round, and the encoder stays as it is.
    """

    capacity: float = 1.0
    classifier: Classifier | None = None
    dense: Encoder | None = None


@dataclass(frozen=True)
class Trained:
    """What a run ends with, on the CPU; the encoder in eval mode, its BatchNorm statistics still the running ones.

    `best` is the best state on held-out classes, if the recipe validates; the networks are that state's if it says
    `package: best`, else the last one's.
    """

    prunable: PrunableEncoder
    classifier: Classifier
    best: Best | None = None


def train(
    recipe: Recipe,
    source: TrainingSource,
    out: Path,
    *,
    start: Start = Start(),
    held: RetrievalSet | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> Trained:
    """Train by a recipe, with a checkpoint after every epoch.

    Under `torchrun` every process takes its share of each batch, and all of them together take the steps that one
    process would take; the first process writes.

    Args:
        recipe: The run.
        source: Training images for the recipe's input size.
        out: Folder of the run: checkpoint, `log.jsonl` (one line per epoch), event files for TensorBoard.
        start: Where it starts.
        held: What the recipe's `validation` measures: pictures of classes that the source does not have
            (`prunnet.train.validation.divided`).
        resume: Continue from the folder's checkpoint; the losses are those of an uninterrupted run.
        quiet: No progress bar.

    Raises:
        TrainingError: A loss is not finite, the folder holds another run or none to resume, the disk is full, there are
            fewer than two images or than processes in a batch, a finished dense encoder is not the recipe's or has no
            second round, the method trains several networks, or there is nothing to validate on.
    """
    recipe.require_one_network()
    if recipe.validation is not None and held is None:
        raise TrainingError(
            f"recipe {recipe.name!r} validates on held-out classes, and none were given; divide the source "
            "(prunnet.train.validation.divided), or leave validation out"
        )
    check_folder(out, resume)
    recipe = recipe.for_items(source.size)
    rank, world = _join_processes()
    batch = min(recipe.schedule.batch_size, source.size)
    if batch < 2:
        raise TrainingError(
            f"a batch has {batch} of {source.size} training pictures, and BatchNorm needs the statistics of two at "
            "least; give more pictures, or raise schedule.batch_size"
        )
    if batch < world:
        raise TrainingError(
            f"a batch of {batch} images has none for some of {world} processes; "
            "start fewer, or raise schedule.batch_size"
        )
    torch.manual_seed(recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    joint = build(recipe, source.classes, device, start)
    optimizer = new_optimizer(joint, recipe.schedule)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{out} cannot be a folder: {error.strerror}; choose another --out") from error
    run = RunIdentity(recipe, "" if start.dense is None else space_id(start.dense))
    first = load_checkpoint(out, run, joint, optimizer) if resume else 0
    if rank == 0:
        remove_scratch(out)
        if not resume:
            forget_best(out)
            # From here on a killed run can be resumed, and a disk that is full has been met.
            save_checkpoint(out, run, 0, joint, optimizer)
    validation = None
    if rank == 0 and recipe.validation is not None and held is not None:
        validation = Validation(recipe, source, held, out, run, resume)
    if start.dense is not None:
        first = max(first, recipe.schedule.first_round)
    per_epoch = recipe.schedule.steps_per_epoch(source.size)
    steps = range(first, recipe.schedule.total)
    with ExitStack() as stack, _arithmetic():
        rounds = rounds_of(recipe, joint, device, first)
        progress = Progress(rounds, first, recipe.schedule.batch_size, quiet or rank > 0)
        stack.enter_context(progress)
        log, graphed = TrainingLog(out, first, writes=rank == 0), GraphedStep(joint)
        share = partial(_batch, recipe, source, rank, world)
        batches = stack.enter_context(closing(made_ahead(share, steps, threads_for(device, world))))
        for step, (pixels, labels) in zip(steps, batches, strict=True):
            here = pixels.to(device), labels.to(device)
            record = _one_step(recipe, source.classes, graphed, optimizer, step, here, rank == 0, out)
            progress.advance(record.losses)
            log.add(step + 1, record)
            if validation is not None and validation.is_due(step + 1):
                check_state(step, joint, out)
                found = validation.measure(step + 1, joint)
                log.add_validation(step + 1, {name: asdict(each) for name, each in found.items()})
                progress.note_validation(described(found))
                progress.leave_out()
            if (step + 1) % per_epoch == 0 or step + 1 == recipe.schedule.total:
                check_state(step, joint, out)
                log.close_epoch(step + 1)
                if rank == 0:
                    save_checkpoint(out, run, step + 1, joint, optimizer)
                progress.leave_out()
    best = None if validation is None else validation.best
    if best is not None and recipe.validation is not None and recipe.validation.package == "best":
        best = load_best(out, run, joint)
    if not recipe.method.learn_scores and not recipe.method.capacities:
        joint.prunable.reset_scores(recipe.method.scores)
    if joint.prunable.adapters is not None:
        joint.prunable.adapters.round()
    joint.prunable.forget()
    return Trained(joint.prunable.cpu().eval(), joint.classifier.cpu(), best)


def _join_processes() -> tuple[int, int]:
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    return dist.get_rank(), dist.get_world_size()


def leave_processes() -> bool:
    """End the work of `torchrun`'s processes together; returns whether this is the first, which goes on alone."""
    if not dist.is_initialized():
        return True
    first = dist.get_rank() == 0
    # What gloo's threads still hold of the last exchange must be gone before a process ends, or it aborts at its exit.
    dist.barrier()
    dist.destroy_process_group()
    return first


def build(recipe: Recipe, classes: int, device: torch.device, start: Start) -> JointStep:
    """Return the networks of a run at its beginning, from torch's own random numbers.

    Args:
        recipe: The run.
        classes: Number of training classes.
        device: Where it trains.
        start: Where it starts.

    Raises:
        TrainingError: A finished dense encoder is not the recipe's, or the recipe has no second round for it.
    """
    spec, method = recipe.encoder, recipe.method
    encoder = Encoder.from_timm(
        spec.backbone,
        dimension=spec.dimension,
        image_size=spec.image_size,
        pretrained=spec.pretrained,
        options=spec.options,
    )
    rule = method.cut_rule
    if start.capacity < 1:
        whole = PrunableEncoder(encoder, replace(rule, granularity="channel", adapters="none"))
        whole.reset_scores("prefix")
        encoder = whole.at(start.capacity).extract()
        rule = replace(rule, keep_factors={})  # a narrower one is not cut again
    if start.dense is not None:
        _take_weights(encoder, start.dense, recipe)
    prunable = PrunableEncoder(encoder, rule)
    for capacity in method.capacities:
        prunable.at(capacity)  # one that is too small to reach is an error now, not after hours
    prunable.reset_scores(method.scores)
    scale = recipe.schedule.scale if recipe.schedule.classifier == "cosine" else None
    classifier = Classifier(spec.dimension, classes, scale)
    if start.classifier is not None:
        classifier.load_state_dict(start.classifier.state_dict())
        classifier.requires_grad_(False)
    prunable.to(device)
    if encoder.channels_last:
        for part in (prunable.encoder, prunable.scores):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return JointStep(prunable, classifier.to(device), method, recipe.schedule.precision)


def _take_weights(encoder: Encoder, dense: Encoder, recipe: Recipe) -> None:
    if recipe.schedule.follow is None:
        raise TrainingError(
            f"recipe {recipe.name!r} trains the dense encoder in every step, so a finished one cannot stay as it is; "
            "use a method with subnetworks: after, such as prunnet, and schedule.follow"
        )
    given, wanted = dense.state_dict(), encoder.state_dict()
    different = [
        n for n in sorted({*given, *wanted}) if given.get(n, _NONE).shape != wanted.get(n, _NONE).shape
    ]
    if different or dense.image_size != encoder.image_size:
        what = different[0] if different else "the image size"
        raise TrainingError(
            f"the dense encoder is not the one that recipe {recipe.name!r} describes: {what} differs; write its "
            "backbone, options, image_size and dimension into encoder"
        )
    encoder.load_state_dict(given)


def _batch(recipe: Recipe, source: TrainingSource, rank: int, world: int, step: int) -> tuple[Tensor, Tensor]:
    """Return the pixels and labels of one process's share of a step."""
    schedule = recipe.schedule
    pixels, labels = source.batch(recipe.seed, step, schedule.batch_size)
    if schedule.follow and step >= schedule.first_round:
        pixels = turned(pixels, schedule.follow.turned, recipe.seed, step)
    return pixels[rank::world].contiguous(memory_format=torch.channels_last), labels[rank::world]


def _one_step(
    recipe: Recipe,
    classes: int,
    graphed: GraphedStep,
    optimizer: torch.optim.Optimizer,
    step: int,
    batch: tuple[Tensor, Tensor],
    speaks: bool,
    out: Path,
) -> StepRecord:
    method, schedule, joint = recipe.method, recipe.schedule, graphed.joint
    capacities = capacities_of_step(method, schedule, recipe.seed, step)
    started = bool(capacities) and not (step and capacities_of_step(method, schedule, recipe.seed, step - 1))
    if started and step and method.scores == "magnitude":
        joint.prunable.reset_scores("magnitude")
    follows = step >= schedule.first_round
    joint.prunable.train()
    rate = learning_rate(schedule, step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    pixels, labels = batch
    losses = graphed.follow(pixels, capacities) if follows else graphed(pixels, labels, capacities)
    length = float(nn.utils.clip_grad_norm_(joint.parameters, schedule.clip))
    names = [str(c) if c in method.capacities else "between" for c in capacities]
    of_each = defaultdict[str, list[float]](list)
    for name, loss in zip(names if follows else ["dense", *names], losses, strict=True):
        of_each[name].append(loss)
    named = {name: statistics.fmean(found) for name, found in of_each.items()}
    check_step(step, named, length, out)
    if started and method.objective == "embedding" and speaks and not follows:
        warn_of_early_start(step, losses[0], classes)
    optimizer.step()
    return StepRecord(named, rate, length, schedule.batch_size)


@contextmanager
def _arithmetic() -> Iterator[None]:
    """Compute as a recipe says, alike in every run.

    Denormal numbers count as zero while training: on some CPUs they cost a hundredfold. On a GPU,
    convolutions in float32 are not shortened to TF32 and add up in the same order each time.
    """
    torch.set_flush_denormal(True)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_flush_denormal(False)
