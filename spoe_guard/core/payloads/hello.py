"""The handshake: HAProxy's offer, the part of it that the agent gets, and an AGENT-HELLO that HAProxy accepts.

Source: SPOE.txt 3.2.4, 3.2.5; HAProxy ``spoe_handle_agenthello_frame``, ``spop_conn_handle_hello``.
"""

from collections.abc import Collection, Iterable
from typing import Final

from spoe_guard.core.payloads import hello_keys, proxy_header, spop_words
from spoe_guard.core.payloads.disconnect import MOST_KEYS
from spoe_guard.core.payloads.family import offering
from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.core.terms.config import KNOWN_CAPABILITIES, SessionConfig
from spoe_guard.core.terms.family import Family
from spoe_guard.wire import frame as frames
from spoe_guard.wire import kv, typed_data, walk

MAX_HELLO: Final = 4096  # length of the first frame, before any size is negotiated; a real HELLO has about 130 bytes
MOST_CAPABILITIES: Final = 64  # that are read of a list; there are three
VERSION: Final = "2.0"
PIPELINING: Final = "pipelining"
FRAGMENTATION: Final = "fragmentation"  # concerns only the peer that announces it, so it needs no offer (SPOE.txt 3.2.1)
PARALLEL: Final = frozenset(("pipelining", "async"))  # with either capability HAProxy has several NOTIFYs open on a connection
SPARE_BYTES: Final = 16  # left free in HAProxy's buffer, whose size is its max-frame-size plus the length prefix

_SIZE: Final = hello_keys.SIZE
_CAPABILITIES: Final = hello_keys.CAPABILITIES
_VERSION: Final = b"version"
_AGENT_KEYS: Final = (_VERSION, _SIZE, _CAPABILITIES)
_TOO_MANY_KEYS: Final = f"it has more than {MOST_KEYS} keys"


class Fault:
    """Why a HELLO cannot be used. ``quoted``: the peer's own words, of which ``detail`` has none."""

    __slots__ = ("anomaly", "detail", "quoted")

    def __init__(self, anomaly: Anomaly, detail: str, quoted: str = "") -> None:
        self.anomaly = anomaly
        self.detail = detail
        self.quoted = quoted


class Offer:
    """The offer of a HAPROXY-HELLO, as the agent gets it.

    ``haproxy_size``: what HAProxy itself announced, bytes; none of its frames is longer. ``raw``: the frame for the agent;
    ``received``: as HAProxy sent it. ``changes``: what was changed in it and why, empty if it is passed byte for byte.
    ``added``: those of ``capabilities`` that only the agent sees. ``asked``: those that HAProxy may get. ``mended``: keys
    that had a wrong type. ``engine``: the engine-id the agent gets, empty if there is none. ``family``: the HAProxy version
    family, as far as HELLO shows it.
    """

    __slots__ = (
        "added", "asked", "capabilities", "changes", "engine", "family", "haproxy_size", "healthcheck", "max_frame_size",
        "mended", "raw", "received",
    )  # fmt: skip

    def __init__(self, raw: bytes, max_frame_size: int, capabilities: list[str], *, healthcheck: bool) -> None:
        self.raw = self.received = raw
        self.haproxy_size = max_frame_size
        self.max_frame_size = max_frame_size
        self.capabilities = capabilities
        self.asked = tuple(capabilities)
        self.family = offering(capabilities)
        self.healthcheck = healthcheck
        self.engine = b""
        self.changes: list[str] = []
        self.added: list[str] = []
        self.mended: list[str] = []

    def do_not_pipeline(self) -> bool:
        """HAProxy is to send one NOTIFY at a time; False if it would in any case.

        The agent sees what it would otherwise: it may refuse HELLO without.
        """
        if PIPELINING not in self.asked:
            return False
        self.asked = tuple(name for name in self.asked if name != PIPELINING)
        self.added += [name for name in self.capabilities if name == PIPELINING]
        return True

    def replayed(self, max_frame_size: int) -> bytes:
        """Return the frame for a link after the first: the same offer, with the size that was negotiated."""
        self.max_frame_size = max_frame_size
        frame = frames.parse(self.raw)
        if frame is None:  # pragma: no cover - it has been read
            return self.raw
        pairs, _ = kv.parse(frame.raw, frame.payload_at, len(frame.raw), MOST_KEYS)
        fresh = [kv.Pair(_SIZE, typed_data.UINT32, max_frame_size) if pair.name == _SIZE else pair for pair in pairs]
        return frames.with_payload(frame, kv.encode(fresh))


