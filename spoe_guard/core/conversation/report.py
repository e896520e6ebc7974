"""What a session reports to its shell, and the policy's action for each anomaly."""

from spoe_guard.core.conversation.ledger import History
from spoe_guard.core.conversation.progress import Progress
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import SAMPLE_BYTES, AnomalySeen, AuthoredReason, Direction, Event, FrameAuthored
from spoe_guard.wire import frame as frames
from spoe_guard.wire import walk


class Report:
    """The events of one session, in order. ``policy``: which action is taken for which anomaly."""

    def __init__(self, config: SessionConfig, progress: Progress, history: History) -> None:
        self.policy = config.policy
        self.events: list[Event] = []
        self._applied = not config.observe
        self._progress = progress
        self._history = history

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
        action: Action | None = None,
    ) -> Action:
        """Report ``anomaly`` and return what to do about it: ``action`` if it is given, otherwise the policy's choice.

        This only reports: a caller that gets CLOSE ends the session.
        """
        action = action or self.policy.action(side, anomaly)
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
                detail=detail,
                sample=bytes(raw[:SAMPLE_BYTES]),
                applied=self._applied,
            )
        )
        return action

    def take(self) -> list[Event]:
        """Return the events since the last call."""
        events, self.events = self.events, []
        return events
