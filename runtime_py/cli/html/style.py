"""The look of the page: one style sheet, light or dark as the reader's system is."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #fff; --card: #f6f8fa; --line: #d0d7de;
  --good: #1a7f37; --bad: #cf222e; --unsure: #9a6700; --bar: #0969da; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --paper: #0d1117; --card: #151b23;
  --line: #3d444d; --good: #3fb950; --bad: #f85149; --unsure: #d29922; --bar: #58a6ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 75rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 0; } h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; margin: 1rem 0; }
.wide { overflow-x: auto; overflow-wrap: normal; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; }
.compatible, .passed { color: var(--good); } .incompatible, .error, .failed { color: var(--bad); }
.not-verified, .moved { color: var(--unsure); }
.verdict { font-weight: 600; } .soft { color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .5rem 0; }
dt { color: var(--soft); } dd { margin: 0; min-width: 0; }
.row { display: flex; flex-wrap: wrap; gap: .75rem; }
figure { margin: 0; width: 6.5rem; font-size: .8rem; line-height: 1.3; }
figure img { display: block; width: 100%; image-rendering: pixelated;
  border: 3px solid var(--line); border-radius: .25rem; }
figure.hit img { border-color: var(--good); } figure.miss img { border-color: var(--bad); }
.search { display: grid; grid-template-columns: 6.5rem 1fr; gap: .5rem 1.5rem; padding: .75rem 0;
  border-bottom: 1px solid var(--line); }
.search .side { font-size: .85rem; color: var(--soft); margin: 0 0 .25rem; }
@media (max-width: 40rem) { .search { grid-template-columns: 1fr; } figure { width: 5rem; } }
svg { width: 100%; max-width: 30rem; height: auto; display: block; } svg rect { fill: var(--bar); }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; } svg line { stroke: var(--line); }
"""
