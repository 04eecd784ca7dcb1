"""ShopStream: a data platform in which every table, from a Postgres row to a mart, is a Dagster asset.

The tour, in the order of a row's way:

- `platform.declare.tables` declares a source table once; `domains.shopstream.tables` lists those of the store.
- `platform.sources` reads a window of changed rows from Postgres, `platform.lake` publishes them as Parquet objects
  behind a manifest, `platform.staging` copies them into Snowflake, `platform.transform` runs dbt.
- `platform.definitions` puts a domain together.
- `embedded` answers for Postgres, S3 and Snowflake on a laptop; nothing else knows that it exists.
- `cli` is the `shopstream` command.
"""
