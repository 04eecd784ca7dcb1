"""What a table that exists can be declared as: read from the catalogue where that says it, guessed where it does not.

A guess, and whatever somebody should see before the first load, comes with a remark.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from shopstream_assets.cli.generate.staging_tables import MASKED_TYPES
from shopstream_assets.platform.declare.domain import TABLE_NAME
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
    array_of,
    local_timestamp,
    numeric,
    quoted,
    upper,
)
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.lake.added_columns import ADDED_COLUMNS
from shopstream_assets.platform.sources.postgres.introspection import FoundColumn, FoundTable

LOCAL = "timestamp without time zone"
TYPES: Mapping[str, ColumnType] = {
    "bigint": BIGINT,
    "integer": INTEGER,
    "smallint": SMALLINT,
    "real": REAL,
    "double precision": DOUBLE,
    "boolean": BOOLEAN,
    "timestamp with time zone": TIMESTAMP,
    "date": DATE,
    "time without time zone": TIME,
    "uuid": UUID,
    "jsonb": JSON,
    "json": JSON,
    "bytea": BYTES,
    "text": TEXT,
    "character varying": TEXT,
    "character": TEXT,
    "citext": TEXT,
    "name": TEXT,
    "enum": TEXT,
    "bigint[]": array_of(BIGINT),
    "integer[]": array_of(INTEGER),
    "smallint[]": array_of(SMALLINT),
    "boolean[]": array_of(BOOLEAN),
    "uuid[]": array_of(UUID),
    "text[]": TEXTS,
    "character varying[]": TEXTS,
}

# Names of a column that every write sets, and of one that the first write sets, as `snake` spells them.
_WHEN = r"(_?(at|on|date|time|ts|timestamp|utc))?"
CHANGED = re.compile(
    rf"(row_|record_|last_|sys_)*(updated?|modified|changed|modification|change|mod){_WHEN}"
    r"|write_date|date_(upd|updated|modified|changed)|last_update|lastmod|mtime|system_modstamp"
)
CREATED = re.compile(
    rf"(row_|record_|sys_)*(created?|creation|inserted|occurred|happened|logged|recorded|received|ingested|registered"
    rf"|added|event|joined|sent){_WHEN}|ts|timestamp|date_(add|added|created|joined)"
)
PERSONAL = re.compile(
    r"(^|_)(e_?mail|phone|mobile|fax|first_?name|last_?name|full_?name|sur_?name|given_?name|family_?name|middle_?name"
    r"|maiden_?name|birth|birth_?(date|day)|date_of_birth|dob|ssn|social_security|passport|national_id|tax_(id|number)"
    r"|iban|card_(number|holder)|street|address|addr|address_line\d?|zip|zip_?code|postal_?code|postcode|user_?name|login"
    r"|password|passwd|password_hash|encrypted_password|ip|ip_?addr(ess)?|remote_(ip|addr)|user_agent|signature|salary"
    r"|latitude|longitude)(_|$)"
)


@dataclass
class Guess:
    """What a table can be declared as; `table` is None where it cannot be, and the first remark says why.

    That remark goes on from the table's name. `of_columns` are remarks by column.
    """

    found: FoundTable
    table: SourceTable | None = None
    remarks: list[str] = field(default_factory=list)
    of_columns: dict[str, list[str]] = field(default_factory=dict)

    @property
    def relation(self) -> str:
        """Its name in SQL."""
        return f"{quoted(self.found.schema)}.{quoted(self.found.name)}"

    def say(self, column: str, remark: str) -> None:
        """Remark on a column."""
        self.of_columns.setdefault(column, []).append(remark)


def guesses(found: Sequence[FoundTable], owner: str, time_zone: str | None) -> list[Guess]:
    """For each table what it can be declared as. The zone is that of all local times.

    Raises Problem where a timestamp without time zone is met and no zone is given: none can be guessed.
    """
    local = [f"{table.name}.{column.name}" for table in found for column in table.columns if column.read.type == LOCAL]
    if local and time_zone is None:
        raise Problem(
            f"{', '.join(local[:5])}{f' and {len(local) - 5} more' if len(local) > 5 else ''} hold local times, and "
            "Postgres does not know of which time zone.",
            "say it: `--time-zone UTC` (Rails, Django and most frameworks write UTC), or as Europe/Berlin. Where "
            "columns differ, correct them in what is written.",
        )
    made = [_guess(table, owner, time_zone) for table in found]
    _part_namesakes(made)
    declared = {guess.found.name: guess.table for guess in made if guess.table}
    for guess in made:
        if guess.table:
            guess.table = replace(guess.table, columns=tuple(_with_references(guess, declared)))
    return made


def _guess(found: FoundTable, owner: str, time_zone: str | None) -> Guess:
    guess = Guess(found)
    if not TABLE_NAME.fullmatch(found.name):
        name = re.sub(r"\W+", "_", snake(found.name), flags=re.ASCII).strip("_") or "table_1"
        guess.remarks.append(
            "cannot be declared under this name: assets are named after tables, by letters, digits and underscores. "
            f"Declare a view instead: `create view {quoted(found.schema)}.{quoted(name)} as "
            f"select * from {guess.relation};`"
        )
        return guess
    if found.hides_rows:
        guess.remarks.append(
            f"Row-level security hides rows from the role {found.role}, so nothing will be read of it. "
            f"`alter role {quoted(found.role)} bypassrls;`, or declare a view whose owner may see all rows."
        )
    if withheld := _withheld(guess):
        guess.remarks.append(withheld)
        return guess
    columns = list(_columns(guess, time_zone))
    by_name = {column.name: column for column in columns}
    key = _key(guess, by_name)
    cursor = _cursor(guess, columns)
    if not key:
        guess.remarks = [remark for remark in guess.remarks if remark.startswith("cannot be ")]
        return guess
    rules = tuple(_rules(guess, by_name))
    left_out = {column.name for column in found.columns if column.read.readable} - by_name.keys()
    guess.table = SourceTable(
        name=found.name,
        grain=f"One row per {_singular(found.name)}.",
        description=_sentence(found.comment) or f"{found.kind.capitalize()} {found.schema}.{found.name} of the source.",
        owner=owner,
        columns=tuple(by_name.values()),
        cursor=cursor,
        primary_key=key,
        rules=rules,
        undeclared="ignore" if left_out else "carry",
    )
    return guess


def _withheld(guess: Guess) -> str:
    """What to say of a table of which the role may not read what tells its rows apart."""
    found = guess.found
    readable = {column.name for column in found.columns if column.read.readable}
    if readable and readable.issuperset(found.primary_key):
        return ""
    which = f" ({', '.join(map(quoted, found.primary_key))})" if readable else ""
    return (
        f"cannot be declared: the role {found.role} may not read {'its key' if readable else 'it'}. "
        f"`grant select{which} on {guess.relation} to {quoted(found.role)};`"
    )


def _part_namesakes(made: Sequence[Guess]) -> None:
    """Of tables that would be one in staging, declare the first."""
    taken: dict[str, str] = {}
    for guess in made:
        if guess.table is None:
            continue
        if first := taken.get(guess.table.staging_table):
            guess.table = None
            guess.remarks = [
                f"cannot be declared beside {first}: both would be {upper('stg_' + guess.found.name)} in staging. "
                f"Declare a view of another name that selects from {guess.relation}."
            ]
        else:
            taken[guess.table.staging_table] = guess.found.name


def _columns(guess: Guess, time_zone: str | None) -> Iterator[Column]:
    taken = {upper(name) for name in ADDED_COLUMNS}
    for found in guess.found.columns:
        if not found.read.readable:
            guess.remarks.append(
                f"The role {guess.found.role} may not read {found.name}; it stays behind. To take it along: "
                f"`grant select ({quoted(found.name)}) on {guess.relation} to {quoted(guess.found.role)};`"
            )
            continue
        if upper(found.name) in taken:
            guess.remarks.append(
                f"Column {found.name} is left out, and with it all that is not declared: another column has its name "
                "in Snowflake, which knows no lower case. Rename one of them, or declare a view that does."
            )
            continue
        taken.add(upper(found.name))
        kind = _type(guess, found, time_zone)
        yield Column(
            name=found.name,
            type=kind,
            description=_sentence(found.comment) or f"{snake(found.name).replace('_', ' ').strip().capitalize()}.",
            nullable=not found.read.not_null,
            pii=_is_personal(guess, found, kind),
            values=found.labels if kind == TEXT and found.read.type == "enum" else (),
        )


def _type(guess: Guess, found: FoundColumn, time_zone: str | None) -> ColumnType:
    kind, spelled = found.read.type, found.spelled
    if kind == LOCAL:
        assert time_zone
        return local_timestamp(time_zone)
    if kind == "numeric":
        digits = re.fullmatch(r"numeric\((\d+),(-?\d+)\)", found.read.modifier)
        try:
            if digits:
                return numeric(int(digits[1]), int(digits[2]))
        except ValueError:
            pass
        limits = "has no precision" if not digits else "is no type that Snowflake has"
        guess.say(
            found.name, f"{spelled} {limits}: it travels as its digits. If you know how many there are: numeric(p, s)."
        )
        return TEXT
    if kind in TYPES:
        return TYPES[kind]
    if kind.endswith("[]"):
        guess.say(found.name, f"{spelled}: each element as Postgres writes it.")
        return TEXTS
    guess.say(found.name, f"{spelled}: as Postgres writes it.")
    return TEXT


def _is_personal(guess: Guess, found: FoundColumn, kind: ColumnType) -> bool:
    if not PERSONAL.search(snake(found.name)) or kind == BOOLEAN:
        return False
    if kind.snowflake not in MASKED_TYPES:
        guess.say(
            found.name,
            f"Perhaps personal data. pii=True needs a masking policy for {kind.snowflake} first: "
            "deploy/templates/snowflake/06_personal_data.sql.",
        )
        return False
    guess.say(found.name, "Personal data, by its name.")
    return True


def _key(guess: Guess, columns: Mapping[str, Column]) -> tuple[str, ...]:
    """The primary key, or what may serve as one; () where nothing may."""
    found = guess.found
    not_null = {column.name for column in found.columns if column.read.not_null}
    # The others have no constraints to go by.
    is_table = found.kind in ("table", "partitioned table")

    def serves(key: Sequence[str]) -> bool:
        return bool(key) and all(name in columns and columns[name].type.is_key for name in key)

    if serves(found.primary_key):
        return found.primary_key
    for unique in found.unique:
        if unique != found.primary_key and serves(unique) and (set(unique) <= not_null or not is_table):
            guess.remarks.append(f"Its key is that of a unique index: {', '.join(unique)}.")
            return unique
    part = tuple(name for name in found.primary_key if serves([name]))
    if part:
        others = ", ".join(f"{name} ({columns[name].type.postgres})" for name in found.primary_key if name not in part)
        guess.remarks.append(
            f"{others} cannot be of a key, so {', '.join(part)} alone is declared: it must tell rows apart by itself. "
            "The daily check keys_unique_and_not_null says whether it does."
        )
        return part
    if not is_table and serves(["id"]):
        guess.remarks.append(
            f"A {found.kind} without a key: id is one by its name. The daily check keys_unique_and_not_null says "
            "whether it is."
        )
        return ("id",)
    if found.primary_key:
        guess.remarks.append(
            f"cannot be declared: its key ({', '.join(found.primary_key)}) has a type that cannot be compared on both "
            "sides. Give it another: `alter table "
            f"{guess.relation} add column id bigint generated always as identity unique;`"
        )
    elif "view" in found.kind:
        guess.remarks.append(
            "cannot be declared: nothing says which columns tell its rows apart. Let it select such a column as id, "
            "and run this command again."
        )
    else:
        guess.remarks.append(
            "cannot be declared: it has no primary key, so its rows cannot be told apart. "
            f"`alter table {guess.relation} add primary key (...);`, or, where no columns are unique, "
            f"`alter table {guess.relation} add column id bigint generated always as identity primary key;`"
        )
    return ()


def _cursor(guess: Guess, columns: Collection[Column]) -> str | None:
    """The column that says when a row changed last; None where none does."""
    moments = [column for column in columns if column.type.is_moment]
    named = [
        [column for column in moments if pattern.fullmatch(snake(column.name))] for pattern in (CHANGED, CREATED)
    ]  # fmt: skip
    fallback = [column for column in moments if not column.nullable]
    found = named[0] or named[1] or (fallback if len(fallback) == 1 else [])
    if not found:
        guess.remarks.append(_without_cursor(guess, moments))
        return None
    cursor = min(found, key=lambda column: (column.name not in guess.found.indexed, column.nullable))
    if len(found) > 1:
        guess.say(cursor.name, f"The cursor; or should it be {_either(found, cursor)}?")
    if not named[0]:
        guess.say(
            cursor.name,
            "The cursor, though it does not say when a row changed last: changes of older rows are found by the "
            "versions of rows, in the days that a look or the daily audit takes in. Where rows are only ever appended, "
            "say append_only=True.",
        )
    if cursor.nullable:
        guess.say(cursor.name, "The cursor may be null: such a row belongs to no day, and does not travel.")
    if cursor.name not in guess.found.indexed:
        guess.say(cursor.name, _without_index(guess, cursor.name))
    return cursor.name


def _either(found: Collection[Column], cursor: Column) -> str:
    return " or ".join(column.name for column in found if column is not cursor)


def _without_index(guess: Guess, name: str) -> str:
    told = "The cursor has no index: each look reads all of the table."
    if guess.found.kind == "view":
        return f"{told} Index it in the tables that the view is made of."
    if guess.found.kind == "foreign table":
        return f"{told} Index it on the other server."
    # Of a partitioned table Postgres makes none concurrently.
    how = "" if guess.found.kind == "partitioned table" else "concurrently "
    return f"{told} `create index {how}on {guess.relation} ({quoted(name)});`"


def _without_cursor(guess: Guess, moments: Collection[Column]) -> str:
    which = ", ".join(column.name for column in moments)
    told = (
        "No column says when a row changed last, so the whole table is one snapshot: read again whenever its hash "
        "differs, without versions of its rows, and its age is not known."
    )
    if moments:
        told += f" If one of {which} is set by every write, name that as the cursor."
    if guess.found.kind == "view":
        return f"{told} For a large one, let the view select such a column, and run this command again."
    if guess.found.kind in ("materialized view", "foreign table"):
        return f"{told} For a large one, let it have such a column, and run this command again."
    schema, name = quoted(guess.found.schema), quoted(f"{guess.found.name}_updated_at")
    how = "" if guess.found.kind == "partitioned table" else "concurrently "
    return (
        f"{told} For a large one, let Postgres keep such a column: `alter table {guess.relation} add column updated_at "
        f"timestamptz not null default now(); create function {schema}.{name}() returns trigger language plpgsql as $$ "
        f"begin new.updated_at := now(); return new; end $$; create trigger {name} before insert or update on "
        f"{guess.relation} for each row execute function {schema}.{name}(); "
        f"create index {how}on {guess.relation} (updated_at);` Then run this command again."
    )


def _rules(guess: Guess, columns: dict[str, Column]) -> Iterator[RowRule]:
    """The checks of the table: as `values` or `minimum` of a column, put into `columns`, or as rules."""
    for check in guess.found.checks:
        if not set(check.columns) <= columns.keys() or not check.columns:
            continue
        if not check.is_valid:
            guess.remarks.append(
                f"The check {check.name} is not declared: it is NOT VALID in Postgres, and old rows may break it."
            )
            continue
        column = columns[check.columns[0]]
        if len(check.columns) == 1 and (values := listed(check.sql, column)) and not column.values:
            columns[column.name] = replace(column, values=values)
        elif len(check.columns) == 1 and (least := lowest(check.sql, column)) is not None and column.minimum is None:
            columns[column.name] = replace(column, minimum=least)
        else:
            yield RowRule(f"breaks the check {check.name}", check.sql, check.columns)


def listed(sql: str, column: Column) -> tuple[str, ...]:
    """The values that a check lets a text have; () where it says something else."""
    found = re.fullmatch(
        rf"\(\(?{_named(column)}\)?(?:::text)? = ANY \(\(?ARRAY\[(.+?)\]\)?(?:::text\[\])?\)\)", sql, flags=re.DOTALL
    )
    literal = r"'((?:[^'\\]|'')*)'::(?:text|character varying|bpchar)"
    if column.type != TEXT or not found or not re.fullmatch(rf"{literal}(?:, {literal})*", found[1]):
        return ()
    return tuple(value.replace("''", "'") for value in re.findall(literal, found[1]))


def lowest(sql: str, column: Column) -> int | None:
    """The least value that a check lets a number have; None where it says something else."""
    found = re.fullmatch(rf"\(\(?{_named(column)}\)? (>=|>) \(?(\d+)\)?(?:::[a-z ]+)?\)", sql)
    if not found:
        return None
    whole = column.type in (BIGINT, INTEGER, SMALLINT)
    if found[1] == ">" and not whole:
        return None
    return int(found[2]) + (found[1] == ">") if whole or column.type.name == "numeric" else None


def _named(column: Column) -> str:
    """A pattern for a column's name as Postgres writes it."""
    return f"(?:{re.escape(column.name)}|{re.escape(quoted(column.name))})"


