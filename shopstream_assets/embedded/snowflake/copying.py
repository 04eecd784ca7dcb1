"""COPY INTO a table from Parquet objects of a stage: all of them, or none.

fakesnow 0.12.1 commits file by file, reads with one INSERT each, takes FORCE=FALSE for TRUE, ignores PATTERN and
INCLUDE_METADATA, keeps the load history in the session's database instead of the table's, and forgets it at
CREATE TABLE IF NOT EXISTS. Written anew: files of one schema are read by a single INSERT.
"""

import datetime as dt
import re
import uuid
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp

from shopstream_assets.embedded.snowflake.dialect import Namespace, TableName, to_duckdb
from shopstream_assets.embedded.snowflake.errors import (
    SnowflakeError,
    compilation,
    does_not_exist,
    translate,
    unsupported,
)
from shopstream_assets.embedded.snowflake.information import OWN_SCHEMA
from shopstream_assets.embedded.snowflake.stages import ObjectStore, StagedFile, Stages
from shopstream_assets.embedded.snowflake.storage import Storage, identifier, literal
from shopstream_assets.embedded.snowflake.types import Result

_MOST_FILES = 1000  # Snowflake's limit for FILES
_SPOOLED_AT_ONCE = 512 << 20  # bytes of objects on disk while they are loaded

_METADATA = {
    "METADATA$FILENAME": "list_extract({keys}, parse_filename(filename, true)::int + 1)",
    "METADATA$FILE_ROW_NUMBER": "file_row_number + 1",
    "METADATA$START_SCAN_TIME": "{started}",
    "METADATA$FILE_LAST_MODIFIED": "list_extract({modified}, parse_filename(filename, true)::int + 1)",
}


@dataclass(frozen=True)
class Copy:
    """A COPY statement taken apart."""

    table: TableName
    columns: tuple[str, ...]  # as listed after the table; empty for all
    source: str  # the stage reference, or a URL
    selection: exp.Select | None
    files: tuple[str, ...]
    pattern: re.Pattern[str] | None
    force: bool
    by_name: str  # NONE, CASE_SENSITIVE or CASE_INSENSITIVE
    metadata: dict[str, str]  # column -> METADATA$...


@dataclass
class _Loaded:
    """One spooled object."""

    staged: StagedFile
    local: Path
    schema: pa.Schema
    rows: int = field(default=0)


def understand(statement: exp.Copy, namespace: Namespace) -> Copy:
    """What a COPY statement asks for.

    Raises:
        SnowflakeError: for an option that is unknown, wrong or not supported here; none is ignored.
    """
    target = statement.this
    table = target.this if isinstance(target, exp.Schema) else target
    if not isinstance(table, exp.Table) or isinstance(table.this, exp.Var):
        raise unsupported("COPY INTO a stage")
    columns = tuple(item.name for item in target.expressions) if isinstance(target, exp.Schema) else ()
    source, selection = _source(statement.args["files"][0])
    options = {param.this.name.upper(): param for param in statement.args.get("params") or []}
    copy = Copy(
        table=namespace.resolve(table),
        columns=columns,
        source=source,
        selection=selection,
        files=_texts(options.pop("FILES", None)),
        pattern=_pattern(options.pop("PATTERN", None)),
        force=_flag(options.pop("FORCE", None)),
        by_name=_word(options.pop("MATCH_BY_COLUMN_NAME", None), "NONE"),
        metadata=_metadata(options.pop("INCLUDE_METADATA", None)),
    )
    _check_format(options.pop("FILE_FORMAT", None))
    if (on_error := _word(options.pop("ON_ERROR", None), "ABORT_STATEMENT")) != "ABORT_STATEMENT":
        raise unsupported(f"COPY with ON_ERROR = {on_error}")
    if _flag(options.pop("PURGE", None)):
        raise unsupported("COPY with PURGE = TRUE")
    if options:
        raise compilation(1008, "22023", f"COPY options that the local Snowflake does not know: {', '.join(options)}")
    if len(copy.files) > _MOST_FILES:
        raise compilation(1008, "22023", f"FILES names {len(copy.files)} files; the most is {_MOST_FILES}.")
    if selection is None and copy.by_name == "NONE":
        raise compilation(
            2019,
            "0A000",
            "PARQUET file format can produce one and only one column of type variant, object, or array. Load data "
            "into separate columns using the MATCH_BY_COLUMN_NAME copy option or copy with transformation.",
        )
    return copy


