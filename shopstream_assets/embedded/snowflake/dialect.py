"""Snowflake SQL to DuckDB SQL: fakesnow's rewrites in fakesnow's order, with ours between them.

fakesnow 0.12.1 walks the whole statement once per rewrite, 85 times for every statement. Here each rewrite names
the kinds of node it can change, and only runs when the statement has one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import sqlglot
from fakesnow import transforms
from sqlglot import exp
from sqlglot.dialects.snowflake import Snowflake
from sqlglot.errors import ErrorLevel

from shopstream_assets.embedded.snowflake import rewrites
from shopstream_assets.embedded.snowflake.errors import SnowflakeError, compilation, unsupported
from shopstream_assets.embedded.snowflake.information import MACROS, OWN_SCHEMA, VIEWS

TableName = tuple[str, str, str]  # database, schema, name


@dataclass
class Namespace:
    """What unqualified names mean to a session."""

    database: str | None = None
    schema: str | None = None
    temporary: dict[TableName, str] = field(default_factory=dict)  # -> name in DuckDB's temp catalog

    def resolve(self, table: exp.Table) -> TableName:
        """The full name of a table whose identifiers are already in upper case.

        Raises:
            SnowflakeError: 90105 or 90106 when the session has no current database or schema to complete it.
        """
        database, schema = table.catalog or self.database, table.db or self.schema
        if not database:
            raise SnowflakeError(
                90105,
                "22000",
                "Cannot perform operation. This session does not have a current database. "
                "Call 'USE DATABASE', or use a qualified name.",
            )
        if not schema:
            raise SnowflakeError(
                90106,
                "22000",
                "Cannot perform operation. This session does not have a current schema. "
                "Call 'USE SCHEMA', or use a qualified name.",
            )
        return database, schema, table.name


Rewrite = Callable[[exp.Expr], exp.Expr]

# (the rewrite, the nodes that it can change). The order is fakesnow's and matters, see its cursor._transform.
# Left out: numeric_agg_implicit_cast, which makes SUM(NUMBER) a DOUBLE and loses cents; comments, stages, SHOW
# and session statements, answered by modules of their own; create_table_as, which drops NOT NULL.
_PIPELINE: tuple[tuple[Rewrite, tuple[type[exp.Expr], ...]], ...] = (
    (transforms.current_version, (exp.CurrentVersion,)),
    (transforms.drop_schema_cascade, (exp.Drop,)),
    (transforms.semi_structured_types, (exp.DataType,)),
    (transforms.try_parse_json, (exp.Anonymous,)),
    (transforms.split, (exp.Split,)),
    (transforms.trim_cast_varchar, (exp.Trim,)),
    (transforms.indices_to_json_extract, (exp.Bracket,)),
    (transforms.json_extract_cast_as_varchar, (exp.JSONExtract,)),
    (transforms.json_extract_cased_as_varchar, (exp.JSONExtract,)),
    (transforms.json_extract_precedence, (exp.JSONExtract, exp.JSONExtractScalar)),
    (transforms.flatten_value_cast_as_varchar, (exp.Explode,)),
    (transforms.flatten, (exp.Explode,)),
    (transforms.regex_replace, (exp.RegexpReplace,)),
    (transforms.regex_substr, (exp.RegexpExtract,)),
    (transforms.sequence_nextval, (exp.Column,)),
    (transforms.values_columns, (exp.Values,)),
    (transforms.to_date, (exp.Anonymous,)),
    (transforms.timestamp_offsets, (exp.Cast,)),
    (transforms.to_decimal, (exp.ToNumber,)),
    (transforms.to_timestamp, (exp.UnixToTime, exp.Anonymous, exp.Cast)),
    (transforms.to_variant, (exp.ToVariant,)),
    (transforms.object_construct, (exp.StarMap, exp.Struct, exp.JSONObject)),
    (transforms.timestamp_ntz, (exp.DataType,)),
    (transforms.float_to_double, (exp.DataType,)),
    (transforms.integer_precision, (exp.DataType,)),
    (transforms.sample, (exp.TableSample,)),
    (transforms.array_size, (exp.ArraySize,)),
    (transforms.random, (exp.Rand,)),
    (transforms.array_agg_within_group, (exp.WithinGroup,)),
    (transforms.array_agg, (exp.ArrayAgg,)),
    (transforms.object_agg, (exp.ObjectAgg,)),
    (transforms.array_construct_etc, (exp.ArrayConstructCompact, exp.Array, exp.ArrayConcat)),
    (transforms.dateadd_string_literal_timestamp_cast, (exp.DateAdd,)),
    (transforms.datediff_string_literal_timestamp_cast, (exp.DateDiff,)),
    (rewrites.date_add, (exp.DateAdd,)),
    (rewrites.date_trunc, (exp.DateTrunc, exp.TimestampTrunc)),
    (rewrites.ratio_to_report, (exp.Window,)),
    (rewrites.checked_division, (exp.Div, exp.Mod)),
    (rewrites.unenforced_keys, (exp.Schema, exp.ColumnDef)),
    (rewrites.plain_create, (exp.Create,)),
    (transforms.haversine, (exp.Anonymous,)),
    (transforms.hex_string, (exp.HexString,)),
    (transforms.sha256, (exp.SHA2, exp.SHA2Digest, exp.Anonymous)),
    (transforms.create_clone, (exp.Clone,)),
    (transforms.alias_in_join, (exp.Join,)),
    (transforms.alias_in_where, (exp.Where,)),
    (rewrites.qualify_macro, (exp.Anonymous,)),
)


class _Snowflake(Snowflake):
    """sqlglot 30.22.0 reads `?::number`, a bound value with a cast, as another dialect's operator `?::`."""

    class Tokenizer(Snowflake.Tokenizer):
        KEYWORDS = {key: kind for key, kind in Snowflake.Tokenizer.KEYWORDS.items() if key != "?::"}


