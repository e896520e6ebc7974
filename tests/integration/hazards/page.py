"""Writes docs/hazards.md from the results of the hazard table: ``python -m tests.integration.hazards.page FOLDER``."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.agents.catalogue import CATALOGUE
from tests.integration import generations
from tests.integration.hazards import chapters, crowd_page, own_page, results
from tests.integration.hazards.evidence import linked
from tests.integration.hazards.inputs import INPUTS, PATIENCE_S, Input
from tests.integration.hazards.results import MissingError, line
from tests.integration.hazards.row import Row
from tests.integration.hazards.table import TABLE
from tests.peers import ROOT

PAGE: Final = ROOT / "docs" / "hazards.md"

INTRO = """\
# The hazards, and what the guard makes of them

Written by `make hazards`; "Agents come and go" by `make continuity`, "What the agent does not say" by `make silence`. What
stands under "without the guard", "with the guard" and "anomaly" is what a run saw; the other columns are the table's own words:
what was staged, where it is known from, and notes. Each row was played at each HAProxy, without the guard and with it: three
requests (unless the row says otherwise) that are open when the agent goes wrong, and then one more, `next`. Where chance has a
part, it is 200 requests, and how many of them is said.

- `ok`: the client got the answer that the agent meant for it. `st=N`: HAProxy's own code for what went wrong: 1 is its processing
  timeout, 2 no resources, 256 + N the status N of SPOP (257 input/output, 259 too big, 260 invalid frame, 269 the guard's word
  for an agent that is gone, 355 unknown). `verdict=... echo=...`: the variables that were set.
- A reconnect storm is more than 100 connections for one request.
- The anomaly is the name under which the guard counts it (anomalies.md).
- The guard ran with `links.give_up: 0`: HAProxy's connection ends with the agent's, so that it meets whatever an agent does to
  its end. With the default the guard replaces the agent's link, and HAProxy hears of no end at all: see "Agents come and go".
- **not yet**: what should be seen with the guard is not seen in this version.
- The evidence is where the hazard is known from: a letter and a number, or HELLO, is an entry of
  [What HAProxy does with what an agent sends](evidence/haproxy.md), `agents` and a number a paragraph of
  [What agents do with SPOP](evidence/agents.md). Both pages are older than the run; notes on what it saw otherwise are behind it.

HAProxy: {versions}, as Debian packages them.

## What agents do to HAProxy

| hazard | what the agent does | HAProxy | without the guard | with the guard | anomaly | evidence |
|---|---|---|---|---|---|---|
"""

INPUTS_INTRO = """
## What comes in to agents

Sent by hand to each agent, where HAProxy or whoever else would send it: to the agent itself, and through the guard. An agent that
`ends` is a process that is gone, with all its other connections. Behind each input a healthy connection asks for an answer; with
the guard each agent gave it, unless the row says otherwise. `no reaction` is none in {patience:.2f} s.

| input | what is sent | without the guard | with the guard | anomaly | evidence |
|---|---|---|---|---|---|
"""

NOT_STAGED = f"""
{chapters.NOT_STAGED}
| hazard | what the peer does | why there is no scene | evidence |
|---|---|---|---|
"""


def page(where: Path) -> str:
    """Return docs/hazards.md.

    Raises:
        MissingError: a row was not played.
    """
    seen = {(each["id"], each["generation"], each["guarded"]): each for each in results.read("haproxy", where)}
    inputs = {(each["id"], each["agent"], each["guarded"]): each for each in results.read("input", where)}
    versions = ", ".join(f"{name} ({release})" for name, release in generations.RELEASES.items())
    parts = [INTRO.format(versions=versions)]
    for row in TABLE.values():
        if not row.not_staged:
            parts += _lines(row, seen)
    parts.append(INPUTS_INTRO.format(patience=PATIENCE_S))
    parts += [_input(row, inputs) for row in INPUTS.values()]
    parts += own_page.tables(where)
    parts += crowd_page.tables(where)
    parts.append(NOT_STAGED)
    parts += [line(row.id, row.does, row.not_staged, linked(row.evidence)) for row in TABLE.values() if row.not_staged]
    return "".join(parts)


def _lines(row: Row, seen: dict[tuple[str, str, bool], dict[str, Any]]) -> Iterator[str]:
    """One line for each group of HAProxys on which the same was seen."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name in generations.RELEASES:
        try:
            without, guarded = seen[row.id, name, False], seen[row.id, name, True]
        except KeyError:
            raise MissingError(f"{row.id} was not played at HAProxy {name}") from None
        groups.setdefault((_said(without), _said(guarded), guarded["anomalies"]), []).append(name)
    first = True
    for (without, guarded, anomalies), names in groups.items():
        text = f"**not yet**: {guarded}" if row.not_yet and not _as_wanted(row, guarded, anomalies, names[0]) else guarded
        evidence = _evidence(row) if first else ""
        counted = " ".join(f"`{each}`" for each in anomalies.split())
        yield line(row.id if first else "", row.does if first else "", ", ".join(names), without, text, counted, evidence)
        first = False


def _evidence(row: Row) -> str:
    notes = [note for note in (row.not_yet and f"not yet: {row.not_yet}", row.differs) if note]
    return "; ".join([linked(row.evidence), *notes])


def _as_wanted(row: Row, guarded: str, anomalies: str, name: str) -> bool:
    return guarded == row.expected_with(name) and row.counts(set(anomalies.split()))


def _said(result: dict[str, Any]) -> str:
    return result["symptom"] + (f" ({result['figures']})" if result["figures"] else "")


def _input(row: Input, seen: dict[tuple[str, str, bool], dict[str, Any]]) -> str:
    """One line: what each agent did, in groups, without the guard and with it."""
    cells = []
    counted: set[str] = set()
    for guarded in (False, True):
        groups: dict[str, list[str]] = {}
        for name in CATALOGUE:
            if (found := seen.get((row.id, name, guarded))) is None:
                raise MissingError(f"{row.id} was not sent to {name}")
            what = "**ends**" if found["died"] else found["what"] + ("" if found["served"] else ", and serves nobody")
            groups.setdefault(what, []).append(name)
            counted |= set(found.get("anomalies", "").split()) & set(row.anomalies.split())
        cells.append("; ".join(f"{what}: {_names(names)}" for what, names in sorted(groups.items())))
    return line(row.id, row.does, *cells, " ".join(f"`{each}`" for each in sorted(counted)), linked(row.evidence))


def _names(names: list[str]) -> str:
    return "all" if len(names) == len(CATALOGUE) else ", ".join(names)


if __name__ == "__main__":
    try:
        written, before = page(Path(sys.argv[1])), PAGE.read_text()
        for heading in chapters.APART:
            if chapter := chapters.of(before, heading):
                written = chapters.put(written, chapter)
        PAGE.write_text(written)
    except MissingError as error:
        sys.exit(f"docs/hazards.md is left as it was: {error}")
