"""`encoder.json` and weights from others: every oddity is an EncoderError that names the field, and takes no memory."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import prunnet.shipped.encoders
from prunnet.encoder.encoder import Encoder
from prunnet.errors import EncoderError
from prunnet.package.load import load_encoder
from prunnet.package.tensors import read_header

GLYPHS = Path(prunnet.shipped.encoders.__file__).parent / "glyphs"
ABOUT = json.loads((GLYPHS / "encoder.json").read_text())


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy whose large files are links, which a package may hold."""
    for file in GLYPHS.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "encoder.json").unlink()
    return tmp_path


def written(package: Path, **change: object) -> Path:
    (package / "encoder.json").write_text(json.dumps(ABOUT | change, indent=1))
    return package


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"checkpoint_path": "/tmp/x.pth"}, "does not shape a network"),
        ({"pretrained": True}, "does not shape a network"),
        ({"pretrained_cfg": {"file": "/etc/passwd"}}, "does not shape a network"),
        ({"pretrained_cfg_overlay": {"url": "http://x"}}, "does not shape a network"),
        ({"pretrained_strict": False}, "does not shape a network"),
        ({"cache_dir": "/tmp"}, "does not shape a network"),
        ({"features_only": True}, "does not shape a network"),
        ({"scriptable": True}, "does not shape a network"),
        ({"device": "meta"}, "does not shape a network"),
        ({"dtype": "float16"}, "does not shape a network"),
        ({"__class__": 1}, "does not shape a network"),
        ({"stem_type": "../../x"}, "not a short name"),
        ({"act_layer": "rellu"}, r"timm has no layer 'rellu'; did you mean 'relu'\?"),
        ({"norm_layer": "nope"}, "timm has no layer 'nope'"),
        ({"drop_rate": 7}, r"no rate; given 7; allowed: a number of at least 0"),
        ({"drop_path_rate": "x"}, "no rate"),
        ({"drop_rate": True}, "no rate"),
        ({"stem_width": 2**40}, "too large"),
        ({"stem_width": 2**16}, "would have more than"),
        ({"channels": [2**15] * 4}, "would have more than"),
        ({"layers": [60000] * 4}, "would have more than"),
        ({"channels": [8] * 1000}, "has 1000 entries"),
        ({"channels": [[[[[[8]]]]]]}, "nested too deeply"),
        ({"channels": "abc"}, "cannot be built with options"),
        ({"channels": [1]}, "does not run"),
        ({"channels": [0, 0, 0, 0]}, "does not run"),
        ({"block": "BasicBlock"}, "cannot be built with options"),
        ({"block_args": {"file": "x"}}, "a key that is not an argument of a layer"),
        ({"surprise": 1}, "its class has no such argument"),
        ({"act_layers": "relu"}, r"did you mean 'act_layer'\?"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_are_allowed_by_name_and_kind(package: Path, option: dict, words: str) -> None:
    backbone = ABOUT["backbone"] | {"options": ABOUT["backbone"]["options"] | option}
    written(package, backbone=backbone)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(EncoderError, match=words) as caught:
        load_encoder(package)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19, "KiB"
    name = next(iter(option))
    assert name in str(caught.value) or "does not run" in str(caught.value)
    assert "encoder.json" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"dimension": 2**64},
            r"encoder\.json:\d+: dimension: .*given 18446744073709551616; allowed: a whole number",
        ),
        ({"dimension": 65536}, "does not fit"),
        (
            {"backbone": ABOUT["backbone"] | {"features": 7}},
            r"backbone\.features: given 7; the backbone returns 128",
        ),
        ({"backbone": ABOUT["backbone"] | {"timm": "hf-hub:a/b"}}, "unknown timm backbone"),
        ({"backbone": ABOUT["backbone"] | {"timm": "resnet18.nonsense"}}, "nonsense"),
        ({"backbone": ABOUT["backbone"] | {"timm": ["resnet18"]}}, r"backbone\.timm"),
        ({"preprocessing": ABOUT["preprocessing"] | {"height": 10**9}}, r"preprocessing\.height: too large"),
        ({"preprocessing": ABOUT["preprocessing"] | {"height": 2000}}, r"probes\.npz: images is"),
        ({"preprocessing": ABOUT["preprocessing"] | {"std": [0, 1, 1]}}, "divides by zero"),
        ({"preprocessing": ABOUT["preprocessing"] | {"std": [1e-320, 1, 1]}}, r"std\.0: divides by zero"),
        ({"channel_multiple": 2**40}, "channel_multiple"),
        ({"channel_multiple": True}, "channel_multiple: .*given True; allowed: a whole number above 0"),
        ({"schema_version": True}, "schema_version: .*given True"),
        ({"dimension": "128"}, "dimension: .*given '128'"),
        ({"spare_narrow": False}, "spare_narrow: .*given False"),
        (
            {"training_capacities": [1e-320, 1]},
            r"training_capacities\.0: .*allowed: a number of at least 1e-06",
        ),
        ({"training_capacities": [True]}, r"training_capacities\.0: "),
        ({"backbone": ABOUT["backbone"] | {"options": {"channels": [10**400]}}}, "too large"),
        ({"\ud800": 1}, "surrogates"),
        *(
            (
                {"training_capacities": wrong},
                r"training_capacities: not ascending to 1.0; allowed: each .* once",
            )
            for wrong in ([1.0, 0.1], [0.1, 0.1, 1.0], [0.1, 0.5], [0.5, 0.1, 1.0])
        ),
        (
            {"preprocessing": ABOUT["preprocessing"] | {"mean": [0.0, 0.0, 0.0]}},
            r"encoder\.json: preprocessing\.mean: given \[0.0, 0.0, 0.0\]; the network uses \[123.67.*whole from",
        ),
        (
            {"preprocessing": ABOUT["preprocessing"] | {"std": [58.395, 57.12, 57.38]}},
            r"encoder\.json: preprocessing\.std: given .*57.38\]; the network uses",
        ),
        ({"training_capacities": []}, "training_capacities: too few entries"),
        ({"computation": []}, "computation: the key is missing"),
        ({"computation": 7}, "computation"),
    ],
)
def test_a_wrong_field_is_named(package: Path, change: dict, words: str) -> None:
    with pytest.raises(EncoderError, match=words):
        load_encoder(written(package, **change))


