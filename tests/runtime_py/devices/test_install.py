"""The device is installed whole or not at all, from files with the pinned hashes alone."""

import dataclasses
import hashlib
import json

import pytest

from runtime_py.cli.device import main
from runtime_py.devices import fetch, install
from runtime_py.devices.packages import read_packages
from runtime_py.errors import DeviceError


class Fetcher:
    """Copies from the shop, and remembers what it was asked for."""

    def __init__(self, shop, fails_after=None):
        self.shop, self.fails_after, self.asked = shop, fails_after, []

    def __call__(self, source, packages, folder):
        for package in packages:
            if len(self.asked) == self.fails_after:
                raise DeviceError("no network")
            self.asked.append(package.name)
            (folder / package.file).write_bytes((self.shop / package.file).read_bytes())


def test_it_unpacks_what_was_pinned(shop, tmp_path):
    folder, packages = shop
    home, lines = tmp_path / "home/arm64", []
    install.install(home, lines.append, packages, Fetcher(folder))
    assert (home / "site/one/__init__.py").read_text() == "NAME = 'one'\n"
    assert install.installed_packages(home) == packages
    assert sorted(path.name for path in home.parent.iterdir()) == ["arm64"]
    assert any("downloading 2 packages" in line for line in lines)
    assert not install.is_installed(home)  # of other packages than this version's


def test_it_is_of_this_version_if_the_packages_and_the_source_are(shop, tmp_path):
    folder, packages = shop
    home, table, other = tmp_path / "home/arm64", tmp_path / "packages.json", tmp_path / "runner.cpp"
    table.write_text(json.dumps([dataclasses.asdict(package) for package in packages]))
    other.write_text(install.SOURCE.read_text() + "// another version")
    install.install(home, lambda line: None, packages, Fetcher(folder))
    assert install.is_installed(home, table)
    assert not install.is_installed(home, table, other)


@pytest.mark.parametrize("damage", [b"", b"something else"])
def test_another_file_than_pinned_is_refused_and_the_old_device_stays(shop, tmp_path, damage):
    folder, packages = shop
    home = tmp_path / "home/arm64"
    install.install(home, lambda line: None, packages, Fetcher(folder))
    (folder / packages[1].file).write_bytes(damage)
    with pytest.raises(
        DeviceError, match=rf"{packages[1].file} has sha256 [0-9a-f]{{64}}, pinned is {packages[1].sha256}"
    ):
        install.install(home, lambda line: None, packages, Fetcher(folder))
    assert install.installed_packages(home) == packages
    assert not (home.parent / "downloads" / packages[1].file).exists()


def test_a_broken_download_goes_on_from_there(shop, tmp_path):
    folder, packages = shop
    home = tmp_path / "home/arm64"
    with pytest.raises(DeviceError, match="no network"):
        install.install(home, lambda line: None, packages, Fetcher(folder, fails_after=1))
    assert not home.exists()
    again = Fetcher(folder)
    install.install(home, lambda line: None, packages, again)
    assert again.asked == ["two"]


def test_a_damaged_package_leaves_nothing(shop, tmp_path):
    folder, packages = shop
    (folder / packages[0].file).write_bytes(b"no zip")
    digest = hashlib.sha256(b"no zip").hexdigest()
    packages = (dataclasses.replace(packages[0], sha256=digest), packages[1])
    home = tmp_path / "home/arm64"
    with pytest.raises(DeviceError, match="cannot be unpacked"):
        install.install(home, lambda line: None, packages, Fetcher(folder))
    assert [path.name for path in home.parent.iterdir()] == ["downloads"]


def test_a_compiler_that_is_not_there_is_named(shop, tmp_path):
    folder, packages = shop
    packages = (dataclasses.replace(packages[0], into="compiler"), packages[1])
    with pytest.raises(DeviceError, match=r"no compiler for the runner: aarch64-linux-gnu-g\+\+-12"):
        install.install(tmp_path / "home/arm64", lambda line: None, packages, Fetcher(folder))


def test_without_apt_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    debian = next(package for package in read_packages() if package.source != "pip")
    with pytest.raises(DeviceError, match="apt-get, which is not here"):
        fetch.fetch_from(debian.source, (debian,), tmp_path)


def test_a_mirror_that_is_out_of_reach_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv(fetch.MIRROR, f"file://{tmp_path}/nothing")
    debian = next(package for package in read_packages() if package.source != "pip")
    with pytest.raises(DeviceError, match=r"apt-get update failed \(.*is there a network"):
        fetch.fetch_from(debian.source, (debian,), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_shipped_package_is_pinned():
    packages = read_packages()
    assert len({package.file for package in packages}) == len(packages)
    assert all(len(bytes.fromhex(package.sha256)) == 32 and package.bytes > 0 for package in packages)
    assert {package.into for package in packages} == {"emulator", "root", "site", "executorch", "compiler"}


def test_the_command_lists_and_removes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(install.HOME, str(tmp_path))
    assert main(["list"]) == 0
    assert f"{tmp_path}/arm64: not installed (prunnet-device install)" in capsys.readouterr().out
    (tmp_path / "downloads").mkdir()
    assert main(["remove"]) == 0
    assert "removed" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_home_is_in_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(install.HOME, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert install.emulator_folder() == tmp_path / "prunnet/arm64"
