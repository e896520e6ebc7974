"""HAProxy's view of what it receives: promises H1, H2, H3, H4 and H6."""

import contextlib
import re
from collections import Counter
from dataclasses import dataclass, field

from tests.properties import spop
from tests.properties.hellos import FRAGMENTATION, HELLO_KEYS, Offer, agent_terms, first_offer
from tests.properties.spop import Frame, UnreadableError
from tests.properties.transcript import EPSILON_S, Did, Terms, Transcript

TIMEOUT_S = 30.0  # no `timeout processing` in use is longer
FIN_S = 0.005  # behind AGENT-DISCONNECT; HAProxy has read that by then
WRITTEN_S = 0.1  # in which a session's last frames are written
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
    older: bool = False  # HAProxy showed that it is 3.0 or older: it offers async, or numbers its NOTIFYs as only those do
    counted: bool = False  # whether it was seen to be a NOTIFY
    waiting: Counter[tuple[int, int]] = field(default_factory=Counter)
    agents_said: dict[int, bytes] = field(default_factory=dict)  # by link
    answered: Counter[tuple[int, int]] = field(default_factory=Counter)  # ACKs it got
    size: int | None = None  # negotiated
    got_disconnect: bool = False
    left: bool = False
    frames: int = 0
    now: float = 0.0
    fragments_of: tuple[int, int] | None = None  # the NOTIFY of which fragments are to come
    fragments_since: float = 0.0
    unsure: set[tuple[int, int]] = field(default_factory=set)  # there is another NOTIFY of those ids, which an ACK may be for
    early: list[tuple[float, str]] = field(default_factory=list)  # ACKs that HAProxy ignores, unless it learns by the end

    def say(self, data: bytes) -> None:
        self.raw_ += data
        frames, self.coming = spop.cut(self.coming + data)
        others = self.waiting.copy()
        for raw in frames:
            with contextlib.suppress(UnreadableError):
                one = spop.read_frame(raw)
                self._fragment(one, others[one.ids])
                others[one.ids] += one.type == spop.NOTIFY
        sent = [ids for raw in (*frames, self.coming) for ids in notify_ids(raw)]
        seen = sent[1:] if self.counted else sent
        self.counted = bool(notify_ids(self.coming))
        offer = first_offer(self.raw_)
        mux = all(stream_id % 2 == 1 and frame_id == 1 for stream_id, frame_id in sent)
        self.older = self.older or not mux or (offer is not None and "async" in offer.capabilities)
        for ids, count in Counter(seen).items():
            # A NOTIFY with the ids of an open one adds nothing. But of two in one write the first may be answered before
            # the second is read, and a guard that answers for the agent may give the earlier one up for the later.
            # An ACK that waits until HAProxy can take it may be crossed by the next NOTIFY of those ids, too.
            adds = self.terms.answers_for_agents or self._written(ids) > self.answered[ids]
            self.waiting[ids] = self.waiting[ids] + count if adds else max(self.waiting[ids], count)

    def _fragment(self, sent: Frame, others: int) -> None:
        """Note whether fragments of a NOTIFY are still to come; HAProxy takes no ACK for it before the last (flt_spoe.c).

        ``others``: NOTIFYs of the same ids that may be open, so that an ACK may be for one of them.
        """
        if sent.type == spop.NOTIFY and (others or sent.ids == self.fragments_of):
            self.unsure.add(sent.ids)
        if sent.type == spop.NOTIFY and not sent.flags & spop.FIN:
            begins = not sent.flags & spop.ABRT and self.size is not None
            self.fragments_of, self.fragments_since = (sent.ids if begins else None), self.now
        elif sent.type == spop.UNSET and sent.ids == self.fragments_of and sent.flags & (spop.FIN | spop.ABRT):
            self.fragments_of = None

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
            self.size, named = agent_terms(got, offer.size, offer.capabilities)
        except UnreadableError as why:
            self.broken.append(f"H2: {why}")
            return
        if spop.pairs(got.payload).keys() != HELLO_KEYS:
            self.broken.append(f"H2: keys that HAProxy does not know in {got.payload[:64].hex()}")
        if not offer.healthcheck and FRAGMENTATION not in named:
            self.broken.append(f"H2: HAProxy may send no fragments: {named}")

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
        if not listed and not self.older:
            self.broken.append(f"H6: ACK {got.ids} without an action, over which HAProxy 3.1.0 to 3.1.6 stalls")
        for action in listed:
            if action.value == (0, None):
                self.broken.append(f"H6: ACK {got.ids} sets a variable to NULL")
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
        fragments_by = self.fragments_since + (terms.answer_deadline_s or TIMEOUT_S) - EPSILON_S
        if got.ids == self.fragments_of and not self._empty(got.ids) and got.ids not in self.unsure and self.now < fragments_by:
            self.early.append((self.now, f"H7: ACK {got.ids} before the last fragment of its NOTIFY: HAProxy ignores it"))
        if not (listed in errors if terms.unanswered == "set" and (sets or not empty) else empty and not sets):
            self.broken.append(f"H3: ACK {got.ids}, which no agent wrote: {listed}")

    def learns_the_end(self, within_s: float = WRITTEN_S) -> None:
        """HAProxy learns that its connection ends, and with it each NOTIFY, also those that it was to learn of ``within_s``."""
        self.early = [(at, why) for at, why in self.early if at < self.now - within_s]

    def _disconnect(self, got: Frame) -> None:
        self.got_disconnect = True
        self.learns_the_end()
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
    closed = fin = False
    told_at: float | None = None
    for step in transcript:
        view.now = step.at
        if told_at is not None and step.at > told_at + FIN_S + EPSILON_S and not (closed or fin or view.left):
            view.broken.append("H7: no FIN behind AGENT-DISCONNECT")
            told_at = None
        if step.did is Did.HAPROXY_SAID:
            view.say(step.data)
        elif step.did is Did.AGENT_SAID:
            view.agents_said[step.link] = view.agents_said.get(step.link, b"") + step.data
        elif step.did is Did.HAPROXY_GOT:
            if closed or fin:
                view.broken.append("H4: bytes behind the close")
            view.get(step.data)
            told_at = step.at if view.got_disconnect else None
        elif step.did is Did.HAPROXY_GOT_FIN:
            fin = True
            if not view.got_disconnect:
                view.broken.append("H7: FIN without AGENT-DISCONNECT")
        elif step.did is Did.HAPROXY_LEFT:
            view.left = True
        elif step.did is Did.HAPROXY_CLOSED:
            closed = True
            view.learns_the_end(terms.close_s + WRITTEN_S)  # behind a health check nothing is said before
    return view.broken + [why for _, why in view.early]