def parse(sql: str, expected: int = 1) -> exp.Expr:
    """The one statement of `sql`, unquoted identifiers in upper case.

    fakesnow 0.12.1 runs the first of several statements and silently drops the others.

    Raises:
        SnowflakeError: 8 for another number of statements than one, as Snowflake; 900 for none.
        sqlglot.errors.ParseError: for a syntax error.
    """
    found = [item for item in sqlglot.parse(sql, read=_Snowflake) if item and not isinstance(item, exp.Semicolon)]
    if not found:
        raise compilation(900, "42601", "Empty SQL statement.")
    if len(found) != 1 or expected != 1:
        raise SnowflakeError(
            8, "0A000", f"Actual statement count {len(found)} did not match the desired statement count 1."
        )
    return found[0].transform(transforms.upper_case_unquoted_identifiers, copy=False)


def to_duckdb(statement: exp.Expr, namespace: Namespace) -> str:
    """DuckDB's SQL for a parsed statement, its tables fully named. Consumes the statement."""
    statement = _rewrite(_dynamic_identifiers(statement))
    qualify_tables(statement, namespace)
    # every name quoted: DuckDB reserves words that Snowflake does not (AT, OFFSET, ...)
    return statement.sql(dialect="duckdb", identify=True, unsupported_level=ErrorLevel.IGNORE)


def _rewrite(statement: exp.Expr) -> exp.Expr:
    present = _kinds(statement)
    for rewrite, kinds in _PIPELINE:
        if any(issubclass(kind, kinds) for kind in present):
            statement = statement.transform(rewrite, copy=False)
            present = _kinds(statement)
    return statement


def _kinds(statement: exp.Expr) -> set[type[exp.Expr]]:
    return {type(node) for node in statement.walk()}


def _dynamic_identifiers(statement: exp.Expr) -> exp.Expr:
    if statement.find(exp.DynamicIdentifier) or any(
        node.name.upper() == "IDENTIFIER" for node in statement.find_all(exp.Anonymous)
    ):
        statement = statement.transform(lambda node: transforms.identifier(node, None), copy=False)
        return statement.transform(transforms.upper_case_unquoted_identifiers, copy=False)
    return statement


def qualify_tables(statement: exp.Expr, namespace: Namespace) -> None:
    """Give every table its full name; lead temporary tables and INFORMATION_SCHEMA to where they are.

    fakesnow 0.12.1 leaves names as written: SCHEMA.TABLE fails where a database has the schema's name, and a
    temporary table cannot be qualified, as dbt always does (DuckDB keeps them in a catalog of its own).
    """
    if any(call.name.upper() == "RESULT_SCAN" for call in statement.find_all(exp.Anonymous)):
        raise unsupported("RESULT_SCAN")
    ctes = {cte.alias.upper() for cte in statement.find_all(exp.CTE)}
    for table in list(statement.find_all(exp.Table)):
        if isinstance(table.this, exp.Var):
            raise unsupported(f"SELECT from a stage ({table.name}): COPY it into a table")
        if table.args.get("when"):
            raise unsupported("time travel (AT, BEFORE)")
        if not isinstance(table.this, exp.Identifier) or isinstance(table.parent, exp.Use):
            continue
        if not table.db and table.name.upper() in ctes:
            continue
        if table.db.upper() == "INFORMATION_SCHEMA" or (not table.db and namespace.schema == "INFORMATION_SCHEMA"):
            _information_schema(table, namespace)
        else:
            _qualify(table, namespace)


def _qualify(table: exp.Table, namespace: Namespace) -> None:
    database, schema, name = namespace.resolve(table)
    if temporary := namespace.temporary.get((database, schema, name)):
        # keep the name by which columns are qualified
        if not table.alias and not _is_target(table):
            table.set("alias", exp.TableAlias(this=exp.to_identifier(name, quoted=True)))
        database, schema, name = "temp", "main", temporary
    table.set("catalog", exp.to_identifier(database, quoted=True))
    table.set("db", exp.to_identifier(schema, quoted=True))
    table.set("this", exp.to_identifier(name, quoted=True))


def _is_target(table: exp.Table) -> bool:
    """Whether the statement writes to, describes or defines the table, where DuckDB takes no alias."""
    parent = table.parent
    if isinstance(parent, exp.Schema):
        parent = parent.parent
    return isinstance(
        parent, exp.Insert | exp.Create | exp.Drop | exp.Alter | exp.TruncateTable | exp.Describe | exp.Copy
    )


def _information_schema(table: exp.Table, namespace: Namespace) -> None:
    database = table.catalog or namespace.database
    if not database:
        raise SnowflakeError(90105, "22000", "This session does not have a current database.")
    view = table.name.upper()
    if not table.alias:
        table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name)))
    if view == "LOAD_HISTORY":
        table.set("catalog", exp.to_identifier(database, quoted=True))
        table.set("db", exp.to_identifier(OWN_SCHEMA))
        return
    if view not in VIEWS:
        raise compilation(2003, "02000", f"Object 'INFORMATION_SCHEMA.{view}' does not exist in the local Snowflake.")
    catalog, schema = MACROS.split(".")
    arguments: list[exp.Expr] = [exp.Literal.string(database)]
    if view == "COLUMNS":
        lengths = exp.table_("text_lengths", OWN_SCHEMA, exp.to_identifier(database, quoted=True))
        arguments.append(exp.Literal.string(lengths.sql(dialect="duckdb")))
    table.set("this", exp.Anonymous(this=VIEWS[view], expressions=arguments))
    table.set("db", exp.to_identifier(schema))
    table.set("catalog", exp.to_identifier(catalog))
