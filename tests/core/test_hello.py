"""Both HELLOs: HAProxy's offer, the offer the agent sees, and an AGENT-HELLO that HAProxy accepts (H2, A4)."""

import pytest

from spoe_guard.core.payloads.disconnect import MOST_KEYS
from spoe_guard.core.payloads.hello import MOST_CAPABILITIES, AgentHello, Fault, Offer, check, read_offer, split, stand_in
from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.family import Family
from spoe_guard.wire import frame, kv, typed_data
from spoe_guard.wire.frame import FrameType
from tests.core import frames
from tests.core.frames import SHOWN, SIZE, agent_hello, haproxy_hello, pairs

MALFORMED = Anomaly.HELLO_MALFORMED
VERSION = Anomaly.HELLO_VERSION
SIZES = Anomaly.HELLO_SIZE
CAPABILITY = Anomaly.HELLO_CAPABILITY


def parsed(raw: bytes) -> frame.Frame:
    return next(frames.cut(raw))


def offer(raw: bytes, **config: object) -> Offer:
    got = read_offer(parsed(raw), SessionConfig(**config))
    assert isinstance(got, Offer), got.detail
    return got


def spoken(raw: bytes) -> dict[str, typed_data.Value]:
    sent = parsed(raw)
    found, stop = kv.parse(sent.payload, 0, len(sent.payload))
    assert stop == len(sent.payload)
    return {pair.name.decode(): pair.value for pair in found}


def haproxy(payload: bytes, at: str = "0.0", flags: int = frames.FIN) -> bytes:
    return frame.encode(FrameType.HAPROXY_HELLO, *frames.ids(at), payload, flags)


GOOD = parsed(haproxy_hello()).payload


def more_keys(count: int) -> bytes:
    return pairs(**{f"x{at}": at for at in range(count)})


# --- HAPROXY-HELLO ----------------------------------------

FAULTS = [
    # name                     HAPROXY-HELLO                                      anomaly    says
    ("a stream-id",            haproxy(GOOD, "1.0"),                              MALFORMED, "FIN alone and ids 0"),
    ("a frame-id",             haproxy(GOOD, "0.1"),                              MALFORMED, "FIN alone and ids 0"),
    ("without FIN",            haproxy(GOOD, flags=0),                            MALFORMED, "FIN alone and ids 0"),
    ("aborted",                haproxy(GOOD, flags=3),                            MALFORMED, "FIN alone and ids 0"),
    ("cut short",              haproxy(GOOD[:-1]),                                MALFORMED, "does not parse to the end"),
    ("rubbish behind",         haproxy(GOOD + b"\xff"),                           MALFORMED, "does not parse to the end"),
    ("a key twice",            haproxy(GOOD + pairs(engine_id=b"e2")),            MALFORMED, "a key is given twice"),
    ("one key too many",       haproxy(GOOD + more_keys(MOST_KEYS - 3)),          MALFORMED, "more than 64 keys"),
    ("no version",             haproxy(pairs(max_frame_size=SIZE, capabilities=b"")), MALFORMED, "versions is missing"),
    ("no size",                haproxy(pairs(supported_versions=b"2.0", capabilities=b"")), MALFORMED, "size is missing"),
    ("no capabilities",        haproxy(pairs(supported_versions=b"2.0", max_frame_size=SIZE)), MALFORMED, "is missing"),
    ("version as number",      haproxy_hello(supported_versions=2),               MALFORMED, "versions is of the wrong type"),
    ("size as text",           haproxy_hello(max_frame_size=b"16380"),            MALFORMED, "size is of the wrong type"),
    ("capabilities as number", haproxy_hello(capabilities=1),                     MALFORMED, "capabilities is of the wrong type"),
    ("healthcheck as text",    haproxy_hello(healthcheck=b"true"),                MALFORMED, "healthcheck is of the wrong type"),
    ("engine-id as number",    haproxy_hello(engine_id=7),                        MALFORMED, "engine-id is of the wrong type"),
    ("a size of 255",          haproxy_hello(max_frame_size=255),                 MALFORMED, "max-frame-size is below 256"),
    ("version 1.0",            haproxy_hello(supported_versions=b"1.0"),          VERSION,   "does not name 2.0"),
    ("version 12.0",           haproxy_hello(supported_versions=b"12.0"),         VERSION,   "does not name 2.0"),
    ("no version at all",      haproxy_hello(supported_versions=b""),             VERSION,   "does not name 2.0"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "anomaly", "says"), [c[1:] for c in FAULTS], ids=[c[0] for c in FAULTS])
