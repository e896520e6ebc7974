"""The log's output on a real descriptor that is slow, blocked or closed."""

import asyncio
import contextlib
import os
import select

import pytest

from spoe_guard.observe.sink import Sink


class Pipe:
    """A pipe and the sinks that write into it."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._sinks: list[Sink] = []

    def sink(self, **options: int) -> Sink:
        self._sinks.append(Sink(self.writer, **options))
        return self._sinks[-1]

    def fill(self) -> bytes:
        """Write bytes without a line end until the pipe takes no more; return them."""
        written = 0
        os.set_blocking(self.writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                written += os.write(self.writer, b"x")
        os.set_blocking(self.writer, True)
        return b"x" * written

    def close_reader(self) -> None:
        os.close(self.reader)
        self.reader = -1

    def read_lines(self, count: int) -> list[bytes]:
        data = b""
        while data.count(b"\n") < count:
            data += os.read(self.reader, 1 << 16)
        return data.splitlines()

    def close(self) -> None:
        if self.reader >= 0:
            self.close_reader()  # whoever is blocked on the other end goes on, and ends
        closed = [sink.close(5.0) for sink in self._sinks]
        assert all(closed)
        os.close(self.writer)


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.close()


def test_lines_come_out_in_order_and_close_waits_for_them(pipe):
    sink = pipe.sink()
    assert all(sink.write(f"line {number}") for number in range(1000))
    assert sink.close(5.0)
    assert pipe.read_lines(1000) == [b"line %d" % number for number in range(1000)]


def test_a_line_that_is_no_text_comes_out_as_well(pipe):
    sink = pipe.sink()
    assert sink.write("lone \ud800 surrogate")
    assert pipe.read_lines(1) == [b"lone \\ud800 surrogate"]


def test_the_sink_refuses_what_does_not_fit_and_writes_the_rest_whole(pipe):
    junk = pipe.fill()
    sink = pipe.sink(max_waiting_bytes=10_000)
    assert [sink.write(f"{number:099d}") for number in range(103)] == [True] * 100 + [False] * 3
    assert not sink.close(0.05)  # nobody reads: it does not wait for ever
    assert pipe.read_lines(100) == [junk + b"%099d" % 0, *(b"%099d" % number for number in range(1, 100))]
    assert sink.close(5.0)


def test_lines_of_processes_that_share_a_pipe_are_not_torn(pipe, monkeypatch):
    """A pipe takes at most PIPE_BUF bytes in one piece; more may have another process's in between."""
    wrote = []
    write = os.write
    monkeypatch.setattr("spoe_guard.observe.sink.os.write", lambda where, data: wrote.append(data) or write(where, data))
    junk = pipe.fill()
    wrote.clear()
    sink = pipe.sink(shared=True)
    lines = [b"x" * (select.PIPE_BUF // 2 - 1)] * 2 + [b"y"] + [b"z" * (select.PIPE_BUF // 2 - 1)] * 2
    assert all(sink.write(line.decode()) for line in lines)
    assert b"".join(pipe.read_lines(len(lines))) == junk + b"".join(lines)
    assert sink.close(5.0)
    assert max(map(len, wrote)) == select.PIPE_BUF
    assert all(data.endswith(b"\n") for data in wrote)


def test_a_full_descriptor_that_does_not_block_is_waited_for(pipe):
    os.set_blocking(pipe.writer, False)
    sink = pipe.sink()
    assert all(sink.write(f"{number:0999d}") for number in range(500))
    assert pipe.read_lines(500) == [b"%0999d" % number for number in range(500)]
    assert sink.close(5.0)


def test_a_reader_that_left_costs_nothing_but_the_lines(pipe):
    pipe.close_reader()
    sink = pipe.sink()
    for _ in range(3):
        assert sink.write("x" * 1000)
    assert sink.close(5.0)


def test_a_blocked_sink_does_not_stall_traffic(run, pipe):
    """Nobody reads the log; an echo on the same loop must go on as if there were none."""
    sink = pipe.sink()

    async def main() -> tuple[int, int]:
        echoing = []

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            echoing.append(asyncio.current_task())
            while data := await reader.read(100):
                writer.write(data)
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, out = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        refused = echoed = 0
        for _ in range(300):
            for _ in range(20):
                refused += not sink.write("x" * 1000)
            out.write(b"ping")
            echoed += await reader.readexactly(4) == b"ping"
        out.close()
        await reader.read()
        await out.wait_closed()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*echoing)
        return refused, echoed

    refused, echoed = run(main())  # a write that waited for a reader would never return
    assert refused > 4000  # 6000 lines of 1 kB: the pipe and the queue hold little more than a megabyte of them
    assert echoed == 300
    assert not sink.close(0.05)
