"""Tables and views: created, altered, commented, dropped."""

from sqlglot import exp

from shopstream_assets.embedded.snowflake import comments, records
from shopstream_assets.embedded.snowflake.dialect import Namespace, TableName, to_duckdb
from shopstream_assets.embedded.snowflake.errors import unsupported
from shopstream_assets.embedded.snowflake.queries import session_functions
from shopstream_assets.embedded.snowflake.rewrites import named_projections
from shopstream_assets.embedded.snowflake.sessions import Session
from shopstream_assets.embedded.snowflake.statements import Statement
from shopstream_assets.embedded.snowflake.storage import identifier
from shopstream_assets.embedded.snowflake.transactions import Kind, Target
from shopstream_assets.embedded.snowflake.types import Result


def create_table(session: Session, statement: Statement) -> Result:
    """CREATE TABLE, also as a copy of a query's rows."""
    tree = statement.tree
    assert isinstance(tree, exp.Create)
    table = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    name = session.namespace.resolve(table)
    if tree.find(exp.AutoIncrementColumnConstraint, exp.GeneratedAsIdentityColumnConstraint):
        raise unsupported("AUTOINCREMENT and IDENTITY columns")
    properties = tree.args.get("properties")
    if properties and properties.find(exp.DynamicProperty):
        raise unsupported("dynamic tables")
    if properties and properties.find(exp.TemporaryProperty):
        return _create_temporary(session, statement, name)
    said = comments.of_create(tree)
    lengths = records.text_lengths(tree)
    bound = statement.bound
    session_functions(tree, session)
    with session.transactions.statement(Kind.DEFINE, (Target(".".join(name).upper(), exclusive=True),)):
        records.require_schema(session, name)
        if tree.args.get("exists") and records.exists(session, name):
            return Result.status(f"{name[2]} already exists, statement succeeded.")
        for part in _creation(tree, name, session.namespace):
            session.duck.execute(part, bound)
        said.apply(name, session.duck)
        records.remember_lengths(session, name, lengths, replace=True)
        records.forget_loads(session, name)
    return Result.status(f"Table {name[2]} successfully created.")


def _creation(tree: exp.Create, name: TableName, namespace: Namespace) -> list[str]:
    """CREATE TABLE in DuckDB's terms. DuckDB takes column definitions or AS SELECT, not both; a view has its own."""
    query = tree.args.get("expression")
    if str(tree.args["kind"]).upper() == "VIEW" or not isinstance(tree.this, exp.Schema) or query is None:
        return [to_duckdb(tree, namespace)]
    columns = [exp.to_identifier(item.name, quoted=True) for item in tree.this.expressions if item.name]
    query = query.unnest() if isinstance(query, exp.Subquery) else query
    rows = exp.to_identifier("_emulator_rows", quoted=True)
    table = ".".join(identifier(part) for part in name)
    listed = ", ".join(column.sql(dialect="duckdb") for column in columns)
    tree.set("expression", None)
    # the rows first: the query may read the table that is being replaced
    return [
        f"create or replace temporary table {rows.sql(dialect='duckdb')} as {to_duckdb(query, namespace)}",
        to_duckdb(tree, namespace),
        f"insert into {table} ({listed}) select * from temp.main.{rows.sql(dialect='duckdb')}",
        f"drop table temp.main.{rows.sql(dialect='duckdb')}",
    ]


def _create_temporary(session: Session, statement: Statement, name: TableName) -> Result:
    """A temporary table or view, which lives in the session's own catalog under a name that says where it belongs."""
    tree = statement.tree
    assert isinstance(tree, exp.Create)
    tree.set("this", _renamed(tree.this, exp.table_(".".join(name), "main", "temp", quoted=True)))
    session_functions(tree, session)
    parts = _creation(tree, ("temp", "main", ".".join(name)), session.namespace)
    with session.transactions.statement(Kind.DEFINE):
        for part in parts:
            session.duck.execute(part, statement.bound)
    session.namespace.temporary[name] = ".".join(name)
    return Result.status(f"{str(tree.args['kind']).title()} {name[2]} successfully created.")


def _renamed(this: exp.Expr, table: exp.Table) -> exp.Expr:
    if isinstance(this, exp.Schema):
        this.set("this", table)
        return this
    return table