def _with_references(guess: Guess, declared: Mapping[str, SourceTable | None]) -> Iterator[Column]:
    assert guess.table
    parents: dict[str, str] = {}
    for key in guess.found.foreign_keys:
        told = f"{key.parent}.{', '.join(key.parent_columns)}"
        parent = declared.get(key.parent) if key.parent_schema == guess.found.schema else None
        if len(key.columns) > 1:
            guess.remarks.append(
                f"({', '.join(key.columns)}) refers to ({told}): a reference of several columns cannot be declared."
            )
        elif parent and any(column.name == key.parent_columns[0] for column in parent.columns):
            parents.setdefault(key.columns[0], f"{key.parent}.{key.parent_columns[0]}")
        elif key.columns[0] in {column.name for column in guess.table.columns}:
            guess.say(key.columns[0], f"Refers to {key.parent_schema}.{told}, which is not declared here.")
    for column in guess.table.columns:
        yield replace(column, references=parents.get(column.name))


def snake(name: str) -> str:
    """A name in lower case, its words parted by underscores."""
    return re.sub(r"[^\w]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).lower()


def _singular(name: str) -> str:
    words = snake(name).replace("_", " ").strip()
    if words.endswith("ies"):
        return f"{words[:-3]}y"
    return words[:-1] if words.endswith("s") and not words.endswith(("ss", "us", "is")) else words


def _sentence(comment: str | None) -> str:
    """A comment in one line, with a full stop."""
    line = " ".join((comment or "").split())
    return line if not line or line.endswith((".", "!", "?")) else f"{line}."
