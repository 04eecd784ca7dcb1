"""Account-level SQL: accepted, without effect. What it means is tested on deploy/snowflake, not here."""

import re

# fakesnow 0.12.1 fails on most of these (some as an HTTP 500, which the connector retries for ever): DuckDB has
# no roles, warehouses, grants, integrations or policies to translate them to.
_ACCOUNT_OBJECT = (
    r"warehouse|role|database\s+role|user|storage\s+integration|notification\s+integration|api\s+integration"
    r"|security\s+integration|masking\s+policy|row\s+access\s+policy|aggregation\s+policy|session\s+policy"
    r"|password\s+policy|authentication\s+policy|network\s+policy|network\s+rule|resource\s+monitor|tag|share"
)
_WITHOUT_EFFECT = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        rf"(create|alter|drop|describe|desc)\s+(or\s+replace\s+)?({_ACCOUNT_OBJECT})\b",
        r"(grant|revoke)\b",
        r"use\s+(warehouse|role|secondary\s+roles)\b",
        r"alter\s+(account|database|schema)\b(?!.*\brename\s+to\b)(?!.*\bswap\s+with\b)",
        r"alter\s+(table|view)\s+\S+\s+.*\b(set|unset|add|drop)\s+(masking\s+policy|row\s+access\s+policy|tag)\b",
        r"alter\s+table\s+\S+\s+(cluster\s+by|drop\s+clustering\s+key|(suspend|resume)\s+recluster)\b",
        r"alter\s+table\s+\S+\s+(set|unset)\s+(data_retention_time_in_days|change_tracking|enable_schema_evolution"
        r"|max_data_extension_time_in_days)\b",
    )
)


def has_no_effect(sql: str) -> bool:
    """Whether the statement (comments removed) only concerns the account."""
    return any(pattern.match(sql) for pattern in _WITHOUT_EFFECT)
