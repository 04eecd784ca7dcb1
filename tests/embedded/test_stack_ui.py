"""`shopstream stack up --ui` with stand-ins for Dagster, which takes half a minute to start; the services are real."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from shopstream_assets import cli
from shopstream_assets.embedded import process, stack, state, supervision, ui
from shopstream_assets.embedded.errors import StackError
from shopstream_assets.embedded.supervision import RESTARTS, Deaths

# Answers like the webserver, has a child like the daemon's runs, and tells where it was started.
STAND_IN = """
import http.server, json, os, pathlib, subprocess, sys
name, port = sys.argv[1:3]
print("printed by", name, flush=True)
# One that lives for a moment, as what asks the machine something, is not what a code server is worth nothing without.
subprocess.run([sys.executable, "-c", "import time; time.sleep(0.3)"])
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()", "api", "grpc"])
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *arguments):
        pass
server = http.server.HTTPServer(("127.0.0.1", int(port)), Page)
found = {"pid": os.getpid(), "child": child.pid, "cwd": os.getcwd(), "chosen": os.environ.get("CHOSEN")}
part = pathlib.Path(name + ".part")
part.write_text(json.dumps(found))
part.rename(name + ".json")
try:
    server.serve_forever()
except KeyboardInterrupt:
    sys.exit(0)