def copy_into(copy: Copy, duck: duckdb.DuckDBPyConnection, namespace: Namespace, storage: Storage,
              objects: ObjectStore) -> Result:  # fmt: skip
    """Load the files not loaded before; the caller's transaction makes it atomic."""
    url = copy.source if copy.source.startswith("s3://") else Stages(duck).locate(copy.source, namespace)
    target = _target_columns(copy, duck)
    if copy.files:
        staged = objects.find(f"{url.rstrip('/')}/{name}" for name in copy.files)
    else:
        staged = [file for file in objects.under(url) if copy.pattern is None or _matches(copy.pattern, file, url)]
    before = set() if copy.force else _loaded_before(copy.table, staged, duck)
    fresh = [file for file in staged if file not in before]
    started = dt.datetime.now(dt.UTC)
    rows: dict[StagedFile, int] = {}
    for batch in _batches(fresh):
        with storage.spooling(uuid.uuid4().hex) as directory:
            loaded = _spool(batch, objects, directory)
            for alike in _by_schema(loaded):
                _insert(copy, target, alike, [file.staged for file in loaded], started, duck, namespace)
            rows |= {file.staged: file.rows for file in loaded}
    _remember(copy.table, rows, started, duck)
    reported = staged if copy.files else fresh
    if not reported:
        return Result.status("Copy executed with 0 files processed.")
    return _report(reported, rows)


def _source(source: exp.Expr) -> tuple[str, exp.Select | None]:
    if isinstance(source, exp.Subquery):
        select = source.this
        table = select.args["from_"].this if isinstance(select, exp.Select) and select.args.get("from_") else None
        if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Var):
            raise compilation(1011, "42601", "COPY with a query can only select from a stage.")
        return table.this.name, select
    if isinstance(source, exp.Table):
        if isinstance(source.this, exp.Var):
            return source.this.name, None
        if isinstance(source.this, exp.Literal):
            return source.this.name, None
    raise unsupported(f"COPY from {source.sql(dialect='snowflake')}")


def _texts(param: exp.Expr | None) -> tuple[str, ...]:
    return tuple(item.name for item in param.expression.find_all(exp.Literal)) if param else ()


def _pattern(param: exp.Expr | None) -> re.Pattern[str] | None:
    return re.compile(param.expression.name.replace("\\\\", "\\")) if param else None


def _flag(param: exp.Expr | None) -> bool:
    return bool(param.expression.this) if param and isinstance(param.expression, exp.Boolean) else False


def _word(param: exp.Expr | None, default: str) -> str:
    return param.expression.name.upper() if param else default


def _metadata(param: exp.Expr | None) -> dict[str, str]:
    if param is None:
        return {}
    pairs = {item.this.name.upper(): item.expression.name.upper() for item in param.expression.find_all(exp.EQ)}
    if unknown := sorted(set(pairs.values()) - set(_METADATA)):
        raise unsupported(f"INCLUDE_METADATA with {', '.join(unknown)}")
    return pairs


def _check_format(param: exp.Expr | None) -> None:
    options = {item.this.name.upper(): item.args["value"] for item in param.expressions} if param else {}
    if "FORMAT_NAME" in options:
        return  # only Parquet formats can be created, see statements.py
    kind = options["TYPE"].name.upper() if "TYPE" in options else "CSV"
    if kind != "PARQUET":
        raise unsupported(f"COPY of {kind} files: only Parquet")


