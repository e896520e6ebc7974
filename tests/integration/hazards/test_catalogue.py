"""Nothing of the catalogue of hazards is left out: each entry has a row, or one that says why it cannot be staged."""

import pytest

from tests.integration.hazards.inputs import INPUTS
from tests.integration.hazards.table import STAGED, TABLE

HAZARDS = {"A": 9, "B": 10, "C": 10, "D": 7, "E": 9, "F": 7, "G": 7, "H": 8}  # haproxy.md 4: the last of each letter

# agents.md 5: malformed input, in its order; and the inputs that stage it.
MALFORMED = {
    "length 0": "I1",
    "length 1-6": "I2",
    "length > max": "I3 I20",
    "HTTP to port": "I4",
    "TLS ClientHello": "I5",
    "NOTIFY before HELLO": "I6",
    "second HELLO": "I7",
    "UNSET / fragment": "I8 I26",
    "unknown type": "I9",
    "truncated varint or string": "I10 I14",
    "short IPv4/IPv6": "I11",
    "name without value / NB-ARGS": "I12 I13",
    "mistyped HELLO key": "I15 I16",
    "extra KV in DISCONNECT": "I17",
    "duplicate argument names": "I23",
    "multi-message NOTIFY": "I24",
    "byte >= 0x80 in STRING": "I22",
    "EOF mid-frame": "I18",
    "split L / body": "I21",
    "1 s stall inside frame": "I25",
}

# agents.md 6: output that misleads HAProxy, in its order; and the rows that stage it.
MISLEADING = {
    "stray 00 after unset-var": "P1",
    "bool 10": "P2",
    "binary without length": "P3",
    "typed name in unset-var": "P4",
    "negative int as one byte F0-FF": "P5",
    "data type 10-15": "D4",
    "name with NUL": "P6",
    "scope+prefix+name >= 64 bytes": "D2",
    "ACK > max-frame-size": "A4",
    "ACK without FIN / with UNSET continuation": "A8 P7",
    "empty ACK": "C4",
    "AGENT-HELLO size > offered, 0 or < 256": "B2",
    "AGENT-DISCONNECT message > 255 B": "P8",
    "duplicate ACK / ACK for expired NOTIFY": "C3 C6",
    "ACK on another connection": "C7",
    "error close disguised as status 0": "E1",
}
MAY_BE_UNSTAGED = {"C7"}  # what it says of itself in the page's last table is the reason


def numbers(ids):
    return {id_.split()[0] for id_ in ids}


def test_each_hazard_of_haproxy_has_a_row():
    wanted = {f"{letter}{number}" for letter, last in HAZARDS.items() for number in range(1, last + 1)}
    assert wanted - numbers(TABLE) == set()
    assert {id_ for id_ in numbers(TABLE) if id_[0] in HAZARDS} == wanted


@pytest.mark.parametrize("entry", MALFORMED)
def test_each_malformed_input_is_sent(entry):
    assert set(MALFORMED[entry].split()) - numbers(INPUTS) == set()


@pytest.mark.parametrize("entry", MISLEADING)
def test_each_misleading_output_is_staged(entry):
    assert set(MISLEADING[entry].split()) - numbers(STAGED) <= MAY_BE_UNSTAGED


def test_each_input_and_each_row_of_a_payload_is_of_the_catalogue():
    of_haproxy = {"I19"}  # haproxy.md F2
    assert numbers(INPUTS) == of_haproxy.union(*(ids.split() for ids in MALFORMED.values()))
    assert {id_ for id_ in numbers(TABLE) if id_.startswith("P")} <= set(" ".join(MISLEADING.values()).split())


def test_each_row_is_staged_or_says_why_not():
    for row in TABLE.values():
        assert bool(row.not_staged) != bool(row.guarded), row.id
        assert bool(row.not_staged) != bool(row.without), row.id
