from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runtime_py import load
from runtime_py.bundle.manifest import BudgetCheck
from runtime_py.bundle.tolerances import TABLE
from runtime_py.check.report import DriftReport
from runtime_py.cli.about import About
from runtime_py.cli.check import main
from runtime_py.cli.exhibits import NEIGHBOURS, exhibits_of
from runtime_py.cli.html.page import html_page
from runtime_py.cli.html.pictures import MOST_PIXELS, png, thumbnail
from runtime_py.cli.isolation import check_bundles
from runtime_py.cli.outcome import Outcome, check_bundle
from runtime_py.encoder import QueryEncoder
from runtime_py.errors import BundleError
from tests.runtime_py import bundles


class Page(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_the_page_shows_verdicts_gates_budgets_pictures_and_neighbours(make_bundle, tmp_path):
    budget = BudgetCheck(budget="max_artifact", unit="bytes", limit=5e6, predicted=4e6, measured=4.5e6)
    good = make_bundle("onnx", out="good", budgets=(budget,))
    bad = make_bundle("onnx", out="bad")
    (bad / "extra").write_text("x")
    file = tmp_path / "new" / "drift.html"
    assert main([str(good), str(bad), "--html", str(file)]) == 2
    page = Page(file.read_bytes())
    assert "parity.min_cosine" in page.text and "is not listed in the manifest" in page.text
    assert "max_artifact" in page.text and "4,500,000" in page.text and "ONNX Runtime" in page.text
    assert [tag for tag, _ in page.tags].count("section") == 2
    assert [tag for tag, _ in page.tags].count("svg") == 2
    images = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(images) > NEIGHBOURS
    for source in images:
        head, _, body = source.partition(",")
        assert head == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(body, validate=True))).size == (32, 32)


def test_the_page_loads_and_runs_nothing(make_bundle, tmp_path):
    (outcome,) = check_bundles([make_bundle("onnx")], timeout=60, exhibits=True)
    page = Page(html_page([outcome]))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert "url(" not in page.text and "@import" not in page.text


def test_exhibits_are_made_only_for_a_page(make_bundle):
    bundle = make_bundle("onnx")
    with_page, without = (
        next(check_bundles([bundle], timeout=60, exhibits=wanted)) for wanted in (True, False)
    )
    assert with_page.exhibits is not None and without.exhibits is None
    assert with_page.about == without.about is not None


@pytest.mark.parametrize("server", [None, "own.npz"])
def test_a_page_costs_no_second_embedding(make_bundle, probes, tmp_path, monkeypatch, server):
    arrays = {"embeddings": probes.dense, "labels": probes.labels}
    np.savez(tmp_path / "own.npz", space_id=np.array("space-of-tiny"), **arrays)
    embedded: list[bool] = []
    honest = QueryEncoder.embed

    def counted(self, images):
        embedded.append(np.array_equal(images, self.probes.images))
        return honest(self, images)

    monkeypatch.setattr(QueryEncoder, "embed", counted)
    outcome = check_bundle(make_bundle("onnx"), None if server is None else tmp_path / server, exhibits=True)
    assert outcome.verdict == "compatible"
    assert outcome.exhibits == exhibits_of(honest(load(outcome.bundle), probes.images), probes)
    assert embedded.count(True) == 1


def test_a_model_as_the_server_has_a_page_too(make_bundle, probes):
    """It embeds the probes on its side; the page shows what the artifact makes of them."""
    bundle = make_bundle("onnx")
    outcome = check_bundle(bundle, bundle / "encoder.onnx", exhibits=True)
    assert outcome.error is None
    assert outcome.exhibits == exhibits_of(load(bundle).embed(probes.images), probes)


def _about(evil: str) -> About:
    budget = BudgetCheck(budget="max_artifact", unit="bytes", limit=5, predicted=6)
    about = About.of(bundles.manifest("onnx", bundles.probes(), budgets=(budget,)))
    return replace(about, encoder=evil, space_id=evil, profile=evil, created=evil, tools={evil: evil})


