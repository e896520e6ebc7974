"""Assembles the parts of one session: each owns its state, and knows only the parts created before it."""

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.ending import Ending
from spoe_guard.core.conversation.ledger import History
from spoe_guard.core.conversation.links import Links
from spoe_guard.core.conversation.notifies import Notifies
from spoe_guard.core.conversation.outlet import ByteCounts
from spoe_guard.core.conversation.progress import Progress
from spoe_guard.core.conversation.report import Report
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.conversation.to_haproxy import ToHAProxy
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.tally import Tally


class Conversation:
    """What both sides of a session share. ``FromHAProxy`` and ``FromAgent`` decide; the parts carry out.

    Only a part itself assigns its attributes, and no part calls one created after it: it returns its result instead.
    """

    def __init__(self, config: SessionConfig, tally: Tally, route: RouteState, now: float) -> None:
        history, books = History(tally), ByteCounts()
        self.config = config
        self.tally = tally
        self.route = route
        self.progress = progress = Progress(config, now)
        self.report = report = Report(config, progress, history, route.count_only)
        self.to_haproxy = to_haproxy = ToHAProxy(report, route.read, route.crowd, route.lingering, paced=not config.observe)
        by_number = {0: AgentLink(0, history, books, report)}
        self.notifies = notifies = Notifies(config, tally, route, report, to_haproxy, history, by_number, books)
        self.links = links = Links(config, route, progress, report, history, by_number, books, notifies)
        self.ending = Ending(config, route, progress, report, to_haproxy, notifies, links)
