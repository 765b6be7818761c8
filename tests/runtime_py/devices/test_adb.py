"""A phone over adb: a client of our own that runs the command here, and adb's own client without a phone."""

import os
import shutil
import socket
import subprocess

import pytest

from runtime_py import load
from runtime_py.cli.check import main
from runtime_py.devices.adb import CLIENT, AdbDevice
from runtime_py.devices.check import check_on
from runtime_py.devices.remote import PYTHON
from runtime_py.errors import CrashError, DeviceError

ADB = "PRUNNET_TEST_ADB"
"""Environment variable: adb's client, if it is not where systems have it."""


@pytest.fixture
def client(stand_in):
    """Something that takes adb's words."""
    return stand_in(CLIENT)


def test_the_folder_goes_there_and_the_answer_comes_back(make_bundle, client, tmp_path):
    bundle = make_bundle("onnx")
    report = check_on(bundle, "adb:8B1X", None)
    assert report.verdict == load(bundle).check().verdict
    assert report.device.name == "adb:8B1X"
    assert report.device.host_difference == 0.0
    assert client.with_suffix(".words").read_text().startswith("-s 8B1X shell -T sh -c")
    assert list((tmp_path / "device").glob("tmp.*")) == []


def test_the_only_phone_needs_no_serial(make_bundle, client):
    check_on(make_bundle("onnx"), "adb:", None)
    assert client.with_suffix(".words").read_text().startswith("shell -T sh -c")


def test_a_phone_without_python_is_a_crash(make_bundle, client, monkeypatch):
    monkeypatch.setenv(PYTHON, "python-that-is-not-there")
    with pytest.raises(CrashError, match=r"on adb:1 ended with exit code 127.*python-that-is-not-there"):
        check_on(make_bundle("onnx"), "adb:1", None)


def test_without_a_client_it_says_so(make_bundle, monkeypatch):
    monkeypatch.setenv(CLIENT, "/no/such/adb")
    with pytest.raises(
        DeviceError,
        match=r"cannot be started \(No such file.*\): install its package, or name another client in PRUNNET_ADB",
    ):
        check_on(make_bundle("onnx"), "adb:1", None)


def test_a_client_that_is_no_command_is_named(make_bundle, monkeypatch, tmp_path):
    monkeypatch.setenv(CLIENT, "adb 'open")
    with pytest.raises(DeviceError, match="PRUNNET_ADB is no command"):
        check_on(make_bundle("onnx"), "adb:1", None)
    monkeypatch.setenv(CLIENT, str(tmp_path))
    with pytest.raises(DeviceError, match="cannot be started"):
        check_on(make_bundle("onnx", out="again"), "adb:1", None)


@pytest.mark.parametrize("address", ["adb:-s", "adb:a b", "adb:$(x)"])
def test_what_is_no_serial_number(address):
    with pytest.raises(DeviceError, match="names no phone"):
        AdbDevice.at(address)


def test_the_real_client_knows_no_such_phone(make_bundle, monkeypatch, capsys):
    """No phone was there: what is seen is that adb takes our words, and how it says that it finds none."""
    program = os.environ.get(ADB) or shutil.which("adb")
    if program is None or subprocess.run([program, "version"], capture_output=True, check=False).returncode:
        pytest.skip(f"no adb client here; {ADB} names an unpacked one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    monkeypatch.setenv(CLIENT, f"{program} -P {port}")
    try:
        assert main([str(make_bundle("onnx")), "--device", "adb:nothere"]) == 5
    finally:
        subprocess.run([program, "-P", port, "kill-server"], capture_output=True, check=False)
    out = capsys.readouterr().out
    assert "not verified" in out and "cannot be reached" in out and "'nothere' not found" in out
