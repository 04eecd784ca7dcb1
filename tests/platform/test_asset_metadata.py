"""What the page of an asset says: from the definitions, and after a real run of two days."""

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from emptied import empty

from shopstream_assets.platform.declare.domain import LAYERS
from shopstream_assets.platform.declare.registry import domain_named
from shopstream_assets.platform.present.code_references import REPOSITORY, code_references
from shopstream_assets.platform.transform import exposures
from shopstream_assets.platform.transform.column_lineage import traced
from shopstream_assets.platform.transform.dbt_manifest import built_manifest
from shopstream_assets.platform.transform.model_metadata import clear_columns

GOLDEN = Path(__file__).with_name("asset_graph.json")
# Set it to write the golden file anew.
REGENERATE = "SHOPSTREAM_REGENERATE"
# Dagster shows shorter Markdown in the page itself, longer behind a click.
INLINE = 1000
# Two days are too few for anything to come back, and to predict one from the other.
NOTHING_IN_TWO_DAYS = (
    "fact_refunds",
    "customer_value_backtest",
    "mart_projection_backtest",
    "mart_customer_retention",
)


@pytest.fixture(scope="module")
def graph(local_stack: Mapping[str, str]) -> AssetGraph:
    from shopstream_assets.domains.shopstream.definitions import defs

    return defs.resolve_asset_graph()


def tables(graph: AssetGraph) -> list[dg.AssetKey]:
    """Every asset but the pages that the platform writes about itself, and those that people look at."""
    return [asset for asset in graph.get_all_asset_keys() if asset.path[1] not in ("operations", "dashboards")]


def key(path: str) -> dg.AssetKey:
    return dg.AssetKey(["shopstream", *path.split("/")])


def test_every_asset_says_what_a_row_is_who_owns_it_what_it_is_made_with_and_where_it_belongs(
    graph: AssetGraph,
) -> None:
    for asset in tables(graph):
        node, (domain, layer, _) = graph.get(asset), asset.path
        assert layer in LAYERS, asset
        assert (node.description or "").startswith("One row per "), asset
        assert node.owners, asset
        assert all(owner.startswith("team:") for owner in node.owners), asset
        assert node.kinds, asset
        assert node.group_name == domain_named(domain).group(layer), asset
        # Of a longer name the boxes of the graph leave the middle out.
        assert len(node.group_name) <= 17, asset
        assert (node.tags["domain"], node.tags["layer"]) == (domain, layer), asset
        assert node.metadata["dagster/table_name"], asset


def test_every_column_of_every_asset_is_described_with_its_type(graph: AssetGraph) -> None:
    for asset in tables(graph):
        schema = graph.get(asset).metadata["dagster/column_schema"]
        assert schema.columns, asset
        for column in schema.columns:
            assert column.description, f"{asset.to_user_string()}.{column.name}"
            assert column.type not in ("", "?", "string"), f"{asset.to_user_string()}.{column.name}"


def test_the_columns_of_a_model_show_its_tests(graph: AssetGraph) -> None:
    schema = graph.get(key("marts/mart_sales_overview")).metadata["dagster/column_schema"]
    columns = {column.name: column.constraints for column in schema.columns}
    assert not columns["order_date"].nullable
    assert not columns["order_date"].unique
    assert columns["net_revenue"].nullable
    assert "key: order_date, shipping_country, product_category" in schema.constraints.other
    assert "net_revenue = gross_revenue - discount_amount - refunded_amount" in schema.constraints.other

    schema = graph.get(key("core/fact_orders")).metadata["dagster/column_schema"]
    columns = {column.name: column.constraints for column in schema.columns}
    assert columns["order_id"].unique
    assert not columns["order_id"].nullable
    assert columns["status"].other == ["one of pending, paid, shipped, delivered, cancelled, refunded"]
    assert columns["customer_id"].other == ["in STG_USERS.id"]


