"""Hostile and odd YAML files: only our errors, in bounded time, and all problems of a file at once."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from prunnet.errors import DocumentError, InfeasibleError, ProfileError, RecipeError
from prunnet.profile import format_bytes, load_profile
from prunnet.train.recipe.recipe import load_recipe
from prunnet.yaml.document import DEEPEST, MOST_VALUES, read_document
from tests.prunnet.profile.test_errors import GOOD, write

RECIPE = """\
schema_version: 1
name: mine
data: {name: glyphs}
encoder:
  backbone: resnet18
  options: {channels: [8, 16, 32, 64]}
  image_size: [32, 32]
method: {name: prunnet-channel}
schedule: {steps: 10, batch_size: 8, warmup_steps: 0}
"""
DOUBLING = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30))
MAPPINGS = "a0: &a0 {k: v}\n" + "".join(f"a{i}: &a{i} {{p: *a{i - 1}, q: *a{i - 1}}}\n" for i in range(1, 30))
MERGES = "a0: &a0 {k: v}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 30))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (DOUBLING, "its aliases written out"),
        (MAPPINGS, "its aliases written out"),
        (MERGES, "its aliases written out"),
        ("a: " + "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "nested too deeply"),
        ("a: " + "{b: " * 5000, "nested too deeply|not YAML"),
        ("\n".join(f"k{i}: 1" for i in range(MOST_VALUES)), "its aliases written out|too long"),
        ("#" * 300_000, "is too long"),
        ("a: !!bool x", "not YAML"),
        ("a: !!int x", "not YAML"),
        ("a: !!int ''", "not YAML"),
        ("a: !!float ''", "not YAML"),
        ("a: !!timestamp x", "not YAML|unknown key"),
        ("a: !!binary '*'", "unknown key"),
        ("a: !!omap x", "not YAML|unknown key"),
        ("a: *nothing", "not YAML"),
        ("%YAML 9.9\n---\na: 1", "not YAML|unknown key|schema_version"),
        ("a: " + "9" * 5000, "not YAML"),
        ("a: \x00", "not YAML"),
        ("a: 1\na: 2", "duplicate key"),
        ("a: {b: 1, b: 2}", "duplicate key"),
    ],
)
@pytest.mark.parametrize("load", [load_profile, load_recipe])
def test_a_hostile_file_ends_in_our_error_at_once(tmp_path: Path, text: str, word: str, load) -> None:
    path = write(tmp_path, text)
    started = time.process_time()
    with pytest.raises(DocumentError, match=word) as caught:
        load(str(path))
    assert time.process_time() - started < 10
    assert str(path) in str(caught.value)
    assert type(caught.value) is (RecipeError if load is load_recipe else ProfileError)


def test_an_honest_alias_still_works(tmp_path: Path) -> None:
    path = write(tmp_path, "base: &base {a: 1, b: 2}\nuse: {<<: *base, b: 3}\nagain: *base\n")
    document = read_document(path)
    assert document.values["use"] == {"a": 1, "b": 3} and document.values["again"] == {"a": 1, "b": 2}


def test_all_problems_of_a_profile_are_listed(tmp_path: Path) -> None:
    text = (
        GOOD.replace("4MiB", "4")
        .replace("threads: 2", "threads: 0")
        .replace("name: bench", "name: Bench One")
    )
    path = write(tmp_path, text)
    with pytest.raises(ProfileError, match="3 problems") as caught:
        load_profile(path)
    said = str(caught.value)
    for words in (
        f"{path}:2: name: does not match the rule for names; given 'Bench One'; allowed: text that matches",
        f"{path}:4: hardware.threads: ",
        f"{path}:6: budgets.max_artifact: not a size; given 4; allowed: a number above 0 with a unit",
    ):
        assert words in said
    assert len(caught.value.others) == 2 and "more" not in said


def test_all_cross_checks_of_a_profile_are_listed(tmp_path: Path) -> None:
    text = GOOD.replace(", isa: d}", ", gpu: e}").replace("{onnx: fp32}", "{coreml: fp16}")
    with pytest.raises(ProfileError, match="3 problems") as caught:
        load_profile(write(tmp_path, text))
    for words in ("precision.coreml", "'isa' names no source", "sources.gpu"):
        assert words in str(caught.value)


def test_hardware_sources_and_unknown_publications_are_listed_together(tmp_path: Path) -> None:
    (tmp_path / "sources.yaml").write_text("schema_version: 1\nsources: {}\n")
    text = GOOD.replace("threads: 2", "threads: 0").replace(", isa: d}", "}")
    text = text.replace("{onnx: fp32}", "{onnx: [int8, int8]}")
    with pytest.raises(ProfileError) as caught:
        load_profile(write(tmp_path, text))
    said = str(caught.value)
    for words in (
        "hardware.threads: ",
        "'isa' names no source",
        "listed twice",
        "sources.yaml has no such source",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("old", "new", "line", "field"),
    [
        ("name: prunnet-channel", "name: [a, b]", 8, "method.name"),
        ("name: prunnet-channel", "name: {a: b}", 8, "method.name"),
        ("name: prunnet-channel", "name: 7", 8, "method.name"),
        ("{name: prunnet-channel}", "[a]", 8, "method"),
        ("channels: [8, 16, 32, 64]", "drop_rate: 7", 6, "encoder.options.drop_rate"),
        ("channels: [8, 16, 32, 64]", "checkpoint_path: x.pth", 6, "encoder.options.checkpoint_path"),
        ("channels: [8, 16, 32, 64]", "stem_width: 1099511627776", 6, "encoder.options.stem_width"),
        ("image_size: [32, 32]", "image_size: [1000000, 32]", 7, "encoder.image_size.0"),
        ("image_size: [32, 32]", "image_size: [0, 32]", 7, "encoder.image_size.0"),
        ("image_size: [32, 32]", f"dimension: {2**64}\n  image_size: [32, 32]", 7, "encoder.dimension"),
    ],
)
def test_a_recipes_field_is_named(tmp_path: Path, old: str, new: str, line: int, field: str) -> None:
    assert RECIPE.count(old) == 1
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(write(tmp_path, RECIPE.replace(old, new))))
    assert (caught.value.line, caught.value.field) == (line, field)
    assert caught.value.allowed


def test_mutated_files_end_only_in_our_errors(tmp_path: Path) -> None:
    """500 mutations of a profile and a recipe: a value replaced, a line lost or doubled, a byte changed."""
    rng = random.Random(0)
    odd = [
        "[]",
        "{}",
        "null",
        "-1",
        "1e999",
        ".nan",
        "''",
        "[[]]",
        "{a: {b: c}}",
        "true",
        "2020-01-01",
        "0x7f",
        "!!set {a}",
    ]
    for round_ in range(500):
        text, load = ((GOOD, load_profile), (RECIPE, load_recipe))[round_ % 2]
        lines = text.splitlines()
        at = rng.randrange(len(lines))
        kind = rng.randrange(4)
        if kind == 0:
            lines[at] = lines[at].partition(":")[0] + ": " + rng.choice(odd)
        elif kind == 1:
            lines[at : at + 1] = [lines[at]] * rng.choice([0, 2])
        elif kind == 2:
            place = rng.randrange(len(lines[at]) or 1)
            lines[at] = lines[at][:place] + chr(rng.randrange(32, 127)) + lines[at][place + 1 :]
        else:
            words = lines[at].split(": ")
            lines[at] = ": ".join([*words[:-1], rng.choice(odd)])
        try:
            load(str(write(tmp_path, "\n".join(lines))))
        except DocumentError as error:
            assert "bench.yaml" in str(error)


def test_sizes_are_shown_in_the_unit_of_the_profile(tmp_path: Path) -> None:
    budgets = load_profile(write(tmp_path, GOOD.replace("4MiB", "12.5MB"))).budgets
    assert budgets.max_artifact == 12_500_000 and budgets.unit_of("max_artifact") == "MB"
    assert budgets.unit_of("max_mflops") is None and budgets.unit_of("max_peak_memory") is None
    assert format_bytes(7_850_000, "MB") == "7.8 MB" and format_bytes(12, "B") == "12 B"
    error = InfeasibleError("p", "max_artifact", 12_500_000, 13_000_000, "bytes", "Help.", ("MB", 10**6))
    assert "12,500,000 bytes (12.50 MB)" in str(error) and "13,000,000 bytes (13.00 MB)" in str(error)
