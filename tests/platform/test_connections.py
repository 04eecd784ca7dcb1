"""The job that sees whether runs reach the services, against real ones."""

from collections.abc import Mapping

import dagster as dg
import pytest

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.operate.connections import check_connections
from shopstream_assets.platform.operate.on_demand import s3, snowflake


def run(services: Services) -> dg.ExecuteInProcessResult:
    connections = {"store": services.store, "warehouse": services.warehouse, "snowflake": snowflake, "s3": s3}
    definitions = dg.Definitions(jobs=[check_connections], resources=connections)
    return definitions.resolve_job_def("check_connections").execute_in_process(raise_on_error=False)


def shown(result: dg.ExecuteInProcessResult, op: str) -> Mapping[str, object]:
    (output,) = (event for event in result.events_for_node(op) if event.is_successful_output)
    return {name: value.value for name, value in output.step_output_data.metadata.items()}


def test_the_operator_sees_which_bucket_and_which_account_runs_reach_and_as_whom(services: Services) -> None:
    services.store.put("raw/one", b"x", "text/plain")
    result = run(services)
    assert result.success
    lake, warehouse = shown(result, "reach_the_lake"), shown(result, "reach_the_warehouse")
    assert (lake["bucket"], lake["first_key"]) == (services.store.bucket, "raw/one")
    assert str(warehouse["user"]).upper() == services.warehouse.user.upper()
    assert {"version", "account", "role", "warehouse", "seconds"} <= warehouse.keys()


@pytest.mark.parametrize(
    ("broken", "op", "words"),
    [
        ("store", "reach_the_lake", "SHOPSTREAM_LAKE_BUCKET"),
        ("warehouse", "reach_the_warehouse", "SNOWFLAKE_USER"),
    ],
)
def test_what_cannot_be_reached_fails_with_what_to_do_and_without_a_secret(
    services: Services, broken: str, op: str, words: str
) -> None:
    change = {"store": {"bucket": "no-such-bucket"}, "warehouse": {"password": "wrong-password"}}[broken]
    spoiled = type(getattr(services, broken))(**{**getattr(services, broken).model_dump(), **change})
    result = run(Services(**{**vars(services), broken: spoiled}))
    assert not result.success
    (failure,) = (event for event in result.events_for_node(op) if event.is_step_failure)
    told = failure.step_failure_data
    text = f"{told.error} {told.user_failure_data and told.user_failure_data.description}"
    assert words in text
    assert "wrong-password" not in text
