"""The report: one self-contained HTML page, made of what a run's folder holds."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

__all__ = ["page", "prose", "section", "table"]

STYLE = """
:root { --ink:#1b2330; --soft:#5d6b7e; --line:#dfe5ec; --back:#fbfcfe; --panel:#fff; --found:#0b6bcb; --kept:#e4572e;
  --raced:#b9c4d0; --all:#7c93ad; --named:#1f9254; }
@media (prefers-color-scheme: dark) { :root { --ink:#e6ebf2; --soft:#9aa8ba; --line:#2c3644; --back:#12171e;
  --panel:#1a212b; --found:#5aa9f5; --kept:#ff8b66; --raced:#465364; --all:#8aa0b8; --named:#5fce94; } }
* { box-sizing: border-box; }
body { margin:0; background:var(--back); color:var(--ink); font:15px/1.5 system-ui, "Segoe UI", sans-serif; }
main { max-width:1180px; margin:0 auto; padding:28px 20px 60px; }
h1 { font-size:26px; margin:0 0 4px; } h2 { font-size:18px; margin:0 0 10px; }
p.note { color:var(--soft); margin:4px 0 12px; }
.facts { display:flex; flex-wrap:wrap; gap:10px; margin:18px 0; }
.facts div { background:var(--panel); border:1px solid var(--line); border-radius:10px; padding:10px 16px; }
.facts b { display:block; font-size:22px; line-height:1.25; } .facts span { color:var(--soft); font-size:13px; }
.grid2 { display:grid; grid-template-columns:repeat(auto-fit, minmax(420px, 1fr)); gap:18px; }
section { background:var(--panel); border:1px solid var(--line); border-radius:12px; padding:18px; margin:18px 0;
  min-width:0; }
.grid2 section { margin:0; }
svg { width:100%; height:auto; display:block; } .legend svg { width:18px; display:inline-block; margin-right:5px; }
.legend span { margin-right:16px; font-size:13px; color:var(--soft); white-space:nowrap; }
svg .grid { stroke:var(--line); } svg .tick { fill:var(--soft); font-size:11px; }
svg .axis { fill:var(--soft); font-size:13px; }
svg .complete { fill:var(--all); opacity:.75; } svg .raced { fill:var(--raced); opacity:.8; }
svg .inherited { fill:var(--panel); stroke:var(--c, var(--all)); stroke-width:2; }
svg .finalist, svg .retrained { fill:var(--c, var(--ink)); stroke:var(--panel); }
svg .error.inherited, svg .error.finalist, svg .error.retrained { stroke:var(--c, var(--all)); }
svg .link { fill:none; stroke:var(--c, var(--soft)); stroke-width:1.4; stroke-dasharray:3 3; }
svg .halo { fill:none; stroke:var(--named); stroke-width:2.4; }
svg .published { stroke:var(--soft); stroke-width:1.4; stroke-dasharray:7 4; }
.legend svg .published { stroke-dasharray:3 2; }
svg .label { fill:var(--ink); font-size:12px; font-weight:600; } svg .label.take { fill:var(--named); }
svg .label.faint { fill:var(--soft); font-weight:400; } svg .leader { stroke:var(--soft); stroke-width:.8; }
svg .gap { fill:var(--back); } svg .break { stroke:var(--soft); stroke-width:1.6; }
ul.protocol { color:var(--soft); font-size:13px; margin:10px 0 0; padding-left:18px; }
.cautions { border:2px solid var(--kept); border-radius:10px; background:var(--panel); padding:12px 18px;
  margin:16px 0; }
.cautions ul { margin:6px 0 0; padding-left:20px; }
svg .front { fill:var(--found); stroke:var(--panel); } svg .chosen { fill:var(--kept); stroke:var(--panel); }
svg .frontline { fill:none; stroke:var(--all); stroke-width:1.4; opacity:.7; }
svg .curve { fill:none; stroke:var(--c, var(--found)); stroke-width:2; }
svg .curve2 { fill:none; stroke:var(--c, var(--kept)); stroke-width:2; }
svg .thin { stroke-width:1.2; opacity:.8; } svg .baseline { fill:var(--c, var(--ink)); stroke:var(--panel); }
svg .baseline-line { fill:none; stroke:var(--c, var(--ink)); stroke-width:1.6; stroke-dasharray:5 4; }
svg .error { stroke-width:1.6; }
svg .bar { fill:var(--found); } svg .bar.key { fill:var(--kept); }
table.heat { width:auto; margin-bottom:6px; } table.heat td { text-align:center; width:84px; padding:7px 12px; }
table.heat th { padding-right:14px; text-align:center; }
.clip { display:grid; gap:8px; margin-bottom:14px; } .clip img { width:100%; border-radius:6px; display:block; }
.clip figcaption { color:var(--soft); font-size:13px; } .clip figure { margin:0; }
svg [data-hover]:hover { stroke:var(--ink); stroke-width:2; opacity:1; } svg text[data-hover]:hover { stroke:none; }
p.said { margin:4px 0; font-weight:600; } svg .bar.sure { fill:var(--kept); }
svg .whisker { stroke:var(--soft); stroke-width:1.4; fill:none; }
.scroll { overflow-x:auto; } table { border-collapse:collapse; font-size:14px; width:100%; }
th, td { text-align:left; padding:5px 12px 5px 0; border-bottom:1px solid var(--line); white-space:nowrap; }
th { color:var(--soft); font-weight:600; }
.pictures { display:grid; grid-template-columns:repeat(auto-fill, minmax(130px, 1fr)); gap:8px; }
.pictures img { width:100%; border-radius:6px; display:block; }
#tip { position:fixed; pointer-events:none; background:var(--ink); color:var(--back); border-radius:8px; font-size:12px;
  padding:8px 11px; white-space:pre; opacity:0; transition:opacity .1s; z-index:9; }
"""

SCRIPT = """
const tip = document.getElementById("tip");
document.addEventListener("mousemove", event => {
  const text = event.target.dataset ? event.target.dataset.hover : null;
  tip.style.opacity = text ? 1 : 0;
  if (!text) return;
  tip.textContent = text;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.min(event.clientX + 14, innerWidth - box.width - 8) + "px";
  tip.style.top = Math.min(event.clientY + 14, innerHeight - box.height - 8) + "px";
});
"""


def prose(text: str) -> str:
    """HTML of a text in which commands stand between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def section(title: str, body: str, note: str = "") -> str:
    """A panel; an empty string where there is nothing to show."""
    if not body:
        return ""
    hint = f'<p class="note">{prose(note)}</p>' if note else ""
    return f"<section><h2>{html.escape(title)}</h2>{hint}{body}</section>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts; the first column holds the rows' titles."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr><th>{html.escape(row[0])}</th>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def cautions_box(cautions: Sequence[str]) -> str:
    """What is to be read first; an empty string where there is nothing."""
    items = "".join(f"<li>{prose(text)}</li>" for text in cautions)
    return f'<div class="cautions" role="alert"><b>Read this first</b><ul>{items}</ul></div>' if cautions else ""


def page(
    title: str, subtitle: str, facts: Sequence[tuple[str, str]], body: str, cautions: Sequence[str] = ()
) -> str:
    """The whole document.

    Args:
        facts: (value, what it is).
        cautions: why the figures may be worth little, a sentence each.
    """
    boxes = "".join(f"<div><b>{html.escape(value)}</b><span>{html.escape(what)}</span></div>" for value, what in facts)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f'<h1>{html.escape(title)}</h1><p class="note">{html.escape(subtitle)}</p>'
        f'{cautions_box(cautions)}<div class="facts">{boxes}</div>{body}</main><div id="tip"></div>'
        f"<script>{SCRIPT}</script></body></html>\n"
    )
