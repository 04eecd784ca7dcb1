"""ministack, which refuses what it has no room for: `python -m shopstream_assets.embedded.aws_server`.

By itself it answers that an object is stored when the disk is full, keeps it in memory, and has lost it after the next
start.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# Beside the object: what is written at the same time, and what a write leaves behind until it is renamed.
RESERVE_BYTES = 16 * 1024 * 1024
CODE = "InsufficientStorage"


def refusing_without_room(app: App, folder: str) -> App:
    """The same server, but that a request whose body the disk of `folder` cannot hold is refused, and not done."""

    async def guarded(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("PUT", "POST"):
            headers = {name.lower(): value for name, value in scope["headers"]}
            free = shutil.disk_usage(folder).free
            if free < int(headers.get(b"content-length", b"0")) + RESERVE_BYTES:
                # Read whole: a client that is still sending might find the connection cut, and no answer.
                while (await receive()).get("more_body"):
                    pass
                await _refuse(send, free)
                return
        await app(scope, receive, send)

    return guarded


async def _refuse(send: Send, free: int) -> None:
    told = f"the disk of the local S3 is full: {free // 2**20} MB are free"
    body = f"<?xml version='1.0'?><Error><Code>{CODE}</Code><Message>{told}</Message></Error>".encode()
    headers = [(b"content-type", b"application/xml"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 507, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve as the environment says; see aws.py."""
    import ministack.app as server

    server.app = refusing_without_room(server.app, os.environ["S3_DATA_DIR"])
    server.main()


if __name__ == "__main__":
    main()
