"""The fit as an asset between core and marts: what customers will be worth, fitted once a day of data.

It has the partitions of everything around it, so that a backfill stays one run. A run in which the newest sale is of
the same day as the latest fit, and about as many have bought, keeps that fit: the step then costs three small queries.

scipy fits (optimize, special): `lifetimes` and `btyd`, which have these models, are archived, and pymc-marketing brings
pymc, pytensor and a compiler. It is imported where a fit runs, not where definitions load.
"""

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from shopstream_assets.domains.shopstream.customer_value.warehouse import CustomerValueTables, Declared, Fit
from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.environment import warehouse_database
from shopstream_assets.platform.declare.partitions import SINGLE_RUN, Window
from shopstream_assets.platform.declare.settings import REPORTING
from shopstream_assets.platform.errors import told_from
from shopstream_assets.platform.hosting.retries import RETRY
from shopstream_assets.platform.present.code_references import code_references, definition
from shopstream_assets.platform.staging.warehouse import WarehouseResource
from shopstream_assets.platform.transform.assets import BuildConfig
from shopstream_assets.platform.transform.dbt_manifest import built_manifest

if TYPE_CHECKING:
    from shopstream_assets.domains.shopstream.customer_value.backtest import Backtest

# The assets and, in capitals, their tables.
NAME, FITS, BACKTEST = "customer_value", "customer_value_fits", "customer_value_backtest"
CHECK = "predicts_what_came"
READS = ("dim_customers", "fact_orders", "fact_order_items")


