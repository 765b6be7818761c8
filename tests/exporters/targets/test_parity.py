"""One template for all targets: the saved artifact, loaded back, against the torch module it came from.

A target adds its row to `CASES`, and its vendor's own runtime to `plain.RUNTIMES` where one runs here.
"""

import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from exporters.targets.registry import TARGETS, get_exporter
from runtime_py.backends import open_backend
from runtime_py.bundle.tolerances import TABLE
from tests.exporters.nets import DIMENSION, SmallEncoder, glyph_images, spec, torch_embeddings
from tests.exporters.plain import RUNTIMES

# (target, precision): smallest cosine. The product's own, and tighter where these small networks allow it.
CASES = {
    **{(target, "fp32"): TABLE["fp32"].min_cosine for target in TARGETS},
    ("coreml", "fp16"): TABLE["fp16"].min_cosine,
    ("executorch-coreml", "fp16"): TABLE["fp16"].min_cosine,
    ("executorch", "int8"): max(0.9995, TABLE["int8"].min_cosine),
    ("tflite", "fp16"): TABLE["fp16"].min_cosine,
    ("tflite", "int8"): max(0.9995, TABLE["int8"].min_cosine),
    ("onnx", "fp16"): TABLE["fp16"].min_cosine,
    ("onnx", "int8"): max(0.9995, TABLE["int8"].min_cosine),
    **{
        (target, "mixed"): max(0.9995, TABLE["mixed"].min_cosine)
        for target in ("executorch", "tflite", "onnx")
    },
    ("tflite", "int8-dynamic"): max(0.9995, TABLE["int8-dynamic"].min_cosine),
    ("coreml", "int8-weights"): max(0.9995, TABLE["int8-weights"].min_cosine),
    ("executorch", "int8-dynamic"): max(0.9995, TABLE["int8-dynamic"].min_cosine),
    ("tflite", "int8-weights"): max(0.9995, TABLE["int8-weights"].min_cosine),
    ("coreml", "palette6"): max(0.999, TABLE["palette6"].min_cosine),
    ("coreml", "palette4"): max(0.99, TABLE["palette4"].min_cosine),
}
IMAGES = glyph_images(24)


@pytest.fixture(params=list(CASES), ids=lambda case: "-".join(case))
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    missing = [name for name in TARGETS[request.param[0]].imports if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{request.param[0]} needs {', '.join(missing)}")
    return request.param


def assert_same_space(found: np.ndarray, wanted: np.ndarray, min_cosine: float) -> None:
    """Scale-free and task-level: finite, unit length, every cosine, and the same nearest neighbours."""
    assert found.shape == wanted.shape == (len(IMAGES), DIMENSION)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3)
    exact = found.astype(np.float64), wanted.astype(np.float64)  # float32 rounds at 6e-8
    cosines = np.sum(exact[0] * exact[1], 1) / np.prod([np.linalg.norm(each, axis=1) for each in exact], 0)
    assert cosines.min() >= min_cosine, f"image {cosines.argmin()}: cosine {cosines.min()}"
    scores = wanted @ wanted.T
    np.fill_diagonal(scores, -1)
    queries = found @ wanted.T
    np.fill_diagonal(queries, -1)
    chosen = scores[np.arange(len(IMAGES)), queries.argmax(1)]
    assert (scores.max(1) - chosen).max() <= 2 * np.sqrt(2 * (1 - min_cosine)), "another nearest neighbour"


def test_the_images_tell_a_wrong_artifact_apart() -> None:
    """The probes' own embeddings are spread, so that a constant output or swapped channels cannot pass."""
    wanted = torch_embeddings(SmallEncoder(), IMAGES)
    assert (wanted @ wanted.T).min() < 0.9
    swapped = torch_embeddings(SmallEncoder(), IMAGES[..., ::-1])
    with pytest.raises(AssertionError):
        assert_same_space(swapped, wanted, 0.9995)


def test_our_runtime_gets_the_torch_embeddings(case, converted) -> None:
    artifact = converted(*case)
    backend = open_backend(case[0], artifact.path, artifact.input, artifact.output)
    assert_same_space(backend.run(IMAGES), torch_embeddings(SmallEncoder(), IMAGES), CASES[case])
    assert backend.identity() == spec().identity


def test_the_vendors_runtime_gets_the_torch_embeddings(case, converted) -> None:
    if case[0] not in RUNTIMES:
        pytest.skip(f"no runtime of the vendor of {case[0]} runs off its own platform")
    embeddings, identity = RUNTIMES[case[0]](converted(*case).path, IMAGES)
    assert_same_space(embeddings, torch_embeddings(SmallEncoder(), IMAGES), CASES[case])
    assert spec().identity.entries().items() <= identity.items()
    assert float(identity["prunnet.capacity"]) == spec().identity.capacity


def test_the_artifact_says_what_it_takes_and_who_made_it(case, converted) -> None:
    artifact, entry = converted(*case), TARGETS[case[0]]
    assert artifact.path.suffix == entry.suffix == get_exporter(case[0]).suffix
    assert artifact.input.value_range == (0.0, 255.0)
    assert artifact.output.shape == (1, DIMENSION)
    assert artifact.size > 4 * 32 * DIMENSION / (1 if case[1] == "fp32" else 4)
    assert artifact.tools["torch"] and len(artifact.tools) > 1


def wrong_answers(embed: Callable[[np.ndarray], np.ndarray], calls: int) -> int:
    """Embed single images in 8 threads, `calls` in each; count the answers that are not bit for bit right."""
    truth = embed(IMAGES)

    def work(thread: int) -> int:
        rows = [(thread * 7 + call) % len(IMAGES) for call in range(calls)]
        return sum(not np.array_equal(embed(IMAGES[row : row + 1])[0], truth[row]) for row in rows)

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(work, range(8)))


@pytest.mark.parametrize("calls", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_threads_share_one_artifact(case, converted, calls) -> None:
    artifact = converted(*case)
    backend = open_backend(case[0], artifact.path, artifact.input, artifact.output)
    assert wrong_answers(backend.run, calls) == 0
