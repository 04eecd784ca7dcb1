"""Comments on tables, views and columns, kept as DuckDB's own comments: they survive restarts, and drops with them.

fakesnow 0.12.1 keeps table comments apart, drops column comments, and fails on dbt's form of several at once.
"""

from dataclasses import dataclass, field

import duckdb
import sqlglot
from sqlglot import TokenType, exp

from shopstream_assets.embedded.snowflake.dialect import TableName
from shopstream_assets.embedded.snowflake.errors import compilation
from shopstream_assets.embedded.snowflake.storage import identifier, literal


@dataclass
class Comments:
    """What to say about one table or view; None leaves the comment as it is."""

    table: str | None = None
    columns: dict[str, str] = field(default_factory=dict)

    def apply(self, name: TableName, duck: duckdb.DuckDBPyConnection) -> None:
        """Write the comments to a table or view that exists."""
        full_name = ".".join(identifier(part) for part in name)
        if self.table is not None:
            is_view = duck.execute(
                "select 1 from duckdb_views() where database_name = ? and schema_name = ? and view_name = ?",
                [*name],
            ).fetchone()
            duck.execute(f"comment on {'view' if is_view else 'table'} {full_name} is {literal(self.table)}")
        for column, text in self.columns.items():
            duck.execute(f"comment on column {full_name}.{identifier(column)} is {literal(text)}")


def of_create(statement: exp.Create) -> Comments:
    """The comments inside CREATE TABLE or CREATE VIEW."""
    found = Comments()
    properties = statement.args.get("properties")
    for item in properties.expressions if properties else ():
        if isinstance(item, exp.SchemaCommentProperty):
            found.table = item.this.name
    if isinstance(statement.this, exp.Schema):
        for column in statement.this.expressions:
            if isinstance(column, exp.ColumnDef) and (comment := column.find(exp.CommentColumnConstraint)):
                found.columns[column.name] = comment.this.name
    return found


def of_alter(sql: str) -> tuple[exp.Table, Comments] | None:
    """ALTER {TABLE | VIEW} x {ALTER | MODIFY} [COLUMN] a COMMENT '..', b COMMENT '..', or SET COMMENT = '..'.

    sqlglot does not parse the forms with several columns; None for statements about something else.
    """
    tokens = sqlglot.tokenize(sql, read="snowflake")
    words = [token.text.upper() for token in tokens]
    if len(words) < 5 or words[0] != "ALTER" or words[1] not in ("TABLE", "VIEW"):
        return None
    at = 2 if words[2:4] != ["IF", "EXISTS"] else 4
    name, at = _dotted_name(tokens, at)
    if words[at : at + 3] == ["SET", "COMMENT", "="] and len(words) >= at + 4:
        return name, Comments(table=tokens[at + 3].text)
    if at >= len(words) or words[at] not in ("ALTER", "MODIFY") or "COMMENT" not in words[at:]:
        return None
    at += 1
    if bracketed := words[at : at + 1] == ["("]:
        at += 1
    found = Comments()
    while at < len(tokens):
        if words[at] == "COLUMN":
            at += 1
        if words[at + 1 : at + 2] != ["COMMENT"] or at + 2 >= len(tokens):
            raise compilation(1003, "42000", f"syntax error: unexpected '{tokens[at].text}' in a list of comments.")
        column = tokens[at].text if tokens[at].token_type == TokenType.IDENTIFIER else words[at]
        found.columns[column] = tokens[at + 2].text
        at += 3
        if words[at : at + 1] == [","]:
            at += 1
        elif words[at : at + 1] == [";"] or (bracketed and words[at : at + 1] == [")"]):
            break
    return name, found


def _dotted_name(tokens: list[sqlglot.tokens.Token], at: int) -> tuple[exp.Table, int]:
    parts = []
    while at < len(tokens):
        token = tokens[at]
        text = token.text if token.token_type == TokenType.IDENTIFIER else token.text.upper()
        parts.append(exp.to_identifier(text, quoted=True))
        at += 1
        if at >= len(tokens) or tokens[at].token_type != TokenType.DOT:
            break
        at += 1
    return exp.Table(**dict(zip(("this", "db", "catalog"), reversed(parts), strict=False))), at
