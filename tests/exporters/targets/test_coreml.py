"""What is Core ML's own: precision of each operation, int8 weights, metadata, equal bytes, fp16's range."""

import hashlib
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from exporters.errors import ExportError
from exporters.targets.coreml import exporter
from exporters.targets.coreml.compression import has_zeros, palette
from exporters.targets.coreml.exporter import CoreMLExporter
from exporters.targets.spec import Artifact
from runtime_py.backends.coreml import CoreMLBackend
from runtime_py.backends.weights import expect_precision
from runtime_py.bundle.tolerances import TABLE
from runtime_py.errors import BundleError
from runtime_py.mil_executor.package import Package
from runtime_py.mil_executor.program import Operation, read_program
from tests.exporters.nets import DIMENSION, SmallEncoder, glyph_images, spec, torch_embeddings

IMAGES = glyph_images(12)


def operations(artifact: Artifact) -> tuple[Operation, ...]:
    return read_program(Package(artifact.path)).operations


def dtypes(artifact: Artifact) -> list[tuple[str, str]]:
    return [(o.kind, t.dtype) for o in operations(artifact) for t in o.outputs.values()]


def hashes(path: Path) -> dict[str, str]:
    return {
        file.relative_to(path).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


class Scaled(SmallEncoder):
    """Its embedding before normalisation is `scale` times as long."""

    def __init__(self, scale: float, hidden: float = 1.0) -> None:
        super().__init__()
        with torch.no_grad():
            self.head.weight *= scale
            self.head.bias *= scale
            self.stem[1].weight *= hidden
            self.stem[1].bias *= hidden
            self.down[0].weight /= hidden


def test_the_model_describes_itself(converted: Callable[[str, str], Artifact]) -> None:
    artifact = converted("coreml", "fp32")
    model = Package(artifact.path).model
    about = model.description.metadata
    assert about.shortDescription == "Query encoder små-nät: RGB image to unit-length embedding."
    assert (about.author, about.versionString) == ("prunnet", "0.1.0")
    assert spec().identity.entries().items() <= dict(about.userDefined).items()
    assert model.specificationVersion == 8  # iOS 17
    (taken,), (given,) = model.description.input, model.description.output
    assert (taken.name, taken.type.imageType.width, taken.type.imageType.height) == ("image", 32, 32)
    assert taken.shortDescription.startswith("RGB picture of 32 x 32 pixels")
    assert (
        given.shortDescription.startswith("Embedding of length 1, 24 values")
        and "0123" in given.shortDescription
    )
    assert (given.name, list(given.type.multiArrayType.shape)) == ("embedding", [1, 24])
    assert artifact.input.layout == "image" and artifact.tools["coremltools"].startswith("9")


def test_only_layers_and_what_lies_between_run_in_fp16(converted: Callable[[str, str], Artifact]) -> None:
    assert {dtype for _, dtype in dtypes(converted("coreml", "fp32"))} == {"fp32"}
    found = [(kind, dtype) for kind, dtype in dtypes(converted("coreml", "fp16")) if kind != "cast"]
    layers = [i for i, (kind, _) in enumerate(found) if kind in ("conv", "linear", "max_pool", "reduce_mean")]
    assert {dtype for _, dtype in found[layers[0] : layers[-1] + 1]} == {"fp16"}
    outside = found[: layers[0]] + found[layers[-1] + 1 :]
    assert {dtype for _, dtype in outside} == {"fp32"}
    assert found[: layers[0]] and {"reduce_l2_norm", "real_div"} <= {kind for kind, _ in outside}


def test_a_long_embedding_keeps_its_direction_in_fp16(tmp_path: Path) -> None:
    """Length 3000: its sum of squares is 9e6, far beyond fp16."""
    module = Scaled(3000)
    with torch.inference_mode():
        assert module.head.weight.norm() > 3000
    artifact = CoreMLExporter().convert(module, spec(precision="fp16"), tmp_path)
    found = CoreMLBackend(artifact.path, artifact.input, artifact.output).run(IMAGES)
    wanted = torch_embeddings(module, IMAGES)
    assert (found * wanted).sum(1).min() > 1 - 1e-5


def test_leaving_the_range_of_fp16_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"operation \w+ .* leaves the range of fp16") as caught:
        CoreMLExporter().convert(Scaled(1, hidden=1e6), spec(precision="fp16"), tmp_path)
    assert "precision.coreml to fp32" in str(caught.value)


