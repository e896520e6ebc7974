import pytest

from spoe_guard.core.payloads.ack_repair import MOST_ACTIONS, diagnose
from spoe_guard.core.terms.anomalies import Anomaly
from tests.core.frames import ENDLESS, LONG_NAME, NOP, PROC, SET_VAR, UNSET_VAR

FALSE = SET_VAR[:-1] + b"\x01"
NULL = SET_VAR[:-1] + b"\x00"
UNSET_SAME = b"\2\2" + SET_VAR[2:-1]  # the same scope and name
ZERO = b"\1\3\2\1n\x02\0"
ODD = SET_VAR[:-1] + b"\x10"
LONG_ODD = b"\1\3\2\x3a" + b"n" * 58 + b"\x10"
LONG_PROC = b"\2\2\0\x39" + b"n" * 57
LONGEST = b"\1\3\2\x39" + b"n" * 57 + b"\x11"
FAR_TOO_LONG = b"\1\3\1\xf0\0" + b"n" * 240 + b"\x11"
NUMBER = b"\1\3\2\1n\x04\x10"  # a value whose last byte looks like a bad boolean
TEXT = b"\1\3\2\1s\x08\x01\x20"
EMPTY = Anomaly.EMPTY_ACK
STRAY = Anomaly.ACK_STRAY_NULL
NULLED = Anomaly.ACK_NULL_VALUE
BOOL = Anomaly.ACK_BAD_BOOL
MALFORMED = Anomaly.ACK_MALFORMED
LONG = Anomaly.ACK_LONG_NAME
PROC_WIDE = Anomaly.ACK_PROC_SCOPE
VARINT = Anomaly.BAD_VARINT

