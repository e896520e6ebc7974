"""Asks a guard for its status: one GET of /api/status, over TCP or a Unix socket."""

import http.client
import json
import socket
from typing import Final

from spoe_guard.address import Address
from spoe_guard.observe.live.status import VERSION, Status

PATIENCE_S: Final = 5.0
MAX_BYTES: Final = 64 * 1024 * 1024  # a thousand routes take about ten MiB


class NoAnswerError(Exception):
    """No status from the guard. The text gives the reason."""


class _Connection(http.client.HTTPConnection):
    """An HTTP connection that also supports Unix sockets."""

    def __init__(self, address: Address) -> None:
        super().__init__(address.host or "localhost", address.port, timeout=PATIENCE_S)
        self._path = address.path

    def connect(self) -> None:
        """Connect to the TCP address or the Unix socket."""
        if self._path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(address: Address) -> Status:
    """Return the status of the guard at ``address``.

    Raises:
        NoAnswerError: it cannot be reached, or the peer is not a guard with a live page.
    """
    connection = _Connection(address)
    try:
        connection.request("GET", "/api/status")
        answer = connection.getresponse()
        body = answer.read(MAX_BYTES)
    except OSError as error:
        raise NoAnswerError(f"{address} cannot be reached: {error.strerror or error}") from None
    except http.client.HTTPException:
        raise NoAnswerError(f"what answers at {address} does not speak HTTP") from None
    finally:
        connection.close()
    if answer.status == http.client.MISDIRECTED_REQUEST:
        raise NoAnswerError(f"{address}: {body.decode('ascii', 'replace').strip()}")
    try:
        status = json.loads(body) if answer.status == http.client.OK else None
    except ValueError:
        status = None
    if not isinstance(status, dict) or status.get("version") != VERSION:
        raise NoAnswerError(f"what answers at {address} has no /api/status of a spoe-guard like this one")
    return status
