"""The staging area: the lake's partitions as a log of changes in Snowflake."""
