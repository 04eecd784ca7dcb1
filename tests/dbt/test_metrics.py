"""How each figure aggregates: what the metrics say is valid, complete, and what the facts say at any level."""

from __future__ import annotations

import datetime as dt
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlglot
from small_store import busy_store
from sqlglot import exp

from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.platform.transform.dbt_invocation import invoke_dbt

if TYPE_CHECKING:
    from conftest import Warehouse
    from dbt.contracts.graph.manifest import Manifest

Groups = dict[tuple[Any, ...], float | None]

# Each metric, at any level of its dimensions, computed from the facts and not from a mart.
ORDERS = "core.fact_orders as o"
LINES = (
    "core.fact_orders as o left join core.fact_order_items as i on i.order_id = o.order_id "
    "left join core.dim_products as p on p.product_id = i.product_id"
)
OF_ORDERS = {"order_date": "o.order_date", "shipping_country": "coalesce(o.shipping_country, 'unknown')"}
KEPT = "coalesce(i.units_sold - i.units_refunded, 0)"
HAS_COST = "(i.line_id is null or i.unit_cost is not null or (i.net_revenue = 0 and i.units_sold = i.units_refunded))"
NET = "coalesce(i.net_revenue, o.net_revenue)"
REVENUE_WITH_COST = f"sum(iff({HAS_COST}, {NET}, 0))"
MARGIN = f"sum(iff({HAS_COST}, {NET} - iff({KEPT} = 0, 0, {KEPT} * i.unit_cost), null))"
# What was sold and what came back, each on its own day; `units` below 0 are those that came back.
BOOKED = (
    "(select o.order_date as day, o.shipping_country, i.product_id, i.unit_cost, coalesce(i.units_sold, 0) as units, "
    "coalesce(i.gross_revenue - i.discount_amount, o.gross_revenue - o.discount_amount) as net "
    "from core.fact_orders as o left join core.fact_order_items as i on i.order_id = o.order_id "
    "union all select refunded_date, shipping_country, product_id, unit_cost, -units_refunded, -refunded_amount "
    "from core.fact_refunds) as b "
    "left join core.dim_products as p on p.product_id = b.product_id"
)
OF_BOOKED = {"booked_date": "b.day", "shipping_country": "coalesce(b.shipping_country, 'unknown')"}
# Each order counts nothing on its own day, and one refund on the first on which something came back.
REFUNDS = (
    "(select order_date as day, shipping_country, 0 as refunds, 0 as amount from core.fact_orders "
    "union all select refunded_date, shipping_country, iff(row_number() over (partition by order_id "
    "order by refunded_at, line_id) = 1, 1, 0), refunded_amount from core.fact_refunds) as b"
)
SESSIONS = (
    "(select s.session_id, s.device, s.referrer, s.session_date, "
    "count_if(e.event_type = 'product_view') > 0 as viewed, "
    "count_if(e.event_type = 'add_to_cart') > 0 as carted, count_if(e.event_type = 'checkout') > 0 as checked_out, "
    "count_if(e.event_type = 'purchase') > 0 as bought from core.fact_sessions as s "
    "inner join core.fact_events as e on e.session_id = s.session_id group by all) as s"
)
OF_SESSIONS = {"session_date": "s.session_date", "device": "s.device", "referrer": "s.referrer"}
SIGNUPS = (
    "(select c.customer_id, c.signup_date, c.country, c.acquisition_channel, "
    "min(datediff('second', c.signed_up_at, o.ordered_at)) / 86400.0 as waited, "
    "(select max(at)::date from (select max(updated_at) as at from core.dim_customers "
    "union all select max(updated_at) from core.fact_orders)) as newest from core.dim_customers as c "
    "left join core.fact_orders as o on o.customer_id = c.customer_id and o.ordered_at >= c.signed_up_at "
    "group by all) as c"
)
OF_SIGNUPS = {"signup_date": "signup_date", "country": "country", "acquisition_channel": "acquisition_channel"}

# Those who ordered and are missing are customers too.
CUSTOMERS = (
    "(select customer_id from core.dim_customers union select customer_id from core.fact_orders where is_sale) as k "
    "left join core.dim_customers as c on c.customer_id = k.customer_id"
)


def converted(days: int) -> str:
    had_them = f"datediff('day', signup_date, newest) > {days}"
    return f"count_if({had_them} and waited < {days}) / nullif(count_if({had_them}), 0)"