def guess(head: bytes) -> str:
    """Describe what the first bytes, which are not a HAPROXY-HELLO, look like, and what to do about it."""
    version = proxy_header.version(head)
    if version:
        word = "send-proxy" if version == 1 else "send-proxy-v2"
        words = f"take `{word}` off HAProxy's server line, or set proxy_protocol: accept"
        return f"looks like the PROXY protocol, version {version}: {words}"
    if head[:1] == b"\x16" or head[:2] == b"\x80\x80":
        return "looks like TLS: take `ssl` off HAProxy's server line"
    if head[:1].isalpha() and head.isascii():
        return "looks like HTTP or text"
    return "no HAPROXY-HELLO"


def family_of(first: bytes) -> Family | None:
    """Return what the HAPROXY-HELLO that ``first`` begins with, behind a PROXY header or not, shows; None without a whole one."""
    header = proxy_header.read(first)
    raw = first[header.size :] if isinstance(header, proxy_header.Header) else first
    end = frames.LENGTH_BYTES + walk.length_at(raw, 0) if len(raw) >= frames.LENGTH_BYTES else len(raw) + 1
    hello = frames.parse(raw[:end]) if frames.LENGTH_BYTES + frames.MIN_LENGTH <= end <= len(raw) else None
    if hello is None or hello.type != frames.HAPROXY_HELLO:
        return None
    pairs, _ = kv.parse(hello.raw, hello.payload_at, len(hello.raw), MOST_KEYS)
    return offering(next((split(_text(pair)) for pair in pairs if pair.name == _CAPABILITIES), []))


def split(capabilities: str) -> list[str]:
    """Return the capabilities a comma-separated list names, of a long one the first."""
    parts = capabilities.split(",", MOST_CAPABILITIES)[:MOST_CAPABILITIES]
    return [name for name in (part.strip() for part in parts) if name]


def read_offer(frame: frames.Frame, config: SessionConfig) -> Offer | Fault:
    """Return the offer of ``frame`` (a HAPROXY-HELLO), normalised by ``config``, or why it cannot be used.

    In observe mode nothing is changed.
    """
    malformed = Anomaly.HELLO_MALFORMED
    if frame.flags != frames.FLAG_FIN or frame.stream_id or frame.frame_id:
        return Fault(malformed, "HAPROXY-HELLO needs FIN alone and ids 0")
    pairs, stop = kv.parse(frame.raw, frame.payload_at, len(frame.raw), MOST_KEYS)
    if stop != len(frame.raw):
        long = len(pairs) == MOST_KEYS
        return Fault(malformed, _TOO_MANY_KEYS if long else "its list of keys does not parse to the end")
    count = len(pairs)
    mended: list[str] = []
    unknown: list[str] = []
    keys = {pair.name: pair for pair in pairs}
    if config.exact_keys:
        pairs, mended, unknown = hello_keys.exact(pairs)
        keys |= {pair.name: pair for pair in pairs}
    complaint = "a key is given twice" if len(keys) != count else hello_keys.complaint(keys)
    if complaint:
        return Fault(malformed, complaint)
    if VERSION not in split(_text(keys[hello_keys.VERSIONS])):
        return Fault(Anomaly.HELLO_VERSION, f"supported-versions does not name {VERSION}")
    size = keys[_SIZE].value
    if not isinstance(size, int) or size < frames.MIN_MAX_FRAME_SIZE:
        return Fault(malformed, f"max-frame-size is below {frames.MIN_MAX_FRAME_SIZE}")
    check = hello_keys.HEALTHCHECK in keys and keys[hello_keys.HEALTHCHECK].value is True
    offer = Offer(frame.raw, size, split(_text(keys[_CAPABILITIES])), healthcheck=check)
    offer.mended = mended
    engine = keys[hello_keys.ENGINE_ID].value if hello_keys.ENGINE_ID in keys else None
    offer.engine = engine if isinstance(engine, bytes) else b""
    if not config.observe:
        offer.changes += [f"{name} retyped" for name in mended] + [f"unknown key {name} left out" for name in unknown]
        _normalise(offer, frame, pairs, config, names_engine=hello_keys.ENGINE_ID in keys)
    return offer


def _takes(offer: Offer) -> int:
    """Return the longest frame HAProxy takes safely: 3.1 and later stops reading after one that fills its buffer (hazard A1)."""
    if offer.healthcheck or offer.family is Family.APPLET:
        return offer.haproxy_size
    return max(offer.haproxy_size + frames.LENGTH_BYTES - SPARE_BYTES, frames.MIN_MAX_FRAME_SIZE)


