"""Training a prunable encoder by a recipe, from the first step or a checkpoint to the last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from prunnet.data.source import RetrievalSet, TrainingSource
from prunnet.encoder.space import space_id
from prunnet.errors import TrainingError
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.train.ahead import made_ahead, threads_for
from prunnet.train.build import AFRESH, Start, build
from prunnet.train.checkpoint.best import Best, forget_best, load_best
from prunnet.train.checkpoint.checkpoint import (
    RunIdentity,
    check_folder,
    load_checkpoint,
    remove_scratch,
    save_checkpoint,
)
from prunnet.train.dropout import seed_step
from prunnet.train.processes import join_processes
from prunnet.train.recipe.recipe import Recipe
from prunnet.train.rounds import rounds_of
from prunnet.train.step.step import Classifier
from prunnet.train.trainer import Trainer
from prunnet.train.turned import turned
from prunnet.train.validation import Validation, described
from prunnet.train.watch.health import check_state
from prunnet.train.watch.log import TrainingLog
from prunnet.train.watch.progress import Progress


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
    start: Start = AFRESH,
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
    rank, world = join_processes()
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
    trainer = Trainer(recipe, source.classes, joint, out, speaks=rank == 0)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{out} cannot be a folder: {error.strerror}; choose another --out") from error
    run = RunIdentity(recipe, "" if start.dense is None else space_id(start.dense))
    first = load_checkpoint(out, run, joint, trainer.optimizer) if resume else 0
    if rank == 0:
        remove_scratch(out)
        if not resume:
            forget_best(out)
            # From here on a killed run can be resumed, and a disk that is full has been met.
            save_checkpoint(out, run, 0, joint, trainer.optimizer)
    validation = None
    if rank == 0 and recipe.validation is not None and held is not None:
        validation = Validation(recipe, source, held, out, run, resume)
    if start.dense is not None:
        first = max(first, recipe.schedule.first_round)
    trainer.done = first
    per_epoch = recipe.schedule.steps_per_epoch(source.size)
    steps = range(first, recipe.schedule.total)
    with ExitStack() as stack, _arithmetic():
        rounds = rounds_of(recipe, joint, device, first)
        progress = Progress(rounds, first, recipe.schedule.batch_size, quiet or rank > 0)
        stack.enter_context(progress)
        log = TrainingLog(out, first, writes=rank == 0)
        share = partial(_batch, recipe, source, rank, world)
        batches = stack.enter_context(closing(made_ahead(share, steps, threads_for(device, world))))
        for step, (pixels, labels) in zip(steps, batches, strict=True):
            seed_step(recipe.seed, step, rank)
            record = trainer.step((pixels.to(device), labels.to(device)))
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
                    save_checkpoint(out, run, step + 1, joint, trainer.optimizer)
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


def _batch(recipe: Recipe, source: TrainingSource, rank: int, world: int, step: int) -> tuple[Tensor, Tensor]:
    """Return the pixels and labels of one process's share of a step."""
    schedule = recipe.schedule
    pixels, labels = source.batch(recipe.seed, step, schedule.batch_size)
    if schedule.follow and step >= schedule.first_round:
        pixels = turned(pixels, schedule.follow.turned, recipe.seed, step)
    return pixels[rank::world].contiguous(memory_format=torch.channels_last), labels[rank::world]


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
