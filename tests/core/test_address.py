import pytest

from spoe_guard.address import MAX_PORT, MAX_UNIX_PATH, Address, parse

LONG = "/" + "x" * (MAX_UNIX_PATH - 1)

GOOD = [
    ("127.0.0.1:9000", Address("127.0.0.1", 9000), "127.0.0.1:9000"),
    ("agent.example:0", Address("agent.example", 0), "agent.example:0"),
    (f"h:{MAX_PORT}", Address("h", MAX_PORT), "h:65535"),
    ("[::1]:9000", Address("::1", 9000), "[::1]:9000"),
    ("[agent]:9000", Address("agent", 9000), "agent:9000"),
    ("unix:/run/agent.sock", Address(path="/run/agent.sock"), "unix:/run/agent.sock"),
    ("unix@/run/agent.sock", Address(path="/run/agent.sock"), "unix:/run/agent.sock"),
    (f"unix:{LONG}", Address(path=LONG), f"unix:{LONG}"),
]

BAD = [
    ("", "expected HOST:PORT"),
    ("9000", "expected HOST:PORT"),
    ("agent", "expected HOST:PORT"),
    (":9000", "the host is missing"),
    ("[]:9000", "the host is missing"),
    ("::1:9000", "needs brackets"),
    ("[::1]x:9000", "needs brackets"),
    ("h:", "the port must be a number"),
    ("h:x", "the port must be a number"),
    ("h:-1", "the port must be a number"),
    ("h:+1", "the port must be a number"),
    ("h: 1", "the port must be a number"),
    ("h:\u0661", "the port must be a number"),
    ("h:65536", "the port must be a number"),
    ("h:" + "9" * 5000, "the port must be a number"),
    ("unix:", "absolute path"),
    ("unix:run/agent.sock", "absolute path"),
    ("unix@", "absolute path"),
    (f"unix:{LONG}x", "at most 107 bytes"),
    ("unix:/" + "\u00e9" * 54, "at most 107 bytes"),
]


@pytest.mark.parametrize(("text", "address", "again"), GOOD)
def test_an_address_is_read_and_said_again(text: str, address: Address, again: str) -> None:
    assert parse(text) == address
    assert str(address) == again
    assert parse(again) == address


@pytest.mark.parametrize(("text", "why"), BAD)
def test_what_is_wrong_with_an_address_is_said_in_words(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(text)
