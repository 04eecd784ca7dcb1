"""Checks that read whole tables: they run daily and on demand, in no refresh."""

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

# Metadata of a check that reads whole tables: it runs daily and on demand, in no refresh.
ON_A_CLOCK = {"on_a_clock": True}


def is_on_a_clock(graph: AssetGraph, check: dg.AssetCheckKey) -> bool:
    """Whether a check runs on the clock and on demand only, in no refresh."""
    return ON_A_CLOCK.items() <= graph.get_check_spec(check).metadata.items()
