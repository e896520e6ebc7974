"""Runs a coroutine as a test."""

import asyncio
import functools
from collections.abc import Awaitable, Callable

TEST_S = 10.0


def on_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run the test on an event loop of its own, for at most ``TEST_S`` seconds."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        async def bounded():
            async with asyncio.timeout(TEST_S):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run