TRUTH: dict[str, tuple[str, str, dict[str, str]]] = {
    "orders": (ORDERS, "count_if(is_sale)", OF_ORDERS),
    "orders_placed": (ORDERS, "count(*)", OF_ORDERS),
    "buyers": (ORDERS, "count(distinct iff(is_sale, customer_id, null))", OF_ORDERS),
    "ordered_amount": (ORDERS, "sum(gross_revenue) - sum(discount_amount)", OF_ORDERS),
    "average_order_value": (
        ORDERS,
        "(sum(gross_revenue) - sum(discount_amount)) / nullif(count_if(is_sale), 0)",
        OF_ORDERS,
    ),
    **{
        name: (ORDERS, f"sum({name})", OF_ORDERS)
        for name in ("net_revenue", "gross_revenue", "discount_amount", "refunded_amount")
    },
    "units": (LINES, "coalesce(sum(i.units_sold), 0)", OF_ORDERS),
    "units_refunded": (LINES, "coalesce(sum(i.units_refunded), 0)", OF_ORDERS),
    "refund_rate": (LINES, "sum(i.units_refunded) / nullif(sum(i.units_sold), 0)", OF_ORDERS),
    "units_without_cost": (LINES, f"sum(iff({HAS_COST}, 0, {KEPT}))", OF_ORDERS),
    "net_revenue_with_cost": (LINES, REVENUE_WITH_COST, OF_ORDERS),
    "margin": (LINES, MARGIN, OF_ORDERS),
    "margin_rate": (LINES, f"{MARGIN} / nullif({REVENUE_WITH_COST}, 0)", OF_ORDERS),
    "net_revenue_as_booked": (BOOKED, "sum(b.net)", OF_BOOKED),
    "margin_as_booked": (
        BOOKED,
        "sum(iff(b.product_id is null, b.net, b.net - b.units * b.unit_cost))",
        OF_BOOKED,
    ),
    "refunded_as_booked": (REFUNDS, "sum(b.amount)", OF_BOOKED),
    "orders_refunded": (REFUNDS, "sum(b.refunds)", OF_BOOKED),
    "sessions": (SESSIONS, "count(*)", OF_SESSIONS),
    "sessions_with_view": (SESSIONS, "count_if(viewed)", OF_SESSIONS),
    "sessions_with_cart": (SESSIONS, "count_if(carted)", OF_SESSIONS),
    "sessions_with_checkout": (SESSIONS, "count_if(checked_out)", OF_SESSIONS),
    "sessions_with_purchase": (SESSIONS, "count_if(bought)", OF_SESSIONS),
    "carts_abandoned": (SESSIONS, "count_if(carted and not bought)", OF_SESSIONS),
    "session_conversion_rate": (SESSIONS, "count_if(bought) / count(*)", OF_SESSIONS),
    "add_to_cart_rate": (SESSIONS, "count_if(carted) / count(*)", OF_SESSIONS),
    "cart_abandonment_rate": (
        SESSIONS,
        "count_if(carted and not bought) / nullif(count_if(carted), 0)",
        OF_SESSIONS,
    ),
    "signed_up": (SIGNUPS, "count(*)", OF_SIGNUPS),
    **{f"ordered_within_{n}d": (SIGNUPS, f"count_if(waited < {n})", OF_SIGNUPS) for n in (7, 30, 90)},
    **{f"signup_conversion_{n}d": (SIGNUPS, converted(n), OF_SIGNUPS) for n in (7, 30, 90)},
    "customers": (
        CUSTOMERS,
        "count(*)",
        {"plan": "coalesce(c.plan, 'unknown')", "country": "coalesce(c.country, 'unknown')"},
    ),
    "customer_orders": (ORDERS, "count_if(is_sale)", {}),
    "customer_net_revenue": (ORDERS, "sum(net_revenue)", {}),
    "net_revenue_per_customer": (
        f"{CUSTOMERS} left join (select customer_id, sum(net_revenue) as net_revenue from core.fact_orders "
        "group by customer_id) as s on s.customer_id = k.customer_id",
        "sum(s.net_revenue) / count(*)",
        {},
    ),
}
# Expectations: no fact tells them.
NOT_IN_THE_FACTS = {"projected_12m_orders", "projected_12m_revenue", "projected_12m_margin"}


def marts(manifest: Manifest) -> list[Any]:
    return [node for node in manifest.nodes.values() if node.resource_type == "model" and node.schema == "MARTS"]


def measures(manifest: Manifest) -> Iterator[tuple[Any, Any]]:
    """(semantic model, measure) of all there are."""
    for semantic in manifest.semantic_models.values():
        for measure in semantic.measures:
            yield semantic, measure


def columns_in(expression: str) -> set[str]:
    found = sqlglot.parse_one(expression, read="snowflake").find_all(exp.Column)
    return {column.name.lower() for column in found}


def test_every_number_of_a_mart_says_how_it_aggregates(manifest: Manifest) -> None:
    additive = {
        (semantic.depends_on.nodes[0], measure.expr or measure.name)
        for semantic, measure in measures(manifest)
        if measure.agg.value == "sum"
    }
    tests: list[Any] = [node for node in manifest.nodes.values() if node.resource_type == "test"]
    keys = {
        (node.attached_node, column)
        for node in tests
        if node.test_metadata and node.test_metadata.name == "primary_key"
        for column in node.test_metadata.kwargs["columns"]
    }
    for mart in marts(manifest):
        for name, column in mart.columns.items():
            said = column.config.meta.get("aggregation")
            at = (mart.unique_id, name)
            if not column.data_type.startswith("number") or at in keys:
                assert said is None, at
            elif at in additive:
                assert said is None, f"{at} is a measure that adds up, and has an aggregation of its own"
            else:
                assert said in ("sum", "none"), f"{at}: make it a measure, or say in its meta whether it adds up"


