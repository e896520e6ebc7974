"""The recorder in a guard: whom it records, that it is off unless asked for, and that disks and floods do not slow the guard."""

import asyncio
import json
import shutil
import subprocess
import threading
import time

import pytest

from spoe_guard.capture.files.model import Socket
from spoe_guard.capture.files.read import read
from spoe_guard.capture.record.flight_recorder import FlightRecorder
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.lab import frames
from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.observe.logs import Log
from spoe_guard.settings.model import Capture
from spoe_guard.threads import NO_THREAD
from spoe_guard.wire import frame, walk
from tests.peers import need_root
from tests.running import Running

RUNTS = 1000  # anomalies in front of each answer
ROUND_TRIPS = 100
ANSWER_S = 1.0  # of the slowest answer, on a machine that does other things too


def test_where_no_folder_is_named_nobody_is_told_of_anything():
    async def main():
        return FlightRecorder(Capture(), {}, None).witness("default", 1)

    assert asyncio.run(main()) is None


@pytest.mark.parametrize("processes", [1, 3])
def test_several_processes_share_the_memory(tmp_path, processes):
    async def main():
        flight = FlightRecorder(Capture(dir=str(tmp_path), total_bytes=300_000), {}, Log(Lines(), "json", "info"), processes)
        assert flight._recorder.budget.limit == 300_000 // processes
        flight.close()

    asyncio.run(main())


class Lines:
    def __init__(self):
        self.lines = []

    def write(self, line):
        self.lines.append(line)
        return True


@pytest.mark.parametrize(("mode", "told"), [(0o755, 0), (0o775, 1), (0o757, 1), (0o1777, 1)])
def test_a_folder_that_others_may_write_to_is_said_at_the_start(tmp_path, mode, told):
    lines = Lines()
    tmp_path.chmod(mode)

    async def main():
        FlightRecorder(Capture(dir=str(tmp_path)), {}, Log(lines, "json", "info")).close()

    asyncio.run(main())
    assert [f"mode {mode:04o}" in line and '"event": "capture_dir_exposed"' in line for line in lines.lines] == [True] * told


def test_a_folder_that_is_not_there_is_said_at_the_start(tmp_path):
    lines = Lines()

    async def main():
        FlightRecorder(Capture(dir=str(tmp_path / "none")), {}, Log(lines, "json", "info")).close()

    asyncio.run(main())
    [line] = lines.lines
    assert '"event": "capture_failed"' in line
    assert str(tmp_path / "none") in line


def test_without_a_thread_nothing_is_recorded_and_the_log_says_so(tmp_path, monkeypatch):
    def refuses(_self):
        raise RuntimeError("can't start new thread")

    lines = Lines()

    async def main():
        flight = FlightRecorder(Capture(dir=str(tmp_path)), {}, Log(lines, "json", "info"))
        flight.close()
        return flight.witness("default", 1)

    monkeypatch.setattr(threading.Thread, "start", refuses)
    assert asyncio.run(main()) is None
    [line] = lines.lines
    assert '"event": "capture_failed"' in line
    assert NO_THREAD in line


def converse(folder, *, break_disk=None, fails=False):
    """Round trips through a guard in front of an agent that floods; return the slowest, and what the guard says of itself.

    ``fails``: a capture is waited for that fails.
    """

    async def agent(reader, writer):
        while True:
            try:
                prefix = await reader.readexactly(4)
            except asyncio.IncompleteReadError:
                break
            got = frame.parse(prefix + await reader.readexactly(walk.length_at(prefix, 0)))
            if got.type == frame.HAPROXY_HELLO:
                writer.write(frames.agent_hello())
            elif got.type == frame.NOTIFY:
                writer.write(bytes(4) * RUNTS + frames.ack(got, frames.text_verdict(b"verdict", frames.first_argument(got))))
            elif got.type == frame.HAPROXY_DISCONNECT:
                writer.write(frames.disconnect(frame.AGENT_DISCONNECT))
                break
        writer.close()

    async def main(guard_folder):
        server = await asyncio.start_server(agent, "127.0.0.1", 0)
        where = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        patient = {"SPOE_GUARD_ROUTES__0__POLICY__GLITCH_FLOOD": "pass"}
        guard = Running(guard_folder, where, settings={"SPOE_GUARD_CAPTURE__DIR": str(folder)} | patient)
        try:
            address = await asyncio.to_thread(guard.wait_for, "listening")
            port = int(address["routes"]["default"].rpartition(":")[2])
            slowest = 0.0
            async with await Engine.tcp(port) as engine:
                await engine.hello()
                for number in range(ROUND_TRIPS):
                    if break_disk is not None and number == ROUND_TRIPS // 2:
                        break_disk()
                    began = time.monotonic()
                    sent = await engine.notify(b"/%d" % number)
                    got = await engine.read()
                    assert (got.type, got.ids) == (frame.ACK, sent.ids)
                    slowest = max(slowest, time.monotonic() - began)
            if fails:
                await asyncio.to_thread(guard.wait_for, "capture_failed")
            metrics = (await asyncio.to_thread(guard.ask, "/metrics"))[1]
            failed = len(guard.log("capture_failed"))
            assert (await asyncio.to_thread(guard.stop))[0] == 0
            return slowest, metrics, failed
        finally:
            guard.process.kill()
            guard.process.wait()
            guard.process.stderr.close()
            server.close()

    guard_folder = folder.parent / "guard"
    guard_folder.mkdir()
    return asyncio.run(main(guard_folder))


