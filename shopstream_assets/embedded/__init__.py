"""The local stack: PostgreSQL, AWS and the Snowflake protocol. Only the command line knows that it exists."""
