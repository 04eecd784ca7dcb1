"""The local Snowflake: one process on 127.0.0.1 that answers the Snowflake protocol from DuckDB files.

`fakesnow` supplies the translation of Snowflake's SQL to DuckDB's, `sqlglot` the parser, DuckDB the engine.
What this project asks of Snowflake beyond that lives here, one idea per module:

server.py        the HTTP protocol: login, statements, heartbeat, identity
sessions.py      a client's session: current schema, parameters, temporary tables, one statement at a time
dispatch.py      which module answers which statement: queries, changes, tables, containers, accounts
dialect.py       Snowflake SQL -> DuckDB SQL: fakesnow's rewrites in their order, and ours (rewrites.py)
transactions.py  BEGIN to COMMIT as Snowflake does it; locks.py holds tables between writers
copying.py       COPY INTO from a stage; stages.py finds and fetches its objects; merging.py is MERGE
storage.py       the files under the state directory, and what survives a kill -9
showing.py       SHOW and DESCRIBE; information.py is INFORMATION_SCHEMA; comments.py and records.py what they tell
types.py         DuckDB results -> what the connector expects; errors.py the same for failures
accounts.py      warehouses, roles, grants, policies: accepted, without effect

Start it with `python -m shopstream_assets.embedded.snowflake --port N --state-dir DIR --s3-endpoint URL`.
"""
