"""Settings as a worker is told them: whatever the file holds by now, with the addresses that are bound, the routes in parts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spoe_guard.address import Address
from spoe_guard.net.bind import Bound
from spoe_guard.run.workers.channel import Message, encoded
from spoe_guard.settings import Route, Settings
from spoe_guard.slices import Slices


@dataclass(frozen=True)
class Told:
    """``settings``: all but the routes, ``parts``: these, one in each. Both are as JSON carries them."""

    settings: Message
    parts: Sequence[bytes]


async def told(settings: Settings, taken: Mapping[str, Bound], handover: Path | None) -> Told:
    """Return what a worker is told. Others have their turn in between.

    ``taken``: the sockets, by the name of their route; ``handover``: where workers find each other.
    """
    rest = settings.model_dump(mode="json", exclude={"routes"}) | {"handover_dir": handover and str(handover)}
    return Told(rest, await encoded(_told(route, taken[route.name]) for route in settings.routes))


def _told(route: Route, bound: Bound) -> Message:
    """Return the values that are no defaults, which a worker has itself: a tenth of all."""
    return route.model_dump(mode="json", exclude_defaults=True) | {"listen": str(_where(bound))}


def _where(bound: Bound) -> Address:
    """Return the numeric address, so that a name is looked up once. A scoped one (fe80::1%eth0) keeps its text and scope."""
    asked = bound.route.listen
    return Address(host=asked.host, port=bound.address.port) if "%" in asked.host else bound.address


async def heard(rest: Message, parts: Sequence[bytes]) -> Settings:
    """Return the settings that were told. Others have their turn in between."""
    slices, routes = Slices(), []
    for part in parts:
        routes.append(Route.model_validate(json.loads(part)))
        await slices.pause()
    return Settings.model_validate(rest).model_copy(update={"routes": routes})
