"""What the latencies of a report were measured on, and whether those of published networks go with them."""

from __future__ import annotations

from .describe import machine_text
from .records import RunRecords

__all__ = ["latency_lines", "not_measured", "published_goes_with"]


def not_measured(records: RunRecords) -> str:
    """What measures the published networks that this run has not."""
    for_latency = "latency_ms" in records.front_file.get("objectives", {"latency_ms": "min"})
    how = "`vipnas search CONFIG --resume`" if for_latency else "a search for latency_ms, or `vipnas finalists`,"
    return f"not measured in this run; {how} measures them"


def published_goes_with(records: RunRecords) -> bool:
    """Whether the published networks were measured on what the front, or the finalists, were measured on."""
    published = records.published
    if published is None:
        return False
    ours = {**published.fingerprint.to_json(), "batch": published.batch}
    front = (records.front_file.get("fingerprint") or {}).get("latency")
    finalists = {**records.finalists.get("fingerprint", {}), "batch": records.finalists.get("batch")}
    return ours in (front, finalists)


def latency_lines(records: RunRecords) -> list[tuple[str, str]]:
    """(of what, how and on what measured): latencies of the search, of the finalists, and of published networks."""
    identity = records.front_file.get("fingerprint") or {}
    search = machine_text(identity["latency"]) if identity.get("latency") else ""
    finalists = records.finalists.get("fingerprint")
    of_finalists = machine_text(finalists, records.finalists.get("batch")) if finalists else ""
    lines = []
    if search:
        lines.append(("latency", f"{_how(records)}; {search}"))
    if of_finalists:
        on = "as above" if of_finalists == search else of_finalists
        lines.append(("latency of finalists", f"measured side by side; {on}"))
    if records.is_video:
        return lines
    if records.published is None:
        lines.append(("published networks", not_measured(records)))
    elif not published_goes_with(records):
        other = machine_text(records.published.fingerprint.to_json(), records.published.batch)
        lines.append(("published networks", f"measured on something else ({other}), so they are not in the chart"))
    return lines


def _how(records: RunRecords) -> str:
    measured = any("latency_ms" in record.get("measured", {}) for record in records.front)
    source = ((records.front_file.get("fingerprint") or {}).get("candidate") or {}).get("latency")
    of_others = {"table": "predicted by a table of blocks", "measure": "measured in the search"}.get(str(source), "")
    if not of_others:
        return "measured"
    return f"the front's measured when it was found, other candidates' {of_others}" if measured else of_others
