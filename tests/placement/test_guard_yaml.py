"""The guard's file that `init` writes: whatever stands in HAProxy's files, YAML reads what was meant, and the guard takes it."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.address import Address
from spoe_guard.placement.guard_yaml import read_back, text
from spoe_guard.placement.plan import PlannedRoute
from tests.placement.files import found, sources

[SERVER] = found(sources()).servers


def planned(name: str = "x", server: str = "a", agent: Address | None = None, **settings: object) -> PlannedRoute:
    engine = found(sources(servers=f"server {server} h:1"))
    return PlannedRoute(name, Address("127.0.0.1", 1), agent or Address("h", 1), engine.servers[0], settings)


VALUES = [
    "12",
    "1e3",
    "0x1",
    "no",
    "Null",
    "~",
    "true",
    "5s",
    "a b",
    "a: b",
    "#a",
    "a #b",
    "[::1]:80",
    "unix:/a/b",
    "10.0.0.1:80",
    "h:80",
    "é",
    "-",
]


@pytest.mark.parametrize("value", VALUES)
def test_a_text_is_read_as_the_text_that_it_is(value):
    [route] = yaml.safe_load(text([planned(name=value, haproxy={"set_on_error": value})], []))["routes"]
    assert (route["name"], route["haproxy"]) == (value, {"set_on_error": value})


@given(st.text(max_size=20))
def test_any_text_is_read_as_the_text_that_it_is(value):
    [route] = yaml.safe_load(text([planned(name=value)], []))["routes"]
    assert route["name"] == value


def test_numbers_stay_numbers():
    [route] = yaml.safe_load(text([planned(limits={"held_bytes": 5})], []))["routes"]
    assert route["limits"] == {"held_bytes": 5}


def test_what_needs_no_quotes_has_none():
    assert "    agent: 10.0.0.1:9000\n" in text([planned(agent=Address("10.0.0.1", 9000))], [])


def test_what_stands_in_comments_ends_no_line():
    written = text([planned(server="a\\nb\\x0ac")], [Path("x\ny.cfg")])
    [route] = yaml.safe_load(written)["routes"]
    assert set(route) == {"name", "listen", "agent"}
    assert "from x\\ny.cfg\n" in written
    assert "of server a\\nb\\nc\n" in written


def test_what_is_written_is_what_the_guard_reads():
    agent = Address(path="/run/agent, one.sock")
    [route] = read_back(
        text([planned(agent=agent, proxy_protocol="accept", haproxy={"timeout_processing": "5s"})], [])
    ).settings.routes
    assert (route.agent, route.proxy_protocol, route.haproxy.timeout_processing) == ((agent,), "accept", 5.0)
