"""INFORMATION_SCHEMA as DuckDB macros, in memory: nothing of it is written to the databases' files.

fakesnow 0.12.1 stores it as views in every database, where TABLES lacks the views and most comments, an INTEGER
or HUGEINT column has no Snowflake type, and CREATED and LAST_ALTERED claim 1970. Here they are NULL: not known.
So is ROW_COUNT: DuckDB's estimate still counts deleted rows.
"""

# Where the emulator keeps its own tables inside each database, hidden from every listing.
OWN_SCHEMA = "_emulator"

# The in-memory catalog of macros; qualified, so that views saved in a database find them as well.
MACROS = "memory.main"

_HIDDEN = f"('main', 'information_schema', 'pg_catalog', '{OWN_SCHEMA}')"

_NUMBERS = (
    "('TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT', 'HUGEINT', "
    "'UTINYINT', 'USMALLINT', 'UINTEGER', 'UBIGINT', 'UHUGEINT')"
)

_OBJECTS = f"""
create macro {MACROS}._ss_objects(catalog) as table
    select
        database_name, schema_name, table_name as object_name, 'TABLE' as kind, comment, null::bigint as row_count,
        null::varchar as definition
    from duckdb_tables()
    where database_name = catalog and not temporary and schema_name not in {_HIDDEN}
    union all
    select database_name, schema_name, view_name, 'VIEW', comment, null, sql
    from duckdb_views()
    where database_name = catalog and not internal and schema_name not in {_HIDDEN}
"""

_COLUMN_TYPES = f"""
create macro {MACROS}._ss_column_types(catalog) as table
    select
        database_name, schema_name, table_name, column_name, column_index, column_default, is_nullable, comment,
        case
            when data_type in {_NUMBERS} or data_type like 'DECIMAL%' then 'NUMBER'
            when data_type in ('VARCHAR', 'UUID') then 'TEXT'
            when data_type in ('DOUBLE', 'FLOAT') then 'FLOAT'
            when data_type = 'BLOB' then 'BINARY'
            when data_type in ('TIMESTAMP', 'TIMESTAMP_S', 'TIMESTAMP_MS', 'TIMESTAMP_NS') then 'TIMESTAMP_NTZ'
            when data_type = 'TIMESTAMP WITH TIME ZONE' then 'TIMESTAMP_TZ'
            when data_type in ('BOOLEAN', 'DATE', 'TIME') then data_type
            else 'VARIANT'
        end as snowflake_type,
        case when data_type like 'DECIMAL%' then numeric_precision
             when data_type in {_NUMBERS} then 38 end as number_precision,
        case when data_type like 'DECIMAL%' then numeric_scale
             when data_type in {_NUMBERS} then 0 end as number_scale
    from duckdb_columns()
    where database_name = catalog and not internal
"""

_TABLES = f"""
create macro {MACROS}._ss_tables(catalog) as table
    select
        database_name as TABLE_CATALOG,
        schema_name as TABLE_SCHEMA,
        object_name as TABLE_NAME,
        'SYSADMIN' as TABLE_OWNER,
        case kind when 'TABLE' then 'BASE TABLE' else kind end as TABLE_TYPE,
        'NO' as IS_TRANSIENT,
        null::varchar as CLUSTERING_KEY,
        row_count as ROW_COUNT,
        null::bigint as BYTES,
        1 as RETENTION_TIME,
        null::varchar as SELF_REFERENCING_COLUMN_NAME,
        null::varchar as REFERENCE_GENERATION,
        null::varchar as USER_DEFINED_TYPE_CATALOG,
        null::varchar as USER_DEFINED_TYPE_SCHEMA,
        null::varchar as USER_DEFINED_TYPE_NAME,
        'YES' as IS_INSERTABLE_INTO,
        'YES' as IS_TYPED,
        null::varchar as COMMIT_ACTION,
        null::timestamptz as CREATED,
        null::timestamptz as LAST_ALTERED,
        null::timestamptz as LAST_DDL,
        'SYSADMIN' as LAST_DDL_BY,
        'NO' as AUTO_CLUSTERING_ON,
        comment as COMMENT,
        'NO' as IS_TEMPORARY,
        'NO' as IS_ICEBERG,
        'NO' as IS_DYNAMIC,
        'NO' as IS_IMMUTABLE,
        'NO' as IS_HYBRID
    from {MACROS}._ss_objects(catalog)
"""

_VIEWS = f"""
create macro {MACROS}._ss_views(catalog) as table
    select
        database_name as TABLE_CATALOG,
        schema_name as TABLE_SCHEMA,
        object_name as TABLE_NAME,
        'SYSADMIN' as TABLE_OWNER,
        definition as VIEW_DEFINITION,
        'NONE' as CHECK_OPTION,
        'NO' as IS_UPDATABLE,
        'NO' as INSERTABLE_INTO,
        'NO' as IS_SECURE,
        null::timestamptz as CREATED,
        null::timestamptz as LAST_ALTERED,
        null::timestamptz as LAST_DDL,
        'SYSADMIN' as LAST_DDL_BY,
        comment as COMMENT
    from {MACROS}._ss_objects(catalog)
    where kind = 'VIEW'
"""