def _normalise(offer: Offer, frame: frames.Frame, pairs: list[kv.Pair], config: SessionConfig, *, names_engine: bool) -> None:
    """Apply the route's settings to ``offer``, and change nothing else."""
    limit = min(config.max_frame_size or offer.haproxy_size, config.held_bytes - frames.LENGTH_BYTES, _takes(offer))
    fresh: list[kv.Pair] = []
    for pair in pairs:
        if pair.name == _SIZE and offer.haproxy_size > limit:
            offer.max_frame_size = limit
            offer.changes.append(f"max-frame-size {offer.haproxy_size} -> {limit}")
            fresh.append(kv.Pair(_SIZE, typed_data.UINT32, limit))
        elif pair.name == _CAPABILITIES and not config.always_offer <= set(offer.capabilities) <= config.capabilities:
            kept = [name for name in offer.capabilities if name in config.capabilities]
            offer.added = sorted(config.always_offer.difference(kept))
            shown = kept + offer.added
            offer.changes.append(f"capabilities {','.join(offer.capabilities)} -> {','.join(shown)}")
            offer.capabilities = shown
            fresh.append(kv.Pair(_CAPABILITIES, typed_data.STR, ",".join(shown).encode()))
        else:
            fresh.append(pair)
    if config.engine_id and not names_engine:
        offer.changes.append(f"engine-id {config.engine_id} added")
        offer.engine = config.engine_id.encode()
        fresh.append(kv.Pair(hello_keys.ENGINE_ID, typed_data.STR, offer.engine))
    if offer.changes:
        offer.raw = frames.with_payload(frame, kv.encode(fresh))


def check(config: SessionConfig) -> Offer:
    """Return the offer of a health check of the guard's own: what `option spop-check` sends, as ``config`` lets agents see it."""
    pairs = [
        kv.Pair(hello_keys.VERSIONS, typed_data.STR, VERSION.encode()),
        kv.Pair(_SIZE, typed_data.UINT32, frames.DEFAULT_MAX_FRAME_SIZE),
        kv.Pair(_CAPABILITIES, typed_data.STR, ",".join(sorted(config.capabilities)).encode()),
        kv.Pair(hello_keys.HEALTHCHECK, typed_data.BOOL, True),  # noqa: FBT003  a value on the wire
    ]
    frame = frames.parse(frames.encode(frames.HAPROXY_HELLO, payload=kv.encode(pairs)))
    offer = read_offer(frame, config) if frame is not None else None
    assert isinstance(offer, Offer)  # noqa: S101  for mypy: it is ours
    return offer


def stand_in(offer: Offer, max_frame_size: int, capabilities: Iterable[str]) -> bytes:
    """Return an AGENT-HELLO of the guard's own, in answer to ``offer``, with a size and capabilities within it."""
    shown = [name for name in capabilities if name in offer.asked]
    return _agent_hello(min(max_frame_size, offer.max_frame_size), shown + _always_shown(shown, offer))


def _always_shown(capabilities: Collection[str], offer: Offer) -> list[str]:
    """Return what HAProxy is told beside ``capabilities``, whatever the agent can do: the guard takes fragments itself.

    HAProxy up to 3.0 that may not send a NOTIFY in fragments, and has one too long for a frame, sends DISCONNECT (status 10) and
    connects again, thousands of times a second. It sends none in a health check.
    """
    return [] if offer.healthcheck or FRAGMENTATION in capabilities else [FRAGMENTATION]


def _agent_hello(max_frame_size: int, capabilities: Iterable[str]) -> bytes:
    """Return an AGENT-HELLO with the three keys that every HAProxy accepts, and no other."""
    pairs = [
        kv.Pair(_VERSION, typed_data.STR, VERSION.encode()),
        kv.Pair(_SIZE, typed_data.UINT32, max_frame_size),
        kv.Pair(_CAPABILITIES, typed_data.STR, ",".join(capabilities).encode()),
    ]
    return frames.encode(frames.AGENT_HELLO, payload=kv.encode(pairs))