def test_a_haproxy_hello_no_agent_should_see(raw: bytes, anomaly: Anomaly, says: str) -> None:
    fault = read_offer(parsed(raw), SessionConfig())
    assert isinstance(fault, Fault)
    assert fault.anomaly is anomaly
    assert says in fault.detail


PASSED = {
    "the least size": haproxy_hello(max_frame_size=256),
    "several versions": haproxy_hello(max_frame_size=256, supported_versions=b"1.0, 2.0"),
    "no capabilities": haproxy_hello(max_frame_size=256, capabilities=b""),
    "a key from the future": haproxy_hello(max_frame_size=256, weather=b"fine"),
    "as many keys as are read": haproxy(parsed(haproxy_hello(max_frame_size=256)).payload + more_keys(MOST_KEYS - 4)),
    "a health check": haproxy_hello(healthcheck=True, capabilities=b""),
    "no health check": haproxy_hello(max_frame_size=256, healthcheck=False),
}


@pytest.mark.parametrize("raw", PASSED.values(), ids=PASSED)
def test_a_hello_nothing_asks_to_change_goes_on_byte_for_byte(raw: bytes) -> None:
    got = offer(raw)
    assert got.raw == raw
    assert not got.changes


def test_what_is_offered_is_read() -> None:
    got = offer(haproxy_hello(max_frame_size=1000, capabilities=b"pipelining"))
    assert (got.haproxy_size, got.max_frame_size, got.capabilities, got.healthcheck) == (1000, 988, ["pipelining"], False)
    assert got.family is Family.UNKNOWN
    assert offer(haproxy_hello(capabilities=b"async"), capabilities=frozenset()).family is Family.APPLET
    assert offer(haproxy_hello(healthcheck=True)).healthcheck


ASYNC = {"capabilities": frozenset(("async",))}  # from an applet, which takes whatever fits its buffer


@pytest.mark.parametrize(
    ("sent", "clamp", "held", "shown"),
    [
        (16380, None, 1048576, 16380),
        (16380, 16380, 1048576, 16380),
        (16380, 16379, 1048576, 16379),
        (16380, 256, 1048576, 256),
        (1000, 2000, 1048576, 1000),
        (70000, None, 65536, 65532),
        (65532, None, 65536, 65532),
    ],
)
def test_the_size_is_clamped_to_the_setting_and_to_held_bytes(sent: int, clamp: int | None, held: int, shown: int) -> None:
    got = offer(haproxy_hello(max_frame_size=sent, capabilities=b"async"), max_frame_size=clamp, held_bytes=held, **ASYNC)
    assert (got.haproxy_size, got.max_frame_size) == (sent, shown)
    assert spoken(got.raw)["max-frame-size"] == shown
    assert got.changes == ([] if shown == sent else [f"max-frame-size {sent} -> {shown}"])


@pytest.mark.parametrize(
    ("sent", "clamp", "shown"),
    [
        (16380, None, 16368),
        (16380, 16369, 16368),
        (16380, 16368, 16368),
        (16380, 16367, 16367),
        (2**32 - 1, None, 2**32 - 13),
        (269, None, 257),
        (268, None, 256),
        (267, None, 256),
        (256, None, 256),
    ],
)
def test_a_haproxy_that_may_be_the_mux_keeps_16_bytes_free(sent: int, clamp: int | None, shown: int) -> None:
    got = offer(haproxy_hello(max_frame_size=sent), max_frame_size=clamp, held_bytes=2**33)
    assert (got.haproxy_size, got.max_frame_size) == (sent, shown)
    assert spoken(got.raw)["max-frame-size"] == shown
    assert got.changes == ([] if shown == sent else [f"max-frame-size {sent} -> {shown}"])