"""
CODE = "the code server of shop"
PARTS = {CODE: "code", ui.DAEMON: "daemon", ui.WEBSERVER: "web"}


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    # Where a stack in this folder has it.
    folder = state.home(tmp_path).dagster_processes.parent
    folder.mkdir(parents=True)
    return {"DAGSTER_HOME": str(tmp_path), "SHOPSTREAM_DAGSTER_DIR": str(folder), "CHOSEN": "ours"}


@pytest.fixture
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    def commands(repository: Path, folder: Path, port: int) -> dict[str, list[str]]:
        ports = dict(zip(PARTS, (*process.free_ports(2), port), strict=True))
        return {
            name: [sys.executable, "-c", STAND_IN, file, str(ports[name]), "--port", str(ports[name])]
            for name, file in PARTS.items()
        }

    monkeypatch.setattr(ui, "commands", commands)
    monkeypatch.setattr(ui, "LOOK_SECONDS", 0.05)


def found(variables: Mapping[str, str], name: str) -> dict[str, int | str]:
    """What the stand-in of a part has told of itself."""
    path = Path(variables["SHOPSTREAM_DAGSTER_DIR"]) / f"{PARTS[name]}.json"
    until(path.exists)
    told: dict[str, int | str] = json.loads(path.read_text())
    return told


def lives(pid: int | str) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE)
    return False


def until(condition: Callable[[], bool], patience: float = 20) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


class Said(list[str]):
    """What a user reads. `once(text, act)` acts, in another thread, when it is said."""

    def __init__(self) -> None:
        super().__init__()
        self.acts: dict[str, Callable[[], None]] = {}
        self.failures: list[BaseException] = []

    def once(self, text: str, act: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                act()
            except BaseException as failure:
                self.failures.append(failure)
                os.kill(os.getpid(), signal.SIGINT)
                raise

        self.acts[text] = guarded

    def __call__(self, message: str) -> None:
        self.append(message)
        for text in [text for text in self.acts if text in message]:
            threading.Timer(0, self.acts.pop(text)).start()


@pytest.fixture
def said() -> Iterator[Said]:
    said = Said()
    yield said
    assert not said.failures


def interrupt() -> None:
    # The main thread gets it while it waits.
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("_stand_ins")
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_dagster_and_all_its_children(
    variables: dict[str, str], tmp_path: Path, said: Said, which: signal.Signals
) -> None:
    # Dagster would let it override the environment.
    (tmp_path / ".env").write_text("CHOSEN=other\n")
    port = ui.choose_port(None)
    before = signal.getsignal(which)

    def end() -> None:
        # The page answers before the daemon, which nobody waits for, has told anything.
        for name in PARTS:
            found(variables, name)
        os.kill(os.getpid(), which)

    said.once("Ctrl-C", end)

    ui.serve(variables, port, said)

    assert said == [f"Dagster is at http://127.0.0.1:{port} - Ctrl-C stops it.", "Stopping Dagster."]
    assert signal.getsignal(which) is before
    for name in PARTS:
        told = found(variables, name)
        assert told["chosen"] == "ours"
        assert not (Path(str(told["cwd"])) / ".env").exists()
        until(lambda told=told: not lives(told["pid"]) and not lives(told["child"]))  # type: ignore[misc]
    assert process.port_is_free(port)


@pytest.mark.usefixtures("_stand_ins")
def test_the_console_stays_quiet_but_for_code_and_the_rest_is_in_logs_that_begin_anew(
    variables: dict[str, str], said: Said, capfd: pytest.CaptureFixture[str]
) -> None:
    logs = Path(variables["SHOPSTREAM_DAGSTER_DIR"]).parent / "logs"
    for _ in range(2):
        for name in PARTS:
            (Path(variables["SHOPSTREAM_DAGSTER_DIR"]) / f"{PARTS[name]}.json").unlink(missing_ok=True)

        def end() -> None:
            for name in PARTS:
                found(variables, name)
            interrupt()

        said.once("Ctrl-C", end)
        ui.serve(variables, process.free_ports(1)[0], said)
        assert [line for line in capfd.readouterr().out.splitlines() if "printed by" in line] == ["printed by code"]
        for name in (ui.DAEMON, ui.WEBSERVER):
            assert (logs / ui.LOGS[name]).read_text().count(f"printed by {PARTS[name]}\n") == 1


def test_of_a_log_that_has_grown_large_the_end_stays_and_what_is_printed_then_follows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "LOG_BYTES", 10_000)
    monkeypatch.setattr(supervision, "KEPT_BYTES", 1_000)
    log = tmp_path / "logs" / "daemon.log"
    prints = "import sys; [print(f'line {n}', flush=True) for n in range(2000)]; input(); print('the last', flush=True)"
    processes = supervision.Processes(
        {"it": [sys.executable, "-c", prints]}, os.environ, tmp_path, tmp_path / "record", logs={"it": log}
    )
    reads, writes = os.pipe()
    before = os.dup(0)
    os.dup2(reads, 0)
    try:
        processes.start("it")
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(reads)
    until(lambda: "line 1999\n" in log.read_text())
    processes.shorten_logs()
    kept = log.read_text().splitlines()
    assert kept[-1] == "line 1999"
    assert kept == [f"line {n}" for n in range(2000 - len(kept), 2000)]
    assert 900 < log.stat().st_size <= 1_000
    os.write(writes, b"\n")
    os.close(writes)
    processes.running["it"].wait()
    assert log.read_text().splitlines() == [*kept, "the last"]
    processes.shorten_logs()
    assert log.read_text().splitlines() == [*kept, "the last"]
    # One line without an end, and a log that somebody has deleted.
    log.write_bytes(b"x" * 20_000)
    processes.shorten_logs()
    assert log.stat().st_size == 1_000
    shutil.rmtree(log.parent)
    processes.shorten_logs()
    monkeypatch.setitem(processes.commands, "it", [sys.executable, "-c", "print('again')"])  # type: ignore[arg-type]
    processes.start("it")
    processes.running["it"].wait()
    assert log.read_text() == "again\n"


@pytest.mark.usefixtures("_stand_ins")
@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_dies_is_started_again_and_the_rest_with_the_daemons_runs_goes_on(
    variables: dict[str, str], said: Said, part: str
) -> None:
    before: dict[str, dict[str, int | str]] = {}

    def kill() -> None:
        before.update({name: found(variables, name) for name in PARTS})
        os.kill(int(before[part]["pid"]), signal.SIGKILL)

    def look() -> None:
        until(lambda: found(variables, part)["pid"] != before[part]["pid"])
        for name in PARTS:
            assert name == part or found(variables, name) == before[name]
        # A run, where it is the daemon's.
        assert lives(before[part]["child"]) == (part == ui.DAEMON)
        interrupt()

    said.once("Ctrl-C", kill)
    said.once("starting it again", look)

    ui.serve(variables, process.free_ports(1)[0], said)

    assert said[1].startswith(f"{part} ended by SIGKILL: starting it again (restart 1 of at most {RESTARTS} within 10")
    for name in PARTS:
        for pid in (before[name]["child"], *(found(variables, name)[what] for what in ("pid", "child"))):
            until(lambda pid=pid: not lives(pid))  # type: ignore[misc]


@pytest.mark.usefixtures("_stand_ins")
def test_the_address_of_the_dashboards_is_told_once_they_answer_and_they_end_with_the_rest(
    variables: dict[str, str], said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    without, port = ui.commands, process.free_ports(1)[0]
    stand_in = [sys.executable, "-c", STAND_IN, "dashboards", str(port), "--port", str(port)]
    monkeypatch.setattr(ui, "commands", lambda *given: {**without(*given), ui.DASHBOARDS: stand_in})
    told, traces = f"The dashboards are at http://127.0.0.1:{port}", Path(variables["SHOPSTREAM_DAGSTER_DIR"])

    def interrupt_it() -> None:
        until((traces / "dashboards.json").exists)
        interrupt()

    said.once(told, interrupt_it)

    ui.serve(variables, process.free_ports(1)[0], said)

    assert [message.split(" at ")[0] for message in said[:2]] == ["Dagster is", "The dashboards are"]
    assert said.count(told) == 1
    assert not lives(json.loads((traces / "dashboards.json").read_text())["pid"])


@pytest.mark.usefixtures("_stand_ins")
def test_a_code_server_whose_code_has_died_behind_it_is_started_again(variables: dict[str, str], said: Said) -> None:
    before: dict[str, int | str] = {}

    def kill() -> None:
        before.update(found(variables, CODE))
        os.kill(int(before["child"]), signal.SIGKILL)

    def look() -> None:
        until(lambda: found(variables, CODE)["pid"] != before["pid"])
        interrupt()

    said.once("Ctrl-C", kill)
    said.once("starting it again", look)

    ui.serve(variables, process.free_ports(1)[0], said)

    assert "the process that it had started is gone" in said[1]


@pytest.mark.usefixtures("_stand_ins")
def test_a_part_that_dies_again_and_again_ends_everything_with_one_line_of_why(
    variables: dict[str, str], said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "RESTARTS", 2)
    killed: set[int] = set()

    def kill() -> None:
        until(lambda: found(variables, ui.DAEMON)["pid"] not in killed)
        killed.add(int(found(variables, ui.DAEMON)["pid"]))
        os.kill(int(found(variables, ui.DAEMON)["pid"]), signal.SIGKILL)

    for text in ("Ctrl-C", "restart 1 of", "restart 2 of"):
        said.once(text, kill)

    with pytest.raises(StackError, match=r"^Running the daemon: it ended 3 times within 10 minutes.*SIGKILL.*doctor"):
        ui.serve(variables, process.free_ports(1)[0], said)

    assert not [name for name in PARTS if lives(found(variables, name)["pid"])]


@pytest.fixture
def left(variables: dict[str, str]) -> dict[str, dict[str, int | str]]:
    """What the parts told of themselves that a command started which was killed."""
    command = multiprocessing.get_context("fork").Process(
        target=ui.serve, args=(variables, process.free_ports(1)[0], print)
    )
    command.start()
    told = {name: found(variables, name) for name in PARTS}
    command.kill()
    command.join()
    assert all(lives(each["pid"]) and lives(each["child"]) for each in told.values())
    return told


@pytest.mark.usefixtures("_stand_ins")
def test_what_a_killed_command_left_is_ended_by_the_next_but_for_its_runs_which_end_with_that(
    left: dict[str, dict[str, int | str]], variables: dict[str, str], said: Said
) -> None:
    record = Path(variables["SHOPSTREAM_DAGSTER_DIR"]) / "processes.json"
    run = left[ui.DAEMON]["child"]

    assert set(supervision.end_left_over(record, runs_go_on=True)) == set(PARTS)

    # At once: the page's port is asked for next.
    assert not [name for name, told in left.items() if lives(told["pid"])]
    assert not [name for name, told in left.items() if name != ui.DAEMON and lives(told["child"])]
    assert lives(run)
    said.once("Ctrl-C", interrupt)
    ui.serve(variables, process.free_ports(1)[0], said)
    until(lambda: not lives(run))
    assert not record.exists()


@pytest.mark.usefixtures("_stand_ins")
def test_a_stop_also_ends_what_a_killed_command_left_and_its_runs(
    left: dict[str, dict[str, int | str]], variables: dict[str, str]
) -> None:
    stack.down(Path(variables["DAGSTER_HOME"]))

    for told in left.values():
        until(lambda told=told: not lives(told["pid"]) and not lives(told["child"]))  # type: ignore[misc]


@pytest.mark.usefixtures("_stand_ins")
def test_a_service_that_dies_is_started_again_and_the_others_go_on(
    variables: dict[str, str], said: Said, stack_root: Path
) -> None:
    before, env = pids(stack_root, stack.up(stack_root))

    def look() -> None:
        until(lambda: set(row.state for row in stack.status(stack_root)) == {"up"}, 60)
        interrupt()

    said.once("Ctrl-C", lambda: os.kill(before["postgres"], signal.SIGKILL))
    said.once("postgres ended", look)

    ui.serve(variables, process.free_ports(1)[0], said, lambda deaths: stack.revive(deaths, stack_root, said))

    after, now = pids(stack_root, stack.up(stack_root))
    assert {name for name in after if after[name] != before[name]} == {"postgres"}
    assert now == env
    assert "postgres ended without `stack down`" in said[1]
    assert "postgres.log" in said[1]


def pids(root: Path, env: Mapping[str, str]) -> tuple[dict[str, int], Mapping[str, str]]:
    return {row.service: row.pid for row in stack.status(root) if row.pid}, env


@pytest.mark.usefixtures("_stand_ins")
def test_the_services_that_a_demo_needs_go_on_when_dagster_is_stopped_and_else_are_stopped_with_it(
    stack_root: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOPSTREAM_HOME", str(stack_root))
    monkeypatch.setattr(cli, "_say", said)
    stack.down(stack_root)
    said.once("Ctrl-C", interrupt)
    with state.alone(state.home(stack_root), "demo", ""):
        cli._serve(None)
    assert said[-1] == "The services are needed by a demo and go on; `shopstream stack down` stops them."
    assert {row.state for row in stack.status(stack_root)} == {"up"}

    stack.down(stack_root)
    said.once("Ctrl-C", interrupt)
    cli._serve(None)
    assert said[-1] == "The services are stopped; their data is kept."
    assert {row.state for row in stack.status(stack_root)} == {"down"}


def test_services_that_were_stopped_on_purpose_stay_so(stack_root: Path, said: Said) -> None:
    stack.up(stack_root)
    stack.down(stack_root)
    with pytest.raises(StackError, match=r"postgres, aws, snowflake was stopped on purpose.*make up"):
        stack.revive(Deaths(said), stack_root, said)
    assert {row.state for row in stack.status(stack_root)} == {"down"}


def test_a_part_that_ends_before_the_page_answers_is_an_error(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = {ui.WEBSERVER: [sys.executable, "-c", "raise SystemExit(3)"]}
    monkeypatch.setattr(ui, "commands", lambda repository, folder, port: failing)
    with pytest.raises(StackError, match=r"the webserver of Dagster: it ended by itself with code 3.*doctor"):
        ui.serve(variables, 1, print)


def test_the_ports_of_services_are_none_that_an_outgoing_connection_may_take() -> None:
    ports = process.free_ports(200)

    assert len(set(ports)) == 200
    outgoing = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(outgoing.read_text().split()[0]) if outgoing.exists() else 49152
    assert max(ports) < first


def test_a_port_asked_for_and_taken_is_refused() -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        with pytest.raises(StackError, match="--port"):
            ui.choose_port(stranger.getsockname()[1])


def test_a_port_whose_owner_has_just_been_killed_is_taken_over() -> None:
    with socket.socket() as killed:
        killed.bind(("127.0.0.1", 0))
        killed.listen()
        port = killed.getsockname()[1]
        threading.Timer(0.2, killed.close).start()

        assert ui.choose_port(port) == port


def test_each_code_location_of_the_workspace_has_a_code_server_and_one_that_is_not_understood_is_told(
    tmp_path: Path,
) -> None:
    repository = Path(__file__).resolve().parents[2]
    made = ui.commands(repository, tmp_path, 1)
    code = ["the code server of shopstream", "the code server of streamvision"]
    assert list(made) == [*code, ui.DAEMON, ui.WEBSERVER, ui.DASHBOARDS]
    assert "location_name: shopstream" in (tmp_path / "workspace.yaml").read_text()

    (tmp_path / "workspace.yaml").write_text("load_from: [{grpc_server: {port: 1}}]")
    with pytest.raises(StackError, match=r"workspace.yaml: expected entries python_module.*Correct the file"):
        ui.code_servers(tmp_path)
