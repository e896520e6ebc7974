"""By which names the admin address may be asked.

A web page whose name comes to mean this address (DNS rebinding) is, to a browser, of the same origin as the live page, and reads
all of it. But the browser says the page's name in Host. Whoever asks by a number, by ``localhost``, or by a name of the settings
is no such page.
"""

import ipaddress
from collections.abc import Collection
from typing import Final

LOCALHOST: Final = "localhost"
REFUSED: Final = (
    "this Host is not served: ask by IP address, by localhost or by the name in admin.listen, or add the name to admin.hosts\n"
)


def is_served(host: str, names: Collection[str]) -> bool:
    """Return whether ``host``, the value of a Host header, is an IP address, localhost or one of ``names`` (in lower case)."""
    name = _without_port(host).lower()
    name = name.removesuffix(".")
    if name == LOCALHOST or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
