"""How often an agent receives a NOTIFY, and the number of links: once, and one, unless the settings allow more."""

from collections import Counter

from tests.properties import spop
from tests.properties.haproxys_view import notify_ids
from tests.properties.transcript import Did, Terms, Transcript


def broken_links(transcript: Transcript, terms: Terms) -> list[str]:
    """NOTIFYs that agents were given more often than HAProxy wrote them, or than once more; links that may not be there."""
    sent = b""
    given: Counter[tuple[int, int]] = Counter()
    for step in transcript:
        if step.did is Did.HAPROXY_SAID:
            sent += step.data
        elif step.did is Did.AGENT_DIALLED and step.link and not terms.give_up_s:
            return [f"link {step.link} is dialled, and the session ends with its first"]
        elif step.did is Did.AGENT_GOT:
            given.update(ids for raw in spop.cut(step.data)[0] for ids in notify_ids(raw))
    asked = Counter(ids for raw in spop.cut(sent)[0] for ids in notify_ids(raw))
    times = 2 if terms.redispatches and terms.give_up_s else 1
    more = {ids: count for ids, count in given.items() if count > times * asked[ids]}
    return [f"links: NOTIFYs {more} are given, HAProxy wrote {[asked[ids] for ids in more]}"] if more else []
