"""The local stack as a user meets it: real processes, killed and started again."""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from dotenv import dotenv_values

from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.embedded import process, stack, state
from shopstream_assets.embedded.errors import StackError

SERVICES = ("postgres", "aws", "snowflake")
Variables = Mapping[str, str]


def pids(root: Path) -> dict[str, int | None]:
    return {row.service: row.pid for row in stack.status(root)}


def states(root: Path) -> dict[str, str]:
    return {row.service: row.state for row in stack.status(root)}


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def until(condition: Callable[[], bool], patience: float = 10) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def postgres(env: Variables) -> Any:
    import psycopg

    return psycopg.connect(env["SHOPSTREAM_POSTGRES_DSN"], connect_timeout=5, autocommit=True)


def s3(env: Variables) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_DEFAULT_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )


def warehouse(env: Variables, **overrides: Any) -> Any:
    import snowflake.connector

    return snowflake.connector.connect(
        account=env["SNOWFLAKE_ACCOUNT"],
        host=env["SNOWFLAKE_HOST"],
        port=int(env["SNOWFLAKE_PORT"]),
        protocol=env["SNOWFLAKE_PROTOCOL"],
        user=env["SNOWFLAKE_USER"],
        database=env["SNOWFLAKE_DATABASE"],
        login_timeout=10,
        network_timeout=20,
        session_parameters={"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
        **{"password": env["SNOWFLAKE_PASSWORD"], **overrides},
    )


@pytest.fixture(scope="module")
def root(stack_root: Path) -> Path:
    """A stack that holds a row, an object and a warehouse table."""
    env = stack.up(stack_root)
    with postgres(env) as connection:
        connection.execute("create table kept (x int)")
        connection.execute("insert into kept values (7)")
    s3(env).put_object(Bucket=env["SHOPSTREAM_LAKE_BUCKET"], Key="kept/7", Body=b"seven")
    with warehouse(env) as session, session.cursor() as cursor:
        cursor.execute("create table staging.kept (x number(38,0))")
        cursor.execute("insert into staging.kept values (7)")
    return stack_root


def assert_data_is_kept(env: Variables) -> None:
    with postgres(env) as connection:
        assert connection.execute("select x from kept").fetchall() == [(7,)]
    assert s3(env).get_object(Bucket=env["SHOPSTREAM_LAKE_BUCKET"], Key="kept/7")["Body"].read() == b"seven"
    # Which is empty.
    s3(env).head_bucket(Bucket=env["STREAMVISION_LAKE_BUCKET"])
    with warehouse(env) as session, session.cursor() as cursor:
        assert cursor.execute("select x from staging.kept").fetchall() == [(7,)]


def test_env_file_is_private_and_says_what_up_returns(root: Path) -> None:
    env = stack.up(root)
    path = root / ".shopstream" / "env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert dotenv_values(path) == env
    sourced = subprocess.run(
        ["sh", "-c", f"set -a; . '{path}'; env -0"], env={}, capture_output=True, text=True, check=True
    ).stdout
    assert set(env.items()) <= {tuple(line.split("=", 1)) for line in sourced.split("\0") if line}
    assert (root / ".env").readlink() == Path(".shopstream/env")
    assert env["SHOPSTREAM_DAGSTER_POSTGRES_URL"].startswith("postgresql+psycopg2://")


def test_postgres_has_both_databases_in_utc_and_logical_wal(root: Path) -> None:
    with postgres(stack.up(root)) as connection:
        names = {name for (name,) in connection.execute("select datname from pg_database")}
        shown = [connection.execute(f"show {s}").fetchone()[0] for s in ("wal_level", "timezone", "fsync")]
    assert {"shop", "dagster"} <= names
    assert shown == ["logical", "UTC", "on"]


def test_wrong_passwords_are_refused(root: Path) -> None:
    import psycopg
    import snowflake.connector

    env = dict(stack.up(root))
    env["SHOPSTREAM_POSTGRES_DSN"] = "postgresql://shopstream:wrong@" + env["SHOPSTREAM_POSTGRES_DSN"].split("@")[1]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        postgres(env)
    with pytest.raises(snowflake.connector.Error):
        warehouse(env, password="wrong")


def test_what_an_administrator_creates_is_there(root: Path) -> None:
    env = stack.up(root)
    s3(env).head_bucket(Bucket=env["SHOPSTREAM_LAKE_BUCKET"])
    with warehouse(env) as session, session.cursor() as cursor:
        cursor.execute("show schemas in database shopstream_dwh")
        names = [column.name for column in cursor.description]
        found = {dict(zip(names, row, strict=True))["name"].upper() for row in cursor.fetchall()}
    assert {"RAW", "STAGING", "CORE", "MARTS"} <= found


def test_up_again_changes_nothing_and_imports_no_driver(root: Path) -> None:
    env, before = stack.up(root), pids(root)
    code = (
        "import sys; from pathlib import Path; from shopstream_assets.embedded import stack;"
        f"stack.up(Path({str(root)!r}));"
        "print([m for m in ('snowflake.connector', 'boto3', 'psycopg', 'dagster') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
    assert pids(root) == before
    assert dotenv_values(root / ".shopstream" / "env") == env


def listening(process: psutil.Process) -> set[str]:
    """The addresses that a process listens on; none where it has ended meanwhile, as a backend of Postgres may."""
    try:
        found = process.net_connections("inet")
    except psutil.NoSuchProcess:
        return set()
    return {connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN}


def test_all_listen_on_this_machine_only(root: Path) -> None:
    stack.up(root)
    for name, pid in pids(root).items():
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        hosts = {host for process in family for host in listening(process)}
        assert hosts == {"127.0.0.1"}, name


def test_no_secret_is_in_a_command_line_or_a_log(root: Path) -> None:
    env = stack.up(root)
    memory = json.loads((root / ".shopstream" / "state.json").read_text())
    secrets = [memory[n] for n in ("token", "postgres_password", "aws_secret_access_key", "snowflake_password")]
    assert env["SNOWFLAKE_PASSWORD"] in secrets
    lines = [" ".join(psutil.Process(pid).cmdline()) for pid in pids(root).values()]
    logs = [path.read_text(errors="replace") for path in (root / ".shopstream" / "logs").iterdir()]
    assert len(logs) >= len(SERVICES)
    assert not [text for text in lines + logs if any(secret in text for secret in secrets)]


@pytest.mark.parametrize("victim", SERVICES)
def test_a_killed_service_alone_is_started_again(root: Path, victim: str) -> None:
    env, before = stack.up(root), pids(root)
    kill(before[victim])
    assert states(root)[victim] == "dead"
    assert stack.up(root) == env
    after = pids(root)
    assert {name for name in SERVICES if after[name] != before[name]} == {victim}
    assert_data_is_kept(env)


def test_all_killed_at_once_come_back_with_their_data(root: Path) -> None:
    stack.up(root)
    for pid in pids(root).values():
        kill(pid)
    assert_data_is_kept(stack.up(root))


def test_two_starts_at_once_make_one_stack(root: Path) -> None:
    stack.down(root)
    code = (
        "from pathlib import Path; from shopstream_assets.embedded import stack;"
        f"print(sorted(stack.up(Path({str(root)!r})).items()))"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)]
    first, second = [one.communicate(timeout=60)[0] for one in both]
    assert first == second != b""
    ours = {p.info["pid"] for p in psutil.process_iter(["pid", "environ"]) if belongs_to(p, root)}
    assert ours == set(pids(root).values())


def belongs_to(candidate: psutil.Process, root: Path) -> bool:
    """Whether it is a service of that stack: TMPDIR is set for services only; Postgres's children are not services."""
    inside = (candidate.info["environ"] or {}).get("TMPDIR") == str(root / ".shopstream" / "tmp")
    return inside and candidate.ppid() not in pids(root).values()


def test_a_port_taken_by_a_stranger_is_left_alone_and_another_one_chosen(root: Path) -> None:
    before = stack.up(root)
    stack.down(root)
    with listening_on(int(before["AWS_ENDPOINT_URL"].rpartition(":")[2])), listening_on(int(before["SNOWFLAKE_PORT"])):
        said: list[str] = []
        after = stack.up(root, said.append)
        assert after["AWS_ENDPOINT_URL"] != before["AWS_ENDPOINT_URL"]
        assert after["SNOWFLAKE_PORT"] != before["SNOWFLAKE_PORT"]
        assert after["SHOPSTREAM_POSTGRES_DSN"] == before["SHOPSTREAM_POSTGRES_DSN"]
        assert len([line for line in said if "taken by another program" in line]) == 2
        assert dotenv_values(root / ".shopstream" / "env") == after
        assert_data_is_kept(after)


def listening_on(port: int) -> socket.socket:
    stranger = socket.socket()
    stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    stranger.bind(("127.0.0.1", port))
    stranger.listen()
    return stranger


def test_records_of_processes_that_are_others_by_now_mislead_nobody(root: Path) -> None:
    env = stack.up(root)
    for pid in pids(root).values():
        kill(pid)
    # As after a reboot: every recorded id belongs to a living program, this one.
    for name in SERVICES:
        record = root / ".shopstream" / "run" / f"{name}.pid"
        record.write_text(json.dumps({**json.loads(record.read_text()), "pid": os.getpid()}))
    lock = root / ".shopstream" / "postgres" / "data" / "postmaster.pid"
    lock.write_text("\n".join([str(os.getpid()), *lock.read_text().splitlines()[1:]]) + "\n")
    assert set(states(root).values()) == {"dead"}
    assert stack.up(root) == env
    assert os.getpid() not in pids(root).values()
    assert_data_is_kept(env)


def test_a_hanging_service_is_not_taken_for_up_and_can_be_stopped(root: Path) -> None:
    stack.up(root)
    pid = pids(root)["aws"]
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    assert states(root) == {"postgres": "up", "aws": "not answering", "snowflake": "up"}
    assert "aws" in stack.down(root)


def test_a_service_that_a_shell_with_a_low_limit_started_is_told_and_started_again_by_up(root: Path) -> None:
    stack.up(root)
    before = pids(root)
    assert before["aws"]
    psutil.Process(before["aws"]).rlimit(psutil.RLIMIT_NOFILE, (64, 4096))
    (told,) = (row.detail for row in stack.status(root) if row.service == "aws")
    assert "64 files only" in told
    said: list[str] = []

    stack.up(root, said.append)

    assert [line for line in said if "aws was started from a shell that allowed it 64 open files" in line]
    after = pids(root)
    assert after["aws"]
    assert {name for name in SERVICES if after[name] != before[name]} == {"aws"}
    assert psutil.Process(after["aws"]).rlimit(psutil.RLIMIT_NOFILE)[0] >= 1024


def test_down_stops_everything_and_keeps_the_data(root: Path) -> None:
    env = stack.up(root)
    before = pids(root)
    assert set(stack.down(root)) == set(SERVICES)
    assert not [pid for pid in before.values() if pid and psutil.pid_exists(pid) and is_alive(pid)]
    assert set(states(root).values()) == {"down"}
    assert stack.down(root) == []
    assert (root / ".env").is_symlink()
    assert_data_is_kept(stack.up(root))
    assert dict(stack.up(root)) == dict(env)


def is_alive(pid: int) -> bool:
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_reset_leaves_nothing_and_running_ends_with_its_block(tmp_path: Path, root: Path) -> None:
    """Also: a user's own .env is never touched, settings of the shell win and are remembered, and two stacks (of two
    clones) run side by side."""
    other, others = stack.up(root), pids(root)
    (tmp_path / ".env").write_text("MINE=1\n")
    with pytest.MonkeyPatch.context() as shell:
        shell.setenv("SHOPSTREAM_SCALE", "0.01")
        with stack.running(tmp_path) as env:
            assert env["SHOPSTREAM_SCALE"] == "0.01"
            for name in ("SHOPSTREAM_POSTGRES_DSN", "AWS_ENDPOINT_URL", "SNOWFLAKE_PORT"):
                assert env[name] != other[name]
            inside = pids(tmp_path)
    assert not [pid for pid in inside.values() if pid and psutil.pid_exists(pid) and is_alive(pid)]
    assert pids(root) == others
    memory = state.recall(state.home(tmp_path))
    assert memory is not None
    assert memory.businesses["shopstream"].scale == "0.01"
    stack.reset(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".env"]
    assert (tmp_path / ".env").read_text() == "MINE=1\n"
    stack.reset(tmp_path)


RAISE = """
import os, resource, sys
from shopstream_assets.embedded import limits
from shopstream_assets.embedded.errors import StackError
resource.setrlimit(resource.RLIMIT_NOFILE, (64, int(sys.argv[1])))
if os.geteuid() == 0:
    os.setuid(65534)  # root may raise any limit
try:
    limits.raise_open_files()
except StackError as error:
    sys.exit(str(error))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_a_low_limit_of_open_files_is_raised_where_the_shell_permits_it_and_else_refused() -> None:
    def under(hard: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", RAISE, str(hard)], capture_output=True, text=True)

    assert under(4096).stdout == "4096\n"
    refused = under(64)
    assert refused.returncode == 1
    assert "this shell lets a process open 64 files, 1024 are needed" in refused.stderr
    assert "new shell" in refused.stderr


# -- Without a service -----------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Iterator[state.Home]:
    home = state.home(tmp_path)
    state.prepare_folder(home)
    yield home
    process.stop(home, "probe", signal.SIGTERM, print, patience=1)


def test_a_service_that_dies_is_reported_at_once_with_the_end_of_its_log(home: state.Home) -> None:
    # It ends when it is told to, so that the start itself has succeeded.
    told = home.folder / "told"
    os.mkfifo(told)
    dying = f"open({str(told)!r}).read(); raise SystemExit('broken beyond repair')"
    running = process.start(home, "probe", 1, [sys.executable, "-c", dying], {})
    told.write_text("now")
    begin = time.monotonic()
    with pytest.raises(StackError, match=r"(?s)Starting probe.*broken beyond repair.*stack up"):
        process.wait_until(lambda: False, running, home, "probe", patience=30)
    assert time.monotonic() - begin < 10


def test_a_service_is_never_started_beside_itself(home: state.Home) -> None:
    sleeper = [sys.executable, "-c", "import signal; signal.pause()"]
    running = process.start(home, "probe", 1, sleeper, {})
    # Whoever started it was killed before noting it anywhere.
    process.record_file(home, "probe").write_text("")
    assert process.find(home, "probe") is None
    with pytest.raises(StackError, match="still holds"):
        process.start(home, "probe", 1, sleeper, {}, patience=0)
    os.kill(running.pid, signal.SIGKILL)


def test_a_service_that_ignores_sigterm_is_killed_and_that_is_said(home: state.Home) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    running = process.start(home, "probe", 1, [sys.executable, "-c", stubborn], {})
    until(lambda: "deaf" in process.log_tail(home, "probe"))
    said: list[str] = []
    assert process.stop(home, "probe", signal.SIGTERM, said.append, patience=0.2)
    assert not running.lives()
    assert "did not end" in said[0]


def test_a_full_disk_is_named_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 2**20, 2**20))
    with pytest.raises(StackError, match=r"1 MB are free.*512 MB are needed.*nothing was started"):
        stack.up(tmp_path)


def test_a_disk_that_fills_up_meanwhile_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StackError, match=r"the disk is full\. Free some space"):
        stack.up(tmp_path)
    assert not (tmp_path / ".shopstream" / "env").exists()


def test_data_without_its_passwords_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".shopstream" / "postgres").mkdir(parents=True)
    with pytest.raises(StackError, match=r"not state\.json.*stack reset"):
        stack.up(tmp_path)


def test_a_damaged_memory_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".shopstream").mkdir()
    (tmp_path / ".shopstream" / "state.json").write_text('{"token": ')
    with pytest.raises(StackError, match="stack reset"):
        stack.up(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SHOPSTREAM_SOURCE_MODE", "fake"),
        ("SHOPSTREAM_START_DATE", "2026-13-01"),
        ("SHOPSTREAM_START_DATE", "9999-01-01"),
        ("SHOPSTREAM_SCALE", "0"),
        ("SHOPSTREAM_SCALE", "nan"),
        ("SHOPSTREAM_SEED", "-1"),
    ],
)
def test_a_malformed_setting_is_named_with_what_was_expected(name: str, value: str) -> None:
    with pytest.raises(StackError, match=f"{name}: found '{value}', expected"):
        state.welcome(state.Memory(), [SHOPSTREAM], {name: value})


def test_history_begins_ninety_days_ago_unless_told_otherwise() -> None:
    memory = state.Memory()
    state.welcome(memory, [SHOPSTREAM], {})
    found = memory.businesses["shopstream"]
    assert dt.date.fromisoformat(found.start_date) == dt.datetime.now(dt.UTC).date() - dt.timedelta(days=90)
    state.welcome(memory, [SHOPSTREAM], {"SHOPSTREAM_START_DATE": "2026-01-01", "SHOPSTREAM_SEED": "7"})
    assert (found.start_date, found.seed, found.scale) == ("2026-01-01", "7", "1")


def test_a_stack_of_the_time_when_there_was_one_domain_goes_on_with_its_data(tmp_path: Path) -> None:
    home = state.home(tmp_path)
    home.folder.mkdir()
    before = {
        **{"token": "t", "postgres_password": "p", "aws_access_key_id": "a", "aws_secret_access_key": "s"},
        **{"snowflake_password": "w", "source_mode": "live", "start_date": "2026-02-01", "scale": "2", "seed": "3"},
        **{"ports": {"postgres": 1, "aws": 2, "snowflake": 3}, "s3_port_of_emulator": 2},
        "bootstrapped": ["aws", "postgres", "snowflake"],
    }
    (home.folder / "state.json").write_text(json.dumps(before))
    memory = state.recall(home)
    assert memory is not None
    state.welcome(memory, [SHOPSTREAM], {})
    found = state.environment(home, memory)
    assert found["SHOPSTREAM_LAKE_BUCKET"] == "shopstream-lake"
    assert found["SHOPSTREAM_POSTGRES_DSN"].endswith("/shop")
    assert (found["SHOPSTREAM_SOURCE_MODE"], found["SHOPSTREAM_START_DATE"]) == ("live", "2026-02-01")
    assert memory.bootstrapped == ["aws/shopstream", "postgres/shopstream", "snowflake/shopstream"]


def test_paths_with_blanks_and_dollars_survive_the_env_file(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text(state.dotenv_text({"A": "/home/x y/$HOME/#1", "B": "postgresql+psycopg2://u:p@127.0.0.1:1/d"}))
    assert dotenv_values(path)["A"] == "/home/x y/$HOME/#1"
    shown = subprocess.run(["sh", "-c", f". '{path}'; printf %s \"$A\""], capture_output=True, text=True).stdout
    assert shown == "/home/x y/$HOME/#1"
