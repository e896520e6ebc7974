"""Addresses to listen on and to dial: ``HOST:PORT``, ``[v6]:PORT`` or ``unix:/path``."""

from dataclasses import dataclass
from typing import Final

MAX_PORT: Final = 65535
MAX_UNIX_PATH: Final = 107  # bytes; sun_path less its terminating zero


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address (``path`` None) or a Unix socket (``path`` set). ``host`` may be a name; port 0 lets the kernel choose."""

    host: str = ""
    port: int = 0
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str) -> Address:
    """Return the address that ``text`` names. HAProxy's ``unix@/path`` is accepted as well.

    Raises:
        ValueError: the message says what is wrong, for a person, without the value itself.
    """
    for prefix in ("unix:", "unix@"):
        if text.startswith(prefix):
            return _unix(text.removeprefix(prefix))
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError("expected HOST:PORT, [v6]:PORT or unix:/path")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address needs brackets: [::1]:PORT")
    if not host:
        raise ValueError("the host is missing: HOST:PORT")
    if not (port.isascii() and port.isdigit() and len(port) <= len(str(MAX_PORT)) and int(port) <= MAX_PORT):
        raise ValueError(f"the port must be a number from 0 to {MAX_PORT}")
    return Address(host=host, port=int(port))


def _unix(path: str) -> Address:
    if not path.startswith("/"):
        raise ValueError("a Unix socket needs an absolute path: unix:/path")
    if len(path.encode()) > MAX_UNIX_PATH:
        raise ValueError(f"a Unix socket's path has at most {MAX_UNIX_PATH} bytes")
    return Address(path=path)
