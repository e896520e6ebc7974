"""What a session reports to its shell, and the policy's action for each anomaly."""

from typing import Final

from spoe_guard.core.conversation.glitches import Glitches
from spoe_guard.core.conversation.ledger import History
from spoe_guard.core.conversation.progress import Progress
from spoe_guard.core.terms.anomalies import Action, Anomaly, CountOnly, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import SAMPLE_BYTES, AnomalySeen, AuthoredReason, Direction, Event, FrameAuthored
from spoe_guard.wire import frame as frames
from spoe_guard.wire import walk

# Told each time: a foreign ACK goes to its session behind its event, and of a flood there is one.
_TOLD: Final = (Anomaly.FOREIGN_ACK, Anomaly.GLITCH_FLOOD)

Numbers = tuple[int, ...]  # for the braces of a detail, which becomes text only where somebody reads it


class Report:
    """The events of one session, in order. ``policy``: which action is taken for which anomaly.

    ``judged``: anomalies since the beginning. ``of_haproxy``, ``of_agent``: how many each side makes. ``count_only``: see
    ``RouteState``; asked about anomalies in a read alone, of which there may be many.
    """

    def __init__(self, config: SessionConfig, progress: Progress, history: History, count_only: CountOnly | None = None) -> None:
        self.policy = config.policy
        self.events: list[Event] = []
        self.judged = 0
        self._in_read = False
        self._count_only = count_only
        self.of_haproxy = Glitches(config.glitches, config.glitches_s)
        self.of_agent = Glitches(config.glitches, config.glitches_s)
        self._applied = not config.observe
        self._progress = progress
        self._history = history

    def begin_read(self) -> None:
        """A read is being handled."""
        self._in_read = True

    def end_read(self) -> None:
        """It has been handled."""
        self._in_read = False

    def add(self, event: Event) -> None:
        """Report ``event``."""
        self.events.append(event)

    def authored(self, direction: Direction, data: bytes, reason: AuthoredReason) -> None:
        """Report that the guard wrote the whole frame ``data`` itself."""
        self.events.append(FrameAuthored(direction, data[frames.LENGTH_BYTES], reason))

    def judge(  # noqa: PLR0913 - what is reported has this many sides
        self,
        side: Side,
        anomaly: Anomaly,
        raw: bytes,
        offset: int,
        *,
        parsed: frames.Frame | None = None,
        detail: str = "",
        quoted: str = "",
        action: Action | None = None,
        numbers: Numbers = (),
    ) -> Action:
        """Report ``anomaly`` and return what to do about it: ``action`` if it is given, otherwise the policy's choice.

        This only reports: a caller that gets CLOSE ends the session. ``numbers``: for the braces in ``detail``.
        """
        action = action or self.policy.action(side, anomaly)
        self.judged += 1
        (self.of_agent if side is Side.AGENT else self.of_haproxy).note(anomaly)
        if self._in_read and self._count_only is not None and anomaly not in _TOLD and self._count_only(side, anomaly, action):
            return action
        known = len(raw) >= frames.LENGTH_BYTES
        self.events.append(
            AnomalySeen(
                anomaly=anomaly,
                side=side,
                action=action,
                state=self._progress.state.value,
                type=parsed.type if parsed else raw[4] if len(raw) > frames.LENGTH_BYTES else None,
                stream_id=parsed.stream_id if parsed else None,
                frame_id=parsed.frame_id if parsed else None,
                length=walk.length_at(raw, 0) if known else len(raw),
                offset=offset,
                open_notifies=self._history.open,
                detail=detail.format(*numbers) if numbers else detail,
                quoted=quoted,
                sample=bytes(raw[:SAMPLE_BYTES]),
                applied=self._applied,
            )
        )
        return action

    def take(self) -> list[Event]:
        """Return the events since the last call."""
        events, self.events = self.events, []
        return events
