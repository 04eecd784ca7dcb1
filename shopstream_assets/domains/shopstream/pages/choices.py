"""What several pages have in common: the choice of customers, and how many a rate must be of."""

from __future__ import annotations

import streamlit as st

from shopstream_assets.dashboards import filters
from shopstream_assets.dashboards.marts import Condition, Marts, among

# A rate of fewer says more of chance than of the shop; dbt's variable minimum_sample.
SMALLEST_SAMPLE = 30


def customers(marts: Marts, mart: str) -> Condition:
    """Those of some countries and acquisition channels, of the ones that the mart has."""
    of = marts.values(mart, "country", "acquisition_channel")
    country, channel = st.columns(2)
    with country:
        countries = filters.several("Country of residence", "country", of["country"], "All countries")
    with channel:
        channels = filters.several("Acquisition channel", "channel", of["acquisition_channel"], "All channels")
    return among("country", countries) & among("acquisition_channel", channels)