def test_a_health_check_is_shown_the_size_that_haproxy_says() -> None:
    assert spoken(offer(haproxy_hello(healthcheck=True)).raw)["max-frame-size"] == SIZE


@pytest.mark.parametrize(
    ("sent", "allowed", "shown"),
    [
        (b"pipelining,async", ("pipelining",), "pipelining"),
        (b"async", ("pipelining",), ""),
        (b"pipelining", (), ""),
        (b" async , pipelining ", ("pipelining", "async"), " async , pipelining "),
        (b"fragmentation,pipelining,async", ("fragmentation", "async"), "fragmentation,async"),
    ],
)
def test_capabilities_the_route_does_not_allow_are_removed(sent: bytes, allowed: tuple[str, ...], shown: str) -> None:
    got = offer(haproxy_hello(capabilities=sent, max_frame_size=256), capabilities=frozenset(allowed))
    assert spoken(got.raw)["capabilities"] == shown.encode()
    assert got.capabilities == split(shown)
    assert bool(got.changes) == (sent.decode() != shown)


def test_an_engine_id_is_added_where_haproxy_names_none() -> None:
    nameless = haproxy(pairs(supported_versions=b"2.0", max_frame_size=256, capabilities=b""))
    got = offer(nameless, engine_id="guard")
    assert spoken(got.raw)["engine-id"] == b"guard"
    assert got.changes == ["engine-id guard added"]
    assert offer(haproxy_hello(max_frame_size=256), engine_id="guard").raw == haproxy_hello(max_frame_size=256)
    check = offer(frames.bare_check(), engine_id="guard")
    assert check.raw == frames.bare_check(more=pairs(engine_id=b"guard"))
    assert check.healthcheck


PIPELINING = frozenset(("pipelining",))
FRAGMENTS = frozenset(("fragmentation",))


@pytest.mark.parametrize(
    ("sent", "allowed", "shown", "added"),
    [
        (b"", PIPELINING, "pipelining", ["pipelining"]),
        (b"async", PIPELINING, "pipelining", ["pipelining"]),
        (b"async", frozenset(("async",)), "async,pipelining", ["pipelining"]),
        (b"pipelining", frozenset(), "pipelining", ["pipelining"]),  # HAProxy offers it, and is not to get it
        (b"pipelining", PIPELINING, "pipelining", []),
    ],
)
def test_a_capability_is_offered_to_the_agent_that_haproxy_does_not_offer(
    sent: bytes, allowed: frozenset[str], shown: str, added: list[str]
) -> None:
    got = offer(haproxy_hello(capabilities=sent), always_offer=PIPELINING, capabilities=allowed)
    assert spoken(got.raw)["capabilities"] == shown.encode()
    assert got.capabilities == split(shown)
    assert got.added == added


def typed(name: bytes, kind: int, value: typed_data.Value) -> bytes:
    """HAPROXY-HELLO in which that key is of that type."""
    keys, _ = kv.parse(GOOD, 0, len(GOOD))
    other = [pair for pair in keys if pair.name != name]
    return haproxy(kv.encode([*other, kv.Pair(name, kind, value)]))


MISTYPED = [
    (b"max-frame-size", typed_data.INT32, 16380, SHOWN),
    (b"max-frame-size", typed_data.UINT64, 256, 256),
    (b"max-frame-size", typed_data.INT64, 2**32 - 1, 2**32 - 13),
    (b"healthcheck", typed_data.UINT32, 1, True),
    (b"healthcheck", typed_data.INT64, 0, False),
    (b"engine-id", typed_data.BIN, b"e1", b"e1"),
    (b"supported-versions", typed_data.BIN, b"2.0", b"2.0"),
    (b"capabilities", typed_data.BIN, b"", b""),
]