@given(st.text())
def test_nothing_of_a_bundle_becomes_markup(text):
    evil = f"</td></style><script>alert(1)</script><img src=x onerror='x'>\"'&{text}\ud800"
    report = DriftReport("incompatible", (evil,), None, TABLE["fp32"], evil, server=evil, notes=(evil,))
    outcomes = [
        Outcome(Path("b" + evil.replace("\0", "")), report, about=_about(evil)),
        Outcome(Path("b"), error=BundleError("f", evil)),
    ]
    page = Page(html_page(outcomes))
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert "failed" in page.text  # the budget does not fit


def test_exhibits_show_the_probes_that_are_worst_and_what_they_find():
    probes = bundles.probes()
    embeddings = probes.subnetwork.copy()
    embeddings[7] = -embeddings[7]
    embeddings[9] = np.nan
    shown = exhibits_of(embeddings, probes)
    assert {each.index for each in shown.worst[:2]} == {7, 9}
    assert shown.worst[0].cosine == pytest.approx(-1)
    by_query = {search.query.index: search for search in shown.searches}
    assert by_query[9].device == ()
    for search in shown.searches:
        scores = probes.dense @ probes.dense[search.query.index]
        scores[search.query.index] = -2
        best = np.sort(scores)[::-1][:NEIGHBOURS]
        assert [each.cosine for each in search.dense] == pytest.approx(best.tolist(), abs=1e-5)
        assert search.query.index not in {each.index for each in (*search.dense, *search.device)}
    assert all(sum(histogram.counts) == len(probes) for histogram in shown.histograms)


def test_equal_cosines_still_have_a_histogram():
    probes = bundles.probes()
    (own, _) = exhibits_of(probes.dense, replace(probes, subnetwork=probes.dense)).histograms
    assert sum(own.counts) == len(probes) and own.low < own.high


@pytest.mark.parametrize("shape", [(1, 1), (32, 32), (224, 224), (300, 97), (1, 500), (1000, 3)])
def test_png_and_thumbnail_agree_with_pillow(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    small = thumbnail(image)
    assert max(small.shape[:2]) <= MOST_PIXELS
    opened = Image.open(io.BytesIO(png(small)))
    assert opened.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(opened), small)
    if max(shape) <= MOST_PIXELS:
        np.testing.assert_array_equal(small, image)


def test_a_page_and_help_import_no_picture_library():
    code = "import sys, runtime_py.cli.html.page; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not re.findall(r"\b(?:PIL|torch)\b", done.stdout)


@pytest.mark.parametrize("option", ["--junit", "--html", "--baseline"])
def test_a_place_that_cannot_be_written_is_said_before_the_checks(tmp_path, capsys, option):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    update = ["--update-baseline"] if option == "--baseline" else []
    for place in ("file/drift", "folder"):
        assert main([str(tmp_path / "absent"), option, str(tmp_path / place), *update]) == 2
        shown = capsys.readouterr()
        assert "cannot be written" in shown.err and not shown.out
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_all_places_are_said_at_once_and_none_is_named_twice(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    places = ["--junit", str(tmp_path / "folder"), "--html", str(tmp_path / "folder")]
    assert main([str(tmp_path), *places]) == 2
    said = capsys.readouterr().err
    assert said.count("cannot be written") == 2 and "named for two reports" in said


@pytest.mark.parametrize("read", ["--baseline", "--embeddings", "--server"])
def test_what_the_command_reads_is_not_written_over(make_bundle, tmp_path, capsys, read):
    file = tmp_path / "drift.json"
    check = ["--baseline", str(file)]
    assert main([str(make_bundle("onnx")), *check, "--update-baseline"]) == 0
    before = file.read_bytes()
    assert main([str(make_bundle("onnx", out="two")), read, str(file), "--junit", str(file)]) == 2
    assert "is read by this command, and would be written over" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_a_page_can_go_to_a_stream(make_bundle, capfd):
    assert main([str(make_bundle("onnx")), "--html", "/dev/stderr"]) == 0
    assert capfd.readouterr().err.rstrip().endswith("</html>")
