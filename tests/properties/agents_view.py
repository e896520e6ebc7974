"""The agent's view of what it receives: promises A1, A2, A3 and A4."""

from dataclasses import dataclass, field

from tests.properties import spop
from tests.properties.hellos import Offer, first_offer, names, offer_of
from tests.properties.spop import Frame, UnreadableError
from tests.properties.transcript import Did, Terms, Transcript

# Type of each key; SPOE.txt 3.2.4.
KEYS = {b"supported-versions": 8, b"max-frame-size": 3, b"capabilities": 8, b"engine-id": 8, b"healthcheck": 1}


@dataclass
class AgentsView:
    """What the agent makes of the frames it gets."""

    terms: Terms
    broken: list[str] = field(default_factory=list)
    haproxy_said: bytes = b""
    agent_said: bytes = b""
    offered: Offer | None = None
    frames: int = 0
    got_disconnect: bool = False
    agreed: tuple[int, bool] | None = None
    told_size: int | None = None  # what HAProxy was told when this link was not up yet
    told_now: bool = False  # in this very instant: this agent may have been offered more before

    def get(self, write: bytes) -> None:
        if first_offer(self.haproxy_said) is None:
            self.broken.append(f"A1: bytes before a valid HAPROXY-HELLO: {write[:32].hex()}")
            return
        frames, rest = spop.cut(write)
        if rest:
            self.broken.append(f"A2: a write ends inside a frame: {rest[:32].hex()}")
        for raw in frames:
            try:
                self._frame(spop.read_frame(raw))
            except UnreadableError as why:
                self.broken.append(f"A2: {why}: {raw[:32].hex()}")

    def _frame(self, got: Frame) -> None:
        self.frames += 1
        if self.got_disconnect:
            self.broken.append(f"A3: type {got.type} behind HAPROXY-DISCONNECT")
        if self.frames == 1:
            self._hello(got)
            return
        size, fragments = self._negotiated()
        if got.length > size:
            self.broken.append(f"A2: length {got.length}, negotiated {size}")
        if got.type == spop.HAPROXY_DISCONNECT:
            self.got_disconnect = True
            keys = spop.pairs(got.payload)
            sound = keys.keys() == {b"status-code", b"message"} and got.ids == (0, 0) and got.flags == spop.FIN
            if not sound:
                self.broken.append(f"A2: HAPROXY-DISCONNECT {got}")
        elif got.type == spop.NOTIFY and got.flags == spop.FIN:
            spop.messages(got.payload)
        elif not (fragments and got.type in (spop.NOTIFY, spop.UNSET)):
            self.broken.append(f"A2: type {got.type} with flags {got.flags:#x}")

    def _hello(self, got: Frame) -> None:
        before = first_offer(self.haproxy_said)
        self.offered = offer = offer_of(got)
        assert before is not None, "see get"
        if offer != self._normalised(before) and not (self.told_now and offer == self._normalised(before, told=False)):
            self.broken.append(f"A4: offers {offer}, HAProxy {before}, which makes {self._normalised(before)}")
        sent, shown = spop.pairs(spop.read_frame(spop.cut(self.haproxy_said)[0][0]).payload), spop.pairs(got.payload)
        if self.terms.engine_id and b"engine-id" not in sent:
            sent[b"engine-id"] = (8, self.terms.engine_id.encode())
        for name in shown.keys() | sent.keys():
            wanted = sent.get(name) if name in KEYS or not self.terms.exact_keys else None
            retyped = (KEYS[name], wanted[1]) if self.terms.exact_keys and wanted is not None else wanted
            if name not in (b"max-frame-size", b"capabilities") and shown.get(name) not in (wanted, retyped):
                self.broken.append(f"A4: {name!r} is {shown.get(name)}, from HAProxy {wanted}")

    def _normalised(self, before: Offer, *, told: bool = True) -> Offer:
        """What the settings make of what HAProxy offers; ``told``: and what it was told in answer."""
        terms = self.terms
        applet = "async" in before.capabilities or before.healthcheck
        room = before.size if applet else max(before.size - 12, 256)  # 3.1 and later never read on behind a full buffer
        size = min(room, terms.max_frame_size or room, terms.held_bytes - 4)
        capabilities = (before.capabilities & terms.capabilities) | terms.always_offer
        return Offer((told and self.told_size) or size, capabilities, before.healthcheck)

    def _negotiated(self) -> tuple[int, bool]:
        """The size the agent asked for, if that is a sane one, and whether it takes fragments. 256 where it asks for less."""
        if self.agreed is not None:
            return self.agreed
        offered = self.offered.size if self.offered else 0
        for raw in spop.cut(self.agent_said)[0]:
            if len(raw) < 11 or raw[4] != spop.AGENT_HELLO:
                continue
            try:
                sent = spop.read_frame(raw)
                keys = spop.pairs(sent.payload)
            except UnreadableError:
                continue
            size = keys.get(b"max-frame-size", (0, None))[1]
            if not isinstance(size, int) or size > offered or size == 0:
                size = offered
            self.agreed = max(size, 256), "fragmentation" in names(keys.get(b"capabilities", (0, None))[1])
            return self.agreed
        return offered, True


def broken_to_agent(transcript: Transcript, terms: Terms) -> list[str]:
    """Which of A1, A2, A3 and A4 are broken in what the agent got, on each of its links."""
    links = sorted({step.link for step in transcript})
    return [f"{sent}, link {link}" for link in links for sent in _broken_on(transcript, terms, link)]


def _broken_on(transcript: Transcript, terms: Terms, link: int) -> list[str]:
    view = AgentsView(terms)
    closed = left = False
    told_at = -1.0
    for step in transcript:
        if step.did is Did.HAPROXY_SAID:
            view.haproxy_said += step.data
        elif step.did is Did.HAPROXY_GOT and not view.frames and view.told_size is None:
            view.told_size, told_at = _told(step.data), step.at
        elif step.did is Did.OVER and view.frames and not closed and not left:
            view.broken.append("A3: never closed")
        elif step.link != link:
            continue
        elif step.did is Did.AGENT_SAID:
            view.agent_said += step.data
        elif step.did is Did.AGENT_LEFT:
            left = True
        elif step.did is Did.AGENT_CLOSED:
            closed = True
            if view.frames and not view.got_disconnect and not left:
                view.broken.append("A3: closed without HAPROXY-DISCONNECT")
        elif step.did is Did.AGENT_GOT:
            if closed:
                view.broken.append("A3: bytes behind the close")
            view.told_now = step.at == told_at
            view.get(step.data)
    return view.broken


def _told(write: bytes) -> int | None:
    """The size in the AGENT-HELLO, if that is what HAProxy gets."""
    for raw in spop.cut(write)[0]:
        if raw[4] == spop.AGENT_HELLO:
            size = spop.pairs(spop.read_frame(raw).payload).get(b"max-frame-size", (0, None))[1]
            return size if isinstance(size, int) else None
    return None