@pytest.mark.parametrize(("name", "kind", "value", "meant"), MISTYPED)
def test_a_mistyped_key_is_retyped_where_the_agent_gets_exact_keys(
    name: bytes, kind: int, value: typed_data.Value, meant: typed_data.Value
) -> None:
    raw = typed(name, kind, value)
    assert isinstance(read_offer(parsed(raw), SessionConfig()), Fault)
    got = offer(raw, exact_keys=True, held_bytes=2**33)
    assert spoken(got.raw)[name.decode()] == meant
    assert isinstance(read_offer(parsed(got.raw), SessionConfig()), Offer)  # each key is of its type now
    assert got.mended == [name.decode()]
    assert got.healthcheck == (meant is True)
    watched = offer(raw, exact_keys=True, observe=True)
    assert (watched.raw, watched.mended, watched.changes) == (raw, [name.decode()], [])


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        (b"max-frame-size", typed_data.INT64, -1),
        (b"max-frame-size", typed_data.UINT64, 2**32),
        (b"max-frame-size", typed_data.STR, b"16380"),
        (b"max-frame-size", typed_data.BOOL, True),
        (b"max-frame-size", typed_data.INT32, 255),
        (b"healthcheck", typed_data.UINT32, 2),
        (b"healthcheck", typed_data.STR, b"true"),
        (b"healthcheck", typed_data.NULL, None),
        (b"engine-id", typed_data.UINT32, 1),
    ],
)
def test_a_key_whose_value_is_not_certain_is_not_retyped(name: bytes, kind: int, value: typed_data.Value) -> None:
    fault = read_offer(parsed(typed(name, kind, value)), SessionConfig(exact_keys=True))
    assert isinstance(fault, Fault)
    assert fault.anomaly is MALFORMED


def test_unknown_keys_are_left_out_where_the_agent_gets_exact_keys() -> None:
    raw = haproxy_hello(weather=b"fine", max_frame_size=256)
    got = offer(raw, exact_keys=True)
    assert got.raw == haproxy_hello(max_frame_size=256)
    assert got.changes == ["unknown key weather left out"]
    assert not got.mended
    twice = haproxy(GOOD + pairs(weather=b"fine") + pairs(weather=b"foul"))
    assert isinstance(read_offer(parsed(twice), SessionConfig(exact_keys=True)), Fault)
    assert offer(haproxy_hello(max_frame_size=256), exact_keys=True).raw == haproxy_hello(max_frame_size=256)


def test_what_is_changed_leaves_every_other_byte_as_it_was() -> None:
    raw = haproxy_hello(capabilities=b"async", weather=b"fine")
    got = offer(raw)
    assert got.raw == haproxy_hello(capabilities=b"", weather=b"fine")


def test_an_observing_guard_changes_nothing() -> None:
    raw = haproxy_hello(max_frame_size=10**6 * 16, capabilities=b"pipelining,async,fragmentation")
    got = offer(raw, observe=True, max_frame_size=256, capabilities=frozenset(), engine_id="guard", held_bytes=65536)
    assert got.raw == raw
    assert got.capabilities == ["pipelining", "async", "fragmentation"]
    assert not got.changes


# --- AGENT-HELLO ----------------------------------------

SMALL = 1000  # what was offered
OFFERING_SMALL = haproxy_hello(max_frame_size=SMALL + 12)