def origins(graph: AssetGraph, asset: dg.AssetKey, column: str) -> set[tuple[str, str]]:
    lineage = graph.get(asset).metadata.get("dagster/column_lineage")
    found = lineage.deps_by_column.get(column, []) if lineage else []
    return {("/".join(dep.asset_key.path[1:]), dep.column_name) for dep in found}


def sources(graph: AssetGraph, asset: dg.AssetKey, column: str) -> set[tuple[str, str]]:
    """The columns without origins of their own that a column is made of."""
    found = origins(graph, asset, column)
    return set().union(*(sources(graph, key(path), name) or {(path, name)} for path, name in found))


def test_a_figure_of_a_mart_traces_through_the_models_to_columns_of_postgres(graph: AssetGraph) -> None:
    assert origins(graph, key("marts/mart_sales_overview"), "net_revenue") == {
        ("core/fact_orders", "net_revenue"),
        ("core/fact_order_items", "net_revenue"),
    }
    assert sources(graph, key("marts/mart_sales_overview"), "net_revenue") >= {
        ("postgres/orders", "discount_amount"),
        ("postgres/orders", "status"),
        ("postgres/order_items", "quantity"),
        ("postgres/order_items", "unit_price"),
    }
    assert sources(graph, key("core/dim_customers"), "signup_date") == {("postgres/users", "created_at")}


def test_every_edge_of_column_lineage_joins_columns_that_exist_along_an_edge_of_the_graph(graph: AssetGraph) -> None:
    columns = {
        asset: {column.name for column in graph.get(asset).metadata["dagster/column_schema"].columns}
        for asset in tables(graph)
    }
    traced_columns = 0
    for asset in columns:
        lineage = graph.get(asset).metadata.get("dagster/column_lineage")
        for column, found in lineage.deps_by_column.items() if lineage else ():
            assert column in columns[asset]
            for dep in found:
                assert dep.column_name in columns[dep.asset_key], f"{asset.to_user_string()}.{column}: {dep}"
                assert dep.asset_key in graph.get(asset).parent_keys, f"{asset.to_user_string()}.{column}: {dep}"
            traced_columns += bool(found)
    assert traced_columns > 200


def test_the_origins_of_a_column_are_those_whose_values_it_holds_not_those_that_choose_rows() -> None:
    relations: dict[str, tuple[str, dict[str, str | None]]] = {
        "DWH.S.A": ("a", {"id": "number", "x": "number"}),
        "DWH.S.b": ("b", {"id": "number", "y": None}),
    }
    sql = """
        with a as (select id, x from DWH.S.A qualify row_number() over (partition by id order by x) = 1)
        select a.id, a.x + b.y as total, count(*) as rows_found, 1 as one
        from a left join DWH.S.b as b on a.id = b.id where b.y > 0 group by 1, 2
    """
    assert traced(sql, relations) == {
        "id": [("a", "id")],
        "total": [("a", "x"), ("b", "y")],
        "rows_found": [],
        "one": [],
    }


def test_a_column_made_of_personal_data_is_personal_unless_it_says_otherwise() -> None:
    def node(name: str, **pii: bool | None) -> dict[str, Any]:
        meta = {column: {} if given is None else {"pii": given} for column, given in pii.items()}
        return {"unique_id": name, "columns": {column: {"meta": given} for column, given in meta.items()}}

    middle = node("middle", contact=None, country=None)
    last = node("last", contact=None, domain=False, country=None)
    manifest = {"nodes": {"middle": middle, "last": last}, "sources": {"raw": node("raw", email=True, country=None)}}
    lineage = {
        "middle": {"contact": [("raw", "email")], "country": [("raw", "country")]},
        "last": {
            "contact": [("middle", "contact")],
            "domain": [("middle", "contact")],
            "country": [("middle", "country")],
        },
    }
    assert clear_columns(middle, manifest, lineage) == {"country"}
    assert clear_columns(last, manifest, lineage) == {"domain", "country"}


