"""dbt: its project as parsed, its runs, and its models as assets."""
