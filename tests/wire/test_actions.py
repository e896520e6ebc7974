import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.wire import actions, typed_data, walk
from tests.wire.walking import assert_walks

ALLOWED = bytes.fromhex("0103 02 07616c6c6f776564 11")  # what the agents of the captures answer
SET_NUMBER = actions.set_var(walk.SCOPE_SESS, b"n", typed_data.INT32, -5)
SET_TEXT = actions.set_var(walk.SCOPE_RES, b"t", typed_data.STR, b"a\x10")  # ends in what would be a bad boolean
UNSET = actions.unset_var(walk.SCOPE_REQ, b"old")
SET_NULL = actions.set_var(walk.SCOPE_TXN, b"", typed_data.NULL, None)
SET_PROC = actions.set_var(walk.SCOPE_PROC, b"p", typed_data.BOOL, value=True)
SHORTEST = actions.unset_var(walk.SCOPE_TXN, b"")

GOOD = [
    ("set-var true", ALLOWED),
    ("set-var integer", SET_NUMBER),
    ("set-var text", SET_TEXT),
    ("unset-var", UNSET),
    ("unset-var of no name", SHORTEST),
    ("no effect", actions.NO_EFFECT),
]


def told(listed):
    return [(action.type, action.scope, action.name, action.value, action.raw) for action in listed]


@pytest.mark.parametrize("raw", [row[1] for row in GOOD], ids=[row[0] for row in GOOD])
def test_an_action_is_walked_over(raw):
    assert_walks(walk.action_end, raw)
    assert walk.check_actions(raw, 0, len(raw)) == walk.OK


def test_actions_are_written_as_the_spec_says():
    assert actions.set_var(walk.SCOPE_TXN, b"allowed", typed_data.BOOL, value=True) == ALLOWED
    assert bytes.fromhex("0202 03 036f6c64") == UNSET
    assert bytes.fromhex("0202 02 0e") + b"spoe_guard_nop" == actions.NO_EFFECT


def test_a_list_of_actions_is_read():
    listed = ALLOWED + UNSET + SET_NUMBER + SET_NULL
    assert_walks(walk.action_end, SET_NULL)
    read, stop = actions.parse(b"\xff" + listed, 1, len(listed) + 1)
    assert stop == len(listed) + 1
    assert told(read) == [
        (walk.SET_VAR, walk.SCOPE_TXN, b"allowed", True, ALLOWED),
        (walk.UNSET_VAR, walk.SCOPE_REQ, b"old", None, UNSET),
        (walk.SET_VAR, walk.SCOPE_SESS, b"n", -5, SET_NUMBER),
        (walk.SET_VAR, walk.SCOPE_TXN, b"", None, SET_NULL),
    ]
    assert walk.check_actions(listed, 0, len(listed)) == walk.BAD_VALUE
    assert walk.check_actions(listed, 0, len(listed) - len(SET_NULL)) == walk.OK


@pytest.mark.parametrize("cut", range(len(ALLOWED + UNSET)))
def test_a_list_cut_off_anywhere_gives_the_actions_before_the_cut(cut):
    listed = ALLOWED + UNSET
    read, stop = actions.parse(listed, 0, cut)
    whole = cut >= len(ALLOWED)
    assert (len(read), stop) == (int(whole), len(ALLOWED) if whole else 0)
    sound = cut == len(ALLOWED)
    assert (walk.check_actions(listed, 0, cut) == walk.OK) is sound


FAULTS = [
    ("no action", "", walk.EMPTY),
    ("three bytes", "020202", walk.MALFORMED),
    ("action of type 0", "00 03 02 0161 11", walk.MALFORMED),
    ("action of type 3", "03 03 02 0161 11", walk.MALFORMED),
    ("set-var with two arguments", "01 02 02 0161 11", walk.MALFORMED),
    ("set-var in a scope nobody has", "01 03 05 0161 11", walk.MALFORMED),
    ("unset-var with three arguments", "02 03 02 0161", walk.MALFORMED),
    ("unset-var in a scope nobody has", "02 02 05 0161", walk.MALFORMED),
    ("name beyond the end", "01 03 02 0961 11", walk.BAD),
    ("no value", "01 03 02 0161", walk.MALFORMED),
    ("value of no type", "01 03 02 0161 0a", walk.MALFORMED),
    ("a zero byte behind an unset-var", "02 02 02 0161 00", walk.MALFORMED),
    ("null for a value", "01 03 02 0161 00", walk.BAD_VALUE),
    ("0x10 for false", "01 03 02 0161 10", walk.BAD_VALUE),
    ("0x21 for true", "01 03 02 0161 21", walk.BAD_VALUE),
    ("a bad boolean before a good action", "01 03 02 0161 10 02 02 02 0161", walk.BAD_VALUE),
    ("a bad boolean behind a good action", "02 02 02 0161 01 03 02 0161 31", walk.BAD_VALUE),
    ("a process-wide variable without a name", "02 02 00 00", walk.SPECIAL),
    ("a process-wide variable behind a good action", "02 02 02 0161" + SET_PROC.hex(), walk.SPECIAL),
    ("a name too long", "02 02 02 3a" + "61" * 58, walk.SPECIAL),
    ("a name too long behind a good action", "02 02 02 0161 01 03 01 39" + "61" * 57 + "11", walk.SPECIAL),
]