def test_code_is_linked_to_files_that_exist_and_to_the_web_where_its_address_is_set(
    graph: AssetGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    for asset in tables(graph):
        for reference in graph.get(asset).metadata["dagster/code_references"].code_references:
            lines = Path(reference.file_path).read_text().splitlines()
            assert 1 <= reference.line_number <= len(lines), asset
    orders = graph.get(key("lake/orders")).metadata["dagster/code_references"].code_references[0]
    assert Path(orders.file_path).read_text().splitlines()[orders.line_number - 1] == "ORDERS = SourceTable("
    monkeypatch.setenv("SHOPSTREAM_CODE_URL", "https://github.com/you/shop/blob/main/")
    found = code_references((REPOSITORY / "README.md", 3))["dagster/code_references"]
    assert isinstance(found, dg.CodeReferencesMetadataValue)
    assert [link.url for link in found.code_references if isinstance(link, dg.UrlCodeReference)] == [
        "https://github.com/you/shop/blob/main/README.md#L3"
    ]


@pytest.mark.parametrize("name", ["shopstream", "streamvision"])
def test_each_page_is_downstream_of_exactly_the_marts_that_it_asks(name: str, local_stack: Mapping[str, str]) -> None:
    domain = domain_named(name)
    graph = import_module(domain.module).defs.resolve_asset_graph()
    asked = {}
    for page in domain.pages:
        module = find_spec(page.module)
        assert module is not None
        assert module.origin is not None
        asked[page.path] = set(re.findall(r"\bmart_\w+", Path(module.origin).read_text()))
    # A report that is made elsewhere is an exposure, too.
    shown = [asset for asset in graph.get_all_asset_keys() if asset.path[1] == "dashboards" and asset.path[2] in asked]
    assert {asset.path[2]: {parent.path[2] for parent in graph.get(asset).parent_keys} for asset in shown} == asked
    for asset in shown:
        node = graph.get(asset)
        assert node.kinds == {"dashboard", "streamlit"}
        assert node.group_name == domain.group("dashboards")
        assert node.owners
        assert node.metadata["address"] == f"/{name}-{asset.path[2]}"
        (code,) = node.metadata["dagster/code_references"].code_references
        assert Path(code.file_path).stem == asset.path[2]
    marts = {asset for asset in graph.get_all_asset_keys() if asset.path[1] == "marts"}
    assert {mart.path[2] for mart in marts} == set().union(*asked.values())


def test_an_exposure_that_says_more_or_less_than_ours_is_an_asset_all_the_same(
    local_stack: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = domain_named("shopstream")
    manifest = dict(built_manifest(domain))
    source = next(iter(manifest["sources"]))
    said: dict[str, Any] = {"type": "dashboard", "tags": [], "description": "", "label": None, "url": None}
    read = ["model.shopstream.mart_sales_overview", source, "metric.shopstream.orders"]
    manifest["exposures"] = {
        name: {**said, "name": name, "depends_on": {"nodes": read}, "owner": owner, "url": url}
        for name, owner, url in (
            ("person", {"name": "Jane Doe", "email": None}, "https://reports.example.com/1"),
            ("mail", {"email": "jane@example.com"}, None),
            ("team", {"name": "team:sales"}, None),
        )
    }
    monkeypatch.setattr(exposures, "built_manifest", lambda _: manifest)
    found = {spec.key.path[2]: spec for spec in exposures.exposure_specs(domain)}
    assert {name: list(spec.owners) for name, spec in found.items()} == {
        "person": [],
        "mail": ["jane@example.com"],
        "team": ["team:sales"],
    }
    assert found["person"].metadata["url"].value == "https://reports.example.com/1"
    assert (found["person"].description or "").startswith("**person.**")
    assert all(key("marts/mart_sales_overview") in {dep.asset_key for dep in spec.deps} for spec in found.values())
    assert all(len(list(spec.deps)) == 2 for spec in found.values())


def test_nothing_asks_for_an_asset_that_is_only_looked_at(graph: AssetGraph) -> None:
    from shopstream_assets.domains.shopstream.definitions import defs

    for job in ("refresh_shopstream", "backfill"):
        made = defs.resolve_job_def(job).asset_layer.executable_asset_keys
        assert set(made) <= set(graph.materializable_asset_keys)
    checked = {found.asset_key for found in defs.resolve_job_def("backfill").asset_layer.asset_graph.asset_check_keys}
    assert {key("lake/orders"), key("staging/orders"), key("marts/mart_sales_overview")} <= checked


def test_the_asset_graph_is_the_one_under_version_control(graph: AssetGraph) -> None:
    nodes = {asset.to_user_string(): graph.get(asset) for asset in graph.get_all_asset_keys()}
    found = {
        path: {
            "deps": sorted(parent.to_user_string() for parent in node.parent_keys),
            "group": node.group_name,
            "owners": sorted(node.owners),
            "partitions": "daily" if isinstance(node.partitions_def, dg.DailyPartitionsDefinition) else "none",
        }
        for path, node in sorted(nodes.items())
    }
    if os.environ.get(REGENERATE):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(GOLDEN.read_text()), f"{REGENERATE}=1 writes {GOLDEN.name} anew: look at its diff"


@dataclass
class Shop:
    """Two days of the shop, materialized, and the personal data in its source."""

    materializations: Mapping[dg.AssetKey, list[dg.AssetMaterialization]]
    personal: set[str]


@pytest.fixture(scope="module")
def shop(graph: AssetGraph) -> Shop:
    from shopstream_assets.cli.summary import Services
    from shopstream_assets.domains.shopstream.definitions import defs
    from shopstream_assets.domains.shopstream.domain import SHOPSTREAM

    partitions = graph.get(key("lake/orders")).partitions_def
    assert partitions is not None
    first, second = partitions.get_partition_keys()[:2]
    empty(Services.of(SHOPSTREAM).warehouse)
    span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": second}
    job = defs.resolve_job_def("refresh_shopstream")
    with dg.DagsterInstance.ephemeral() as instance:
        quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
        result = job.execute_in_process(quiet, instance=instance, tags=span)
        found: dict[dg.AssetKey, list[dg.AssetMaterialization]] = {}
        for event in result.get_asset_materialization_events():
            materialization = event.step_materialization_data.materialization
            found.setdefault(materialization.asset_key, []).append(materialization)
    source = Services.of(SHOPSTREAM).source
    with source.snapshot() as reader, reader.connection.cursor() as cursor:
        cursor.execute(
            f"select email, first_name, last_name from {source.schema_name}.users "
            f"union all select email, null, null from {source.schema_name}.crm_contacts"
        )
        personal = {value for row in cursor.fetchall() for value in row if value}
    return Shop({asset: sorted(made, key=lambda one: one.partition or "") for asset, made in found.items()}, personal)


def test_a_run_leaves_ten_rows_to_look_at_with_the_newest_partition_alone(shop: Shop, graph: AssetGraph) -> None:
    assert set(shop.materializations) == graph.materializable_asset_keys
    for asset, made in shop.materializations.items():
        if asset.path[2] in NOTHING_IN_TWO_DAYS:
            continue
        preview = made[-1].metadata["preview"]
        assert isinstance(preview, dg.TableMetadataValue), asset
        assert 1 <= len(preview.records) <= 10, asset
        declared = {column.name for column in graph.get(asset).metadata["dagster/column_schema"].columns}
        assert declared <= {column.name for column in preview.schema.columns} | {"_partition_date"}, asset
        assert not any("preview" in earlier.metadata for earlier in made[:-1]), asset


def test_personal_data_never_shows_in_the_metadata_of_a_run(shop: Shop) -> None:
    assert len(shop.personal) > 100
    masked = 0
    for asset, made in shop.materializations.items():
        for materialization in made:
            preview = materialization.metadata.get("preview")
            records = preview.records if isinstance(preview, dg.TableMetadataValue) else []
            values = {value for record in records for value in record.data.values()}
            assert not values & shop.personal, asset
            masked += "***" in values
    # users and crm_contacts, in Postgres, lake and staging.
    assert masked == 6


def test_a_run_leaves_numbers_that_plot(shop: Shop) -> None:
    for asset, made in shop.materializations.items():
        rows = "dagster/row_count" if asset.path[1] in ("core", "models", "marts") else "dagster/partition_row_count"
        for materialization in made:
            assert isinstance(materialization.metadata[rows], dg.IntMetadataValue), asset
        if asset.path[1] == "lake":
            assert all(isinstance(one.metadata["dagster/size_bytes"], dg.IntMetadataValue) for one in made), asset


def test_a_partition_in_the_lake_links_to_its_manifest(shop: Shop) -> None:
    import urllib.request

    for asset, made in shop.materializations.items():
        if asset.path[1] == "lake":
            link = made[-1].metadata["manifest"]
            assert isinstance(link, dg.UrlMetadataValue)
            assert link.url
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(link.url, timeout=10) as page:
                assert json.load(page)["table"] == asset.path[2]


def test_every_mart_shows_a_chart_of_its_main_figure_in_the_page_itself(shop: Shop) -> None:
    for asset, made in shop.materializations.items():
        chart = made[-1].metadata.get("chart")
        assert (chart is not None) == (asset.path[1] == "marts" and asset.path[2] not in NOTHING_IN_TWO_DAYS), asset
        if chart is not None:
            assert isinstance(chart, dg.MarkdownMetadataValue)
            assert chart.value.startswith("!["), asset
            assert "(data:image/svg+xml," in chart.value, asset
            assert len(chart.value) < INLINE, asset


@pytest.mark.parametrize("name", ["shopstream", "streamvision"])
def test_all_that_follows_from_a_table_can_be_materialized_by_the_command_that_is_told(
    name: str, local_stack: Mapping[str, str]
) -> None:
    domain = domain_named(name)
    command = shlex.split(
        domain.materialize_command(domain.all_from(domain.tables[0].name), "2026-03-01", "2026-03-02")
    )
    module, selection = command[command.index("-m") + 1], command[command.index("--select") + 1]
    repository = import_module(module).defs.get_repository_def()
    chosen = dg.AssetSelection.from_coercible(selection.split(",")).resolve(repository.asset_graph)
    job = repository.get_implicit_job_def_for_assets(chosen)
    # Raises where a key is nothing that a step makes.
    assert job.get_subset(asset_selection=frozenset(chosen)).asset_layer.selected_asset_keys == chosen
    assert {key.path[1] for key in chosen} >= {"lake", "staging", "core", "marts"}
    assert "postgres" not in {key.path[1] for key in chosen}


def test_a_build_is_told_which_tables_have_their_comments(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from shopstream_assets.cli.summary import Services
    from shopstream_assets.domains.shopstream.definitions import defs
    from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
    from shopstream_assets.platform.transform import build
    from shopstream_assets.platform.transform.dbt_manifest import built_manifest

    told: list[list[str]] = []

    def run_dbt(arguments: list[str], *_: object) -> Iterator[object]:
        told.append(json.loads(arguments[arguments.index("--vars") + 1])["documented"])
        yield from ()

    monkeypatch.setattr(build, "run_dbt", run_dbt)
    warehouse, fact = Services.of(SHOPSTREAM).warehouse, key("core/fact_orders")
    job = defs.resolve_implicit_job_def_def_for_assets([fact])
    assert job is not None
    with warehouse.connection("REPORTING_WH") as session, session.cursor() as cursor:
        cursor.execute(f"comment on table {warehouse.database}.CORE.FACT_ORDERS is 'of an earlier version'")
    newest = max(made.partition or "" for made in shop.materializations[key("lake/orders")])
    step = "shopstream__dbt"
    for config in ({}, {"ops": {step: {"config": {"full_refresh": True}}}}):
        job.get_subset(asset_selection={fact}).execute_in_process(config, partition_key=newest, raise_on_error=False)

    incremental = {
        node["name"]
        for node in built_manifest(SHOPSTREAM)["nodes"].values()
        if node["resource_type"] == "model" and node["config"]["materialized"] == "incremental"
    }
    assert "fact_orders" in incremental
    assert [set(names) for names in told] == [incremental - {"fact_orders"}, set()]
