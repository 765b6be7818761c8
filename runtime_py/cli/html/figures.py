"""Pictures and diagrams of the page: probes with their neighbours as inline PNG, histograms as inline SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runtime_py.cli.exhibits import Exhibits, Found, Histogram, Search
from runtime_py.cli.html.markup import text

_WIDTH, _HEIGHT, _FOOT = 480, 120, 18
"""Of a histogram, in units of its own."""
DIGITS = 7
"""Of a cosine: honest fp32 artifacts differ in the seventh."""


def exhibits_html(exhibits: Exhibits) -> Iterator[str]:
    """Give the parts of a bundle's section that show pictures."""
    yield "<h3>Cosines of all probes</h3><div class='row'>"
    yield from (f"<div>{histogram(each)}</div>" for each in exhibits.histograms)
    yield "</div><h3>Worst probes</h3><p class='soft'>Smallest cosine with the torch subnetwork.</p><div class='row'>"
    for probe in exhibits.worst:
        words = (f"probe {probe.index}", f"label {probe.label}", f"cosine {probe.cosine:.{DIGITS}f}")
        yield _picture(exhibits, probe.index, words)
    yield "</div>"
    if exhibits.searches:
        yield "<h3>Neighbours in the dense gallery</h3><p class='soft'>First the probes that only the dense encoder "
        yield "finds, then those whose neighbours differ most. Green: the probe's own label; red: another.</p>"
        for search in exhibits.searches:
            yield from _search(exhibits, search)


def histogram(of: Histogram) -> str:
    """Draw a histogram as SVG; the tallest bar has the full height."""
    most = max(of.counts)
    wide = _WIDTH / len(of.counts)
    bars = "".join(
        f"<rect x='{number * wide + 0.5:.2f}' y='{_HEIGHT * (1 - count / most):.2f}' width='{wide - 1:.2f}' "
        f"height='{_HEIGHT * count / most:.2f}'/>"
        for number, count in enumerate(of.counts)
        if count
    )
    title = f"{of.title}: {sum(of.counts)} probes from {of.low:.{DIGITS}f} to {of.high:.{DIGITS}f}"
    return (
        f"<p class='soft'>{text(of.title)}, at most {most} probes in a bar</p>"
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT + _FOOT}' role='img' aria-label='{text(title)}'>{bars}"
        f"<line x1='0' x2='{_WIDTH}' y1='{_HEIGHT}' y2='{_HEIGHT}'/>"
        f"<text x='0' y='{_HEIGHT + 14}'>{of.low:.{DIGITS}f}</text>"
        f"<text x='{_WIDTH}' y='{_HEIGHT + 14}' text-anchor='end'>{of.high:.{DIGITS}f}</text></svg>"
    )


def _search(exhibits: Exhibits, search: Search) -> Iterator[str]:
    query = search.query
    yield "<div class='search'>"
    yield _picture(exhibits, query.index, (f"probe {query.index}", f"label {query.label}"))
    yield "<div>"
    for side, found in (("dense", search.dense), ("device", search.device)):
        yield f"<p class='side'>{side}</p><div class='row'>"
        yield from _neighbours(exhibits, found, query.label)
        yield "</div>"
    yield "</div></div>"


def _neighbours(exhibits: Exhibits, found: Sequence[Found], wanted: int) -> Iterator[str]:
    if not found:
        yield "<p class='failed'>nothing: the embedding has no direction</p>"
    for each in found:
        words = (f"probe {each.index}", f"label {each.label}", f"{each.cosine:.4f}")
        yield _picture(exhibits, each.index, words, "hit" if each.label == wanted else "miss")


def _picture(exhibits: Exhibits, index: int, words: Sequence[str], kind: str = "") -> str:
    caption = "<br>".join(map(text, words))
    source = text(f"data:image/png;base64,{exhibits.pictures[index]}")
    return (
        f"<figure class='{kind}'><img alt='probe {index}' src='{source}'>"
        f"<figcaption>{caption}</figcaption></figure>"
    )
