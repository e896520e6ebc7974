"""HAProxy's view of what it receives: promises H1, H2, H3, H4 and H6."""

import contextlib
import re
from collections import Counter
from dataclasses import dataclass, field

from tests.properties import spop
from tests.properties.hellos import Offer, agent_terms, first_offer
from tests.properties.spop import Frame, UnreadableError
from tests.properties.transcript import Did, Terms, Transcript

CODES = (1, 257, 259, 260, 269)  # of ``option set-on-error``: HAProxy's timeout, and 256 plus the status of a DISCONNECT
VARNAME = 64  # HAProxy's buffer for scope, prefix and name with a dot between them and a zero behind; the prefix is never empty


def notify_ids(raw: bytes) -> list[tuple[int, int]]:
    """The ids of a NOTIFY, also of one that is still coming if they can be read; none of anything else."""
    if len(raw) > 10 and raw[4] == spop.NOTIFY:
        cursor = spop.Cursor(raw[9:])
        with contextlib.suppress(UnreadableError):
            return [(cursor.integer(), cursor.integer())]
    return []


def _written(ids: tuple[int, int]) -> bytes:
    return b"".join(spop.integer(number) for number in ids)


def ordinary_notify(raw: bytes) -> bool:
    """Whether ``raw``, a whole frame, is a NOTIFY that any agent takes."""
    try:
        sent = spop.read_frame(raw)
        return sent.type == spop.NOTIFY and sent.flags == spop.FIN and spop.messages(sent.payload) > 0
    except UnreadableError:
        return False


