"""Long work on the event loop keeps nobody waiting, nor does the garbage collector for it."""

import asyncio
import gc

import pytest

from spoe_guard.slices import SLICE_S, Slices

NEW = 1  # generation


@pytest.mark.parametrize(("took_s", "turns"), [(SLICE_S / 2, 0), (SLICE_S, 1)])
def test_behind_a_slice_others_have_their_turn_and_new_objects_are_seen(took_s, turns):
    now, seen = 0.0, []

    async def work() -> int:
        nonlocal now
        slices, others = Slices(lambda: now), 0

        def other() -> None:
            nonlocal others
            others += 1

        asyncio.get_running_loop().call_soon(other)
        now += took_s
        gc.callbacks.append(note)
        await slices.pause()
        gc.callbacks.remove(note)
        assert slices.spent_s == took_s
        return others

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            seen.append(info["generation"])

    assert asyncio.run(work()) == turns
    assert seen == [NEW] * turns