def sample(metrics, name):
    [line] = [line for line in metrics.splitlines() if line.startswith(name)]
    return float(line.rpartition(" ")[2])


def counted(metrics, anomaly):
    return sample(metrics, f'spoe_guard_anomalies_total{{action="drop",anomaly="{anomaly}"')


def test_a_flood_of_anomalies_costs_no_answer_and_is_bounded_on_disk(tmp_path):
    folder = tmp_path / "captures"
    folder.mkdir()
    slowest, metrics, failed = converse(folder)
    assert counted(metrics, "runt_frame") == RUNTS * ROUND_TRIPS
    assert slowest < ANSWER_S
    assert failed == 0
    files = list(folder.iterdir())
    assert 1 <= len(files) <= 6
    assert all(read(str(file)) for file in files)


def test_a_folder_that_goes_away_costs_no_answer(tmp_path):
    folder = tmp_path / "captures"
    folder.mkdir()
    slowest, _, failed = converse(folder, break_disk=lambda: shutil.rmtree(folder))
    assert slowest < ANSWER_S
    assert failed <= 1


def test_a_full_disk_costs_no_answer_and_is_one_line(tmp_path):
    need_root("mount a tmpfs")
    folder = tmp_path / "captures"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)], check=True)
    try:
        slowest, metrics, failed = converse(folder, fails=True)
        assert slowest < ANSWER_S
        assert sample(metrics, 'spoe_guard_captures_written_total{route="default"}') == 0
        assert sample(metrics, 'spoe_guard_captures_dropped_total{reason="disk"') >= 1
        assert failed == 1
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("unix", [False, True])
def test_a_file_names_both_ends_of_connections_its_incident_the_file(tmp_path, unix):
    folder = tmp_path / "captures"
    folder.mkdir()

    async def main():
        agent = ScriptedAgent(Script(answer=lambda _: b"\x09rubbish"))
        where = f"127.0.0.1:{await agent.listen_tcp()}"
        if unix:
            await agent.listen_unix(str(tmp_path / "agent"))
            where = f"unix:{tmp_path}/agent"
        guard = Running(tmp_path, where, settings={"SPOE_GUARD_CAPTURE__DIR": str(folder)})
        try:
            raw_ = await asyncio.to_thread(guard.wait_for, "listening")
            port = int(raw_["routes"]["default"].rpartition(":")[2])
            async with await Engine.tcp(port) as engine:
                await engine.hello()
                await engine.notify(b"/x")
                await asyncio.to_thread(guard.wait_for, "anomaly")
                ours = engine._writer.get_extra_info("sockname")
            written = await asyncio.to_thread(guard.wait_for, "capture_written")
            status = json.loads((await asyncio.to_thread(guard.ask, "/api/status"))[1])
            assert guard.stop()[0] == 0
            return ours, port, where, written, status
        finally:
            guard.process.kill()
            guard.process.wait()
            guard.process.stderr.close()
            await agent.stop()

    ours, port, where, written, status = asyncio.run(main())
    [file] = folder.iterdir()
    named = {name for row in status["incidents"] if row["captures"] == [str(file)] for name in row["ids"]}
    assert {written["incident"]} <= named  # and no other file is
    assert not [row for row in status["incidents"] if row["captures"] not in ([], [str(file)])]
    [capture] = read(str(file))
    assert capture.sockets[Side.HAPROXY, 0] == (Socket(*ours), Socket("127.0.0.1", port))
    dialled = capture.sockets[Side.AGENT, 0][1]
    assert dialled == (Socket("192.0.2.2", 2) if unix else Socket("127.0.0.1", int(where.rpartition(":")[2])))
