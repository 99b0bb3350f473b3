"""A TCP relay that counts bytes, makes a link slow, and breaks it."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

T = TypeVar("T")

_CHUNK_BYTES = 64 * 1024
_CHUNKS_IN_FLIGHT = 256  # 16 MiB: a second of delay at 128 Mbit/s
_CALL_SECONDS = 10.0
_LATE_SECONDS = 0.02  # a sleep ends a little late, by a millisecond or more where cores are busy
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s


class Relay:
    """Passes connections on to `to` (`host:port`), from its own loop in its own thread.

    All methods may be called from any thread, and what they ask for holds when they return.
    Counts are of bytes that were passed on: `up` to the server, `down` from it; `opened`
    connections in all, `open` ones now.
    """

    def __init__(self, to: str) -> None:
        host, _, port = to.rpartition(":")
        self._to = (host, int(port))
        self.opened = 0
        self._passed = {"up": 0, "down": 0}
        self._connections: set[_Connection] = set()
        self._delay = 0.0
        self._links: dict[str, _Link] = {}
        self._each: float | None = None
        self._due: tuple[int, Callable[[], None]] | None = None  # what happens at which count
        self._going = asyncio.Event()
        self._going.set()
        self._loop = asyncio.new_event_loop()
        self._listener: socket.socket | None = None
        self._port = 0
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def host(self) -> str:
        """Where it listens: `127.0.0.1:PORT`, the same for its whole life."""
        return f"127.0.0.1:{self._port}"

    @property
    def up(self) -> int:
        return self._passed["up"]

    @property
    def down(self) -> int:
        return self._passed["down"]

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return len(self._connections)

    def throttle(self, bytes_per_second: float | None, *, each: bool = False) -> None:
        """Limit each direction: all connections together, or `each` alone; None ends it."""
        self._call(self._throttle(bytes_per_second, each=each))

    def delay(self, seconds: float) -> None:
        """Make a round trip last so long, the one that opens a connection too."""
        self._delay = seconds

    def pause(self) -> None:
        """Pass nothing on. Connections stay open, and new ones are taken."""
        self._call(self._pause())

    def pause_after(self, bytes: int) -> None:  # noqa: A002  the unit
        """Pause once so many more bytes were passed on, both ways added up: not later."""
        self._call(self._pause_after(bytes))

    @property
    def paused(self) -> bool:
        return not self._going.is_set()

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        self._call(self._resume())

    def cut(self) -> None:
        """Reset all open connections (RST to both sides)."""
        self._call(self._cut())

    def cut_after(self, bytes: int, *, times: int = 1) -> None:  # noqa: A002  the unit
        """Do that when so many more bytes were passed on, both ways added up, and so often."""
        self._call(self._cut_after(bytes, times))

    def refuse(self) -> None:
        """Refuse new connections. The open ones stay: see `cut`."""
        self._call(self._refuse())

    def accept(self) -> None:
        """Take connections again, at the same port."""
        self._call(self._accept())

    def _call(self, asked: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result(_CALL_SECONDS)

    async def _throttle(self, rate: float | None, *, each: bool) -> None:
        self._each = rate if each else None
        self._links = {} if each or rate is None else {"up": _Link(rate), "down": _Link(rate)}
        for connection in self._connections:
            connection.links = self._links_of_connection()

    def _links_of_connection(self) -> dict[str, _Link]:
        if self._each is not None:
            return {"up": _Link(self._each), "down": _Link(self._each)}
        return self._links

    async def _pause(self) -> None:
        self._going.clear()

    async def _resume(self) -> None:
        self._going.set()

    async def _cut(self) -> None:
        tasks = self._reset()
        if tasks:
            await asyncio.wait(tasks)

    def _reset(self) -> list[asyncio.Task[None]]:
        for connection in self._connections:
            connection.reset()
        return [connection.task for connection in self._connections if connection.task]

    async def _cut_after(self, count: int, times: int) -> None:
        def cut() -> None:
            nonlocal times
            self._reset()
            times -= 1
            if times:
                self._due = (self.up + self.down + count, cut)

        self._due = (self.up + self.down + count, cut)

    async def _pause_after(self, count: int) -> None:
        self._due = (self.up + self.down + count, self._going.clear)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def _accept(self) -> None:
        if self._listener is not None:
            return
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(512)
        listener.setblocking(False)
        self._listener, self._port = listener, listener.getsockname()[1]
        # No task that awaits the next client: cancelled, it would lose one that has just come.
        self._loop.add_reader(listener, self._take_client, listener)

    def _take_client(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except BlockingIOError:  # it has left again
            return
        self.opened += 1
        connection = _Connection(client, self._links_of_connection())
        self._connections.add(connection)
        connection.task = self._loop.create_task(self._relay(connection))
        # Not at the end of the task's own code: cancelled before it began, it has none.
        connection.task.add_done_callback(connection.close)

    async def _relay(self, connection: _Connection) -> None:
        client, server = connection.client, connection.server
        try:
            for side in (client, server):
                side.setblocking(False)
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._going.wait()
            await asyncio.sleep(self._delay)
            await self._loop.sock_connect(server, self._to)
            async with asyncio.TaskGroup() as group:
                for way, source, target in (("up", client, server), ("down", server, client)):
                    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_IN_FLIGHT)
                    group.create_task(self._take(connection, way, source, queue))
                    group.create_task(self._give(connection, way, target, queue))
        except (OSError, ExceptionGroup):
            connection.reset_on_close()  # one side is gone: the other one learns it as a reset
        finally:
            self._connections.discard(connection)

    async def _take(
        self,
        connection: _Connection,
        way: str,
        source: socket.socket,
        queue: asyncio.Queue[tuple[float, bytes]],
    ) -> None:
        while True:
            link = connection.links.get(way)
            size = link.chunk_bytes if link else _CHUNK_BYTES
            data = await self._loop.sock_recv(source, size)
            if link:
                await link.pass_on(len(data))
            await queue.put((self._loop.time() + self._delay / 2, data))
            if not data:
                return

    async def _give(
        self,
        connection: _Connection,
        way: str,
        target: socket.socket,
        queue: asyncio.Queue[tuple[float, bytes]],
    ) -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if not data:
                await self._going.wait()
                target.shutdown(socket.SHUT_WR)
                return
            while data:
                await self._going.wait()
                left = self._left(len(data))
                now, data = data[:left], data[left:]
                await self._loop.sock_sendall(target, now)
                self._passed[way] += len(now)
                if self._due is not None and not self._left(1):
                    (_, act), self._due = self._due, None
                    act()
                    await asyncio.sleep(0)  # and a cut ends this very task here

    def _left(self, count: int) -> int:
        """How many of so many bytes may pass before something is due."""
        if self._due is None:
            return count
        return min(count, max(0, self._due[0] - self.up - self.down))

    async def _end(self) -> None:
        await self._refuse()
        await self._cut()


class _Connection:
    """A client's socket, the server's, and the task between them."""

    def __init__(self, client: socket.socket, links: dict[str, _Link]) -> None:
        self.client = client
        self.server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.links = links
        self.task: asyncio.Task[None] | None = None

    def close(self, _: object) -> None:
        self.client.close()
        self.server.close()

    def reset_on_close(self) -> None:
        for side in (self.client, self.server):
            if side.fileno() != -1:
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)

    def reset(self) -> None:
        self.reset_on_close()
        if self.task is not None:
            self.task.cancel()  # and its end closes both


class _Link:
    """A line of so many bytes a second: who comes later waits until it is free."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._free_at = 0.0
        # A twentieth of a second at once, or slow lines would move in jerks.
        self.chunk_bytes = int(min(_CHUNK_BYTES, max(512, bytes_per_second / 20)))

    async def pass_on(self, count: int) -> None:
        now = asyncio.get_running_loop().time()
        # What was lost by waking late is made good, or one connection never fills a fast line.
        self._free_at = max(now - _LATE_SECONDS, self._free_at) + count / self._rate
        await asyncio.sleep(max(0.0, self._free_at - now))
