"""Installs the emulated device below the user's cache folder: whole or not at all, no root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

from runtime_py.devices.fetch import Fetch, download
from runtime_py.devices.packages import Package, digest, read_packages
from runtime_py.disk.files import sha256
from runtime_py.disk.scratch import scratch_path
from runtime_py.errors import DeviceError

HOME = "PRUNNET_DEVICE_HOME"
"""Environment variable: the folder that the emulator is installed in."""
COMMAND = "prunnet-device install"
SOURCE = Path(__file__).with_name("runner.cpp")
"""What is compiled for the device."""
MARKER = "installed.json"
EMULATOR = "bin/qemu-aarch64"
RUNNER = "bin/prunnet_runner"
PYTHON = "usr/bin/python3.11"
"""Inside of `root`."""
_NOT_NEEDED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian")


def device_home() -> Path:
    """Return the folder of all that is installed: PRUNNET_DEVICE_HOME, else `prunnet` in the user's cache folder."""
    given = os.environ.get(HOME)
    if given:
        return Path(given).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "prunnet"


def emulator_folder() -> Path:
    """Return where the emulated device lies, or would lie."""
    return device_home() / "arm64"


def installed_packages(folder: Path) -> tuple[Package, ...] | None:
    """Return what the device in `folder` was made of; None if there is none."""
    try:
        body = json.loads((folder / MARKER).read_text())
        return tuple(Package(**row) for row in body["packages"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_installed(folder: Path, table: Path | None = None, source: Path = SOURCE) -> bool:
    """Tell whether `folder` is made of this version's packages and source; for `table` see `read_packages`."""
    packages = installed_packages(folder)
    if packages is None or digest(packages) != digest(read_packages(table)):
        return False
    return bool(json.loads((folder / MARKER).read_text()).get("compiled") == sha256(source))


def install(
    folder: Path,
    say: Callable[[str], None],
    packages: tuple[Package, ...] | None = None,
    fetch: Fetch | None = None,
) -> None:
    """Download, verify, unpack beside, compile the runner, rename.

    Args:
        folder: Where the device will lie; an older one is replaced.
        say: Takes progress lines.
        packages: Other ones than the pinned.
        fetch: See `download`.

    Raises:
        DeviceError: Something is missing or not what was pinned; `folder` is as before.
    """
    packages = packages or read_packages()

    def settle(scratch: Path) -> None:
        _settle(scratch, packages, say)
        if (scratch / EMULATOR).exists():
            say("compiling the guest's modules ...")
            _compile_modules(scratch, folder)

    install_packages(folder, say, packages, settle, SOURCE, fetch)


def install_packages(
    folder: Path,
    say: Callable[[str], None],
    packages: tuple[Package, ...],
    settle: Callable[[Path], None],
    source: Path,
    fetch: Fetch | None = None,
) -> None:
    """Download, verify, unpack beside, settle, rename; see `install`.

    Args:
        folder: What will be made; an older one is replaced.
        say: Takes progress lines.
        packages: What it is made of.
        settle: Takes from the unpacked packages, in the folder that it is given, what is needed.
        source: What `settle` compiles: another one needs another installation.
        fetch: See `download`.
    """
    downloads = folder.parent / "downloads"
    folder.parent.mkdir(parents=True, exist_ok=True)
    download(packages, downloads, say, fetch)
    with scratch_path(folder.parent, f".{folder.name}") as scratch:
        scratch.mkdir()
        say(f"unpacking {len(packages)} packages ...")
        for package in packages:
            _unpack(package, downloads / package.file, scratch)
        settle(scratch)
        rows = [vars(package) for package in packages]
        made_of = {"packages": rows, "compiled": sha256(source)}
        (scratch / MARKER).write_text(json.dumps(made_of, indent=2) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        scratch.rename(folder)
    shutil.rmtree(downloads)


def remove(folder: Path) -> bool:
    """Remove what is installed in `folder`, and what a broken installation downloaded; False if there was nothing."""
    found = False
    for path in (folder, folder.parent / "downloads"):
        if path.exists():
            shutil.rmtree(path)
            found = True
    return found


def _unpack(package: Package, file: Path, scratch: Path) -> None:
    target = scratch / package.into
    target.mkdir(exist_ok=True)
    if package.source == "pip":
        try:
            with zipfile.ZipFile(file) as wheel:
                names = wheel.namelist()
                if package.into == "executorch":  # the rest needs torch
                    names = [
                        name for name in names if name.startswith(("executorch/lib/", "executorch/include/"))
                    ]
                wheel.extractall(target, names)
        except (zipfile.BadZipFile, OSError) as error:
            raise DeviceError(f"{package.file} cannot be unpacked ({error})") from error
        return
    if shutil.which("dpkg-deb") is None:
        raise DeviceError(
            "Debian's packages are unpacked by dpkg-deb, which is not here: use a Debian system"
        )
    run_or_refuse(["dpkg-deb", "-x", str(file), str(target)], f"{package.file} cannot be unpacked")


def _settle(scratch: Path, packages: tuple[Package, ...], say: Callable[[str], None]) -> None:
    """Take from the unpacked packages what the device needs."""
    (scratch / "bin").mkdir()
    emulator = scratch / "emulator/usr/bin/qemu-aarch64"
    if emulator.exists():
        shutil.move(emulator, scratch / EMULATOR)
    if (scratch / "compiler").exists():
        say("compiling the runner of ExecuTorch programs ...")
        compile_runner(scratch, packages)
    for unwanted in ("emulator", "compiler", "executorch/executorch/include"):
        shutil.rmtree(scratch / unwanted, ignore_errors=True)
    for name in _NOT_NEEDED:
        shutil.rmtree(scratch / "root" / name, ignore_errors=True)
    for heavy in scratch.glob("site/ai_edge_litert/libLiteRtWebGpuAccelerator.so"):
        heavy.unlink()


def compile_runner(scratch: Path, packages: tuple[Package, ...]) -> None:
    """Compile `runner.cpp` against ExecuTorch's libraries, with the unpacked cross compiler.

    Args:
        scratch: Holds `compiler/` and `executorch/`; gets the runner.
        packages: What was unpacked, ExecuTorch among it.

    Raises:
        DeviceError: The compiler is missing or refuses.
    """
    compiler, executorch = scratch / "compiler", scratch / "executorch/executorch"
    program = compiler / "usr/bin/aarch64-linux-gnu-g++-12"
    if not program.exists():
        raise DeviceError(f"no compiler for the runner: {program.name} is in none of the packages")
    include, libraries = executorch / "include", executorch / "lib"
    command = [str(program), f"--sysroot={compiler}", "-std=c++17", "-O2"]
    version = next(package.version for package in packages if package.into == "executorch")
    command += [f'-DPRUNNET_EXECUTORCH_VERSION="{version}"']
    command += ["-DC10_USING_CUSTOM_GENERATED_MACROS", "-DET_EVENT_TRACER_ENABLED", "-DET_USE_THREADPOOL"]
    for folder in (include, include / "executorch/runtime/core/portable_type/c10"):
        command += ["-isystem", str(folder)]
    command += [str(SOURCE), "-o", str(scratch / RUNNER), f"-L{libraries}"]
    # These register kernels when they are loaded; nothing in the program names them.
    registering = ("kernels_optimized", "kernels_quantized", "backend_xnnpack", "threadpool")
    command += ["-lexecutorch", "-Wl,--push-state,--no-as-needed"]
    command += [f"-lexecutorch_{name}" for name in registering]
    command += ["-Wl,--pop-state", "-Wl,-rpath,$ORIGIN/../executorch/executorch/lib", "-lpthread"]
    own = str(compiler / "usr/lib/x86_64-linux-gnu")
    run_or_refuse(command, "the runner does not compile", {**os.environ, "LD_LIBRARY_PATH": own})


def _compile_modules(scratch: Path, folder: Path) -> None:
    """Compile the guest's modules once, or every check would: that is most of a guest's start.

    Args:
        scratch: Holds the device; it will be renamed.
        folder: The name that tracebacks show.
    """
    root = scratch / "root"
    command = [str(scratch / EMULATOR), "-cpu", "cortex-a76", "-L", str(root), str(root / PYTHON), "-P"]
    command += ["-m", "compileall", "-q", "-s", str(scratch), "-p", str(folder)]
    command += [
        "--invalidation-mode",
        "unchecked-hash",
        str(scratch / "site"),
        str(root / "usr/lib/python3.11"),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode not in (0, 1):  # 1: a file that is no valid Python, such as a template
        raise DeviceError(f"the emulator does not run its Python ({done.stderr.strip()[-400:]})")


def run_or_refuse(
    command: list[str],
    problem: str,
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
    timeout: float | None = None,
) -> str:
    """Run a command, and return what it printed.

    Args:
        command: Its words.
        problem: What its failure means.
        environment: Its variables; None for this process' own.
        folder: Where it runs; None for this process' own.
        timeout: Seconds until it is killed; None for no end.

    Raises:
        DeviceError: It failed: the problem, and its last words.
    """
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"{problem} ({error})") from error
    if done.returncode:
        said = done.stderr.strip()[-400:] or "without a word"
        raise DeviceError(f"{problem} (exit code {done.returncode}: {said})")
    return done.stdout
