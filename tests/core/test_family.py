"""Detects HAProxy's family: by async in HELLO, or by the ids of the first NOTIFYs."""

import pytest

from spoe_guard.core.payloads.family import JUDGED, Newcomer, offering
from spoe_guard.core.terms.family import Family

UNKNOWN, APPLET, MUX = Family.UNKNOWN, Family.APPLET, Family.MUX


@pytest.mark.parametrize(
    ("capabilities", "family"),
    [
        (["pipelining", "async"], APPLET),
        (["async"], APPLET),
        (["pipelining"], UNKNOWN),
        ([], UNKNOWN),
        (["asynchronous"], UNKNOWN),
    ],
)
def test_only_an_applet_offers_async(capabilities: list[str], family: Family) -> None:
    assert offering(capabilities) is family
    assert Newcomer(family).decided == (family is APPLET)


NOTIFIES = [
    # name                        ids of the NOTIFYs                       family   decided
    ("none yet",                  [],                                      UNKNOWN, False),
    ("two of the mux",            [(1, 1), (3, 1)],                        UNKNOWN, False),
    ("three of the mux",          [(1, 1), (3, 1), (5, 1)],                MUX,     True),
    ("an even stream-id",         [(2, 1)],                                APPLET,  True),
    ("stream-id 0",               [(0, 1)],                                APPLET,  True),
    ("an even one as the third",  [(1, 1), (3, 1), (4, 1)],                APPLET,  True),
    ("a second frame-id",         [(1, 1), (1, 2)],                        APPLET,  True),
    ("frame-id 0",                [(1, 0)],                                APPLET,  True),
    ("one left out",              [(1, 1), (5, 1), (7, 1)],                UNKNOWN, False),
    ("not from 1 on",             [(3, 1), (5, 1), (7, 1)],                UNKNOWN, False),
    ("in another order",          [(3, 1), (1, 1), (5, 1)],                UNKNOWN, False),
    ("an even one, late",         [(3, 1)] * (JUDGED - 1) + [(2, 1)],      APPLET,  True),
    ("one short of enough",       [(3, 1)] * (JUDGED - 1),                 UNKNOWN, False),
    ("enough",                    [(3, 1)] * JUDGED,                       UNKNOWN, True),
]  # fmt: skip


@pytest.mark.parametrize(("notifies", "family", "decided"), [c[1:] for c in NOTIFIES], ids=[c[0] for c in NOTIFIES])
def test_the_first_notifies_tell_the_family(notifies: list[tuple[int, int]], family: Family, decided: bool) -> None:
    newcomer = Newcomer(UNKNOWN)
    for ids in notifies:
        assert not newcomer.decided
        newcomer.notified(*ids)
    assert (newcomer.family, newcomer.decided) == (family, decided)