def test_a_mean_that_is_rounded_to_seven_digits_is_the_networks_own(package: Path) -> None:
    own = ABOUT["preprocessing"]
    rounded = {name: [float(f"{value:.7g}") for value in own[name]] for name in ("mean", "std")}
    assert rounded["mean"] != own["mean"]
    assert load_encoder(written(package, preprocessing=own | rounded)).preprocessing.mean == (
        123.675,
        116.28,
        103.53,
    )


@pytest.mark.parametrize("name", ["encoder.json", "model.safetensors", "probes.npz"])
def test_a_pipe_is_no_part_of_a_package(package: Path, name: str) -> None:
    written(package)
    (package / name).unlink()
    os.mkfifo(package / name)
    with pytest.raises(EncoderError, match=f"{name}: is not a plain file"):
        load_encoder(package)


def test_all_errors_are_listed_at_once_with_their_lines(package: Path) -> None:
    written(package, space_id=3, name="", dimension=-1, surprise=1)
    with pytest.raises(EncoderError, match="4 problems") as caught:
        load_encoder(package)
    lines = (package / "encoder.json").read_text().splitlines()
    for field in ("space_id", "name", "dimension", "surprise"):
        line = next(i for i, text in enumerate(lines, 1) if text.startswith(f' "{field}"'))
        assert f"encoder.json:{line}: {field}: " in str(caught.value)


def test_a_file_of_another_kind_is_not_listed_whole(package: Path) -> None:
    with pytest.raises(EncoderError) as caught:
        load_encoder(written(package, **{f"key{number}": 0 for number in range(2000)}))
    assert str(caught.value).count("unknown key") == 50
    assert "there are more problems than these" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not JSON"),
        (b"[]", "holds a list"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"name": 1, "name": 2}', "'name' is given twice"),
        (b" " * (2**24 + 1), "too long"),
        (b'{"dimension": ' + b"9" * 5000 + b"}", "is not JSON"),
    ],
)
def test_what_is_no_metadata(package: Path, content: bytes, words: str) -> None:
    (package / "encoder.json").write_bytes(content)
    with pytest.raises(EncoderError, match=words):
        load_encoder(package)


def test_tensors_that_do_not_fit_are_all_listed(package: Path) -> None:
    file = package / "model.safetensors"
    tensors = load_file(file)
    file.unlink()
    del tensors["encoder.pixels.mean"]
    tensors["encoder.head.project.weight"] = tensors["encoder.head.project.weight"].half()
    tensors["encoder.backbone.bn1.weight"] = torch.ones(3)
    tensors["surprise"] = torch.zeros(2, dtype=torch.complex64)
    save_file(tensors, file)
    with pytest.raises(EncoderError) as caught:
        load_encoder(written(package))
    for words in (
        "encoder.pixels.mean is missing",
        "surprise belongs to no part of the network",
        "encoder.backbone.bn1.weight has the shape [3], the network's is [32]",
        "encoder.head.project.weight is F16, the network's is F32",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.complex64, torch.bfloat16, torch.int64])
def test_a_type_of_another_kind_is_refused(package: Path, kind: torch.dtype) -> None:
    file = package / "model.safetensors"
    tensors = load_file(file)
    file.unlink()
    tensors["encoder.backbone.bn1.weight"] = tensors["encoder.backbone.bn1.weight"].to(kind)
    save_file(tensors, file)
    with pytest.raises(EncoderError, match=r"bn1\.weight is \w+, the network's is F32"):
        load_encoder(written(package))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        (2**63).to_bytes(8, "little") + b"{}",
        (99 * 2**20).to_bytes(8, "little") + b"{}",
        (60).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]}}',
        (2).to_bytes(8, "little") + b"{}",
    ],
)
def test_a_hostile_header(package: Path, content: bytes) -> None:
    (package / "model.safetensors").unlink()
    (package / "model.safetensors").write_bytes(content)
    with pytest.raises(EncoderError, match=r"model\.safetensors"):
        load_encoder(written(package))


def test_options_that_are_too_large_are_refused_before_memory_is_taken() -> None:
    with pytest.raises(EncoderError, match="would have more than"):
        Encoder.from_timm("resnet18", image_size=(32, 32), options={"channels": [65536] * 4})
    with pytest.raises(EncoderError, match="would have more than 1,000 values"):
        Encoder.from_timm("resnet18", image_size=(32, 32), most=1000)


def test_the_header_counts_what_the_file_holds() -> None:
    header = read_header(GLYPHS / "model.safetensors")
    assert header.values == sum(tensor.numel() for tensor in load_file(header.file).values())