AGENTS = [
    # name                         AGENT-HELLO                                     problems                 size   hopeless
    ("as it should be",            agent_hello(max_frame_size=SMALL),              [],                      SMALL, False),
    ("smaller than offered",       agent_hello(max_frame_size=256),                [],                      256,   False),
    ("no capabilities",            agent_hello(max_frame_size=256, capabilities=b""), [],                   256,   False),
    ("spaces around the version",  agent_hello(max_frame_size=256, version=b" 2.0 "), [],                   256,   False),
    ("a key from the future",      agent_hello(max_frame_size=256, weather=b"fine"), [],                    256,   False),
    ("more than offered",          agent_hello(max_frame_size=SMALL + 13),         [SIZES],                 SMALL, False),
    ("one below the least",        agent_hello(max_frame_size=255),                [SIZES],                 256,   False),
    ("a size of 0",                agent_hello(max_frame_size=0),                  [SIZES],                 SMALL, False),
    ("no size",                    agent_hello(without="max_frame_size"),          [SIZES],                 SMALL, False),
    ("a size in words",            agent_hello(max_frame_size=b"1000"),            [SIZES],                 SMALL, False),
    ("no version",                 agent_hello(max_frame_size=256, without="version"), [MALFORMED],         256,   False),
    ("a version in numbers",       agent_hello(max_frame_size=256, version=2),     [MALFORMED],             256,   False),
    ("version 2",                  agent_hello(max_frame_size=256, version=b"2"),  [VERSION],               256,   False),
    ("version 2.1",                agent_hello(max_frame_size=256, version=b"2.1"), [VERSION],              256,   False),
    ("version 1.0",                agent_hello(max_frame_size=256, version=b"1.0"), [VERSION],              256,   True),
    ("version 20.0",               agent_hello(max_frame_size=256, version=b"20.0"), [VERSION],             256,   True),
    ("no key capabilities",        agent_hello(max_frame_size=256, without="capabilities"), [MALFORMED],    256,   False),
    ("capabilities in numbers",    agent_hello(max_frame_size=256, capabilities=1), [MALFORMED],            256,   False),
    ("a key HAProxy mistakes",     agent_hello(max_frame_size=256, version_x=b"1"), [MALFORMED],            256,   False),
    ("a key twice",                agent_hello(max_frame_size=256, more=pairs(version=b"2.0")), [MALFORMED], 256,  False),
    ("as many keys as are read",   agent_hello(max_frame_size=256, more=more_keys(MOST_KEYS - 3)), [],      256,   False),
    ("one key more",               agent_hello(max_frame_size=256, more=more_keys(MOST_KEYS - 2)), [MALFORMED], 256, False),
    ("and rubbish behind it",      agent_hello(max_frame_size=256, more=more_keys(MOST_KEYS - 2) + b"\xff"),
                                   [MALFORMED], 256, False),
    ("as many capabilities",       agent_hello(max_frame_size=256, capabilities=b"," * (MOST_CAPABILITIES - 1)), [], 256, False),
    ("one capability more",        agent_hello(max_frame_size=256, capabilities=b"," * MOST_CAPABILITIES),
                                   [MALFORMED], 256, False),
    ("ids",                        agent_hello(max_frame_size=256, at="1.1"),      [MALFORMED],             256,   False),
    ("not offered",                agent_hello(max_frame_size=256, capabilities=b"pipelining,async"), [CAPABILITY], 256, False),
    ("rubbish behind",             agent_hello(max_frame_size=256, more=b"\xff"),  [MALFORMED],             256,   True),
    ("nothing",                    frame.encode(101),                              [MALFORMED, SIZES, MALFORMED], SMALL, False),
    ("all at once",                agent_hello(max_frame_size=1, version=b"3", capabilities=b"async", at="1.1"),
                                   [MALFORMED, VERSION, SIZES, CAPABILITY], 256, True),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "problems", "size", "hopeless"), [c[1:] for c in AGENTS], ids=[c[0] for c in AGENTS])
def test_what_is_wrong_with_an_agent_hello(raw: bytes, problems: list[Anomaly], size: int, hopeless: bool) -> None:
    hello = AgentHello(parsed(raw), offer(OFFERING_SMALL))
    assert [fault.anomaly for fault in hello.problems] == problems
    assert all(fault.detail for fault in hello.problems)
    assert hello.max_frame_size == size
    assert bool(hello.hopeless) == hopeless


@pytest.mark.parametrize("raw", [c[1] for c in AGENTS], ids=[c[0] for c in AGENTS])
def test_mended_it_has_three_keys_and_no_problem(raw: bytes) -> None:
    offered = offer(OFFERING_SMALL)
    mended = AgentHello(parsed(raw), offered).encode(keep_capabilities=False)
    assert list(spoken(mended)) == ["version", "max-frame-size", "capabilities"]
    assert spoken(mended)["version"] == b"2.0"
    assert parsed(mended).flags == frames.FIN
    assert not AgentHello(parsed(mended), offered).problems


