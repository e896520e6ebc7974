"""The hazard table: every row, in the order of docs/evidence/haproxy.md."""

from typing import Final

from tests.integration.hazards import acks, checks, endings, framing, handshake, lifecycle, payload, races
from tests.integration.hazards.row import Row

_ALL = [*framing.ROWS, *handshake.ROWS, *checks.ROWS, *acks.ROWS, *payload.ROWS, *endings.ROWS, *lifecycle.ROWS, *races.ROWS]
TABLE: Final[dict[str, Row]] = {row.id: row for row in sorted(_ALL, key=lambda row: (row.id[0], int(row.id[1:].split()[0])))}
assert len(TABLE) == len(_ALL), "an id twice"
STAGED: Final = {id_: row for id_, row in TABLE.items() if not row.not_staged}
