"""The files behind the local account, and how they come back after a crash.

    <state dir>/account.duckdb          stages and file formats
    <state dir>/databases/<NAME>.duckdb one file per database, with its COPY load history
    <state dir>/spool/                  objects being loaded; emptied at start

fakesnow 0.12.1's server keeps everything in memory, attaches nothing at start, and writes database names into SQL
and file names unquoted. DuckDB's write-ahead log does the recovery: what was not committed is gone.
"""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

import duckdb
from fakesnow import macros

from shopstream_assets.embedded.snowflake import information, rewrites
from shopstream_assets.embedded.snowflake.errors import already_exists, does_not_exist

# DuckDB names that cannot be a database of the account.
_RESERVED = {"MEMORY", "SYSTEM", "TEMP", "_ACCOUNT"}

_ACCOUNT_TABLES = """
create table if not exists _account.main.stages (
    database_name varchar, schema_name varchar, name varchar, url varchar, storage_integration varchar,
    comment varchar, created_on timestamptz
);
create table if not exists _account.main.file_formats (
    database_name varchar, schema_name varchar, name varchar, options varchar, comment varchar,
    created_on timestamptz
);
"""


class StateInUse(RuntimeError):
    """Another process has the state directory open."""


def identifier(name: str) -> str:
    """A name quoted for DuckDB."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text quoted for DuckDB."""
    return "'" + text.replace("'", "''") + "'"


class Storage:
    """All databases of the local account, attached to one DuckDB instance."""

    def __init__(self, state_dir: Path) -> None:
        self._databases = state_dir / "databases"
        self.spool = state_dir / "spool"
        self._attaching = threading.RLock()
        # Asked for by nearly every statement; DuckDB's own list takes it milliseconds.
        self._attached: list[str] = []
        self._databases.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.spool, ignore_errors=True)
        self.spool.mkdir()
        # sqlglot still writes lambdas with an arrow, which DuckDB 2 accepts on request only
        # what does not fit into memory goes to the state directory, not to wherever the process was started
        config: dict[str, str | bool | int | float | list[str]] = {
            "lambda_syntax": "ENABLE_SINGLE_ARROW",
            "temp_directory": str(self.spool / "spilled"),
        }
        self._root = duckdb.connect(":memory:", config=config)
        self._root.execute("set global TimeZone = 'UTC'")
        self._attach_file(state_dir / "account.duckdb", "_account")
        self._root.execute(_ACCOUNT_TABLES)
        for statement in (*information.MACRO_STATEMENTS, macros.creation_sql("memory"), *rewrites.MACROS):
            self._root.execute(statement)
        for file in sorted(self._databases.glob("*.duckdb")):
            self._attach(unquote(file.stem))

    def connect(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection of its own: own schema, transaction and temporary tables."""
        return self._root.cursor()

    def has_database(self, name: str) -> bool:
        """Whether the account has a database of this name."""
        with self._attaching:
            return name in self._attached

    def has_schema(self, database: str, schema: str) -> bool:
        """Whether a database has a schema of this name."""
        with self.connect() as duck:
            found = duck.execute(
                "select 1 from duckdb_schemas() where database_name = ? and schema_name = ?",
                [database, schema],
            ).fetchone()
        return found is not None

    def create_database(self, name: str, *, if_not_exists: bool, replace: bool) -> bool:
        """Create a database with Snowflake's PUBLIC schema; False when it was there and that is fine."""
        with self._attaching:
            if name in self._attached:
                if not replace:
                    if if_not_exists:
                        return False
                    raise already_exists(name)
                self.drop_database(name, if_exists=False)
            self._attach(name)
            return True

    def drop_database(self, name: str, *, if_exists: bool) -> bool:
        """Delete a database and its file; False when there was none and that is fine."""
        with self._attaching:
            if name not in self._attached:
                if if_exists:
                    return False
                raise does_not_exist("Database", name)
            self._root.execute(f"detach {identifier(name)}")
            self._attached.remove(name)
            file = self._file(name)
            file.unlink()
            file.with_name(file.name + ".wal").unlink(missing_ok=True)
            self._root.execute("delete from _account.main.stages where database_name = ?", [name])
            self._root.execute("delete from _account.main.file_formats where database_name = ?", [name])
            return True

    def close(self) -> None:
        """Write everything into the database files and let go of them."""
        with self._attaching:
            for name in (*self._attached, "_account"):
                self._root.execute(f"checkpoint {identifier(name)}")
                self._root.execute(f"detach {identifier(name)}")
            self._root.close()

    @contextmanager
    def spooling(self, name: str) -> Iterator[Path]:
        """A directory for the files of one COPY, removed afterwards."""
        directory = self.spool / name
        directory.mkdir()
        try:
            yield directory
        finally:
            shutil.rmtree(directory)

    def _attach(self, name: str) -> None:
        if name.upper() in _RESERVED:
            raise already_exists(name)
        self._attach_file(self._file(name), name)
        self._attached.append(name)
        catalog = identifier(name)
        for statement in (
            f"create schema if not exists {catalog}.PUBLIC",
            f"create schema if not exists {catalog}.{information.OWN_SCHEMA}",
            information.LOAD_HISTORY.format(catalog=catalog),
            information.TEXT_LENGTHS.format(catalog=catalog),
        ):
            self._root.execute(statement)

    def _attach_file(self, file: Path, name: str) -> None:
        try:
            self._root.execute(f"attach {literal(str(file))} as {identifier(name)}")
        except duckdb.IOException as error:
            if "lock" in str(error).lower():
                raise StateInUse(
                    f"{file} is in use by another process. Only one local Snowflake can run on a state directory: "
                    f"stop the other one, or choose another --state-dir.\n  {error}"
                ) from error
            raise

    def _file(self, name: str) -> Path:
        return self._databases / f"{quote(name, safe='')}.duckdb"