def customer_value_assets(domain: Domain, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The fit of customer value and its backtest: one step, three tables, and a check."""
    keys = {name: asset_key(domain.name, "models", name) for name in (NAME, FITS, BACKTEST)}
    declared = {name: Declared.of(built_manifest(domain), name) for name in keys}

    def spec(name: str) -> dg.AssetSpec:
        return dg.AssetSpec(
            keys[name],
            deps=[asset_key(domain.name, "core", table) for table in READS],
            group_name=domain.group("models"),
            owners=["team:growth"],
            tags={"domain": domain.name, "layer": "models"},
            kinds={"python", "snowflake"},
            partitions_def=partitions,
            description=declared[name].description,
            metadata={
                "dagster/table_name": f"{warehouse_database(domain)}.CORE.{name.upper()}",
                "dagster/column_schema": dg.TableSchema(
                    [dg.TableColumn(column, kind, told) for column, (kind, told) in declared[name].columns.items()]
                ),
                **code_references(definition(customer_value_assets)),
            },
        )

    @dg.multi_asset(
        specs=[spec(name) for name in keys],
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=keys[BACKTEST],
                description="A fit that does not know the last third of the history (a year at most) predicts the "
                "orders that came then: all together within 10 % or what chance explains, each segment of 200 orders "
                "or more within 25 %, and nearer than the last period again or a flat rate per customer.",
            )
        ],
        name=f"{domain.name}__models__{NAME}",
        can_subset=True,
        backfill_policy=SINGLE_RUN,
        retry_policy=RETRY,
        pool=domain.pool,
    )
    def fit(
        context: dg.AssetExecutionContext, config: BuildConfig, warehouse: WarehouseResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        window = Window.of(context)
        found: Fit | None = None
        backtest: Backtest | None = None
        with told_from("models", NAME, window, "fitting customer value"), warehouse.connection(REPORTING) as session:
            tables = CustomerValueTables(session, warehouse.database, *declared.values())
            newest, buyers = tables.sales()
            if newest is None:
                tables.forget()
            else:
                found = tables.latest_fit()
                is_known = found is not None and found.as_of_date == newest.date() and found.knew(buyers)
                if found is None or not is_known or config.full_refresh:
                    context.log.info(f"Fitting anew, as of {newest}.")
                    found = fit_anew(tables, newest.date(), window)
                backtest = tables.backtest(found.as_of_date)
            wanted = [name for name, key in keys.items() if key in context.selected_asset_keys]
            rows = {name: tables.count(declared[name]) for name in wanted}
            looks = {name: tables.look(declared[name]) for name in wanted}
        drawn: dict[str, dict[str, dg.MetadataValue]] = {
            NAME: {},
            FITS: described(found),
            BACKTEST: compared(found, backtest),
        }
        for name in wanted:
            metadata = {**looks[name], **drawn[name]}
            context.add_asset_metadata(metadata, asset_key=keys[name], partition_key=str(window.last))
            yield dg.MaterializeResult(asset_key=keys[name], metadata={"dagster/row_count": rows[name]})
        if context.selected_asset_check_keys:
            yield judged(keys[BACKTEST], backtest)

    return fit


def fit_anew(tables: CustomerValueTables, as_of_date: dt.date, window: Window) -> Fit:
    """Fit everything to what core has now, and replace the tables."""
    from shopstream_assets.domains.shopstream.customer_value.backtest import backtest
    from shopstream_assets.domains.shopstream.customer_value.model import CustomerValue, interval

    shop = tables.shop()
    model = CustomerValue.fit(shop)
    projection = model.project(shop)
    total, error = model.total(shop, projection)
    low, high = interval(total, error)
    found = Fit(
        as_of_date=as_of_date,
        customers=len(shop.customer_ids),
        buyers=int((shop.orders > 0).sum()),
        log_likelihood=model.repeats.log_likelihood,
        projected_orders=total,
        projected_orders_low=low,
        projected_orders_high=high,
        parameters={name: float(value) for name, value in model.named.items()},
    )
    tables.replace(found, shop, projection, backtest(shop), window)
    return found


def described(fit: Fit | None) -> dict[str, dg.MetadataValue]:
    """What the page of the fits draws over time."""
    if fit is None:
        return {}
    return {
        "as_of_date": dg.MetadataValue.text(str(fit.as_of_date)),
        "customers": dg.MetadataValue.int(fit.customers),
        "buyers": dg.MetadataValue.int(fit.buyers),
        "log_likelihood": dg.MetadataValue.float(fit.log_likelihood),
        "projected_12m_orders": dg.MetadataValue.float(fit.projected_orders),
        "projected_12m_orders_low": dg.MetadataValue.float(fit.projected_orders_low),
        "projected_12m_orders_high": dg.MetadataValue.float(fit.projected_orders_high),
        **{f"parameter_{name}": dg.MetadataValue.float(value) for name, value in fit.parameters.items()},
    }


def compared(fit: Fit | None, backtest: "Backtest | None") -> dict[str, dg.MetadataValue]:
    """What the page of the backtest draws over time."""
    if fit is None or backtest is None:
        return {}
    return {
        "as_of_date": dg.MetadataValue.text(str(fit.as_of_date)),
        **{name: dg.MetadataValue.float(value) for name, value in errors(backtest).items()},
    }


def errors(backtest: "Backtest") -> dict[str, float]:
    """By how much each way of predicting was off, as a share of what came; those of segments by the model alone."""
    total = backtest.total
    found = {
        "error": total.error(total.predicted),
        "error_of_the_last_period_again": total.error(total.last_period),
        "error_of_a_flat_rate": total.error(total.flat_rate),
        **{f"error_{one.segment}": one.error(one.predicted) for one in backtest.compared[1:]},
    }
    return {name: value for name, value in found.items() if value is not None}


def judged(key: dg.AssetKey, backtest: "Backtest | None") -> dg.AssetCheckResult:
    """The check's result: passed where the history is too short to judge, and says so."""
    if backtest is None:
        return dg.AssetCheckResult(
            check_name=CHECK, asset_key=key, passed=True, description="Not enough history: nothing to predict yet."
        )
    total = backtest.total
    told = (
        f"Of the last {backtest.days:.0f} days {total.predicted:,.0f} orders were predicted and {total.came:,} came; "
        f"the last period again would have said {total.last_period:,.0f}, a flat rate {total.flat_rate:,.0f}."
    )
    if not backtest.is_judged:
        told = f"Not enough history to judge: it needs a year before what is predicted. {told}"
    elif backtest.faults:
        told = (
            f"{'; '.join(backtest.faults)}. {told} Next: take the projection with that error; look in docs/marts.md "
            "for what the model does not know, as a change in the shop's ways."
        )
    return dg.AssetCheckResult(
        check_name=CHECK,
        asset_key=key,
        passed=not backtest.faults,
        # The projection is the best there is: nothing waits for it to be better.
        severity=dg.AssetCheckSeverity.WARN,
        description=told,
        metadata={
            "horizon_days": backtest.days,
            "history_days": backtest.history_days,
            "predicted_orders": total.predicted,
            "actual_orders": total.came,
            "standard_error": backtest.standard_error,
            "is_judged": backtest.is_judged,
            **errors(backtest),
        },
    )
