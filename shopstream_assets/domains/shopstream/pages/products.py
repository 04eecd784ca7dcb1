"""Products: what each brings, what it leaves, and what comes back."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from shopstream_assets.dashboards import charts, filters
from shopstream_assets.dashboards.figures import (
    COUNT,
    EURO,
    SHARE,
    Card,
    cards,
    draw,
    figure,
    nothing,
    ratio,
    table,
)
from shopstream_assets.dashboards.marts import Condition, Marts, among

MART = "mart_product_performance"
MONTHS = "mart_product_months"
MONTHS_DRAWN = 12
# So many best sellers are drawn; the table has every product.
DRAWN = 400
ON_SALE = {"All": Condition("true"), "On sale": Condition("is_active"), "Retired": Condition("not is_active")}


def show(marts: Marts) -> None:
    """Draw the page."""
    chosen = _choices(marts)
    found = marts.rows(
        f"""
        select
            product_id, sku, product_name, product_category, list_price, units, units_refunded, net_revenue,
            net_revenue_with_cost, margin, margin_rate, refund_rate, view_to_order_rate, viewing_sessions,
            ordering_sessions, revenue_rank, is_active
        from marts.{MART}
        where {chosen.sql}
        order by revenue_rank
        """,
        *chosen.values,
    )
    if found.empty:
        nothing("products")
        return
    unit = f"to date · built {marts.built.newest:%-d %b %Y, %H:%M} UTC"
    _cards(marts, found)
    left, right = st.columns([3, 2])
    with left:
        _margin_against_volume(marts, found, unit)
    with right:
        _refunds(marts, chosen, unit)
    _list(marts, _with_courses(marts, found), unit)


def _choices(marts: Marts) -> Condition:
    search, category, sale = st.columns([2, 2, 1.4])
    with search:
        words = filters.words("Name or SKU", "q", "Any product")
    with category:
        options = marts.values(MART, "product_category")["product_category"]
        categories = filters.several("Category", "category", options, "All categories")
    with sale:
        status = filters.one("Catalogue", "status", list(ON_SALE))
    named = Condition("true")
    if words:
        named = Condition("(contains(lower(product_name), %s) or contains(lower(sku), %s))", (words, words))
    return among("product_category", categories) & ON_SALE[status] & named


def _cards(marts: Marts, found: pd.DataFrame) -> None:
    cards(
        [
            Card("Products", len(found), COUNT, "Products in this choice."),
            Card("Net revenue", found["net_revenue"].sum(), EURO, marts.meaning(MART, "net_revenue")),
            Card(
                "Margin",
                ratio(found["margin"].sum(), found["net_revenue_with_cost"].sum()),
                SHARE,
                "Margin as a share of net revenue, of what has a known cost.",
            ),
            Card("Units sold", found["units"].sum(), COUNT, marts.meaning(MART, "units")),
            Card(
                "Units refunded",
                ratio(found["units_refunded"].sum(), found["units"].sum()),
                SHARE,
                "Units refunded per unit sold.",
            ),
        ]
    )


def _margin_against_volume(marts: Marts, found: pd.DataFrame, unit: str) -> None:
    drawn = found[(found["margin_rate"].notna()) & (found["units"] > 0)].head(DRAWN)
    meaning = (
        "Each product is a dot: units sold to the right, margin as a share of net revenue upwards, net revenue by its "
        f"size. {marts.meaning(MART, 'margin')}"
    )
    with figure("Margin against volume", f"Share of net revenue by units sold · {unit}", meaning, "margin"):
        chart = (
            alt.Chart(drawn)
            .mark_circle(opacity=0.65)
            .encode(
                x=alt.X(
                    "units:Q",
                    title="Units sold",
                    scale=alt.Scale(type="log"),
                    axis=alt.Axis(grid=False, format="~s", tickCount=6),
                ),
                y=alt.Y("margin_rate:Q", title=None, axis=alt.Axis(format="%"), scale=alt.Scale(zero=False)),
                size=alt.Size("net_revenue:Q", legend=None, scale=alt.Scale(range=[20, 700])),
                color=alt.Color("product_category:N", title=None, legend=alt.Legend(orient="bottom", columns=3)),
                tooltip=[
                    alt.Tooltip("product_name:N", title="Product"),
                    alt.Tooltip("sku:N", title="SKU"),
                    alt.Tooltip("product_category:N", title="Category"),
                    alt.Tooltip("units:Q", title="Units sold", format=",.0f"),
                    alt.Tooltip("net_revenue:Q", title="Net revenue (EUR)", format=",.0f"),
                    alt.Tooltip("margin_rate:Q", title="Margin", format=".1%"),
                ],
            )
            .properties(height=340)
        )
        draw(chart, f"Margin against units sold of {len(drawn)} products.")


def _refunds(marts: Marts, chosen: Condition, unit: str) -> None:
    by_category = marts.rows(
        f"""
        select
            product_category as name,
            sum(units) as units,
            sum(units_refunded) as units_refunded,
            sum(units_refunded) / nullif(sum(units), 0)::double as refund_rate
        from marts.{MART}
        where {chosen.sql}
        group by product_category
        order by refund_rate desc nulls last, name
        """,
        *chosen.values,
    )
    tips = [
        alt.Tooltip("name:N", title="Category"),
        alt.Tooltip("refund_rate:Q", title="Refunded", format=".2%"),
        alt.Tooltip("units_refunded:Q", title="Units refunded", format=",.0f"),
        alt.Tooltip("units:Q", title="Units sold", format=",.0f"),
    ]
    meaning = f"Units refunded per unit sold. {marts.meaning(MART, 'units_refunded')}"
    with figure("Refunds by category", f"Share of units · {unit}", meaning, "refunds"):
        draw(
            charts.bars(by_category, "name", "refund_rate", ".1%", tips, charts.WARM, height=38),
            f"Bars of the share of units refunded by category. The most: {by_category['name'].iloc[0]}.",
        )


def _with_courses(marts: Marts, found: pd.DataFrame) -> pd.DataFrame:
    """The products, each with its net revenue month by month, oldest first; months without a sale are 0."""
    sold = marts.rows(
        f"""
        select product_id, sales_month, net_revenue from marts.{MONTHS}
        where sales_month >= dateadd('month', -%s, (select max(sales_month) from marts.{MONTHS}))
        """,
        MONTHS_DRAWN - 1,
    )
    by_month = sold.pivot_table(index="product_id", columns="sales_month", values="net_revenue", fill_value=0.0)
    courses = pd.Series(by_month.to_numpy().tolist(), index=by_month.index, name="course")
    joined, none = found.join(courses, on="product_id"), [0.0] * len(by_month.columns)
    filled = pd.Series([each if isinstance(each, list) else none for each in joined["course"]], joined.index, object)
    return joined.assign(course=filled)


def _list(marts: Marts, found: pd.DataFrame, unit: str) -> None:
    most = float(found["net_revenue"].max() or 0) or 1.0
    with figure("Every product", f"EUR, rates as shares · {unit}", "A product of the catalogue in each row.", "list"):
        table(
            found,
            {
                "revenue_rank": st.column_config.NumberColumn("#", help=marts.meaning(MART, "revenue_rank"), width=50),
                "product_name": st.column_config.TextColumn("Product", width="medium"),
                "net_revenue": st.column_config.ProgressColumn(
                    "Net revenue", format="€%,.0f", min_value=0, max_value=most, help=marts.meaning(MART, "net_revenue")
                ),
                "course": st.column_config.BarChartColumn(
                    "By month",
                    help=f"The last {MONTHS_DRAWN} months, this one so far. {marts.meaning(MONTHS, 'net_revenue')}",
                    y_min=0,
                ),
                "margin_rate": st.column_config.NumberColumn(
                    "Margin", format="percent", help=marts.meaning(MART, "margin_rate")
                ),
                "units": st.column_config.NumberColumn("Units", format="localized", help=marts.meaning(MART, "units")),
                "refund_rate": st.column_config.NumberColumn(
                    "Refunded", format="percent", help=marts.meaning(MART, "refund_rate")
                ),
                "view_to_order_rate": st.column_config.NumberColumn(
                    "View to order", format="percent", help=marts.meaning(MART, "view_to_order_rate")
                ),
                "product_category": "Category",
                "sku": "SKU",
                "list_price": st.column_config.NumberColumn("List price", format="€%,.2f"),
                "is_active": st.column_config.CheckboxColumn("On sale"),
            },
            "products",
            "Every product of this choice, by net revenue",
            height=420,
        )
