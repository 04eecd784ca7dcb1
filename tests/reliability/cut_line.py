"""A line to a server that can be cut, or go dead for a while: a proxy on 127.0.0.1 of a few lines."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any


class CutLine:
    """Carries bytes between its `port` and the port that `target` names when a connection is made."""

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._carries = asyncio.Event()
        self._carries.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    def cut(self) -> None:
        """Close every connection."""
        self._do(self._cut())

    def hold(self) -> None:
        """Carry nothing, and close nothing: connections are made, and nobody answers, until `release`."""
        self._do(self._set(carries=False))

    def release(self) -> None:
        """Carry on with what was held."""
        self._do(self._set(carries=True))

    def _do(self, act: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(act, self._loop).result(10)

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _set(self, carries: bool) -> None:
        if carries:
            self._carries.set()
        else:
            self._carries.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._carries.wait()
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target())
            try:
                self._writers |= {writer, back}
                await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
            finally:
                self._writers -= {writer, back}
                back.transport.abort()
        writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until either side ends."""
        while block := await reader.read(65536):
            await self._carries.wait()
            writer.write(block)
            await writer.drain()
        # The other direction ends with it: Postgres and its clients never close one half.
        writer.transport.abort()

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    @contextlib.contextmanager
    def carrying(self) -> Iterator[CutLine]:
        """The line, as long as the block lasts."""
        thread = threading.Thread(target=self._loop.run_forever, name="cut line", daemon=True)
        thread.start()
        self._do(self._listen())
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(10)