@pytest.mark.parametrize(
    ("clamp", "size", "lowered", "problems"),
    [
        (None, SHOWN, False, []),
        (None, SHOWN + 1, True, []),
        (None, SIZE, True, []),
        (None, SIZE + 1, False, [SIZES]),
        (1000, 1001, False, [SIZES]),  # that it was told less is the route's own choice
    ],
)
def test_an_agent_may_name_haproxys_size_instead_of_the_guards_lower_one(
    clamp: int | None, size: int, lowered: bool, problems: list[Anomaly]
) -> None:
    offered = offer(haproxy_hello(), max_frame_size=clamp)
    hello = AgentHello(parsed(agent_hello(max_frame_size=size)), offered)
    assert [fault.anomaly for fault in hello.problems] == problems
    assert hello.max_frame_size == hello.shown_size == (clamp or SHOWN)
    assert AgentHello(parsed(agent_hello(max_frame_size=size, capabilities=b"fragmentation")), offered).adapts == lowered
    assert spoken(hello.encode(keep_capabilities=False))["max-frame-size"] == (clamp or SHOWN)


def test_capabilities_that_were_not_offered_may_be_kept() -> None:
    hello = AgentHello(parsed(agent_hello(capabilities=b"pipelining,async")), offer(haproxy_hello()))
    assert spoken(hello.encode(keep_capabilities=True))["capabilities"] == b"pipelining,async,fragmentation"
    assert spoken(hello.encode(keep_capabilities=False))["capabilities"] == b"pipelining,fragmentation"
    assert hello.capabilities == ["pipelining"]


def test_a_capability_that_the_guard_offered_itself_is_kept_from_haproxy() -> None:
    offered = offer(haproxy_hello(capabilities=b""), always_offer=PIPELINING)
    hello = AgentHello(parsed(agent_hello(capabilities=b"pipelining")), offered)
    assert (hello.problems, hello.capabilities, hello.adapts) == ([], [], True)
    assert spoken(hello.encode(keep_capabilities=True))["capabilities"] == b"fragmentation"
    assert not AgentHello(parsed(agent_hello(capabilities=b"fragmentation")), offered).adapts
    more = AgentHello(parsed(agent_hello(capabilities=b"async,pipelining")), offered)
    assert [fault.anomaly for fault in more.problems] == [CAPABILITY]
    assert spoken(more.encode(keep_capabilities=True))["capabilities"] == b"async,fragmentation"


@pytest.mark.parametrize(
    ("offered", "allowed", "added"),
    [(b"pipelining,async", PIPELINING, frozenset()), (b"pipelining,async", PIPELINING, FRAGMENTS), (b"", FRAGMENTS, FRAGMENTS)],
    ids=["unasked", "where the route offers it", "where nothing else is offered"],
)
def test_an_agent_that_takes_fragments_may_always_say_so(offered: bytes, allowed: frozenset[str], added: frozenset[str]) -> None:
    got = offer(haproxy_hello(capabilities=offered), capabilities=allowed, always_offer=added)
    assert ("fragmentation" in got.capabilities) is bool(added)
    hello = AgentHello(parsed(agent_hello(capabilities=b"fragmentation")), got)
    assert (hello.problems, hello.capabilities, hello.adapts) == ([], ["fragmentation"], False)
    assert spoken(hello.encode(keep_capabilities=False))["capabilities"] == b"fragmentation"


@pytest.mark.parametrize("capabilities", [b"", b"pipelining", b"fragmentation"])
def test_haproxy_is_told_to_send_fragments_but_not_in_a_health_check(capabilities: bytes) -> None:
    answer = parsed(agent_hello(capabilities=capabilities))
    for healthcheck in (False, True):
        hello = AgentHello(answer, offer(haproxy_hello(healthcheck=healthcheck)))
        told = spoken(hello.encode(keep_capabilities=False))["capabilities"]
        assert (b"fragmentation" in told) is (not healthcheck or b"fragmentation" in capabilities)
        assert told.count(b"fragmentation") <= 1


