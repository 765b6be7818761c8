"""Everything that can be wrong with a profile is named precisely: file, line, field, given, allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunnet.errors import ProfileError
from prunnet.profile import load_profile, load_profiles

GOOD = """\
schema_version: 1
name: bench
targets: [onnx, tflite]
hardware: {soc: Test SoC, threads: 2, ram: 1GiB, isa: [neon]}
budgets:
  max_artifact: 4MiB
  max_mflops: 30
precision: {onnx: fp32}
sources: {soc: a, threads: b, ram: c, isa: d}
"""

CASES = [
    (
        "max_artifact: 4MiB",
        "max_artefact: 4MiB",
        6,
        "budgets.max_artefact",
        ["unknown key", "'max_artifact'"],
    ),
    ("name: bench", "nmae: bench", 2, "nmae", ["unknown key", "did you mean 'name'"]),
    ("max_artifact: 4MiB", "max_artifact: 4", 6, "budgets.max_artifact", ["given 4", "KiB"]),
    ("max_artifact: 4MiB", "max_artifact: 4mib", 6, "budgets.max_artifact", ["'4mib'", "MiB"]),
    ("max_artifact: 4MiB", "max_artifact: 4 ms", 6, "budgets.max_artifact", ["'4 ms'"]),
    ("max_artifact: 4MiB", "max_artifact: -4MiB", 6, "budgets.max_artifact", ["'-4MiB'"]),
    ("max_artifact: 4MiB", "max_artifact: 0MiB", 6, "budgets.max_artifact", ["'0MiB'", "less than one byte"]),
    ("max_artifact: 4MiB", "max_artifact: .inf", 6, "budgets.max_artifact", ["given inf"]),
    ("max_mflops: 30", "max_mflops: 0", 7, "budgets.max_mflops", ["given 0", "greater than 0"]),
    ("max_mflops: 30", "max_mflops: -1.5", 7, "budgets.max_mflops", ["given -1.5"]),
    ("max_mflops: 30", "max_mflops: .inf", 7, "budgets.max_mflops", ["given inf", "finite"]),
    ("max_mflops: 30", "max_mflops: .nan", 7, "budgets.max_mflops", ["given nan", "finite"]),
    ("max_mflops: 30", "max_mflops: 30MiB", 7, "budgets.max_mflops", ["given '30MiB'"]),
    ("max_mflops: 30", "max_mflops: '30'", 7, "budgets.max_mflops", ["given '30'"]),
    ("max_mflops: 30", "max_mflops: true", 7, "budgets.max_mflops", ["given True"]),
    (
        "max_mflops: 30",
        "max_latency_ms: 5",
        7,
        "budgets.max_latency_ms",
        ["latency.onnx.fp32", "leave the budget out"],
    ),
    (
        "[onnx, tflite]",
        "[onnx, tflight]",
        3,
        "targets.1",
        ["did you mean 'tflite'", "given 'tflight'", "'executorch'"],
    ),
    ("[onnx, tflite]", "[onnx, onnx]", 3, "targets", ["listed twice"]),
    ("[onnx, tflite]", "[]", 3, "targets", ["at least 1"]),
    (
        "{onnx: fp32}",
        "{coreml: fp16}",
        8,
        "precision.coreml",
        ["not one of the profile's targets", "onnx, tflite"],
    ),
    ("{onnx: fp32}", "{onnx: fp8}", 8, "precision.onnx", ["given 'fp8'", "'int8'"]),
    ("{onnx: fp32}", "{onnx: [int8, fp8]}", 8, "precision.onnx.1", ["given 'fp8'", "'int8'"]),
    (
        "{onnx: fp32}",
        "{onnx: palette6}",
        8,
        "precision.onnx",
        ["palette6 is not offered", "fp32, fp16, int8"],
    ),
    ("{onnx: fp32}", "{onnx: [int8, int8]}", 8, "precision.onnx", ["listed twice"]),
    ("{onnx: fp32}", "{onnx: []}", 8, "precision.onnx", ["at least 1"]),
    ("{onnx: fp32}", "{onx: fp32}", 8, "precision.onx", ["given 'onx'", "'onnx'"]),
    ("schema_version: 1", "schema_version: 2", 1, "schema_version", ["given 2", "1"]),
    ("name: bench", "name: Bench One", 2, "name", ["given 'Bench One'", "a-z0-9"]),
    ("threads: 2", "threads: 0", 4, "hardware.threads", ["given 0"]),
    ("threads: 2", "threads: 2.5", 4, "hardware.threads", ["given 2.5"]),
    (", isa: d}", "}", 9, "sources", ["'isa' names no source"]),
    (", isa: d}", ", isa: d, gpu: e}", 9, "sources.gpu", ["no hardware fact"]),
    ("sources: {soc: a, threads: b, ram: c, isa: d}\n", "", None, "sources", ["missing"]),
    ("precision:", "budgets: {max_mflops: 3}\nprecision:", 8, None, ["duplicate key", "each key once"]),
    ("  max_mflops: 30", "\tmax_mflops: 30", 7, None, ["spaces"]),
    ("[onnx, tflite]", "[onnx, tflite", 4, None, ["not YAML 1.2"]),
    ("isa: [neon]", "isa: neon", 4, "hardware.isa", ["must be a list", "given 'neon'"]),
    ("threads: 2", "threads: two", 4, "hardware.threads", ["must be a whole number", "given 'two'"]),
    ("{onnx: fp32}", "[fp32]", 8, "precision", ["must be a mapping"]),
    ("ram: c", "ram: 3", 9, "sources.ram", ["must be text", "given 3"]),
    ("Test SoC", '"Test \\e[2J"', 4, "hardware.soc", ["terminal", r"\x1b"]),
    ("soc: a", '"\\a": a', 9, r"sources.\x07", ["terminal"]),
    ("soc: a", "soc: a\u202ez", 9, "sources.soc", ["terminal", r"\u202e"]),
]


def write(folder: Path, text: str | bytes, name: str = "bench.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_good_profile_loads(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path, GOOD))
    assert profile.budgets.max_artifact == 4 * 2**20
    assert profile.precisions_of("tflite") == ("fp32",)
    assert dict(profile.budgets.items()) == {"max_artifact": 4 * 2**20, "max_mflops": 30}


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "words"), CASES, ids=[case[1][:40] for case in CASES]
)
def test_a_wrong_field_is_named(
    tmp_path: Path, old: str, new: str, line: int | None, field: str | None, words: list[str]
) -> None:
    assert GOOD.count(old) == 1
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    error = caught.value
    assert (error.file, error.line, error.field) == (path, line, field)
    assert error.allowed
    for word in words:
        assert word in str(error)
    assert error.exit_code == 2


def test_a_list_of_wrong_entries_is_not_called_too_short(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="not one of the known values") as caught:
        load_profile(
            write(tmp_path, GOOD.replace("[onnx, tflite]", "[tflight]").replace("{onnx: fp32}", "{}"))
        )
    assert (caught.value.field, caught.value.others) == ("targets.0", ())


def test_pydantic_is_never_quoted(tmp_path: Path) -> None:
    """Each field of the good profile, with a value of each type: whatever is refused is refused in our words."""
    values = ("[]", "{}", "3", "-1.5", "true", "a", "~", "[3]", "{a: 1}")
    lines = GOOD.splitlines()
    texts = [
        "\n".join([*lines[:number], f"{line.partition(':')[0]}: {value}", *lines[number + 1 :]])
        for number, line in enumerate(lines)
        for value in values
    ]
    said = []
    for text in texts:
        try:
            load_profile(write(tmp_path, text))
        except ProfileError as error:
            said.append(str(error))
    assert len(said) > len(texts) / 2
    assert not [each for each in said if "Input should" in each or "valid " in each]


def test_texts_may_have_several_lines_and_any_script(tmp_path: Path) -> None:
    text = GOOD.replace("soc: a", '"soc": "größer\u00a0\\n\\tعربي 👩\u200d🔬"')
    assert load_profile(write(tmp_path, text)).sources["soc"].endswith("🔬")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"", "empty"),
        (b"# only a comment\n", "empty"),
        (b"- a\n- b\n", "mapping"),
        (b"just words\n", "mapping"),
        (b"name: caf\xe9\n", "UTF-8"),
        (b"a: 1\n---\nb: 2\n", "YAML"),
        (b"name: !python/object:os.system x\n", "YAML"),
        (b"? [1, 2]\n: 3\n", "no text"),
        (b"1: a\n", "no text"),
        (b"name: &a [*a]\n", "contains itself"),
        (b"[" * 5000 + b"]" * 5000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_profile(tmp_path: Path, text: bytes, word: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ProfileError, match=word) as caught:
        load_profile(path)
    assert str(path) in str(caught.value)


def test_missing_profiles_list_the_shipped_and_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="did you mean 'pixel8'") as caught:
        load_profile("pixle8")
    assert "galaxy_s24" in str(caught.value)
    with pytest.raises(ProfileError, match="is a folder"):
        load_profile(tmp_path)
    with pytest.raises(ProfileError, match="no profile matches"):
        load_profiles(tmp_path / "*.yaml")
    with pytest.raises(ProfileError):  # "**" as a part of a name is no glob before Python 3.13
        load_profiles(tmp_path / "fleet**.yaml")


def test_a_fleet_refuses_two_profiles_of_one_name(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "a.yaml")
    write(tmp_path, GOOD, "b.yaml")
    with pytest.raises(ProfileError, match="another profile") as caught:
        load_profiles(tmp_path / "*.yaml")
    assert caught.value.file.name == "b.yaml"
