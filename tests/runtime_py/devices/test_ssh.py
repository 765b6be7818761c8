"""A board over ssh: with a client of our own that runs the command here, and with a real server where there is one."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from runtime_py import load
from runtime_py.cli.check import main
from runtime_py.devices.check import check_on
from runtime_py.devices.remote import PYTHON
from runtime_py.devices.ssh import CLIENT, SshDevice
from runtime_py.errors import CrashError, DeviceError

SSHD = "PRUNNET_TEST_SSHD"
"""Environment variable: an OpenSSH server's program, if it is not where systems have it."""


@pytest.fixture
def client(stand_in):
    """Something that takes ssh's words, on a board that has something of its own to say."""
    return stand_in(CLIENT, "welcome")


def test_the_folder_goes_there_and_the_answer_comes_back(make_bundle, client, tmp_path):
    bundle = make_bundle("onnx")
    report = check_on(bundle, "ssh://pi@board:2222", None)
    assert report.verdict == load(bundle).check().verdict
    assert report.device.name == "ssh://pi@board:2222"
    assert report.device.host_difference == 0.0
    assert "-p 2222 -- pi@board" in client.with_suffix(".words").read_text()
    assert list((tmp_path / "device").glob("tmp.*")) == []  # what mktemp made


def test_a_board_without_python_is_a_crash(make_bundle, client, monkeypatch):
    monkeypatch.setenv(PYTHON, "python-that-is-not-there")
    with pytest.raises(CrashError, match=r"/mine: .*ended with exit code 127.*python-that-is-not-there"):
        check_on(make_bundle("onnx", out="mine"), "ssh://board", None)


def test_a_board_out_of_reach_is_not_verified(make_bundle, client, capsys):
    client.write_text('#!/bin/sh\necho "No route to host" >&2\nexit 255\n')
    assert main([str(make_bundle("onnx")), "--device", "ssh://board"]) == 5
    out = capsys.readouterr().out
    assert "not verified" in out and "cannot be reached (No route to host)" in out


def test_a_check_that_is_stopped_leaves_nothing_of_what_it_sent(make_bundle, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, CLIENT: "sh -c 'sleep 100'", "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "runtime_py.cli", str(make_bundle("onnx")), "--device", "ssh://board"]
    done = subprocess.run([*command, "--timeout", "5"], env=environment, capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    assert not list(temporary.iterdir())


def test_without_a_client_it_says_so(make_bundle, monkeypatch):
    monkeypatch.setenv(CLIENT, "/no/such/ssh")
    with pytest.raises(
        DeviceError, match=r"cannot be started \(No such file or directory\): install its package"
    ):
        check_on(make_bundle("onnx"), "ssh://board", None)


@pytest.mark.parametrize(
    "address",
    [
        "ssh://",
        "ssh://a:b@host",
        "ssh://host:port",
        "ssh://-oProxyCommand=x",
        "ssh://h/x",
        "ssh://h?x=1",
        "ssh://h#x",
        "ssh://h:0",
    ],
)
def test_what_is_no_address(address):
    with pytest.raises(DeviceError, match="is no address"):
        SshDevice.at(address)


@pytest.mark.parametrize(
    ("address", "target", "port"),
    [
        ("ssh://pi@[fe80::1]:2222", "pi@fe80::1", 2222),
        ("ssh://[::1]", "::1", None),
        ("ssh://Pi@MyBoard:22", "Pi@MyBoard", 22),
    ],
)
def test_what_ssh_is_told(address, target, port):
    found = SshDevice.at(address)
    assert (found.target, found.port) == (target, port)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A real OpenSSH server on the loopback address, as this user, with keys of its own."""
    program = os.environ.get(SSHD) or shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None or shutil.which("ssh") is None:
        pytest.skip(f"no OpenSSH server or client here; {SSHD} names an unpacked server")
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/user.pub\n"
        f"PidFile {tmp_path}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
    )
    command = [program, "-D", "-e", "-f", str(tmp_path / "sshd_config")]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    options = f"-F none -i {tmp_path}/user -o IdentitiesOnly=yes -o UserKnownHostsFile={tmp_path}/known"
    monkeypatch.setenv(CLIENT, f"ssh {options} -o StrictHostKeyChecking=accept-new")
    monkeypatch.setenv(PYTHON, sys.executable)
    for _ in range(50):
        with socket.socket() as probe:
            if process.poll() is not None or probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    if process.poll() is not None:
        pytest.skip(f"the OpenSSH server does not start: {(tmp_path / 'log').read_text()[-200:]}")
    yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
    process.terminate()
    process.wait()


def test_a_real_server(make_bundle, server):
    bundle = make_bundle("onnx")
    report = check_on(bundle, server, None)
    assert report.verdict == load(bundle).check().verdict
    assert report.device.name == server


def test_a_real_server_that_does_not_know_us(make_bundle, server, monkeypatch):
    monkeypatch.setenv(CLIENT, os.environ[CLIENT].replace("/user -o", "/host -o"))
    with pytest.raises(DeviceError, match=r"cannot be reached \(.*Permission denied"):
        check_on(make_bundle("onnx"), server, None)