_SCHEMATA = f"""
create macro {MACROS}._ss_schemata(catalog) as table
    select
        database_name as CATALOG_NAME,
        schema_name as SCHEMA_NAME,
        'SYSADMIN' as SCHEMA_OWNER,
        'NO' as IS_TRANSIENT,
        'NO' as IS_MANAGED_ACCESS,
        1 as RETENTION_TIME,
        null::timestamptz as CREATED,
        null::timestamptz as LAST_ALTERED,
        comment as COMMENT,
        'ROLE' as OWNER_ROLE_TYPE
    from (
        select database_name, schema_name, comment from duckdb_schemas()
        where database_name = catalog and schema_name not in {_HIDDEN}
        union all
        select catalog, 'INFORMATION_SCHEMA', null
    )
"""

_DATABASES = f"""
create macro {MACROS}._ss_databases(catalog) as table
    select
        database_name as DATABASE_NAME,
        'SYSADMIN' as DATABASE_OWNER,
        'NO' as IS_TRANSIENT,
        comment as COMMENT,
        null::timestamptz as CREATED,
        null::timestamptz as LAST_ALTERED,
        1 as RETENTION_TIME,
        'STANDARD' as TYPE
    from duckdb_databases()
    where not internal and database_name not in ('memory', '_account')
"""

# Lengths of VARCHAR columns are kept in each database: DuckDB has unbounded text only.
_COLUMNS = f"""
create macro {MACROS}._ss_columns(catalog, lengths) as table
    select
        columns.database_name as TABLE_CATALOG,
        columns.schema_name as TABLE_SCHEMA,
        columns.table_name as TABLE_NAME,
        columns.column_name as COLUMN_NAME,
        columns.column_index as ORDINAL_POSITION,
        columns.column_default as COLUMN_DEFAULT,
        case when columns.is_nullable then 'YES' else 'NO' end as IS_NULLABLE,
        columns.snowflake_type as DATA_TYPE,
        case when snowflake_type = 'TEXT' then coalesce(texts.length, 16777216) end as CHARACTER_MAXIMUM_LENGTH,
        case when snowflake_type = 'TEXT' then least(coalesce(texts.length, 16777216) * 4, 16777216)
            end as CHARACTER_OCTET_LENGTH,
        number_precision as NUMERIC_PRECISION,
        case when snowflake_type = 'NUMBER' then 10 end as NUMERIC_PRECISION_RADIX,
        number_scale as NUMERIC_SCALE,
        case when snowflake_type like 'TIME%' then 9 end as DATETIME_PRECISION,
        null::varchar as COLLATION_NAME,
        'NO' as IS_IDENTITY,
        columns.comment as COMMENT
    from {MACROS}._ss_column_types(catalog) as columns
    left join query_table(lengths) as texts
        on texts.schema_name = columns.schema_name
        and texts.table_name = columns.table_name
        and texts.column_name = columns.column_name
    where columns.schema_name not in {_HIDDEN}
"""

# What the columns of INFORMATION_SCHEMA.LOAD_HISTORY hold is written by copying.py.
LOAD_HISTORY = f"""
create table if not exists {{catalog}}.{OWN_SCHEMA}.load_history (
    SCHEMA_NAME varchar,
    FILE_NAME varchar,
    TABLE_NAME varchar,
    LAST_LOAD_TIME timestamptz,
    STATUS varchar,
    ROW_COUNT bigint,
    ROW_PARSED bigint,
    FIRST_ERROR_MESSAGE varchar,
    FIRST_ERROR_LINE_NUMBER bigint,
    FIRST_ERROR_CHARACTER_POSITION bigint,
    FIRST_ERROR_COL_NAME varchar,
    ERROR_COUNT bigint,
    ERROR_LIMIT bigint,
    FILE_SIZE bigint,
    FILE_MODIFIED timestamptz
)
"""

TEXT_LENGTHS = f"""
create table if not exists {{catalog}}.{OWN_SCHEMA}.text_lengths (
    schema_name varchar, table_name varchar, column_name varchar, length bigint
)
"""

MACRO_STATEMENTS = (_OBJECTS, _COLUMN_TYPES, _TABLES, _VIEWS, _SCHEMATA, _DATABASES, _COLUMNS)

# INFORMATION_SCHEMA view -> macro taking the database's name
VIEWS = {
    "TABLES": "_ss_tables",
    "COLUMNS": "_ss_columns",
    "VIEWS": "_ss_views",
    "SCHEMATA": "_ss_schemata",
    "DATABASES": "_ss_databases",
}
