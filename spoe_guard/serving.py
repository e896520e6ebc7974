"""How an asyncio server of the guard's own ends: the admin address, and the control socket."""

import asyncio
from collections.abc import Collection
from typing import Final

_TURNS: Final = 4  # of the loop: the task for a connection accepted in the last turn starts three turns later


async def stop_serving(server: asyncio.Server | None, open_tasks: Collection["asyncio.Task[None]"]) -> None:
    """Stop serving, and end the tasks of the connections that are still open; ``server``: None if it never started.

    ``open_tasks`` is read once the last connection that was accepted has its task.
    """
    if server is not None:
        # asyncio loses an accepted connection that has no transport yet, and leaks its socket (Server._attach).
        for sock in server.sockets:
            asyncio.get_running_loop().remove_reader(sock)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        server.close()
    for task in open_tasks:
        task.cancel()
    await asyncio.gather(*open_tasks, return_exceptions=True)
