"""Mutates a case as faulty peers would: whole frames, their fields, their segmentation, the moves around them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.fuzz.case import HEADER, LINKS, WAITS, Case
from tests.properties import spop
from tests.properties.conversations import AGENT, HAPROXY, Drain, Due, Leave, Move, Reach, Say, Wait, agent

Scramble = Callable[[bytes, random.Random], bytes]  # any change of bytes

TYPES = (0, 1, 2, 3, 101, 102, 103, 42)
FLAGS = (1, 1, 0, 2, 3, 0x80000001)
LENGTHS = (0, 1, 6, 7, 256, 257, 1024, 16380, 16381, 0x47455420, 0xFFFFFFFF)
STRAY = (0, 1, 3, 239, 240, 2047, 2**31 - 1, 2**31, 2**32 + 1, 2**64 - 1)
PAYLOADS = (
    b"", spop.ALLOWED, spop.ALLOWED * 3, spop.ONE_MESSAGE,
    b"\x02\x02\x02\x01a\x00", b"\x01\x03\x02\x01a\x00", b"\x01\x03\x02\x01a\x10", b"\x01\x03\x02\xff\xf0",
    bytes.fromhex("0103 02 0161 08") + spop.text(b"x" * 900), b"\x0bstatus-code\x03\x00\x07message\x08\x03bye",
)  # fmt: skip


def scramble(data: bytes, chance: random.Random) -> bytes:
    """Flip, cut, insert or repeat some bytes."""
    at = chance.randint(0, len(data))
    end = min(len(data), at + chance.choice((1, 1, 2, 4, 16)))
    how = chance.randrange(5)
    if how == 0:
        return data[:at] + bytes(byte ^ chance.randint(1, 255) for byte in data[at:end]) + data[end:]
    if how == 1:
        return data[:at] + data[end:]
    if how == 2:
        return data[:at] + chance.randbytes(chance.choice((1, 1, 2, 4))) + data[at:]
    if how == 3:
        return data[:end] + data[at:]
    return data[:at]


class Mutator:
    """``donors``: cases whose writes may be taken over. ``scramble``: what changes plain bytes."""

    def __init__(self, donors: Sequence[Case], scramble: Scramble = scramble) -> None:
        self._donated = {side: _said(donors, side) for side in (HAPROXY, AGENT)}
        self._scramble = scramble

    def mutate(self, case: Case, chance: random.Random, *, most: int = 1 << 20) -> Case:
        """A few changes; moves are left out at the end where what is said becomes more than ``most`` bytes."""
        moves = list(case.moves)
        for _ in range(chance.choice((1, 1, 1, 2, 2, 4))):
            says = [at for at, move in enumerate(moves) if isinstance(move, Say)]
            if says and chance.random() < 0.7:
                self._say(moves, chance.choice(says), chance)
            elif chance.random() < 0.7:
                self._move(moves, chance)
            else:
                case = replace(case, knobs=_turned(case.knobs, chance))
        room, kept = most, []
        for move in moves:
            room -= len(move.data) if isinstance(move, Say) else 0
            if room < 0:
                break
            if not isinstance(move, Say) or move.data:
                kept.append(move)
        return replace(case, moves=kept)

    # --- what is said --------------------------------------------------------------------------------------------

    def _say(self, moves: list[Move], at: int, chance: random.Random) -> None:
        sent = moves[at]
        assert isinstance(sent, Say)
        frames, rest = spop.cut(sent.data)
        if not frames or chance.random() < 0.15:
            moves[at] = replace(sent, data=self._scramble(sent.data, chance))
            return
        which = chance.randrange(len(frames))
        how = chance.randrange(10)
        if how == 9:
            frames[which : which + 1] = _split(frames[which], chance)
        elif how == 8 and sent.side != HAPROXY:  # on another link
            moves[at] = replace(sent, side=agent(chance.randrange(LINKS)))
            return
        elif how == 0:
            frames[which] = self._another(frames[which], moves, chance)
        elif how == 1:
            frames.insert(chance.randint(0, len(frames)), frames[which])
        elif how == 2:
            del frames[which]
        elif how == 3:
            chance.shuffle(frames)
        elif how == 4:  # one frame inside another
            inner = self._fresh(sent.side, moves, chance) if len(frames) == 1 else frames.pop((which + 1) % len(frames))
            which = min(which, len(frames) - 1)
            frames[which] = _nested(frames[which], inner, chance)
        elif how == 5 and len(frames) > 1:  # two in pieces, shuffled
            one, other = frames[which - 1], frames[which]
            mark, edge = chance.randint(1, min(12, len(one))), chance.randint(1, min(12, len(other)))
            frames[which - 1], frames[which] = one[:mark] + other[:edge], one[mark:] + other[edge:]
        else:
            frames.insert(chance.randint(0, len(frames)), self._fresh(sent.side, moves, chance))
        moves[at] = replace(sent, data=b"".join(frames) + rest)

    def _another(self, raw: bytes, moves: list[Move], chance: random.Random) -> bytes:
        """The frame with one field otherwise."""
        if len(raw) < 11:
            return self._scramble(raw, chance)
        how = chance.randrange(6)
        if how == 0:
            return chance.choice(LENGTHS).to_bytes(4, "big") + raw[4:]
        if how == 1:
            return raw[:4] + bytes((chance.choice(TYPES),)) + raw[5:]
        if how == 2:
            return raw[:5] + chance.choice(FLAGS).to_bytes(4, "big") + raw[9:]
        try:
            cursor = spop.Cursor(raw[9:])
            ids = cursor.integer(), cursor.integer()
        except spop.UnreadableError:
            return _frame(raw[4:9] + self._scramble(raw[9:], chance))
        payload = cursor.rest
        if how == 3:
            ids = self._ids(moves, chance)
        elif how == 4:
            payload = chance.choice(PAYLOADS)
        else:
            payload = self._scramble(payload, chance)
        return _frame(raw[4:9] + spop.integer(ids[0]) + spop.integer(ids[1]) + payload)

    def _fresh(self, side: str, moves: list[Move], chance: random.Random) -> bytes:
        """A frame that has not been said here, most often a sound one."""
        how = chance.randrange(8)
        if how < 3:
            type_, payload = (spop.NOTIFY, spop.ONE_MESSAGE) if side == HAPROXY else (spop.ACK, spop.ALLOWED)
            return spop.frame(type_, self._ids(moves, chance), payload)
        if how == 3:
            return spop.disconnect(spop.HAPROXY_DISCONNECT if side == HAPROXY else spop.AGENT_DISCONNECT, chance.choice((0, 4)))
        if how == 4:
            return spop.frame(chance.choice(TYPES), self._ids(moves, chance), chance.choice(PAYLOADS), chance.choice(FLAGS))
        if how == 5:
            return chance.choice(LENGTHS).to_bytes(4, "big") + chance.randbytes(chance.randrange(8))
        return chance.choice(self._donated[HAPROXY if side == HAPROXY else AGENT])

    def _ids(self, moves: list[Move], chance: random.Random) -> tuple[int, int]:
        """Of a NOTIFY in the case, most often."""
        if chance.random() < 0.15:
            return chance.choice(STRAY), chance.choice((1, 1, 0, 2))
        sent = b"".join(move.data for move in moves if isinstance(move, Say) and move.side == HAPROXY)
        notifies = [raw for raw in spop.cut(sent)[0] if len(raw) > 10 and raw[4] == spop.NOTIFY]
        try:
            return spop.read_frame(chance.choice(notifies)).ids if notifies else (1, 1)
        except spop.UnreadableError:
            return 1, 1

    # --- the moves around it ---------------------------------------------------------------------------------------

    def _move(self, moves: list[Move], chance: random.Random) -> None:
        at = chance.randint(0, len(moves))
        how = chance.randrange(7)
        if how < 3 and at < len(moves):
            self._write(moves, at, how, chance)
        elif how == 3 and at < len(moves):
            del moves[at]
        elif how == 4 and at < len(moves):
            moves.insert(chance.randint(0, len(moves)), moves.pop(at))
        else:
            link = chance.randrange(LINKS)
            side = chance.choice((HAPROXY, AGENT, agent(link)))
            fresh: list[Move] = [
                Say(side, self._fresh(side, moves, chance)), Wait(chance.choice(WAITS)), Due(), Drain(),
                Leave(side, reset=chance.random() < 0.5), Reach(link, up=chance.random() < 0.7),
            ]  # fmt: skip
            moves.insert(at, chance.choices(fresh, (6, 3, 2, 1, 1, 1))[0])

    def _write(self, moves: list[Move], at: int, how: int, chance: random.Random) -> None:
        """One write as two, two as one, or twice."""
        move = moves[at]
        if not isinstance(move, Say):
            return
        behind = moves[at + 1] if at + 1 < len(moves) else None
        if how == 0 and len(move.data) > 1:
            mark = chance.randrange(1, len(move.data))
            moves[at : at + 1] = [replace(move, data=move.data[:mark]), replace(move, data=move.data[mark:])]
        elif how == 1 and isinstance(behind, Say) and behind.side == move.side:
            moves[at : at + 2] = [replace(move, data=move.data + behind.data)]
        else:
            moves.insert(at, move)


def _said(cases: Sequence[Case], side: str) -> list[bytes]:
    """Every frame, and every write that is no whole number of frames."""
    found: dict[bytes, None] = {}
    for case in cases:
        for move in case.moves:
            if isinstance(move, Say) and move.side == side:
                frames, rest = spop.cut(move.data)
                found |= dict.fromkeys([*frames, move.data] if rest else frames)
    return [data for data in found if len(data) <= 2000] or [b"\0\0\0\0"]


def _frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def _split(raw: bytes, chance: random.Random) -> list[bytes]:
    """A frame in fragments, the last of them now and then with other flags."""
    try:
        sent = spop.read_frame(raw)
    except spop.UnreadableError:
        return [raw]
    marks = sorted(chance.randint(0, len(sent.payload)) for _ in range(chance.choice((1, 1, 2))))
    parts = [sent.payload[start:end] for start, end in zip([0, *marks], [*marks, len(sent.payload)], strict=True)]
    flags = chance.choice((spop.FIN, spop.FIN, spop.FIN, spop.FIN | spop.ABRT, 0))
    middle = [spop.frame(spop.UNSET, sent.ids, part, 0) for part in parts[1:-1]]
    return [spop.frame(sent.type, sent.ids, parts[0], 0), *middle, spop.frame(spop.UNSET, sent.ids, parts[-1], flags)]


def _nested(outer: bytes, inner: bytes, chance: random.Random) -> bytes:
    at = chance.randint(0, min(16, len(outer)))
    return outer[:at] + inner + outer[at:]


def _turned(knobs: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(HEADER)
    return knobs[:at] + bytes((chance.randrange(40),)) + knobs[at + 1 :]
