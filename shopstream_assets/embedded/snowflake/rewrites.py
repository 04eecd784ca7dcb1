"""Rewrites of ours between Snowflake's SQL and DuckDB's: each mends one difference that changes results.

A rewrite is a function of one expression node, like fakesnow's. Macros are typed, so that what depends on the
type of a column (unknown when SQL is rewritten) is decided when DuckDB binds the statement.
"""

from sqlglot import exp

from shopstream_assets.embedded.snowflake.information import MACROS as CATALOG

MACROS = (
    # DuckDB divides by zero to NULL or infinity; Snowflake fails (100051). NULL / 0 is NULL in both.
    f"""create macro {CATALOG}._ss_divide(a, b) as
        case when b = 0 and a is not null then error('Division by zero') else a / b end""",
    f"""create macro {CATALOG}._ss_modulo(a, b) as
        case when b = 0 and a is not null then error('Division by zero') else a % b end""",
    # DuckDB truncates a DATE to a TIMESTAMP; in Snowflake a DATE stays a DATE.
    f"""create macro {CATALOG}._ss_date_trunc(part, d date) as date_trunc(part, d)::date,
        (part, d timestamp) as date_trunc(part, d),
        (part, d timestamptz) as date_trunc(part, d),
        (part, d varchar) as date_trunc(part, d::timestamp)""",
    # DuckDB adds days to a DATE and gets a TIMESTAMP; in Snowflake a DATE stays a DATE.
    f"""create macro {CATALOG}._ss_add_days(d date, i) as (d + i)::date,
        (d timestamp, i) as d + i,
        (d timestamptz, i) as d + i,
        (d varchar, i) as d::timestamp + i""",
)

_WHOLE_DAYS = {"DAY", "WEEK", "MONTH", "QUARTER", "YEAR"}


def macro(name: str, *arguments: exp.Expr) -> exp.Expr:
    """A call of one of the emulator's macros, qualified so that it is found from any schema."""
    catalog, schema = CATALOG.split(".")
    call = exp.Anonymous(this=name, expressions=list(arguments))
    return exp.Dot.build([exp.to_identifier(catalog), exp.to_identifier(schema), call])


def qualify_macro(node: exp.Expr) -> exp.Expr:
    """fakesnow's macros live in every database; ours and theirs are in memory, and named in full."""
    if not (isinstance(node, exp.Anonymous) and node.name.upper().startswith("_FS_")):
        return node
    if isinstance(node.parent, exp.Dot) or (isinstance(node.parent, exp.Table) and node.parent.args.get("catalog")):
        return node
    if isinstance(node.parent, exp.Table):
        catalog, schema = CATALOG.split(".")
        node.parent.set("db", exp.to_identifier(schema))
        node.parent.set("catalog", exp.to_identifier(catalog))
        return node
    return macro(node.name, *node.expressions)


def checked_division(node: exp.Expr) -> exp.Expr:
    """Divide as Snowflake does, where zero is an error."""
    if isinstance(node, exp.Div | exp.Mod):
        divisor = node.expression.unnest()
        if isinstance(divisor, exp.Literal) and float(divisor.this) != 0:
            return node
        name = "_ss_divide" if isinstance(node, exp.Div) else "_ss_modulo"
        return macro(name, node.this.unnest(), node.expression.unnest())
    return node


def date_trunc(node: exp.Expr) -> exp.Expr:
    """Truncate, keeping a DATE a DATE."""
    if isinstance(node, exp.DateTrunc | exp.TimestampTrunc):
        unit = node.args["unit"]
        return macro("_ss_date_trunc", exp.Literal.string(unit.name.lower()), node.this)
    return node


def date_add(node: exp.Expr) -> exp.Expr:
    """Add whole days, keeping a DATE a DATE."""
    if isinstance(node, exp.DateAdd) and node.unit and node.unit.name.upper() in _WHOLE_DAYS:
        amount = exp.Interval(this=exp.Paren(this=node.expression), unit=node.unit.copy())
        return macro("_ss_add_days", node.this, amount)
    return node


def ratio_to_report(node: exp.Expr) -> exp.Expr:
    """DuckDB has no RATIO_TO_REPORT."""
    if (
        isinstance(node, exp.Window)
        and isinstance(node.this, exp.Anonymous)
        and node.this.name.upper() == "RATIO_TO_REPORT"
    ):
        value = node.this.expressions[0]
        total = node.copy()
        total.set("this", exp.Sum(this=value.copy()))
        return macro("_ss_divide", value.copy(), total)
    return node


_KEYS = (exp.PrimaryKey, exp.ForeignKey, exp.UniqueColumnConstraint, exp.Reference)
_COLUMN_KEYS = (
    exp.PrimaryKeyColumnConstraint,
    exp.UniqueColumnConstraint,
    exp.Reference,
    exp.CommentColumnConstraint,
)


def unenforced_keys(node: exp.Expr) -> exp.Expr:
    """Snowflake records primary, unique and foreign keys without enforcing them; DuckDB would enforce them.

    Comments of columns go as well: DuckDB has them as statements of their own (see comments.py).
    """
    if isinstance(node, exp.Schema):
        kept = [item for item in node.expressions if not _is_key(item)]
        node.set("expressions", kept)
    elif isinstance(node, exp.ColumnDef):
        constraints = node.args.get("constraints") or []
        node.set("constraints", [c for c in constraints if not isinstance(c.args.get("kind"), _COLUMN_KEYS)])
    return node


def _is_key(item: exp.Expr) -> bool:
    if isinstance(item, exp.Constraint):
        return any(isinstance(part, _KEYS) for part in item.expressions)
    return isinstance(item, _KEYS)


def plain_create(node: exp.Expr) -> exp.Expr:
    """DuckDB has no transient tables, table comments, clustering or COPY GRANTS in CREATE."""
    if isinstance(node, exp.Create):
        kept = [p for p in _properties(node) if isinstance(p, exp.TemporaryProperty | exp.LikeProperty)]
        node.set("properties", exp.Properties(expressions=kept) if kept else None)
        node.set("copy_grants", None)
    return node


def _properties(node: exp.Create) -> list[exp.Expr]:
    properties = node.args.get("properties")
    return list(properties.expressions) if properties else []


def named_projections(query: exp.Expr) -> None:
    """Name unnamed columns of the outermost SELECT after their text, as Snowflake does: COUNT(*), MAX(X).

    fakesnow 0.12.1 leaves DuckDB's names: count_star(), max(x).
    """
    select = query.find(exp.Select) if isinstance(query, exp.Query) else None
    if isinstance(query, exp.Select):
        select = query
    if select is None:
        return
    named = (exp.Alias, exp.Column, exp.Star, exp.Dot, exp.Identifier, exp.Subquery, exp.Aliases)
    select.set(
        "expressions",
        [
            item if isinstance(item, named) or item.is_star else exp.alias_(item, _source(item), quoted=True)
            for item in select.expressions
        ],
    )


def _source(item: exp.Expr) -> str:
    text = item.sql(dialect="snowflake")
    return text if isinstance(item, exp.Literal) and item.is_string else text.upper()
