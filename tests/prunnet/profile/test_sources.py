"""Where the facts of profiles and fits come from: `sources.yaml` beside them."""

from __future__ import annotations

import csv
import doctest
import re
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from prunnet.errors import ProfileError
from prunnet.profile import load_profile, load_profiles, shipped_profiles, sources
from prunnet.profile.sources import ASSUMPTION, FILE, keys_of, load_sources

SHIPPED = Path("device_profiles")
FITS = sorted(SHIPPED.glob("latency/*.yaml"))
KNOWN = load_sources(SHIPPED / FILE).sources


def values(path: Path) -> dict:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def references() -> list[tuple[str, str]]:
    profiles = [
        (n, text) for n in shipped_profiles() for text in values(SHIPPED / f"{n}.yaml")["sources"].values()
    ]
    return profiles + [(fit.stem, row["source"]) for fit in FITS for row in values(fit)["rows"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED, tmp_path / "mine")
    return tmp_path / "mine"


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_every_source_of_the_shipped_profiles_and_fits_is_known() -> None:
    assert len(references()) > 80
    for where, text in references():
        keys = keys_of(text)
        assert keys, f"{where}: {text!r} names no source"
        assert set(keys) <= {*KNOWN, ASSUMPTION}, f"{where}: {text!r}"


def test_every_known_source_is_used() -> None:
    used = {key for _, text in references() for key in keys_of(text)}
    assert set(KNOWN) == used - {ASSUMPTION}


def test_nothing_names_a_file_outside_the_repository() -> None:
    for path in [*SHIPPED.glob("*.yaml"), *FITS]:
        found = re.findall(r"[\w/]+\.csv|/work/\S+|shared/\S+", path.read_text(encoding="utf-8"))
        assert not found, f"{path}: {found}"


def test_the_table_that_is_fitted_has_the_rows_of_the_fits() -> None:
    with Path("benchmarks/latency_rows.csv").open(newline="", encoding="utf-8") as lines:
        table = {
            (f"{row['model']} {row['input_resolution']}", float(row["latency_ms"]), row["source"])
            for row in csv.DictReader(lines)
        }
    rows = {(row["model"], row["measured_ms"], row["source"]) for fit in FITS for row in values(fit)["rows"]}
    assert table == rows


def test_a_list_of_sources_is_no_profile(folder: Path) -> None:
    assert FILE.removesuffix(".yaml") not in shipped_profiles()
    assert [p.name for p in load_profiles(folder / "*.yaml")] == list(shipped_profiles())


def test_unknown_sources_of_a_profile_are_listed_with_their_lines(folder: Path) -> None:
    replace(folder / "pixel8.yaml", "soc: expert_reviews_pixel8", "soc: a_shop")
    replace(folder / "pixel8.yaml", "ram: expert_reviews_pixel8", "ram: I looked it up.")
    with pytest.raises(ProfileError) as raised:
        load_profile(folder / "pixel8.yaml")
    assert raised.value.line == 13
    for words in (
        "pixel8.yaml:13: sources.soc",
        "'a_shop'",
        "pixel8.yaml:15: sources.ram",
        "does not name a source",
    ):
        assert words in str(raised.value)


def test_unknown_sources_of_a_fit_are_refused(folder: Path) -> None:
    replace(folder / "latency" / "cortex_x3_fp32.yaml", "fitted_ms: 2.756", "fitted_ms: 2.757")
    load_profile(folder / "pixel8.yaml")
    text = (folder / "latency" / "cortex_x3_fp32.yaml").read_text(encoding="utf-8")
    (folder / "latency" / "cortex_x3_fp32.yaml").write_text(text.replace("ncnn_benchmark", "hearsay", 1))
    with pytest.raises(
        ProfileError, match=r"cortex_x3_fp32\.yaml:13: rows\.0\.source: .* no such source; given 'hearsay'"
    ):
        load_profile(folder / "pixel8.yaml")


def test_without_a_list_of_sources_any_text_is_one(folder: Path) -> None:
    (folder / FILE).unlink()
    replace(folder / "pixel8.yaml", "soc: expert_reviews_pixel8", "soc: I looked it up.")
    assert load_profile(folder / "pixel8.yaml").sources["soc"] == "I looked it up."


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("wikipedia_a16", ("wikipedia_a16",)),
        ("a, b: both, and more", ("a", "b")),
        ("assumption, a: a guess", ("assumption", "a")),
        ("assumption", ()),
        ("a: ", ()),
        ("A vendor's page", ()),
        ("", ()),
    ],
)
def test_references(text: str, keys: tuple[str, ...]) -> None:
    assert keys_of(text) == keys
    assert doctest.testmod(sources).failed == 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("https://arxiv.org", "http://arxiv.org", "mobilenetv4_paper.addresses.0"),
        (
            "    note: The abstract",
            "    # note: The abstract",
            "mobilenetv4_paper.confirmed: false needs a note",
        ),
        ("    publisher: Tencent", "    author: Tencent", "unknown key"),
        ("  ncnn_benchmark:", "  NCNN:", "sources.NCNN"),
        ("read: 2026-11-28", "read: yesterday", "llvm_aarch64.read"),
    ],
)
def test_a_list_that_is_not_what_it_must_be_is_refused(folder: Path, old: str, new: str, words: str) -> None:
    replace(folder / FILE, old, new)
    with pytest.raises(ProfileError, match=re.escape(words)):
        load_profile(folder / "pixel8.yaml")
