"""Values of a command line become those that HAProxy sends, or a message that says what is wrong."""

import ipaddress

import pytest

from spoe_guard.lab import values
from spoe_guard.wire import actions, typed_data, walk


@pytest.mark.parametrize(
    ("text", "name", "kind", "value"),
    [
        ("path=/a=b", b"path", typed_data.STR, b"/a=b"),
        ("path=", b"path", typed_data.STR, b""),
        ("path:str=\N{EURO SIGN}", b"path", typed_data.STR, "\N{EURO SIGN}".encode()),
        ("body:bin=00ff", b"body", typed_data.BIN, b"\x00\xff"),
        ("ok:bool=true", b"ok", typed_data.BOOL, True),
        ("ok:bool=false", b"ok", typed_data.BOOL, False),
        ("port:int=-1", b"port", typed_data.INT64, -1),
        (f"port:int={2**63 - 1}", b"port", typed_data.INT64, 2**63 - 1),
        ("src:ipv4=192.0.2.1", b"src", typed_data.IPV4, ipaddress.IPv4Address("192.0.2.1")),
        ("src:ipv6=2001:db8::1", b"src", typed_data.IPV6, ipaddress.IPv6Address("2001:db8::1")),
        ("a.b=1", b"a.b", typed_data.STR, b"1"),
    ],
)
def test_an_argument_has_the_type_that_it_names(text, name, kind, value):
    pair = values.argument(text)
    assert (pair.name, pair.type, pair.value) == (name, kind, value)


@pytest.mark.parametrize(
    ("text", "scope", "name"),
    [
        ("allowed:bool=true", walk.SCOPE_TXN, b"allowed"),
        ("sess.allowed:bool=true", walk.SCOPE_SESS, b"allowed"),
        ("res.a.b:bool=true", walk.SCOPE_RES, b"a.b"),
        ("coraza.allowed:bool=true", walk.SCOPE_TXN, b"coraza.allowed"),
    ],
)
def test_a_variable_has_the_scope_that_it_names(text, scope, name):
    raw = values.set_var(text)
    [action], end = actions.parse(raw, 0, len(raw))
    assert (action.type, action.scope, action.name, action.value, end) == (walk.SET_VAR, scope, name, True, len(raw))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path", "expected NAME=VALUE or NAME:TYPE=VALUE"),
        ("=1", "expected NAME=VALUE or NAME:TYPE=VALUE"),
        (":int=1", "expected NAME=VALUE or NAME:TYPE=VALUE"),
        ("a:float=1", "the type is one of str, bin, bool, int, ipv4, ipv6"),
        ("a:int=one", "'one' is no value of type int"),
        (f"a:int={2**63}", f"'{2**63}' is no value of type int"),
        ("a:bool=yes", "'yes' is no value of type bool"),
        ("a:bin=0", "'0' is no value of type bin"),
        ("a:ipv4=::1", "'::1' is no value of type ipv4"),
        ("a=" + "x" * 8191, "expected at most 8192 bytes"),
    ],
)
@pytest.mark.parametrize("read", [values.argument, values.set_var])
def test_what_is_no_value_is_refused_in_words(read, text, message):
    with pytest.raises(ValueError) as error:
        read(text)
    assert str(error.value) == message


def test_a_value_may_have_8192_bytes_with_its_name():
    assert len(values.argument("a=" + "x" * 8190).value) == 8190


def test_the_option_and_a_long_value_are_named_briefly():
    with pytest.raises(ValueError) as error:
        values.read("--arg", "a" * 9000, values.argument)
    assert str(error.value) == f"--arg: '{'a' * 200}': expected NAME=VALUE or NAME:TYPE=VALUE"
