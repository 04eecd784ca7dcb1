"""The local S3 stores an object or says that it cannot."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from shopstream_assets.embedded.aws_server import RESERVE_BYTES, Message, Send, refusing_without_room


def asked(folder: Path, method: str, size: int) -> list[Message]:
    """What is answered to a request whose body has `size` bytes; the server behind answers 200."""

    async def server(scope: Message, receive: Any, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask() -> list[Message]:
        sent: list[Message] = []
        body: list[Message] = [
            {"type": "http.request", "body": b"x" * (size - 500), "more_body": True},
            {"type": "http.request", "body": b"x" * 500, "more_body": False},
        ]

        async def receive() -> Message:
            return body.pop(0)

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "headers": [(b"Content-Length", str(size).encode())]}
        await refusing_without_room(server, str(folder))(scope, receive, send)
        # A client that is cut off while it sends may not see the answer.
        assert not body or sent[0]["status"] == 200
        return sent

    return asyncio.run(ask())


@pytest.mark.parametrize(("method", "size", "status"), [("PUT", 1001, 507), ("PUT", 1000, 200), ("GET", 1001, 200)])
def test_an_object_that_the_disk_cannot_hold_is_refused_and_one_that_it_can_hold_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, size: int, status: int
) -> None:
    found = shutil.disk_usage(tmp_path)._replace(free=RESERVE_BYTES + 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: found)

    start, *rest = asked(tmp_path, method, size)

    assert start["status"] == status
    assert not rest or b"the disk of the local S3 is full" in rest[0]["body"]