def test_coming_close_to_the_range_of_fp16_is_noted(
    tmp_path: Path, converted: Callable[[str, str], Artifact]
) -> None:
    artifact = CoreMLExporter().convert(Scaled(1, hidden=2e3), spec(precision="fp16"), tmp_path)
    assert len(artifact.notes) == 1 and "fp16 ends at 65504" in artifact.notes[0]
    assert converted("coreml", "fp16").notes == converted("coreml", "fp32").notes == ()


def test_int8_stores_a_byte_per_weight_and_keeps_the_space(converted: Callable[[str, str], Artifact]) -> None:
    small, half = converted("coreml", "int8-weights"), converted("coreml", "fp16")
    unfolded = [o for o in operations(small) if o.kind == "constexpr_affine_dequantize"]
    # Of the five layers only the one of 4608 weights has more than 2048.
    assert [o.operands["quantized_data"][0].dtype for o in unfolded] == [np.int8]
    (scale,) = unfolded[0].operands["scale"]
    assert scale.shape == (32,), "a scale per output channel"
    assert small.size < half.size
    found = CoreMLBackend(small.path, small.input, small.output).run(IMAGES)
    assert (found * torch_embeddings(SmallEncoder(), IMAGES)).sum(1).min() > 0.999


def test_the_same_module_gives_the_same_bytes(
    tmp_path: Path, converted: Callable[[str, str], Artifact]
) -> None:
    again = CoreMLExporter().convert(SmallEncoder(), spec(precision="fp16"), tmp_path)
    assert hashes(again.path) == hashes(converted("coreml", "fp16").path)
    assert len(hashes(again.path)) == 3
    other = tmp_path / "other"
    other.mkdir()
    changed = CoreMLExporter().convert(SmallEncoder(seed=1), spec(precision="fp16"), other)
    different = {name for name, value in hashes(changed.path).items() if hashes(again.path)[name] != value}
    assert different == {"Data/com.apple.CoreML/weights/weight.bin"}


def test_coremltools_opens_what_was_rewritten(converted: Callable[[str, str], Artifact]) -> None:
    from exporters.targets.mlprogram.coremltools_import import coremltools

    model = coremltools().models.MLModel(str(converted("coreml", "fp16").path), skip_model_load=True)
    assert model.user_defined_metadata["prunnet.name"] == "små-nät"


def test_an_operation_without_conversion_is_named(tmp_path: Path) -> None:
    class Odd(SmallEncoder):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            wide = torch.nn.functional.interpolate(image, scale_factor=2, mode="bicubic")
            return super().forward(wide)

    with pytest.raises(ExportError, match=r"coreml: convert failed: .*bicubic"):
        CoreMLExporter().convert(Odd(), spec(), tmp_path)


@pytest.mark.parametrize(("precision", "entries"), [("palette6", 64), ("palette4", 16)])
def test_a_palette_stores_an_index_per_weight(
    converted: Callable[[str, str], Artifact], precision: str, entries: int
) -> None:
    small, half = converted("coreml", precision), converted("coreml", "fp16")
    (unfolded,) = [o for o in operations(small) if o.kind == "constexpr_lut_to_dense"]
    (table,), (indices,) = unfolded.operands["lut"], unfolded.operands["indices"]
    assert (table.size, table.dtype) == (entries, np.float16)
    assert indices.nbytes == 4608 * (entries.bit_length() - 1) // 8
    assert small.size < half.size


def test_palettes_are_the_same_bytes_again(tmp_path: Path, converted: Callable[[str, str], Artifact]) -> None:
    again = CoreMLExporter().convert(SmallEncoder(), spec(precision="palette4"), tmp_path)
    assert hashes(again.path) == hashes(converted("coreml", "palette4").path)


