"""What Data health says of refreshes, from runs that really took place."""

import time

import dagster as dg

from shopstream_assets.dashboards.operations import refresh_seconds

SLOW = 1.0


@dg.op(config_schema={"seconds": float, "fails": bool})
def work(context: dg.OpExecutionContext) -> None:
    time.sleep(context.op_config["seconds"])
    assert not context.op_config["fails"]


@dg.job
def refresh() -> None:
    work()


def ran(
    instance: dg.DagsterInstance, sensor: str, seconds: float = 0.0, fails: bool = False, backfill: str = ""
) -> None:
    config = {"ops": {"work": {"config": {"seconds": seconds, "fails": fails}}}}
    tags = {"dagster/sensor_name": sensor, **({"dagster/backfill": backfill} if backfill else {})}
    refresh.execute_in_process(config, instance=instance, tags=tags, raise_on_error=False)


def test_a_refresh_takes_what_those_took_that_a_change_asked_for_and_that_succeeded() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert refresh_seconds(instance, "shop") is None
        ran(instance, "shop_changes", SLOW)
        found = refresh_seconds(instance, "shop")
        assert found is not None
        assert found >= SLOW
        for _ in range(2):
            ran(instance, "shop_changes")
        for sensor, fails in (("shop_changes", True), ("other_changes", False), ("shop_days_to_repair", False)):
            ran(instance, sensor, 3 * SLOW, fails)
        for _ in range(3):
            ran(instance, "shop_changes", SLOW, backfill="scattered")
        found = refresh_seconds(instance, "shop")
        # The median of one slow and two quick ones.
        assert found is not None
        assert found < SLOW
        assert refresh_seconds(instance, "nobody") is None