@pytest.mark.parametrize(("hexed", "fault"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_a_fault_says_which(hexed, fault):
    listed = bytes.fromhex(hexed)
    assert walk.check_actions(listed, 0, len(listed)) == fault


VALUES = [
    ("true", "11", False),
    ("false", "01", False),
    ("null", "00", True),
    ("the number 0", "02 00", False),
    ("an address that ends in 0", "06 7f000000", False),
    ("no text", "08 00", False),
    ("flag without type", "10", True),
    ("flag in the wrong bit", "21", True),
    ("integer that ends like one", "02 21", False),
    ("text that ends like one", "08 01 10", False),
]


@pytest.mark.parametrize(("hexed", "bad"), [row[1:] for row in VALUES], ids=[row[0] for row in VALUES])
def test_a_value_haproxy_would_misread_is_found(hexed, bad):
    raw = bytes.fromhex("01 03 02 03616263") + bytes.fromhex(hexed)
    assert walk.bad_value_at(raw, 0, len(raw)) == (len(raw) - 1 if bad else -1)


@given(st.binary(max_size=60), st.integers(0, 5), st.integers(0, 60))
def test_no_bytes_make_the_reader_raise_or_step_out_of_its_range(junk, pos, end):
    end = min(end, len(junk))
    read, stop = actions.parse(junk, pos, end)
    assert pos <= stop <= max(pos, end)
    assert b"".join(action.raw for action in read) == junk[pos:stop]
    verdict = walk.check_actions(junk, pos, end)
    if verdict == walk.OK:
        assert stop == end
        assert read
    elif verdict == walk.EMPTY:
        assert pos >= end


ACTIONS = st.sampled_from([row[1] for row in GOOD])


@given(st.lists(ACTIONS, min_size=1, max_size=5).map(b"".join), st.data())
def test_a_flipped_bit_never_makes_the_reader_raise(listed, data):
    at = data.draw(st.integers(0, len(listed) * 8 - 1))
    flipped = bytearray(listed)
    flipped[at // 8] ^= 1 << at % 8
    read, stop = actions.parse(bytes(flipped), 0, len(flipped))
    assert b"".join(action.raw for action in read) == flipped[:stop]


@pytest.mark.parametrize(("scope", "word"), list(enumerate(["proc", "sess", "txn", "req", "res"])))
def test_a_name_may_be_as_long_as_its_scopes_prefix_allows(scope, word):
    longest = 63 - len(f"{word}.p.")
    assert walk.LONGEST_NAMES[scope] == longest
    fits, more, far_more = (actions.unset_var(scope, b"n" * count) for count in (longest, longest + 1, 5000))
    assert walk.check_actions(fits, 0, len(fits)) == (walk.OK if scope else walk.SPECIAL)
    assert walk.check_actions(more, 0, len(more)) == walk.check_actions(far_more, 0, len(far_more)) == walk.SPECIAL


SHORTEST = b"\2\2\2\0"  # an action, as short as it gets
READ = [("empty", b"", True), ("a special action", actions.unset_var(2, b"n" * 99), True), ("cut", ALLOWED[:-1], False)]


@pytest.mark.parametrize(("listed", "readable"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_a_list_is_readable_whatever_its_actions_say(listed, readable):
    assert actions.reads(b"\xff" + listed, 1, len(listed) + 1) is readable
    assert actions.reads(listed + ALLOWED, 0, len(listed + ALLOWED)) is readable


@pytest.mark.parametrize(("more", "readable"), [(0, True), (1, False)])
def test_so_many_actions_of_a_list_are_read_and_no_more(more, readable):
    listed = SHORTEST * (actions.MOST + more)
    assert actions.reads(b"\xff" + listed, 1, 1 + len(listed)) is readable
    assert actions.stop(listed, 0, len(listed)) == 4 * actions.MOST


@pytest.mark.parametrize(("most", "well"), [(1, True), (2, True), (3, False), (9, False)])
def test_a_list_begins_well_up_to_its_first_fault(most, well):
    listed = ALLOWED + UNSET
    assert actions.begin_well(b"\xff" + listed + b"\7" + ALLOWED, 1, len(listed) + 2 + len(ALLOWED), most) is well
    assert actions.begin_well(listed, 0, len(listed), most)
