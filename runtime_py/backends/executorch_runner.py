"""ExecuTorch artifacts on its C++ runtime: a process of a small runner, where there is no torch for the binding.

`RUNNER` in the environment names the runner's command, as a JSON list of words; `prunnet-device install` compiles one
for Arm from `runtime_py/devices/runner.cpp`.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from runtime_py.arrays import Floats, Pixels
from runtime_py.backends.base import InputBuffer, expect_dtype, expect_shape, identity_of, machine, stack
from runtime_py.backends.weights import Stored
from runtime_py.bundle.identity import Identity
from runtime_py.bundle.manifest import TensorInfo
from runtime_py.disk.files import plain_name
from runtime_py.errors import BundleError
from runtime_py.memory import MemoryWatch

RUNNER = "PRUNNET_EXECUTORCH_RUNNER"
"""Environment variable: the runner's command."""

# The runner reports a tensor's type as the number of its ScalarType.
_TYPES = {0: "uint8", 1: "int8", 5: "float16", 6: "float32"}


class ExecuTorchRunnerBackend:
    """One ExecuTorch program in a process of its own, loaded once for all images.

    Args:
        artifact: The `.pte` file.
        input_info: NCHW (or NHWC) pixels as float32, float16 or uint8.
        output_info: The embedding, [1, D].

    Attributes:
        memory: Watches the runner's process from before the program was loaded; None off Linux.

    Raises:
        BundleError: The file is no such program.
    """

    def __init__(self, artifact: Path, input_info: TensorInfo, output_info: TensorInfo) -> None:
        self._artifact, self._output = artifact, output_info
        self._buffer = InputBuffer(input_info)
        self._alone = threading.Lock()
        self._maker = os.getpid()  # a process that is forked from it has no child to end
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        with plain_name(artifact) as name:
            self._process = subprocess.Popen(
                [*json.loads(os.environ[RUNNER]), str(name)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
            )
            try:
                self._expect_ready()
                self.memory = MemoryWatch(self._process.pid, name) if MemoryWatch.is_possible() else None
                self._about = self._load()
                self._expect_signature(input_info)
            except BaseException:
                self.close()
                raise

    def _expect_ready(self) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the runner of ExecuTorch programs does not start: {self._last_words()}")

    def _load(self) -> dict[str, Any]:
        answer = self._exchange(b"load\n", None)
        try:
            about: dict[str, Any] = json.loads(answer)
        except ValueError as error:
            raise BundleError(
                self._artifact, f"the runner ends when it loads it: {self._last_words()}"
            ) from error
        if "error" in about:
            raise BundleError(self._artifact, about["error"])
        return about

    def _expect_signature(self, input_info: TensorInfo) -> None:
        for what, info in (("input", input_info), ("output", self._output)):
            tensor = self._about[what]
            expect_shape(self._artifact, what, tuple(tensor["shape"]), info)
            expect_dtype(self._artifact, what, _TYPES.get(tensor["dtype"], f"type {tensor['dtype']}"), info)

    def _exchange(self, sent: bytes | memoryview, size: int | None) -> bytes:
        """Send, and read `size` bytes or a line; less comes from a runner that ended."""
        assert self._process.stdin is not None and self._process.stdout is not None
        if self._said.closed:
            raise RuntimeError(
                "the runner was ended when an embedding was interrupted; load the bundle again"
            )
        try:
            with suppress(BrokenPipeError):
                self._process.stdin.write(sent)
                self._process.stdin.flush()
            return self._process.stdout.readline() if size is None else self._process.stdout.read(size)
        except BaseException:  # an interrupt: the answer to this question would be that to the next one
            self.close()
            raise

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._said.seek(0)
        said = self._said.read()[-300:].decode(errors="replace").strip()
        return f"exit code {self._process.returncode}, {said or 'without a word'}"

    @property
    def runtime(self) -> str:
        """ExecuTorch, its version and the machine."""
        return f"ExecuTorch {self._about['version']} (C++ runtime) on {machine()}"

    def run(self, images: Pixels) -> Floats:
        """Embed uint8 [N, H, W, 3] one image at a time; returns float32 [N, D]."""
        dtype = np.dtype(self._output.dtype)
        size = dtype.itemsize * self._output.shape[-1]
        rows = []
        for image in images:
            batch = self._buffer.fill(image)
            with self._alone:
                answer = self._exchange(np.ascontiguousarray(batch).data.cast("B"), size)
            if len(answer) != size:
                raise RuntimeError(f"the runner ended: {self._last_words()}")
            rows.append(np.frombuffer(answer, dtype).astype(np.float32).reshape(1, -1))
        return stack(rows, self._output)

    def weights(self) -> list[Stored]:
        """Return none: they are packed inside of XNNPACK's part of the program."""
        return []

    def identity(self) -> Identity:
        """Return the identity that the program's constant method gave."""
        try:
            entries = json.loads(bytes.fromhex(self._about["identity"]))
            found = {str(key): str(value) for key, value in entries.items()}
        except (ValueError, AttributeError) as error:
            raise BundleError(self._artifact, "its method 'prunnet_identity' holds no JSON object") from error
        return identity_of(self._artifact, found)

    def close(self) -> None:
        """End the runner; twice is once."""
        if self._said.closed:
            return
        if os.getpid() == self._maker:
            self._process.kill()
            self._process.communicate()
        self._said.close()

    def __del__(self) -> None:
        with suppress(AttributeError, OSError, ValueError):
            self.close()