class AgentHello:
    """An AGENT-HELLO, its faults, and its repaired form.

    ``problems`` in order; ``hopeless`` says why no repair is certain, or is empty. ``announced`` are the capabilities the agent
    named, ``capabilities`` those among them that hold: HAProxy offered them, or they need no offer. ``pipelining``: HAProxy may
    pipeline, whatever the agent supports; the guard then sends the agent one NOTIFY at a time. ``adapts``: HAProxy's copy has to
    differ even without a problem. ``shown_size``: the size in HAProxy's copy.
    """

    __slots__ = (
        "_lowered", "_shown", "adapts", "announced", "capabilities", "hopeless", "max_frame_size", "problems", "shown_size",
    )  # fmt: skip

    def __init__(self, frame: frames.Frame, offer: Offer, *, pipelining: bool = False) -> None:
        self.problems: list[Fault] = []
        self.hopeless = ""
        pairs, stop = kv.parse(frame.raw, frame.payload_at, len(frame.raw), MOST_KEYS)
        keys = {pair.name: pair for pair in pairs}
        longer = len(pairs) == MOST_KEYS and stop < len(frame.raw)
        if longer:
            self._malformed(_TOO_MANY_KEYS)
        elif stop != len(frame.raw):
            self.hopeless = "its list of keys does not parse to the end"
            self._malformed(self.hopeless)
        if frame.stream_id or frame.frame_id:
            self._malformed("its ids are not 0")
        if len(keys) != len(pairs):
            self._malformed("a key is given twice")
        for name in keys:
            if name not in _AGENT_KEYS and name.startswith(_AGENT_KEYS):
                self._malformed("HAProxy takes a key of it for another one", name[:32].decode("ascii", "replace"))
        self._check_version(keys.get(_VERSION))
        self._lowered = False
        self.max_frame_size = self._check_size(keys.get(_SIZE), offer)
        # HAProxy 3.1 and later offers 16380 bytes in a health check even if its buffer is smaller, and then marks an agent that
        # accepts them DOWN. Nothing is sent after the negotiation of a check, so it gets the size that every HAProxy accepts.
        self.shown_size = frames.MIN_MAX_FRAME_SIZE if offer.healthcheck else self.max_frame_size
        told = self._check_capabilities(keys.get(_CAPABILITIES))
        added = {name for name in offer.added if name != FRAGMENTATION}
        holds = {*offer.capabilities, FRAGMENTATION}
        self.announced = [name for name in told if name not in added]
        self.capabilities = [name for name in self.announced if name in holds]
        self._shown = [PIPELINING] if pipelining and PIPELINING in offer.asked and PIPELINING not in self.capabilities else []
        self._shown += _always_shown(self.capabilities, offer)
        # No other key is of use to HAProxy, and 2.0 before 2.0.19 takes the beginning of a key it knows for that key.
        self.adapts = longer or any(name not in _AGENT_KEYS for name in keys)
        self.adapts = self.adapts or len(told) != len(self.announced) or self._lowered or self.shown_size != self.max_frame_size
        self.adapts = self.adapts or bool(self._shown)
        if len(self.capabilities) != len(self.announced):
            extra = [name for name in self.announced if name not in holds]
            known = ",".join(sorted(KNOWN_CAPABILITIES.intersection(extra))) or "a capability"
            unknown = ",".join(name for name in extra if name not in KNOWN_CAPABILITIES)[:64]
            self.problems.append(Fault(Anomaly.HELLO_CAPABILITY, f"announces {known}, which was not offered", unknown))

    def _malformed(self, detail: str, quoted: str = "") -> None:
        self.problems.append(Fault(Anomaly.HELLO_MALFORMED, detail, quoted))

    def _check_version(self, pair: kv.Pair | None) -> None:
        if pair is None or pair.type != typed_data.STR:
            self._malformed("the key version is missing or of the wrong type")
            return
        version = _text(pair).strip()
        if version != VERSION:
            fault = Fault(Anomaly.HELLO_VERSION, f"its version is not {VERSION}", version[:16])
            if spop_words.is_spops(_VERSION, pair.value):
                fault = Fault(Anomaly.HELLO_VERSION, f"its version is {version}, not {VERSION}")
            self.problems.append(fault)
            if version.split(".", maxsplit=1)[0] != "2":
                self.hopeless = self.hopeless or "the agent speaks another version"

    def _check_size(self, pair: kv.Pair | None, offer: Offer) -> int:
        offered = offer.max_frame_size
        size = pair.value if pair is not None and pair.type in typed_data.INTEGER_TYPES else None
        if isinstance(size, int) and frames.MIN_MAX_FRAME_SIZE <= size <= offered:
            return size
        if isinstance(size, int) and offered < size <= offer.haproxy_size and offered == _takes(offer):
            self._lowered = True  # many agents name one size whatever they are offered, and HAProxy did offer it
            return offered
        problem = "is absent" if not isinstance(size, int) else f"{size} is not in {frames.MIN_MAX_FRAME_SIZE}..{offered}"
        self.problems.append(Fault(Anomaly.HELLO_SIZE, f"max-frame-size {problem}"))
        below = isinstance(size, int) and 0 < size < frames.MIN_MAX_FRAME_SIZE
        return frames.MIN_MAX_FRAME_SIZE if below else offered

    def _check_capabilities(self, pair: kv.Pair | None) -> list[str]:
        if pair is None or pair.type != typed_data.STR:
            self._malformed("the key capabilities is missing or of the wrong type")
            return []
        capabilities = _text(pair)
        if capabilities.count(",") >= MOST_CAPABILITIES:
            self._malformed(f"it names more than {MOST_CAPABILITIES} capabilities")
        return split(capabilities)

    def encode(self, *, keep_capabilities: bool) -> bytes:
        """Return the repaired frame."""
        return _agent_hello(self.shown_size, (self.announced if keep_capabilities else self.capabilities) + self._shown)


def _text(pair: kv.Pair) -> str:
    return pair.value.decode("utf-8", "replace") if isinstance(pair.value, bytes) else ""
