"""The page: a summary of all bundles, then a section for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runtime_py.check.gates import Gate
from runtime_py.cli.about import About
from runtime_py.cli.baseline import Moved
from runtime_py.cli.html.figures import exhibits_html
from runtime_py.cli.html.markup import table, text
from runtime_py.cli.html.style import STYLE
from runtime_py.cli.outcome import Outcome


def html_page(outcomes: Sequence[Outcome]) -> bytes:
    """Render outcomes as one HTML file, UTF-8, that loads nothing and runs nothing."""
    return "".join(_page(outcomes)).encode()


def _page(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>prunnet-check</title>"
    yield "<meta name='viewport' content='width=device-width, initial-scale=1'>"
    # A second lock: should anything of a bundle ever be taken for markup, it can still load and run nothing.
    yield "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; img-src data:; "
    yield f"style-src 'unsafe-inline'\"><style>{STYLE}</style></head><body><h1>Drift of {len(outcomes)} bundle"
    yield f"{'' if len(outcomes) == 1 else 's'}</h1><div class='wide'><table><thead><tr><th>bundle</th>"
    yield "<th>verdict</th><th>runtime</th></tr></thead><tbody>"
    for number, outcome in enumerate(outcomes):
        runtime = outcome.report.runtime if outcome.report else "-"
        yield f"<tr><td><a href='#b{number}'>{text(outcome.bundle)}</a></td>"
        yield f"<td>{_verdict(outcome)}</td><td>{text(runtime)}</td></tr>"
    yield "</tbody></table></div>"
    for number, outcome in enumerate(outcomes):
        yield f"<section id='b{number}'><h2>{text(outcome.bundle)}: {_verdict(outcome)}</h2>"
        yield from _section(outcome)
        yield "</section>"
    yield "</body></html>\n"


def _verdict(outcome: Outcome) -> str:
    return f"<span class='verdict {outcome.verdict.replace(' ', '-')}'>{text(outcome.verdict)}</span>"


def _section(outcome: Outcome) -> Iterator[str]:
    if outcome.verdict != "compatible":
        yield f"<ul>{''.join(f'<li>{text(reason)}</li>' for reason in outcome.reasons)}</ul>"
    for note in outcome.report.notes if outcome.report else ():
        yield f"<p class='soft'>{text(note)}</p>"
    yield from _facts(outcome)
    if outcome.gates:
        yield "<h3>Gates</h3>"
        rows = [_gate(gate) for gate in outcome.gates]
        yield table(("gate", "value", "demanded", "", "where"), rows, numbers=(1, 2))
    if outcome.about and outcome.about.budgets:
        yield "<h3>Budgets</h3>"
        yield _budgets(outcome.about)
    if outcome.exhibits:
        yield from exhibits_html(outcome.exhibits)


def _facts(outcome: Outcome) -> Iterator[str]:
    facts: list[tuple[str, str]] = []
    report, about = outcome.report, outcome.about
    if report:
        facts.append(("runtime", report.runtime))
        facts += [("server", report.server)] if report.server else []
    if about:
        facts += [
            (
                "encoder",
                f"{about.encoder}, capacity {about.capacity:.3f}, {about.size[0]} x {about.size[1]} pixels",
            ),
            ("artifact", f"{about.target}, {about.precision}, for {about.profile}"),
            ("space", about.space_id),
            (
                "exported",
                f"{about.created} by prunnet {about.prunnet_version}, checked on {about.exported_on}",
            ),
            ("made with", ", ".join(f"{name} {version}" for name, version in sorted(about.tools.items()))),
        ]
    if report and report.figures:
        of = report.figures
        facts += [
            ("probes", f"{of.probes}"),
            ("Recall@1", f"{of.recall_at_1:.4f} (dense encoder {of.recall_at_1_dense:.4f})"),
            ("mAP", f"{of.map:.4f} (dense encoder {of.map_dense:.4f})"),
        ]
    if facts:
        yield f"<dl>{''.join(f'<dt>{text(name)}</dt><dd>{text(value)}</dd>' for name, value in facts)}</dl>"


def _gate(gate: Gate | Moved) -> tuple[str, ...]:
    passed = "passed" if gate.passed else "failed"
    if isinstance(gate, Moved):
        demanded = f"{gate.then:.8g} ± {gate.allowed}"
        return gate.name, f"{gate.now:.8g}", demanded, passed, ""
    sign = "≥" if gate.at_least else "≤"
    return gate.name, f"{gate.value:.8g}", f"{sign} {gate.tolerance:.8g}", passed, gate.where


def _budgets(about: About) -> str:
    rows = [
        (
            each.budget,
            _amount(each.limit),
            _amount(each.predicted),
            "not measured" if each.measured is None else _amount(each.measured),
            each.unit,
            "passed" if each.fits else "failed",
        )
        for each in about.budgets
    ]
    return table(("budget", "limit", "predicted", "measured", "unit", ""), rows, numbers=(1, 2, 3))


def _amount(value: float) -> str:
    """Spell bytes in full, and small figures with four digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
