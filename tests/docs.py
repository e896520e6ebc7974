"""Writes the pages of docs/ that are generated from a table in the code: ``python -m tests.docs`` (``make docs``)."""

from pathlib import Path

from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly, Row

ANOMALIES = Path(__file__).parent.parent / "docs" / "anomalies.md"

INTRO = """\
# The anomaly catalogue

What spoe-guard calls each departure from SPOP, what it does about it, and what else may be chosen under `policy:` of a route.
The names are label values of `spoe_guard_anomalies_total` and keys of `policy`. This page is written from the table in
`spoe_guard/core/terms/anomalies.py` by `make docs`.

| action | what the guard does |
|---|---|
| pass | sends it on as it came |
| drop | sends nothing of it on |
| reorder | holds it, or lets it overtake, so that it arrives where it is of use |
| repair | sends it as it was meant, only where that is certain |
| answer | writes a frame of its own in the place of one that is missing |
| close | ends the session the clean way: open NOTIFYs are given up, AGENT-DISCONNECT, close |

Where a repair is not certain the guard closes instead, and the anomaly is counted with the action `close`.

| anomaly | what it is | default | may be | evidence |
|---|---|---|---|---|
"""


def anomalies() -> str:
    """Return docs/anomalies.md."""
    return INTRO + "".join(_row(anomaly, row) for anomaly, row in CATALOGUE.items())


def _row(anomaly: Anomaly, row: Row) -> str:
    default = row.default.value
    if row.haproxy_default is not row.default:
        default += f"; from HAProxy: {row.haproxy_default.value}"
    others = ", ".join(action.value for action in Action if action in row.allowed - {row.default}) or "-"
    return f"| `{anomaly.value}` | {row.sentence} | {default} | {others} | {row.evidence} |\n"


if __name__ == "__main__":
    ANOMALIES.write_text(anomalies())