def test_an_agent_hello_of_the_guards_own_announces_fragments() -> None:
    own = stand_in(offer(haproxy_hello(capabilities=b"pipelining,async")), SHOWN, ["pipelining", "fragmentation"])
    assert spoken(own)["capabilities"] == b"pipelining,fragmentation"


@pytest.mark.parametrize("name", [b"x-vendor", b"ver", b"", b"max-frame"])
@pytest.mark.parametrize("healthcheck", [False, True])
def test_haproxy_gets_no_key_that_it_does_not_know(name: bytes, healthcheck: bool) -> None:
    offered = offer(haproxy_hello(healthcheck=healthcheck), max_frame_size=256)
    plain = AgentHello(parsed(agent_hello(max_frame_size=256, capabilities=b"fragmentation")), offered)
    more = bytes((len(name),)) + name + b"\x08\x01x"
    hello = AgentHello(parsed(agent_hello(max_frame_size=256, capabilities=b"fragmentation", more=more)), offered)
    assert (plain.adapts, hello.adapts, hello.problems) == (False, True, [])
    assert hello.encode(keep_capabilities=False) == agent_hello(max_frame_size=256, capabilities=b"fragmentation")


def test_a_peers_words_are_shortened_in_what_is_said_of_them() -> None:
    loud = agent_hello(version=b"x" * 1000, capabilities=b"y" * 1000)
    assert all(len(fault.detail) < 150 for fault in AgentHello(parsed(loud), offer(haproxy_hello())).problems)


def test_an_agent_hello_of_too_many_keys_never_passes_unchanged() -> None:
    """Beyond the bound its keys are not read, so there may be one that HAProxy does not know."""
    [long, twice] = AgentHello(parsed(agent_hello(more=MOST_KEYS * pairs(version=b"2.0"))), offer(haproxy_hello())).problems
    assert long.detail == "it has more than 64 keys"
    assert twice.detail == "a key is given twice"
    hello = AgentHello(parsed(agent_hello(capabilities=b"fragmentation", more=more_keys(MOST_KEYS))), offer(haproxy_hello()))
    assert hello.adapts
    assert hello.encode(keep_capabilities=True) == agent_hello(capabilities=b"fragmentation")


def test_capabilities_beyond_the_bound_are_not_read() -> None:
    names = b",".join([b"async"] * (MOST_CAPABILITIES - 1) + [b"fragmentation", b"pipelining"])
    hello = AgentHello(parsed(agent_hello(capabilities=names)), offer(haproxy_hello()))
    assert hello.problems[0].detail == "it names more than 64 capabilities"
    assert (hello.announced[-1], hello.capabilities) == ("fragmentation", ["fragmentation"])


def test_a_health_check_of_the_guards_own_is_what_haproxy_would_send() -> None:
    own = check(SessionConfig(max_frame_size=4096, engine_id="guard"))
    assert own.healthcheck
    assert (own.max_frame_size, own.capabilities, own.engine) == (4096, ["pipelining"], b"guard")
    assert offer(own.raw).healthcheck


QUOTED = [
    # what the agent wrote                                    the guard's own words                             the agent's
    (agent_hello(version=b"2.1"),                             "its version is 2.1, not 2.0",                    ""),
    (agent_hello(version=b"2.secret"),                        "its version is not 2.0",                         "2.secret"),
    (agent_hello(versionx=b"1"),                              "HAProxy takes a key of it for another one",      "versionx"),
    (agent_hello(capabilities=b"pipelining,async"),           "announces async, which was not offered",         ""),
    (agent_hello(capabilities=b"secret,pipelining,other"),    "announces a capability, which was not offered",  "secret,other"),
    (agent_hello(capabilities=b"secret,async"),               "announces async, which was not offered",         "secret"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "detail", "quoted"), QUOTED)
def test_what_an_agent_chose_is_quoted_apart(raw: bytes, detail: str, quoted: str) -> None:
    [fault] = AgentHello(parsed(raw), offer(haproxy_hello())).problems
    assert (fault.detail, fault.quoted) == (detail, quoted)