def create_view(session: Session, statement: Statement) -> Result:
    """CREATE VIEW."""
    tree = statement.tree
    assert isinstance(tree, exp.Create)
    name = session.namespace.resolve(tree.this.this if isinstance(tree.this, exp.Schema) else tree.this)
    said = comments.of_create(tree)
    named_projections(tree.expression)
    if (properties := tree.args.get("properties")) and properties.find(exp.TemporaryProperty):
        return _create_temporary(session, statement, name)
    sql = to_duckdb(session_functions(tree, session), session.namespace)
    with session.transactions.statement(Kind.DEFINE, (Target(".".join(name).upper(), exclusive=True),)):
        records.require_schema(session, name)
        session.duck.execute(sql)
        said.apply(name, session.duck)
    return Result.status(f"View {name[2]} successfully created.")


def alter(session: Session, statement: Statement) -> Result:
    """ALTER TABLE and ALTER VIEW."""
    tree = statement.tree
    if not isinstance(tree.this, exp.Table):
        raise unsupported(statement.sql[:200])
    name = session.namespace.resolve(tree.this)
    actions = tree.args.get("actions") or []
    if any(isinstance(action, exp.SwapTable) for action in actions):
        raise unsupported("ALTER TABLE ... SWAP WITH")
    for action in actions:
        if isinstance(action, exp.AlterRename) and session.namespace.resolve(action.this)[:2] != name[:2]:
            raise unsupported("renaming a table into another schema")
    lengths = records.text_lengths(tree)
    with session.transactions.statement(Kind.DEFINE, (Target(".".join(name).upper(), exclusive=True),)):
        for sql in _alterations(tree, actions, session.namespace):
            session.duck.execute(sql)
        records.remember_lengths(session, name, lengths, replace=False)
    return Result.status()


def _alterations(tree: exp.Expr, actions: list[exp.Expr], namespace: Namespace) -> list[str]:
    """One ALTER for each action: DuckDB takes one at a time."""
    single: list[exp.Expr] = []
    for action in actions:
        if isinstance(action, exp.Drop) and len(action.args.get("tables") or []) > 1:
            for column in action.args["tables"]:
                part = action.copy()
                part.set("tables", [column.copy()])
                single.append(part)
        else:
            single.append(action)
    found = []
    for action in single:
        alteration = tree.copy()
        alteration.set("actions", [action.copy()])
        found.append(to_duckdb(alteration, namespace))
    return found


def comment_on(session: Session, statement: Statement) -> Result:
    """COMMENT ON."""
    tree = statement.tree
    kind, text = str(tree.args.get("kind")).upper(), tree.expression.name
    if kind == "COLUMN":
        parts = tree.this.parts
        table = exp.Table(**dict(zip(("this", "db", "catalog"), reversed(parts[:-1]), strict=False)))
        return comment(session, table, comments.Comments(columns={parts[-1].name: text}))
    if kind in ("TABLE", "VIEW"):
        return comment(session, tree.this, comments.Comments(table=text))
    return Result.status()  # databases, schemas, stages: nothing reads their comments back


def comment(session: Session, table: exp.Table, said: comments.Comments) -> Result:
    """Write comments to a table or view."""
    name = session.namespace.resolve(table)
    if name in session.namespace.temporary:
        return Result.status()
    with session.transactions.statement(Kind.DEFINE, (Target(".".join(name).upper(), exclusive=True),)):
        said.apply(name, session.duck)
    return Result.status()


def drop(session: Session, statement: Statement) -> Result:
    """DROP TABLE and DROP VIEW."""
    tree = statement.tree
    name = session.namespace.resolve(tree.args["tables"][0])
    if temporary := session.namespace.temporary.get(name):
        with session.transactions.statement(Kind.DEFINE):
            session.duck.execute(f"drop {tree.args['kind']} temp.main.{identifier(temporary)}")
        del session.namespace.temporary[name]
        return Result.status(f"{name[2]} successfully dropped.")
    with session.transactions.statement(Kind.DEFINE, (Target(".".join(name).upper(), exclusive=True),)):
        if tree.args.get("exists") and not records.exists(session, name):
            return Result.status("Drop statement executed successfully (already dropped).")
        session.duck.execute(to_duckdb(tree, session.namespace))
        records.remember_lengths(session, name, {}, replace=True)
        records.forget_loads(session, name)
    return Result.status(f"{name[2]} successfully dropped.")