def test_every_measure_and_dimension_reads_columns_that_its_model_has(manifest: Manifest) -> None:
    for semantic in manifest.semantic_models.values():
        model = manifest.nodes[semantic.depends_on.nodes[0]]
        elements: list[Any] = [*semantic.measures, *semantic.dimensions, *semantic.entities]
        for element in elements:
            missing = columns_in(element.expr or element.name) - model.columns.keys()
            assert not missing, f"{semantic.name}.{element.name} reads {missing}, which {model.name} lacks"


def test_every_metric_is_compared_with_the_facts_and_described(manifest: Manifest) -> None:
    assert {metric.name for metric in manifest.metrics.values()} == TRUTH.keys() | NOT_IN_THE_FACTS
    for metric in manifest.metrics.values():
        assert metric.label, metric.name
        assert metric.description.endswith("."), metric.name


def value_of(warehouse: Warehouse, manifest: Manifest, name: str, by: tuple[str, ...]) -> Groups:
    """A metric by some dimensions, computed as its definition says."""
    [metric] = [found for found in manifest.metrics.values() if found.name == name]
    conditions = []
    for condition in metric.filter.where_filters if metric.filter else ():
        conditions.append(re.sub(r"\{\{ Dimension\('\w+__(\w+)'\) \}\}", r"\1", condition.where_sql_template))
    return _value(warehouse, manifest, metric, by, conditions)


def _value(warehouse: Warehouse, manifest: Manifest, metric: Any, by: tuple[str, ...], conditions: list[str]) -> Groups:
    if metric.type.value == "ratio":
        parts = metric.type_params.numerator.name, metric.type_params.denominator.name
        above, below = (
            _value(warehouse, manifest, found, by, conditions)
            for part in parts
            for found in manifest.metrics.values()
            if found.name == part
        )
        return {key: _divided(above.get(key), below.get(key)) for key in above.keys() | below.keys()}
    assert metric.type.value == "simple", f"{metric.name} is of a kind that this test cannot compute"
    [(semantic, measure)] = [found for found in measures(manifest) if found[1].name == metric.type_params.measure.name]
    named = {dimension.name: dimension.expr or dimension.name for dimension in semantic.dimensions}
    aggregate = {"sum": "sum({})", "count_distinct": "count(distinct {})"}[measure.agg.value]
    relation = str(manifest.nodes[semantic.depends_on.nodes[0]].relation_name)
    return grouped(
        warehouse,
        relation,
        aggregate.format(measure.expr or measure.name),
        [named[name] for name in by],
        " and ".join(conditions),
    )


def _divided(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def grouped(warehouse: Warehouse, relation: str, value: str, by: list[str], condition: str = "") -> Groups:
    where = f" where {condition}" if condition else ""
    grouping = f" group by {', '.join(by)}" if by else ""
    rows = warehouse.execute(f"select {', '.join([*by, value])} from {relation}{where}{grouping}")
    return {tuple(row[:-1]): None if row[-1] is None else float(row[-1]) for row in rows}


@pytest.mark.usefixtures("warehouse")
def test_metrics_are_what_the_facts_say_at_any_level_of_their_dimensions(
    warehouse: Warehouse, manifest: Manifest
) -> None:
    log = busy_store(seed=4)
    for rows in log["users"].values():
        for row in rows:
            # So that some cohorts have had their days, and some of them ordered near the end of these.
            row["created_at"] -= dt.timedelta(days=6 if row["id"] % 2 else 26 if row["id"] % 3 else 86)
    warehouse.stage(log)
    warehouse.run()
    warehouse.execute("use database SHOPSTREAM_DWH")

    for name, (facts, truth, dimensions) in TRUTH.items():
        names = tuple(dimensions)
        for by in ((), *((name,) for name in names), names[:2]):
            found = value_of(warehouse, manifest, name, by)
            expected = grouped(warehouse, facts, truth, [dimensions[name] for name in by])
            known = {key: value for key, value in found.items() if value is not None}
            assert known == pytest.approx({key: value for key, value in expected.items() if value is not None}), (
                name,
                by,
            )


def test_a_metric_of_what_is_not_there_stops_the_parse(tmp_path: Path) -> None:
    shutil.copytree(SHOPSTREAM.project().parent, tmp_path / "dbt_project", ignore=shutil.ignore_patterns("target"))
    project = tmp_path / "dbt_project" / "shopstream"
    path = project / "models" / "metrics" / "sales.yml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("denominator: orders\n", "denominator: orders_of_nobody\n"), encoding="utf-8")

    result = invoke_dbt(["parse", "--project-dir", str(project), "--profiles-dir", str(project), "--quiet"])

    assert not result.success
    assert "orders_of_nobody" in str(result.exception)