CASES = [
    # name                          payload                           anomalies           repaired
    ("as it should be",              SET_VAR + UNSET_VAR + FALSE,      [],                 SET_VAR + UNSET_VAR + FALSE),
    ("a NULL for a value",           NULL + SET_VAR,                   [NULLED],           UNSET_SAME + SET_VAR),
    ("the number 0",                 ZERO,                             [],                 ZERO),
    ("both kinds of bad value",      ODD + NULL + NULL,                [BOOL, NULLED],     FALSE + UNSET_SAME + UNSET_SAME),
    ("a NULL and a zero byte",       NULL + b"\0" + SET_VAR,           [NULLED, MALFORMED], UNSET_SAME),
    ("a number that ends in 0x10",   NUMBER,                           [],                 NUMBER),
    ("a text that ends in a blank",  TEXT,                             [],                 TEXT),
    ("nothing",                      b"",                              [EMPTY],            NOP),
    ("a zero byte behind unset-var", UNSET_VAR + b"\0" + SET_VAR,      [STRAY],            UNSET_VAR + SET_VAR),
    ("at the very end",              UNSET_VAR + b"\0",                [STRAY],            UNSET_VAR),
    ("behind each",                  2 * (UNSET_VAR + b"\0"),          [STRAY],            2 * UNSET_VAR),
    ("two of them are too many",     UNSET_VAR + b"\0\0" + SET_VAR,    [STRAY, MALFORMED], UNSET_VAR),
    ("a zero byte behind set-var",   SET_VAR + b"\0" + UNSET_VAR,      [MALFORMED],        SET_VAR),
    ("a zero byte in front",         b"\0" + SET_VAR,                  [MALFORMED],        NOP),
    ("false as 0x10",                ODD + SET_VAR,                    [BOOL],             FALSE + SET_VAR),
    ("false as 0x21",                SET_VAR[:-1] + b"\x21",           [BOOL],             FALSE),
    ("both kinds, in order",         UNSET_VAR + b"\0" + ODD,          [STRAY, BOOL],      UNSET_VAR + FALSE),
    ("the longest name",             LONGEST,                          [],                 LONGEST),
    ("one byte more",                SET_VAR + LONG_NAME + UNSET_VAR,  [LONG],             SET_VAR + UNSET_VAR),
    ("far more",                     FAR_TOO_LONG + SET_VAR,           [LONG],             SET_VAR),
    ("nothing but long names",       2 * LONG_NAME,                    [LONG],             NOP),
    ("a long name and a bad boolean", LONG_ODD + ODD,                  [BOOL, LONG],       FALSE),
    ("a process-wide variable", SET_VAR + PROC + UNSET_VAR, [PROC_WIDE], SET_VAR + UNSET_VAR),
    ("a process-wide one with a long name", LONG_PROC + SET_VAR, [LONG, PROC_WIDE], SET_VAR),
    ("nothing but process-wide ones", PROC + PROC, [PROC_WIDE], NOP),
    ("a zero byte behind a long name", LONG_NAME + b"\0" + SET_VAR,    [LONG, STRAY],      SET_VAR),
    ("a long name, then nonsense",   LONG_NAME + b"\7",                [LONG, MALFORMED],  NOP),
    ("an action nobody knows",       SET_VAR + b"\7" + SET_VAR,        [MALFORMED],        SET_VAR),
    ("an unknown type of value",     SET_VAR + SET_VAR[:-1] + b"\x0a", [MALFORMED],        SET_VAR),
    ("a length beyond the end",      SET_VAR + b"\2\2\2\5abc",         [VARINT],           SET_VAR),
    ("a length that does not end",   SET_VAR + b"\2\2\2" + ENDLESS,    [VARINT],           SET_VAR),
    ("a length cut off",             SET_VAR + b"\2\2\2\xf0",          [VARINT],           SET_VAR),
    ("a value cut off",              SET_VAR + b"\1\3\2\1a\6\x7f",     [MALFORMED],        SET_VAR),
    ("nothing can be read",          b"\x07",                          [MALFORMED],        NOP),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "anomalies", "repaired"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_diagnosis(payload: bytes, anomalies: list[Anomaly], repaired: bytes) -> None:
    found = diagnose(payload)
    assert (found.anomalies, found.repaired(set(Anomaly))) == (anomalies, repaired)


@pytest.mark.parametrize("payload", [c[1] for c in CASES], ids=[c[0] for c in CASES])
def test_what_was_repaired_needs_no_more_repair(payload: bytes) -> None:
    once = diagnose(payload).repaired(set(Anomaly))
    again = diagnose(once)
    assert (again.anomalies, again.repaired(set(Anomaly))) == ([], once)


MOST = ODD + (MOST_ACTIONS - 1) * SET_VAR


@pytest.mark.parametrize("bad", [ODD, LONG_NAME, PROC, UNSET_VAR + b"\0"])
def test_an_ack_with_as_many_actions_as_are_read_is_mended(bad: bytes) -> None:
    found = diagnose((MOST_ACTIONS - 1) * SET_VAR + bad)
    assert (found.longer, len(found.anomalies)) == (False, 1)
    mended = found.repaired(set(Anomaly))
    assert mended.startswith((MOST_ACTIONS - 1) * SET_VAR)
    assert diagnose(mended).anomalies == []


def test_an_ack_with_one_action_more_than_are_read_is_malformed() -> None:
    at_most, one_more = diagnose(MOST), diagnose(MOST + SET_VAR)
    assert (at_most.anomalies, at_most.repaired({BOOL, MALFORMED})) == ([BOOL], FALSE + MOST[len(ODD) :])
    assert one_more.anomalies == [BOOL, MALFORMED]
    assert [one_more.detail(anomaly) for anomaly in one_more.anomalies] == ["", f"it has more than {MOST_ACTIONS} actions"]
    assert one_more.repaired({BOOL, MALFORMED}) == at_most.repaired({BOOL})
    assert one_more.repaired({BOOL}) == at_most.repaired({BOOL}) + SET_VAR  # who lets it pass gets all of it


def test_nothing_is_told_of_a_short_ack_that_is_malformed() -> None:
    assert diagnose(b"\x07").detail(MALFORMED) == ""