def _target_columns(copy: Copy, duck: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The table's columns and DuckDB types, in order."""
    rows = duck.execute(
        "select column_name, data_type from duckdb_columns() "
        "where database_name = ? and schema_name = ? and table_name = ? order by column_index",
        [*copy.table],
    ).fetchall()
    if not rows:
        raise does_not_exist("Table", ".".join(copy.table))
    columns = {name: kind for name, kind in rows}
    if missing := [name for name in (*copy.columns, *copy.metadata) if name not in columns]:
        raise compilation(904, "42000", f"invalid identifier '{missing[0]}' in COPY INTO {'.'.join(copy.table)}")
    return columns


def _matches(pattern: re.Pattern[str], file: StagedFile, url: str) -> bool:
    return bool(pattern.fullmatch(file.key) or pattern.fullmatch(file.url) or pattern.fullmatch(file.url[len(url) :]))


def _loaded_before(table: TableName, staged: list[StagedFile], duck: duckdb.DuckDBPyConnection) -> set[StagedFile]:
    """Those with an entry in the load history; a changed object (size, time) counts as new, as its ETag would."""
    history = duck.execute(
        f"select FILE_NAME, FILE_SIZE, FILE_MODIFIED from {identifier(table[0])}.{OWN_SCHEMA}.load_history "
        "where SCHEMA_NAME = ? and TABLE_NAME = ?",
        [table[1], table[2]],
    ).fetchall()
    known = {(name, size, _instant(modified)) for name, size, modified in history}
    return {file for file in staged if (file.url, file.size, _instant(file.modified)) in known}


def _instant(moment: dt.datetime) -> int:
    return int(moment.timestamp())  # HEAD tells whole seconds, a listing milliseconds


def _batches(files: list[StagedFile]) -> Iterator[list[StagedFile]]:
    batch: list[StagedFile] = []
    size = 0
    for file in files:
        if batch and (size + file.size > _SPOOLED_AT_ONCE or len(batch) >= _MOST_FILES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.size
    if batch:
        yield batch


def _spool(batch: list[StagedFile], objects: ObjectStore, directory: Path) -> list[_Loaded]:
    def read_footer(staged: StagedFile, local: Path) -> _Loaded:
        try:
            with pq.ParquetFile(local) as parquet:
                return _Loaded(staged, local, parquet.schema_arrow, parquet.metadata.num_rows)
        except (pa.ArrowException, OSError) as error:
            raise SnowflakeError(
                100069,
                "22000",
                f"Error parsing the Parquet file '{staged.key}': it is truncated or no Parquet file ({error})\n"
                f"  File '{staged.url}'",
            ) from error

    local = objects.fetch(batch, directory)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(read_footer, batch, local))


def _by_schema(loaded: list[_Loaded]) -> list[list[_Loaded]]:
    """Files that one INSERT can read: with a common supertype DuckDB would change values (integers to floats)."""
    groups: dict[str, list[_Loaded]] = defaultdict(list)
    for file in loaded:
        if file.rows:
            groups[file.schema.to_string(show_schema_metadata=False, show_field_metadata=False)].append(file)
    return list(groups.values())


def _insert(
    copy: Copy,
    target: dict[str, str],
    files: list[_Loaded],
    batch: list[StagedFile],
    started: dt.datetime,
    duck: duckdb.DuckDBPyConnection,
    namespace: Namespace,
) -> None:
    parameters: dict[str, Any] = {
        "keys": [staged.key for staged in batch],
        "modified": [staged.modified for staged in batch],
        "started": started,
    }
    columns, selection = _selection(copy, target, files[0].schema, namespace)
    used = {name: value for name, value in parameters.items() if f"${name}" in selection}
    table = ".".join(identifier(part) for part in copy.table)
    names = ", ".join(identifier(name) for name in columns)
    try:
        duck.execute(f"insert into {table} ({names}) {selection.format(files=_file_list(files))}", used)
    except duckdb.Error as error:
        raise _blame(error, copy, selection, files, used, duck) from error


def _selection(copy: Copy, target: dict[str, str], schema: pa.Schema, namespace: Namespace) -> tuple[list[str], str]:
    """Target columns and the SELECT that fills them, with {files} for what to read."""
    if copy.selection is not None:
        return list(copy.columns or target), _transformation(copy.selection, schema, namespace)
    if copy.by_name == "CASE_SENSITIVE":
        present = {name: name for name in schema.names}
    else:
        present = {name.upper(): name for name in schema.names}
    wanted = copy.columns or tuple(target)
    values: dict[str, str] = {}
    for name in wanted:
        if name in copy.metadata:
            values[name] = _metadata_expression(copy.metadata[name])
        elif (source := present.get(name if copy.by_name == "CASE_SENSITIVE" else name.upper())) is not None:
            values[name] = f"to_json({_braced(source)})" if target[name] == "JSON" else _braced(source)
    if not set(values) - set(copy.metadata):
        raise compilation(
            2019,
            "0A000",
            f"No column of the Parquet file has the name of a column of {'.'.join(copy.table)}.",
        )
    # columns without a counterpart become NULL whatever their default, as on Snowflake
    casts = [f"{values.get(name, 'null')}::{target[name]} as {_braced(name)}" for name in wanted]
    return list(wanted), f"select {', '.join(casts)} from read_parquet({{files}}, {_READ_OPTIONS})"


_READ_OPTIONS = "filename = true, file_row_number = true, hive_partitioning = false"


def _braced(name: str) -> str:
    return identifier(name).replace("{", "{{").replace("}", "}}")


def _metadata_expression(name: str) -> str:
    return _METADATA[name].format(keys="$keys", modified="$modified", started="$started")


def _transformation(selection: exp.Select, schema: pa.Schema, namespace: Namespace) -> str:
    """The SELECT of a COPY with transformation: $1:name becomes the Parquet column, case-sensitively."""

    def resolve(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.JSONExtract) and _is_dollar_one(node.this):
            _, *keys = node.expression.expressions
            if len(keys) != 1 or not isinstance(keys[0], exp.JSONPathKey):
                raise unsupported("COPY with a nested path: load the column as VARIANT and take it apart afterwards")
            name = keys[0].this
            return exp.column(exp.to_identifier(name, quoted=True)) if name in schema.names else exp.Null()
        if _is_dollar_one(node):
            raise unsupported("COPY of the whole row ($1): name its columns ($1:name)")
        if isinstance(node, exp.Column) and node.name.upper() in _METADATA:
            return exp.Var(this=_metadata_expression(node.name.upper()))
        return node

    select = selection.copy().transform(resolve)
    select.set("from_", None)
    text = to_duckdb(select, namespace).replace("{", "{{").replace("}", "}}")
    return f"{text} from read_parquet({{files}}, {_READ_OPTIONS})"


def _is_dollar_one(node: exp.Expr) -> bool:
    inner = node.this if isinstance(node, exp.Column) else node
    return isinstance(inner, exp.Parameter) and inner.name == "1"


def _file_list(files: list[_Loaded]) -> str:
    return "[" + ", ".join(literal(str(file.local)) for file in files) + "]"


def _blame(
    error: duckdb.Error,
    copy: Copy,
    selection: str,
    files: list[_Loaded],
    parameters: dict[str, Any],
    duck: duckdb.DuckDBPyConnection,
) -> SnowflakeError:
    """The error, with the first file that causes it: read each alone, on a connection outside the transaction."""
    failure = translate(error)
    place = f"while loading {'.'.join(copy.table)}"
    if len(files) == 1:
        return failure.within(f"File '{files[0].staged.url}', {place}")
    with duck.cursor() as probe:
        for file in files:
            try:
                text = selection.format(files=_file_list([file]))
                probe.execute(f"select max(hash(row)) from ({text}) as row", parameters).fetchall()
            except duckdb.Error as cause:
                return translate(cause).within(f"File '{file.staged.url}', {place}")
    return failure.within(place[0].upper() + place[1:])


def _remember(
    table: TableName, rows: dict[StagedFile, int], started: dt.datetime, duck: duckdb.DuckDBPyConnection
) -> None:
    if not rows:
        return
    history = f"{identifier(table[0])}.{OWN_SCHEMA}.load_history"
    # one entry per file and table: the latest
    duck.execute(
        f"delete from {history} where SCHEMA_NAME = ? and TABLE_NAME = ? and FILE_NAME in (select unnest(?))",
        [table[1], table[2], [file.url for file in rows]],
    )
    duck.execute(
        f"insert into {history} select $schema, unnest($urls), $table, $started, 'LOADED', unnest($rows), "
        "unnest($rows), null, null, null, null, 0, 1, unnest($sizes), unnest($modified)",
        {
            "schema": table[1],
            "table": table[2],
            "started": started,
            "urls": [file.url for file in rows],
            "rows": list(rows.values()),
            "sizes": [file.size for file in rows],
            "modified": [file.modified for file in rows],
        },
    )


def _report(staged: list[StagedFile], rows: dict[StagedFile, int]) -> Result:
    loaded = [file in rows for file in staged]
    counts = [rows.get(file, 0) for file in staged]
    texts: list[str | None] = [None] * len(staged)
    return Result.of(
        file=[file.url for file in staged],
        status=["LOADED" if done else "LOAD_SKIPPED" for done in loaded],
        rows_parsed=counts,
        rows_loaded=counts,
        error_limit=[1 if done else 0 for done in loaded],
        errors_seen=[0 if done else 1 for done in loaded],
        first_error=[None if done else "File was loaded before." for done in loaded],
        first_error_line=texts,
        first_error_character=texts,
        first_error_column_name=texts,
    )