@dataclass
class HAProxysView:
    """What HAProxy makes of the frames it gets."""

    terms: Terms
    broken: list[str] = field(default_factory=list)
    raw_: bytes = b""
    coming: bytes = b""  # the frame that is not whole yet
    counted: bool = False  # whether it was seen to be a NOTIFY
    waiting: Counter[tuple[int, int]] = field(default_factory=Counter)
    agents_said: dict[int, bytes] = field(default_factory=dict)  # by link
    answered: Counter[tuple[int, int]] = field(default_factory=Counter)  # ACKs it got
    size: int | None = None  # negotiated
    got_disconnect: bool = False
    frames: int = 0

    def say(self, data: bytes) -> None:
        self.raw_ += data
        frames, self.coming = spop.cut(self.coming + data)
        sent = [ids for raw in (*frames, self.coming) for ids in notify_ids(raw)]
        seen = sent[1:] if self.counted else sent
        self.counted = bool(notify_ids(self.coming))
        for ids, count in Counter(seen).items():
            # A NOTIFY with the ids of an open one adds nothing. But of two in one write the first may be answered before
            # the second is read, and a guard that answers for the agent may give the earlier one up for the later.
            # An ACK that waits until HAProxy can take it may be crossed by the next NOTIFY of those ids, too.
            adds = self.terms.answers_for_agents or self._written(ids) > self.answered[ids]
            self.waiting[ids] = self.waiting[ids] + count if adds else max(self.waiting[ids], count)

    def _written(self, ids: tuple[int, int]) -> int:
        """ACKs for ``ids`` that may have been written until now, wherever they stand; an empty NOTIFY's is the guard's own."""
        return self._by_agents(ids) + self._empty(ids)

    def _by_agents(self, ids: tuple[int, int]) -> int:
        at = re.escape(_written(ids))
        return sum(len(re.findall(b"\x67...." + at, said, re.DOTALL)) for said in self.agents_said.values())

    def _empty(self, ids: tuple[int, int]) -> int:
        """NOTIFYs of those ids without a message, whatever their flags."""
        at = _written(ids)
        return len(re.findall(re.escape((5 + len(at)).to_bytes(4, "big")) + b"\x03...." + re.escape(at), self.raw_, re.DOTALL))

    def get(self, write: bytes) -> None:
        frames, rest = spop.cut(write)
        if rest:
            self.broken.append(f"H1: a write ends inside a frame: {rest[:32].hex()}")
        for raw in frames:
            try:
                self._frame(spop.read_frame(raw))
            except UnreadableError as why:
                self.broken.append(f"H1: {why}: {raw[:32].hex()}")

    def _frame(self, got: Frame) -> None:
        offer = first_offer(self.raw_)
        self.frames += 1
        if self.got_disconnect:
            self.broken.append(f"H4: type {got.type} behind AGENT-DISCONNECT")
        if got.flags != spop.FIN or got.type not in spop.FROM_AGENT:
            self.broken.append(f"H1: type {got.type} with flags {got.flags:#x}")
        most = self.size or (offer.size if offer else 256)
        if got.length > most:
            self.broken.append(f"H1: length {got.length}, negotiated {most}")
        if got.type == spop.AGENT_DISCONNECT:
            self._disconnect(got)
        elif self.frames == 1:
            self._hello(got, offer)
        elif got.type == spop.ACK:
            self._ack(got)
        else:
            self.broken.append(f"H2: type {got.type} as frame {self.frames}")

    def _hello(self, got: Frame, offer: Offer | None) -> None:
        if offer is None or got.type != spop.AGENT_HELLO:
            self.broken.append(f"H2: type {got.type} first, with {'an' if offer else 'no'} offer")
            return
        try:
            self.size, _ = agent_terms(got, offer.size, offer.capabilities)
        except UnreadableError as why:
            self.broken.append(f"H2: {why}")

    def _ack(self, got: Frame) -> None:
        if self.waiting[got.ids] <= 0:
            self.broken.append(f"H3: ACK {got.ids}, and no such NOTIFY is open")
        self.waiting[got.ids] -= 1
        self.answered[got.ids] += 1
        try:
            listed = spop.actions(got.payload)
        except UnreadableError as why:
            self.broken.append(f"H6: ACK {got.ids}: {why}")
            return
        self._of_the_guard(got, listed)
        for action in listed:
            if len(f"{action.scope}.p.") + len(action.name) >= VARNAME:
                self.broken.append(f"H6: ACK {got.ids}: a name of {len(action.name)} bytes in scope {action.scope}")

    def _of_the_guard(self, got: Frame, listed: list[spop.Action]) -> None:
        """Whether an ACK that no agent wrote, or that sets the variable for errors, is what ``unanswered`` says and no more."""
        terms = self.terms
        for_errors = [action for action in listed if action.name == terms.error_name]
        if self._by_agents(got.ids) and not for_errors:
            return
        errors = [[spop.Action("txn", terms.error_name, (spop.INT32, code))] for code in CODES]
        sets = [action for action in listed if action.value is not None]
        empty = self._empty(got.ids) > 0 or terms.unanswered == "empty-ack"
        if not (listed in errors if terms.unanswered == "set" and (sets or not empty) else empty and not sets):
            self.broken.append(f"H3: ACK {got.ids}, which no agent wrote: {listed}")

    def _disconnect(self, got: Frame) -> None:
        self.got_disconnect = True
        try:
            keys = spop.pairs(got.payload)
            status, message = keys[b"status-code"], keys[b"message"]
            # HAProxy up to 3.0 takes a text of at most 255 bytes, and every HAProxy a key that only begins like one of the two.
            sound = status[0] in (2, 3, 4, 5) and status[1] in range(100) and message[0] == 8 and len(message[1]) <= 255
            others = keys.keys() - {b"status-code", b"message"}
            sound = sound and not any(name.startswith((b"status-code", b"message")) for name in others)
        except (UnreadableError, KeyError):
            sound = False
        if got.ids != (0, 0) or not sound:
            self.broken.append(f"H4: ids {got.ids}, payload {got.payload[:64].hex()}")


def broken_to_haproxy(transcript: Transcript, terms: Terms) -> list[str]:
    """Which of H1, H2, H3, H4 and H6 are broken in what HAProxy got."""
    view = HAProxysView(terms)
    closed = False
    for step in transcript:
        if step.did is Did.HAPROXY_SAID:
            view.say(step.data)
        elif step.did is Did.AGENT_SAID:
            view.agents_said[step.link] = view.agents_said.get(step.link, b"") + step.data
        elif step.did is Did.HAPROXY_GOT:
            if closed:
                view.broken.append("H4: bytes behind the close")
            view.get(step.data)
        elif step.did is Did.HAPROXY_CLOSED:
            closed = True
    return view.broken
