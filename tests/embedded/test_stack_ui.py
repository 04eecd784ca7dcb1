"""`shopstream stack up --ui` with a stand-in for Dagster, which takes half a minute to start."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from shopstream_assets.embedded import process, ui
from shopstream_assets.embedded.errors import StackError

# Answers like the webserver, has a child like the code server, and tells where it was started.
STAND_IN = """
import http.server, json, os, pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *arguments):
        pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Page)
found = {"child": child.pid, "cwd": os.getcwd(), "chosen": os.environ.get("CHOSEN")}
pathlib.Path("found.json").write_text(json.dumps(found))
try:
    server.serve_forever()
except KeyboardInterrupt:
    sys.exit(0)
"""


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "dagster"
    folder.mkdir()
    return {"DAGSTER_HOME": str(tmp_path), "SHOPSTREAM_DAGSTER_DIR": str(folder), "CHOSEN": "ours"}


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_dagster_and_all_its_children(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: signal.Signals
) -> None:
    monkeypatch.setattr(ui, "command", lambda repository, port: [sys.executable, "-c", STAND_IN, str(port)])
    # Dagster would let it override the environment.
    (tmp_path / ".env").write_text("CHOSEN=other\n")
    said: list[str] = []

    def say(message: str) -> None:
        said.append(message)
        if "Ctrl-C" in message:
            # The main thread gets it while it waits.
            threading.Timer(0, os.kill, (os.getpid(), which)).start()

    port = ui.choose_port(None)
    before = signal.getsignal(which)
    ui.serve(variables, port, say)
    assert said == [f"Dagster is at http://127.0.0.1:{port} - Ctrl-C stops it.", "Stopping Dagster."]
    found = json.loads((tmp_path / "dagster" / "found.json").read_text())
    assert found["chosen"] == "ours"
    assert not (Path(found["cwd"]) / ".env").exists()
    assert signal.getsignal(which) is before
    deadline = time.monotonic() + 5
    while psutil.pid_exists(found["child"]) and psutil.Process(found["child"]).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert process.port_is_free(port)


def test_dagster_ending_by_itself_is_an_error(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "command", lambda repository, port: [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(StackError, match=r"ended by itself with code 3.*doctor"):
        ui.serve(variables, 1, print)


def test_a_port_asked_for_and_taken_is_refused() -> None:

    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        with pytest.raises(StackError, match="--port"):
            ui.choose_port(stranger.getsockname()[1])