def test_a_palette_has_the_least_squared_error() -> None:
    """Against every split of the sorted values into runs, whose best table entries are their means."""
    values = np.random.default_rng(0).normal(size=9).astype(np.float16)
    weights = np.concatenate([values, values[:3]])
    table, indices = palette(weights, 3)
    assert indices.dtype == np.uint8 and (np.diff(table) > 0).all()
    ordered = np.sort(weights.astype(np.float64))

    def loss(cuts: tuple[int, int]) -> float:
        return sum(((run - run.mean()) ** 2).sum() for run in np.split(ordered, cuts))

    least = min(loss(cuts) for cuts in combinations(range(1, len(ordered)), 2))
    assert ((table[indices].astype(np.float64) - weights) ** 2).sum() == pytest.approx(least, rel=0.01)
    few, exact = palette(np.array([[1.0, 2.0], [2.0, 1.0]], np.float16), 16)
    assert few[exact].tolist() == [1, 2, 2, 1] and few.size == 16


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_a_masked_network_is_stored_without_its_zeros(
    tmp_path: Path, converted: Callable[[str, str], Artifact], precision: str
) -> None:
    module = SmallEncoder()
    with torch.no_grad():
        weight = module.down[0].weight
        weight *= weight.abs() > weight.abs().quantile(0.8)
    assert has_zeros(module, precision) and not has_zeros(SmallEncoder(), precision)
    artifact, dense = CoreMLExporter().convert(module, spec(precision=precision), tmp_path), converted
    (unfolded,) = [o for o in operations(artifact) if o.kind == "constexpr_sparse_to_dense"]
    (kept,) = unfolded.operands["nonzero_data"]
    assert kept.size == int((weight != 0).sum())
    assert dense("coreml", precision).size - artifact.size > 0.7 * 4608 * kept.itemsize - 4608 / 8 - 1000
    backend = CoreMLBackend(artifact.path, artifact.input, artifact.output)
    expect_precision(artifact.path, precision, backend.weights())
    found, wanted = backend.run(IMAGES), torch_embeddings(module, IMAGES)
    assert (found * wanted).sum(1).min() >= TABLE[precision].min_cosine - 1e-6


@pytest.mark.parametrize("precision", ["int8-weights", "palette6", "palette4"])
def test_a_masked_network_is_compressed_without_its_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """It loses no more than with its zeros, takes fewer bytes, and says that it needs a newer system."""
    module = SmallEncoder()
    module.down[0], module.head = torch.nn.Conv2d(16, 64, 3, 2, 1), torch.nn.Linear(64, DIMENSION)
    module.eval()
    with torch.no_grad():
        weight = module.down[0].weight
        weight *= weight.abs() > weight.abs().quantile(0.8)
    found: list[Artifact] = []
    for place in ("sparse", "dense"):
        (tmp_path / place).mkdir()
        twin = found[0].twin if found else None
        found.append(CoreMLExporter().convert(module, spec(precision=precision), tmp_path / place, twin))
        monkeypatch.setattr(exporter, "has_zeros", lambda *_: False)
    sparse, dense = found
    assert any("iOS 18" in note for note in sparse.notes) and not any("iOS" in note for note in dense.notes)
    kinds = {o.kind for o in operations(sparse)}
    assert kinds & {"constexpr_sparse_blockwise_shift_scale", "constexpr_lut_to_sparse"}
    assert sparse.size < dense.size - 1000 * (precision == "int8-weights")
    backends = [CoreMLBackend(each.path, each.input, each.output) for each in found]
    expect_precision(sparse.path, precision, backends[0].weights())
    assert 9216 in [
        each.elements for each in backends[0].weights() if each.dtype not in ("float16", "float32")
    ]
    with pytest.raises(BundleError, match="stored otherwise"):
        expect_precision(sparse.path, "fp16", backends[0].weights())
    wanted = torch_embeddings(module, IMAGES)
    cosines = [(each.run(IMAGES) * wanted).sum(1).min() for each in backends]
    assert cosines[0] >= cosines[1] - 1e-3 and cosines[0] > 0.95
