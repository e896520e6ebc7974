"""docs/evidence is covered completely: each entry has a row, or a row that explains why it cannot be staged."""

import re

import pytest

from tests.integration.hazards.evidence import linked
from tests.integration.hazards.inputs import INPUTS
from tests.integration.hazards.table import STAGED, TABLE
from tests.peers import ROOT

AGENTS = (ROOT / "docs/evidence/agents.md").read_text()
HAPROXY = (ROOT / "docs/evidence/haproxy.md").read_text()

# docs/evidence/agents.md 5: malformed input, in its order; and the inputs that stage it.
MALFORMED = {
    "length 0": "I1",
    "length 1 to 6": "I2",
    "length above the size": "I3 I20",
    "HTTP": "I4",
    "TLS ClientHello": "I5",
    "NOTIFY before HELLO": "I6",
    "a second HELLO": "I7",
    "UNSET, a fragment": "I8 I26",
    "unknown type": "I9",
    "a varint or string cut off": "I10 I14",
    "a short address": "I11",
    "a name without value or NB-ARGS": "I12 I13",
    "a HELLO key of another type": "I15 I16",
    "a further key in DISCONNECT": "I17",
    "an argument twice": "I23",
    "two messages": "I24",
    "a byte above 0x7F in a string": "I22",
    "EOF inside a frame": "I18",
    "length and body apart": "I21",
    "1 s of silence inside a frame": "I25",
}

# docs/evidence/agents.md 6: output that misleads HAProxy, in its order; and the rows that stage it.
MISLEADING = {
    "a zero byte behind UNSET-VAR": "P1",
    "boolean 0x10": "P2",
    "a binary value without its length": "P3",
    "UNSET-VAR with a typed name": "P4",
    "a negative integer in one byte, 0xF0 to 0xFF": "P5",
    "a value of type 10 to 15": "D4",
    "a name with a NUL": "P6",
    "scope, prefix and name above 63 bytes": "D2",
    "an ACK above the size": "A4",
    "an ACK without FIN, or with fragments": "A8 P7",
    "an empty ACK": "C4",
    "a size in AGENT-HELLO above the offer, 0, or below 256": "B2",
    "a message above 255 bytes in DISCONNECT": "P8",
    "a second ACK, or a late one": "C3 C6",
    "an ACK on another connection": "C7",
    "status 0 for an error": "E1",
}
MAY_BE_UNSTAGED = {"C7"}  # what it says of itself in the page's last table is the reason


def numbers(ids):
    return {id_.split()[0] for id_ in ids}


def first_cells(paragraph):
    """The first column of the table in a paragraph of docs/evidence/agents.md."""
    text = AGENTS.partition(f"\n## {paragraph} ")[2].partition("\n## ")[0]
    return re.findall(r"^\| (.*?) \|", text, re.MULTILINE)[1:]


def test_each_hazard_of_haproxy_has_a_row():
    entries = re.findall(r"^### ([A-H]\d+) ", HAPROXY, re.MULTILINE)
    assert len(entries) == len(set(entries)) > 0
    assert {id_ for id_ in numbers(TABLE) if not id_.startswith("P")} == set(entries)


def test_the_agents_page_has_the_same_entries_in_the_same_order():
    assert first_cells(5) == list(MALFORMED)
    assert first_cells(6) == list(MISLEADING)


@pytest.mark.parametrize("entry", MALFORMED)
def test_each_malformed_input_is_sent(entry):
    assert set(MALFORMED[entry].split()) - numbers(INPUTS) == set()


@pytest.mark.parametrize("entry", MISLEADING)
def test_each_misleading_output_is_staged(entry):
    assert set(MISLEADING[entry].split()) - numbers(STAGED) <= MAY_BE_UNSTAGED


def test_each_input_and_each_row_of_a_payload_is_of_the_catalogue():
    of_haproxy = {"I19"}  # docs/evidence/haproxy.md F2
    assert numbers(INPUTS) == of_haproxy.union(*(ids.split() for ids in MALFORMED.values()))
    assert {id_ for id_ in numbers(TABLE) if id_.startswith("P")} <= set(" ".join(MISLEADING.values()).split())


def test_each_row_is_staged_or_says_why_not():
    for row in TABLE.values():
        assert bool(row.not_staged) != bool(row.guarded), row.id
        assert bool(row.not_staged) != bool(row.without), row.id


@pytest.mark.parametrize("row", [*TABLE.values(), *INPUTS.values()], ids=lambda row: row.id)
def test_each_row_links_to_what_it_is_known_from(row):
    assert "](evidence/" in linked(row.evidence)
