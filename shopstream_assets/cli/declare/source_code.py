"""Declarations as Python, laid out as the project's formatter lays it out."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from keyword import iskeyword

from shopstream_assets.cli.declare.guesses import Guess, snake
from shopstream_assets.platform.declare.tables import (
    BIGINT,
    BOOLEAN,
    BYTES,
    DATE,
    DOUBLE,
    INTEGER,
    JSON,
    REAL,
    SMALLINT,
    TEXT,
    TEXTS,
    TIME,
    TIMESTAMP,
    UUID,
    Column,
    ColumnType,
    RowRule,
    SourceTable,
)

WIDTH = 120
NAMES = {
    BIGINT: "BIGINT",
    BOOLEAN: "BOOLEAN",
    BYTES: "BYTES",
    DATE: "DATE",
    DOUBLE: "DOUBLE",
    INTEGER: "INTEGER",
    JSON: "JSON",
    REAL: "REAL",
    SMALLINT: "SMALLINT",
    TEXT: "TEXT",
    TEXTS: "TEXTS",
    TIME: "TIME",
    TIMESTAMP: "TIMESTAMP",
    UUID: "UUID",
}
MODULE = "shopstream_assets.platform.declare.tables"

Lines = list[str]
"""Lines of an expression; the first has no indentation, the others have theirs."""


def module(schema: str, guesses: Sequence[Guess]) -> str:
    """The text of a Python module that declares the tables, and says in comments what is to be seen to."""
    declared = [guess for guess in guesses if guess.table]
    about = f" {schema}" if schema.isidentifier() else ""
    parts = [f'"""Source tables of the schema{about}, as `shopstream declare` found them: see to what comments say."""']
    if declared:
        parts.append(_imports([guess.table for guess in declared if guess.table]))
    names = _constants([guess.found.name for guess in declared])
    parts += [_table(guess, names.get(guess.found.name, "")) for guess in guesses]
    parts.append("\n".join(_statement("TABLES = ", _tuple(list(names.values()), 0))))
    return "\n\n".join(parts) + "\n"


def _imports(tables: Sequence[SourceTable]) -> str:
    kinds = {column.type for table in tables for column in table.columns}
    used = {"Column", "SourceTable"} | {
        name for kind in kinds for name in re.findall(r"[A-Za-z_]+(?=[(),]|$)", _type(kind))
    }
    if any(table.rules for table in tables):
        used.add("RowRule")
    # Constants, classes, functions.
    order = sorted(used, key=lambda name: (0 if name.isupper() else 1 if name[0].isupper() else 2, name))
    line = f"from {MODULE} import {', '.join(order)}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"from {MODULE} import (", *(f"    {name}," for name in order), ")"])


def _constants(tables: Iterable[str]) -> dict[str, str]:
    """A name in capitals for each table, none of them one that is imported."""
    taken = {*NAMES.values(), "TABLES"}
    names = {}
    for table in tables:
        name = re.sub(r"_+", "_", snake(table)).upper().strip("_") or "TABLE"
        name = f"TABLE_{name}" if name[0].isdigit() or iskeyword(name) else name
        while name in taken:
            name += "_TABLE"
        taken.add(name)
        names[table] = name
    return names


def _table(guess: Guess, constant: str) -> str:
    table = guess.table
    if table is None:
        first, *others = guess.remarks
        return "\n".join(_comments([f"{guess.found.name} {first}", *others], 0))
    arguments: list[Lines] = [
        _named("name", table.name, 4),
        _named("grain", table.grain, 4),
        _named("description", table.description, 4),
        _named("owner", table.owner, 4),
    ]
    if table.cursor is None:
        arguments.append(["cursor=None"])
    elif table.cursor != _default("cursor"):
        arguments.append(_named("cursor", table.cursor, 4))
    if table.primary_key != _default("primary_key"):
        arguments.append(_statement("primary_key=", _tuple([_literal(name) for name in table.primary_key], 4)))
    arguments.append(["columns=(", *_columns(guess, table), "    )"])
    if table.rules:
        rules = [_indented(_rule(rule), 8) for rule in table.rules]
        arguments.append(["rules=(", *(line for rule in rules for line in rule), "    )"])
    if table.undeclared != _default("undeclared"):
        arguments.append(_named("undeclared", table.undeclared, 4))
    body = [line for argument in arguments for line in _indented(argument, 4)]
    return "\n".join([*_comments(guess.remarks, 0), f"{constant} = SourceTable(", *body, ")"])


def _columns(guess: Guess, table: SourceTable) -> Iterator[str]:
    for column in table.columns:
        yield from _comments(guess.of_columns.get(column.name, []), 8)
        yield from _indented(_column(column), 8)


def _column(column: Column) -> Lines:
    arguments: list[Lines] = [[_literal(column.name)], [_type(column.type)], _text(column.description, 12)]
    arguments += [[f"{name}=True"] for name in ("nullable", "pii") if getattr(column, name)]
    if column.values:
        arguments.append(_statement("values=", _tuple([_literal(value) for value in column.values], 12)))
    if column.minimum is not None:
        arguments.append([f"minimum={column.minimum}"])
    if column.references:
        arguments.append(_named("references", column.references, 12))
    return _call("Column", arguments, 8)


def _rule(rule: RowRule) -> Lines:
    columns = _tuple([_literal(name) for name in rule.columns], 12)
    return _call("RowRule", [_text(rule.name, 12), _text(rule.sql, 12), columns], 8)


def _type(kind: ColumnType) -> str:
    """The expression for a type."""
    if kind in NAMES:
        return NAMES[kind]
    if kind.element:
        return f"array_of({_type(kind.element)})"
    if kind.time_zone:
        return f"local_timestamp({_literal(kind.time_zone)})"
    return f"numeric({kind.precision}, {kind.scale})"


def _call(name: str, arguments: Sequence[Lines], indent: int) -> Lines:
    """A call that begins behind `indent` spaces: in one line where it fits with a comma behind, else one for each."""
    if all(len(lines) == 1 for lines in arguments):
        line = f"{name}({', '.join(lines[0] for lines in arguments)})"
        if indent + len(line) + 1 <= WIDTH:
            return [line]
    body = [line for lines in arguments for line in _indented(lines, indent + 4)]
    return [f"{name}(", *body, " " * indent + ")"]


def _tuple(items: Sequence[str], indent: int) -> Lines:
    """A tuple; the name of what it is the value of takes up to 16 letters of its line."""
    line = f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if indent + len(line) + 17 <= WIDTH:
        return [line]
    return ["(", *(f"{' ' * (indent + 4)}{item}," for item in items), " " * indent + ")"]


def _named(name: str, value: str, indent: int) -> Lines:
    return _statement(f"{name}=", _text(value, indent, len(name) + 1))


def _statement(start: str, lines: Lines) -> Lines:
    return [start + lines[0], *lines[1:]]


def _indented(lines: Lines, indent: int) -> Lines:
    """The lines of an argument that ends with a comma."""
    first, *others = lines
    whole = [" " * indent + first, *others]
    return [*whole[:-1], whole[-1] + ","]


def _text(value: str, indent: int, before: int = 0) -> Lines:
    """A string, parted where it is too long for a line; `before` letters stand before it in the first."""
    literal = _literal(value)
    if indent + before + len(literal) + 1 <= WIDTH:
        return [literal]
    pieces: list[str] = []
    piece = ""
    for word in re.findall(r"\S+\s*|\s+", value):
        room = WIDTH - indent - 1 - (0 if pieces else before)
        if piece and len(_literal(piece + word)) > room:
            pieces.append(piece)
            piece = ""
        piece += word
    first, *others = map(_literal, [*pieces, piece])
    return [first, *(" " * indent + other for other in others)]


def _literal(value: str) -> str:
    """A string literal, in double quotes unless those would need more backslashes."""
    body = "".join(letter if letter in "'\"" else repr(letter)[1:-1] for letter in value)
    if value.count('"') > value.count("'"):
        return "'" + body.replace("'", "\\'") + "'"
    return '"' + body.replace('"', '\\"') + '"'


def _comments(remarks: Iterable[str], indent: int) -> Lines:
    start = " " * indent + "# "
    return [
        line
        for remark in remarks
        for line in textwrap.wrap(
            remark, WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False, break_on_hyphens=False
        )
    ]


def _default(name: str) -> object:
    return next(each.default for each in fields(SourceTable) if each.name == name)
