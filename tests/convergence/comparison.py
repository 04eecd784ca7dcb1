"""Staging, core and marts beside what plain SQL computes from the source, row by row."""

from __future__ import annotations

import oracle
from platform_under_test import ALL_TABLES, Platform
from small_shop import SmallShop

# More differences of one table, or of all, say nothing new.
SHOWN_OF_EACH, SHOWN = 4, 30


def wrong_layers(shop: SmallShop, platform: Platform) -> list[str]:
    """What a layer holds otherwise than the source says, a sentence each; nothing where all are as they must be.

    Raises AssertionError where staging contradicts itself.
    """
    wrong: dict[str, list[str]] = {}
    for table, found in platform.staged_state(ALL_TABLES).items():
        expected = shop.records(oracle.state_query(table, shop.start))
        wrong[f"staging of {table}"] = oracle.differences(expected, found, ["id"])
    wrong["the checks of staging"] = platform.staging_checks()
    if platform.with_models:
        refunds = oracle.refunds_of(platform.rows("STAGING.STG_ORDERS"))
        returns = oracle.returns_of(platform.rows("STAGING.STG_ORDER_ITEMS"))
        for model in oracle.MODELS:
            expected = shop.records(oracle.model_query(model, shop.start, refunds, returns))
            if model.name == "mart_customer_ltv":
                expected = oracle.with_projections(expected, platform.rows("CORE.CUSTOMER_VALUE"))
            found = platform.rows(model.relation)
            wrong[model.relation] = oracle.differences(expected, found, model.key, model.rounded)
        if told := platform.source_check():
            wrong["the check against the source"] = [told]
    return [f"{layer}: {line}" for layer, lines in wrong.items() for line in lines[:SHOWN_OF_EACH]][:SHOWN]
