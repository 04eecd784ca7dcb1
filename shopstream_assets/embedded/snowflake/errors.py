"""Failures in Snowflake's numbers: what the client's connector raises as ProgrammingError."""

import re

import duckdb
from snowflake.connector.errors import Error as ConnectorError
from sqlglot.errors import SqlglotError


class SnowflakeError(Exception):
    """A statement failed. `errno` and `sqlstate` are Snowflake's own where they are known."""

    def __init__(self, errno: int, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.errno = errno
        self.sqlstate = sqlstate
        self.message = message

    def within(self, place: str) -> "SnowflakeError":
        """The same error, naming where it happened (a file, a table)."""
        return SnowflakeError(self.errno, self.sqlstate, f"{self.message}\n  {place}")


def unsupported(feature: str) -> SnowflakeError:
    """For what Snowflake can do and the local one cannot."""
    return SnowflakeError(2, "0A000", f"Unsupported feature in the local Snowflake: {feature}")


def compilation(errno: int, sqlstate: str, message: str) -> SnowflakeError:
    """An error found before the statement ran."""
    return SnowflakeError(errno, sqlstate, f"SQL compilation error:\n{message}")


def does_not_exist(kind: str, name: str) -> SnowflakeError:
    """An object that is not there."""
    return compilation(2003, "02000", f"{kind} '{name}' does not exist or not authorized.")


def already_exists(name: str) -> SnowflakeError:
    """An object that is there already."""
    return compilation(2002, "42710", f"Object '{name}' already exists.")


# (pattern in DuckDB's message, errno, sqlstate, Snowflake's wording or None to keep DuckDB's). First match wins.
# Several of DuckDB's exception classes carry one meaning, and one class several: the message decides.
_BY_MESSAGE: tuple[tuple[str, int, str, str | None], ...] = (
    (r"Division by zero", 100051, "22012", "Division by zero"),
    (
        r"cannot affect the same target row more than once",
        100090,
        "42P18",
        "Duplicate row detected during DML action",
    ),
    (r"NOT NULL constraint failed: (?P<a>\S+)", 100072, "22000", "NULL result in a non-nullable column: {a}"),
    (
        r"Could not convert string '(?P<a>[^']*)' to (?:DECIMAL|U?INT|U?BIGINT|HUGEINT|DOUBLE|FLOAT)",
        100038,
        "22018",
        "Numeric value '{a}' is not recognized",
    ),
    (
        r"Could not convert string \"(?P<a>[^\"]*)\" to (?:DECIMAL|U?INT|U?BIGINT|HUGEINT|DOUBLE|FLOAT)",
        100038,
        "22018",
        "Numeric value '{a}' is not recognized",
    ),
    (
        r"Could not convert string '(?P<a>[^']*)' to BOOL",
        100037,
        "22018",
        "Boolean value '{a}' is not recognized",
    ),
    (
        r"(?:invalid date field format|date field value out of range): \"(?P<a>[^\"]*)\"",
        100040,
        "22007",
        "Date '{a}' is not recognized",
    ),
    (
        r"(?:invalid timestamp field format|timestamp field value out of range): \"(?P<a>[^\"]*)\"",
        100035,
        "22007",
        "Timestamp '{a}' is not recognized",
    ),
    (
        r"(?i)out of range|could not cast value .* to decimal|can't be cast because|overflow",
        100039,
        "22003",
        None,
    ),
    (r"(?i)malformed json|failed to cast value to numerical", 100069, "22P02", None),
    (r"(?i)duplicate struct entry|duplicate named argument|duplicate key", 100103, "22000", None),
    (r"(?i)conflict|has been altered|could not (?:commit|serialize)", 625, "57014", None),
    (r"(?i)interrupt", 604, "57014", "SQL execution canceled"),
    (
        r"Catalog \"(?P<a>[^\"]*)\" does not exist",
        2003,
        "02000",
        "Database '{a}' does not exist or not authorized.",
    ),
    (
        r"(?:Table|View) with name (?P<a>\S+) (?:already exists|exists already)",
        2002,
        "42710",
        "Object '{a}' already exists.",
    ),
    (r"(?i)already exists", 2002, "42710", None),
    (
        r"(?:Table|View|Schema) with name (?P<a>.+?) does not exist",
        2003,
        "42S02",
        "Object '{a}' does not exist or not authorized.",
    ),
    (r"Referenced column \"(?P<a>[^\"]*)\" (?:was )?not found", 904, "42000", "invalid identifier '{a}'"),
    (r"Function with name (?P<a>\S+) does not exist", 2140, "42601", "Unknown function {a}"),
)

_BY_CLASS: tuple[tuple[type[Exception], int, str], ...] = (
    (duckdb.ParserException, 1003, "42000"),
    (duckdb.CatalogException, 2003, "42S02"),
    (duckdb.BinderException, 2043, "02000"),
    (duckdb.ConversionException, 100038, "22018"),
    (duckdb.ConstraintException, 100072, "22000"),
    (duckdb.OutOfMemoryException, 300005, "53200"),
)

_COMPILATION = {904, 1003, 2002, 2003, 2043, 2140}


def translate(error: Exception) -> SnowflakeError:
    """Any failure of a statement as Snowflake would word it; what has no counterpart keeps its own message."""
    if isinstance(error, SnowflakeError):
        return error
    if isinstance(error, ConnectorError):  # raised by fakesnow's rewrites
        return SnowflakeError(error.errno or 2, error.sqlstate or "XX000", error.raw_msg or str(error))
    if isinstance(error, SqlglotError):
        return compilation(1003, "42000", f"syntax error: {_plain(str(error))}")
    if isinstance(error, NotImplementedError):
        return unsupported(str(error))
    if isinstance(error, duckdb.Error):
        return _from_duckdb(error)
    return SnowflakeError(300002, "XX000", f"Internal error of the local Snowflake: {type(error).__name__}: {error}")


def _from_duckdb(error: duckdb.Error) -> SnowflakeError:
    text = str(error).partition("\n\nLINE ")[0]  # DuckDB's SQL is not the client's
    for pattern, errno, sqlstate, wording in _BY_MESSAGE:
        if match := re.search(pattern, text):
            named = {key: (value or "").strip('"') for key, value in match.groupdict().items()}
            message = wording.format(**named) if wording else text
            return _worded(errno, sqlstate, message)
    for kind, errno, sqlstate in _BY_CLASS:
        if isinstance(error, kind):
            return _worded(errno, sqlstate, text)
    return SnowflakeError(300002, "XX000", text)


def _worded(errno: int, sqlstate: str, message: str) -> SnowflakeError:
    if errno in _COMPILATION:
        return compilation(errno, sqlstate, message)
    return SnowflakeError(errno, sqlstate, message)


def _plain(message: str) -> str:
    """sqlglot underlines the place of the error with terminal codes."""
    return message.replace("\x1b[4m", "").replace("\x1b[0m", "")
