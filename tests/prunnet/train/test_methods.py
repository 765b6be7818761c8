"""The named methods: that each does what sets it apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from prunnet.data.data_set import DataSet
from prunnet.data.glyph_set import glyph_set
from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError, RecipeError
from prunnet.pruning.prunable import PrunableEncoder
from prunnet.pruning.rule import CutRule
from prunnet.train.build import Start
from prunnet.train.draw import capacities_of_step
from prunnet.train.recipe.method import METHODS, MethodSpec
from prunnet.train.recipe.recipe import FollowSpec, Recipe, load_recipe
from prunnet.train.separate import train_separately
from prunnet.train.step.step import Classifier, JointStep, uncertainties
from prunnet.train.training import train
from tests.prunnet.train.test_training import Short

JOINT = [name for name, options in METHODS.items() if "networks" not in options]


@pytest.fixture(scope="module")
def data() -> DataSet:
    return glyph_set(32)


def _recipe(method: dict, steps: int = 2) -> Recipe:
    method = {"name": "prunnet-channel"} | method
    weight = METHODS[method["name"]].get("granularity") == "weight" or method.get("granularity") == "weight"
    multiple = {} if weight else {"channel_multiple": 4}
    tiny, spec = load_recipe("glyphs-tiny"), MethodSpec.model_validate(multiple | method)
    follow = FollowSpec(steps=steps, learning_rate=0.01) if spec.subnetworks == "after" else None
    return tiny.model_copy(
        update={
            "schedule": tiny.schedule.model_copy(update={"steps": steps, "batch_size": 16, "follow": follow}),
            "encoder": tiny.encoder.model_copy(
                update={"options": {"channels": [8, 16, 16, 24], "layers": [1, 1, 1, 1]}}
            ),
            "method": spec,
        }
    )


def _encoder() -> Encoder:
    torch.manual_seed(0)
    options = {"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1]}
    return Encoder.from_timm("resnet18", dimension=16, image_size=(32, 32), options=options)


def test_narrow_groups_are_spared_by_what_ships_and_not_by_the_papers() -> None:
    assert MethodSpec(name="prunnet").spare_narrow > 0
    assert MethodSpec(name="switchnet").spare_narrow == MethodSpec(name="prunnet-weight").spare_narrow == 0


@pytest.mark.parametrize("name", JOINT)
def test_every_method_trains(data: DataSet, tmp_path: Path, name: str) -> None:
    own = {} if name == "magnitude" else {"capacities": [0.3, 0.6]}
    recipe = _recipe({"name": name} | own, steps=4)
    torch.manual_seed(recipe.seed)
    trained = train(recipe, Short(data.train, 32), tmp_path, quiet=True).prunable
    assert trained.granularity == recipe.method.granularity
    out = trained.at(0.4).extract()(data.train.batch(0, 0, 4)[0])
    torch.testing.assert_close(out.norm(dim=1), torch.ones(4))


def test_the_slimmable_methods_keep_the_first_channels_for_good(data: DataSet, tmp_path: Path) -> None:
    for name in ("switchnet", "sfsc"):
        recipe = _recipe({"name": name, "capacities": [0.4]}, steps=4)
        prunable = train(recipe, Short(data.train, 32), tmp_path / name, quiet=True).prunable
        for kept in prunable.at(0.4).kept():
            assert kept.tolist() == list(range(len(kept)))


def test_magnitude_ranks_by_the_weights_at_the_end(data: DataSet, tmp_path: Path) -> None:
    prunable = train(_recipe({"name": "magnitude"}, 6), Short(data.train, 32), tmp_path, quiet=True).prunable
    wanted = prunable.cutter.magnitude_scores(prunable.encoder.state_dict())
    assert all(torch.equal(score, wanted[name]) for name, score in prunable.ranking.items())


def test_switched_adapters_serve_their_own_capacity() -> None:
    prunable = PrunableEncoder(
        _encoder(), CutRule(channel_multiple=4, adapters="switched", trained=(0.3, 0.6))
    )
    named = dict(prunable.encoder.named_parameters())
    with torch.no_grad():
        for correction in prunable.adapters.corrections.values():
            correction[0] += 1.0
            correction[1] += 2.0
    changed = [
        name for name in named if "bn" in name or "downsample.1" in name or name.startswith("head.norm")
    ]
    for capacity, shift in [(0.3, 1), (0.4, 1), (0.55, 2), (0.9, 2)]:
        adapted = prunable.adapters(named, capacity)
        for name, tensor in named.items():
            torch.testing.assert_close(
                adapted[name] - tensor, torch.full_like(tensor, shift * (name in changed))
            )
    with pytest.raises(EncoderError, match="switched adapters need the capacities"):
        PrunableEncoder(_encoder(), CutRule(adapters="switched"))


def test_nothing_withheld_is_plain_autograd_on_the_sum(data: DataSet) -> None:
    """With no part kept to the dense loss, every parameter gets the gradient of the summed losses."""
    prunable = PrunableEncoder(_encoder(), CutRule(channel_multiple=4))
    classifier = Classifier(16, data.train.classes, None)
    pixels, labels = data.train.batch(0, 1, 8)
    method = MethodSpec(name="prunnet-channel", capacities=(0.3,), dense_only=(), project=False, alpha=0)
    step = JointStep(prunable, classifier, method)
    step(pixels, labels, (0.3,))
    named = dict(prunable.encoder.named_parameters())
    total = sum(
        F.cross_entropy(classifier(features), labels)
        for features in (prunable.encoder.features(pixels), prunable.features_at(0.3, pixels, named))
    )
    parameters = [*named.values(), *classifier.parameters()]
    for parameter, wanted in zip(parameters, torch.autograd.grad(total, parameters), strict=True):
        torch.testing.assert_close(parameter.grad, wanted, atol=1e-6, rtol=1e-4)


def test_uncertainty_by_hand() -> None:
    logits = [
        torch.tensor([[2.0, -1.0, 0.0], [0.0, 0.0, 0.0]]),
        torch.tensor([[5.0, 0.0, 0.0], [4.0, 1.0, 1.0]]),
    ]
    by_hand = []
    for rows in logits:
        each = []
        for row in rows.tolist():
            evidence = sum(2.718281828459045**value for value in row)
            each.append(3 / (evidence + 3))
        by_hand.append(sum(each) / 2)
    mean = sum(by_hand) / 2
    assert uncertainties(logits).tolist() == pytest.approx([u / mean for u in by_hand], rel=1e-5)
    assert uncertainties(logits)[0] > uncertainties(logits)[1]


def test_uncertainty_weighs_whole_rows(data: DataSet) -> None:
    """The dense classifier's gradient comes from the dense loss alone, so it shows the dense loss's weight."""
    pixels, labels = data.train.batch(0, 1, 8)
    found = {}
    for weighting in ("even", "uncertainty"):
        prunable, classifier = (
            PrunableEncoder(_encoder(), CutRule(channel_multiple=4)),
            Classifier(16, data.train.classes, None),
        )
        torch.manual_seed(1)
        torch.nn.init.normal_(classifier.weight)
        method = MethodSpec(
            name="prunnet-channel", capacities=(0.3,), weighting=weighting, project=False, alpha=0
        )
        JointStep(prunable, classifier, method)(pixels, labels, (0.3,))
        with torch.no_grad():
            logits = [
                classifier(prunable.encoder.features(pixels)),
                classifier(prunable.features_at(0.3, pixels, dict(prunable.encoder.named_parameters()))),
            ]
        found[weighting] = (classifier.weight.grad, uncertainties(logits)[0])
    weight = found["uncertainty"][1]
    assert abs(weight - 1) > 1e-4
    torch.testing.assert_close(found["uncertainty"][0], weight * found["even"][0], rtol=1e-4, atol=1e-7)


def test_distillation_pulls_towards_the_dense_embedding(data: DataSet) -> None:
    pixels, labels = data.train.batch(0, 1, 8)
    losses = {}
    for weight in (0.0, 3.0):
        prunable, classifier = (
            PrunableEncoder(_encoder(), CutRule(channel_multiple=4)),
            Classifier(16, data.train.classes, None),
        )
        torch.nn.init.zeros_(classifier.weight)
        losses[weight] = JointStep(
            prunable, classifier, MethodSpec(name="prunnet-channel", capacities=(0.3,), distillation=weight)
        )(pixels, labels, (0.3,))[1]
    with torch.no_grad():
        dense = prunable.encoder.train()(pixels)
        small = F.normalize(
            prunable.features_at(0.3, pixels, dict(prunable.encoder.named_parameters())), dim=1
        )
    assert losses[3.0] - losses[0.0] == pytest.approx(3 * float(1 - (dense * small).sum(1).mean()), rel=1e-4)


def test_the_sandwich_rule_draws_the_smallest_and_any_between() -> None:
    recipe = _recipe({"capacities": [0.3, 0.6], "per_step": 3, "draw": "sandwich"})
    drawn = [capacities_of_step(recipe.method, recipe.schedule, 0, step) for step in range(200)]
    assert all(d[0] == 0.3 and list(d) == sorted(set(d)) and d[-1] < 1 for d in drawn)
    others = [c for d in drawn for c in d[1:]]
    assert len(set(others)) > 150 and min(others) < 0.35 and max(others) > 0.95
    assert drawn == [capacities_of_step(recipe.method, recipe.schedule, 0, step) for step in range(200)]


def test_the_sandwich_rule_draws_a_small_one_in_place_of_the_smallest() -> None:
    options = {"capacities": [0.1], "per_step": 2, "draw": "sandwich", "smallest_share": 0.7}
    recipe = _recipe(options)
    drawn = [capacities_of_step(recipe.method, recipe.schedule, 0, step) for step in range(2000)]
    lowest = np.array([d[0] for d in drawn])
    assert np.mean(lowest == 0.1) == pytest.approx(0.7, abs=0.04)
    others = np.log10(lowest[lowest > 0.1])
    assert others.max() <= -0.5 + 1e-3  # the lower half of the logarithms between 0.1 and 1
    assert others.mean() == pytest.approx(-0.75, abs=0.03)
    above = [np.log(d[1]) / np.log(d[0]) for d in drawn if len(d) == 2]
    assert np.mean(above) == pytest.approx(0.5, abs=0.03)
    odd = _recipe({**options, "capacities": [0.1234], "smallest_share": 0.1})
    assert min(capacities_of_step(odd.method, odd.schedule, 0, step)[0] for step in range(2000)) == 0.1234
    whole = _recipe({**options, "smallest_share": 1.0})
    assert all(capacities_of_step(whole.method, whole.schedule, 0, step)[0] == 0.1 for step in range(200))


@pytest.mark.parametrize("name", ["independent", "bct"])
def test_separate_networks(data: DataSet, tmp_path: Path, name: str) -> None:
    recipe, source = _recipe({"name": name, "capacities": [0.3, 0.6]}, steps=3), Short(data.train, 32)
    networks = train_separately(recipe, source, tmp_path, quiet=True)
    assert list(networks) == [0.3, 0.6, 1.0]
    whole = networks[1.0]
    for capacity in (0.3, 0.6):
        narrow = {n: p.shape for n, p in networks[capacity].encoder.named_parameters()}
        assert narrow == {n: p.shape for n, p in whole.at(capacity).skeleton().named_parameters()}
    first = [networks[c].encoder.backbone.layer1[0].conv1.weight[0, 0] for c in networks]
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[1], first[2])
    again = train_separately(recipe, source, tmp_path, resume=True, quiet=True)
    for capacity, network in networks.items():
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, again[capacity].state_dict()[key])


def test_a_frozen_classifier_stays(data: DataSet, tmp_path: Path) -> None:
    recipe, source = _recipe({"capacities": []}, steps=3), Short(data.train, 32)
    dense = train(recipe, source, tmp_path / "dense", quiet=True)
    narrow = train(recipe, source, tmp_path / "narrow", start=Start(0.4, dense.classifier), quiet=True)
    assert torch.equal(narrow.classifier.weight, dense.classifier.weight)
    assert torch.equal(narrow.classifier.bias, dense.classifier.bias)


def test_names_and_options_that_do_not_go_together() -> None:
    assert MethodSpec(name="sfsc").adapters == "switched"
    assert MethodSpec(name="sfsc", adapters="none").adapters == "none"
    assert MethodSpec.model_validate(MethodSpec(name="sfsc").model_dump()) == MethodSpec(name="sfsc")
    for wrong, message in [
        ({"name": "sfcs"}, "no such method; allowed: independent, "),
        ({"granularity": "weight", "scores": "prefix"}, "weights have no prefix"),
        ({"granularity": "weight", "networks": "own-classifier"}, "separate networks are narrower ones"),
        ({"draw": "sandwich"}, "per_step of at least 2"),
        ({"draw": "sandwich", "per_step": 1}, "per_step of at least 2"),
        ({"smallest_share": 0.5}, "allowed: draw sandwich"),
        ({"weighting": "uncertainty", "objective": "embedding"}, "read off class logits"),
        ({"subnetworks": "after"}, "they follow its embedding; allowed: objective embedding"),
        ({"subnetworks": "after", "objective": "embedding"}, "adapters: .*allowed: full, smooth or"),
        ({"name": "prunnet", "dense_share": 0.3}, "dense_share: has no effect"),
        ({"name": "prunnet", "networks": "own-classifier"}, "networks one"),
    ]:
        with pytest.raises(ValidationError, match=message):
            MethodSpec.model_validate({"name": "prunnet-channel"} | wrong)


def test_all_problems_of_a_recipe_are_listed_at_once(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "schema_version: 1\nname: x\ndata: {name: glyphs, path: /tmp, augment: {mirror: true}}\n"
        "encoder: {backbone: resnet18, image_size: [32, 32]}\n"
        "method: {name: prunnet-channel, granularity: weight, scores: prefix, capacities: [0.4, 0.2], per_step: 3,\n"
        "  channel_multiple: 4, smallest_share: 0.5}\n"
        "schedule: {milestones: [1], scale: 3}\n"
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(file))
    fields = [str(problem.field) for problem in (caught.value, *caught.value.others)]
    of_method = ["capacities", "channel_multiple", "per_step", "scores", "smallest_share"]
    assert sorted(f for f in fields if f.startswith("method.")) == [f"method.{name}" for name in of_method]
    assert {"data.path", "data.augment", "schedule.milestones", "schedule.scale"} <= set(fields)
    assert "steps and epochs: neither is given" in str(caught.value)


def test_a_recipe_with_an_unknown_method_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "schema_version: 1\nname: x\ndata: {name: glyphs}\n"
        "encoder: {backbone: resnet18, image_size: [32, 32]}\nmethod: {name: sfcs}\nschedule: {steps: 1}\n"
    )
    with pytest.raises(RecipeError, match=r"no such method.*independent"):
        load_recipe(str(file))
