"""Schedules, and notifications over a real socket."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import dagster as dg
import pytest

from shopstream_assets.platform.declare.partitions import daily
from shopstream_assets.platform.operate.jobs import backfill_job, check_job, daily_checks, daily_refresh, refresh_job
from shopstream_assets.platform.operate.notifications import WEBHOOK, failure_message, notify_failed_runs, post

START = dt.date(2026, 3, 1)


@dg.asset(partitions_def=daily(START))
def orders() -> None: ...


@dg.op
def break_down() -> None:
    raise RuntimeError("the warehouse is down")


@dg.job
def broken() -> None:
    break_down()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def test_a_backfill_takes_all_that_follows_from_the_source_and_not_the_source() -> None:
    @dg.asset(key="source", partitions_def=daily(START))
    def source() -> None: ...

    @dg.asset(key=["shop", "lake", "orders"], partitions_def=daily(START), deps=["source"])
    def lake() -> None: ...

    @dg.asset(key="mart", partitions_def=daily(START), deps=[["shop", "lake", "orders"]])
    def mart() -> None: ...

    @dg.asset_check(asset=mart)
    def adds_up() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    defs = dg.Definitions(assets=[source, lake, mart], asset_checks=[adds_up], jobs=[backfill_job("shop")])
    found = defs.resolve_job_def("backfill").asset_layer
    assert found.executable_asset_keys == {dg.AssetKey(["shop", "lake", "orders"]), dg.AssetKey("mart")}
    assert {key.name for key in found.asset_graph.asset_check_keys} == {"adds_up"}


def test_checks_of_whole_tables_are_in_no_refresh_but_on_a_clock_of_their_own() -> None:
    @dg.asset(key=["shop", "lake", "orders"], partitions_def=daily(START))
    def lake() -> None: ...

    @dg.asset_check(asset=lake)
    def quick() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.asset_check(asset=lake)
    def whole() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    check = check_job("shop", [whole])
    jobs = [refresh_job("shop", [whole]), backfill_job("shop", [whole]), check]
    defs = dg.Definitions(
        assets=[lake], asset_checks=[quick, whole], jobs=jobs, schedules=[daily_checks("shop", check)]
    )

    def checks(job: str) -> set[str]:
        return {key.name for key in defs.resolve_job_def(job).asset_layer.asset_graph.asset_check_keys}

    assert checks("refresh_shop") == checks("backfill") == {"quick"}
    assert checks("check_shop") == {"whole"}
    assert not defs.resolve_job_def("check_shop").asset_layer.executable_asset_keys
    schedule = defs.resolve_schedule_def("daily_checks_shop")
    assert (schedule.cron_schedule, schedule.default_status) == ("0 3 * * *", dg.DefaultScheduleStatus.RUNNING)


def test_the_daily_schedule_refreshes_the_day_that_ended_at_two_o_clock_utc() -> None:
    job = refresh_job("shop")
    schedule = daily_refresh("shop", job)
    defs = dg.Definitions(assets=[orders], jobs=[job], schedules=[schedule])
    context = dg.build_schedule_context(
        scheduled_execution_time=dt.datetime(2026, 3, 20, 2, tzinfo=dt.UTC), repository_def=defs.get_repository_def()
    )
    (request,) = defs.resolve_schedule_def("daily_refresh_shop").evaluate_tick(context).run_requests or []
    assert request.partition_key == "2026-03-19"
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 2 * * *", "UTC")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED


@dataclass
class Webhook:
    """A server that keeps what is posted to it."""

    url: str
    posted: list[dict[str, str]] = field(default_factory=list)
    status: int = 200


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            given.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(given.status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        given = Webhook(f"http://127.0.0.1:{server.server_port}/services/T0/secret")
        monkeypatch.setenv(WEBHOOK, given.url)
        worker = Thread(target=server.serve_forever)
        worker.start()
        yield given
        server.shutdown()
        worker.join()


def failure(instance: dg.DagsterInstance) -> dg.RunFailureSensorContext:
    tags = {"dagster/partition": "2026-03-19"}
    result = broken.execute_in_process(instance=instance, raise_on_error=False, tags=tags)
    return dg.build_run_status_sensor_context(
        sensor_name="notify_failed_runs",
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        dagster_event=result.get_run_failure_event(),
    ).for_run_failure()


def test_a_failed_run_is_posted_with_its_partition_and_cause(instance: dg.DagsterInstance, webhook: Webhook) -> None:
    context = failure(instance)
    notify_failed_runs(context)
    (posted,) = webhook.posted
    assert posted.keys() == {"text"}
    assert f"Run {context.dagster_run.run_id} of broken failed (2026-03-19)." in posted["text"]
    assert "break_down" in posted["text"]


def test_without_a_webhook_nothing_is_posted(
    instance: dg.DagsterInstance, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(WEBHOOK)
    notify_failed_runs(failure(instance))
    assert webhook.posted == []


def test_a_webhook_that_refuses_is_an_error_that_keeps_its_secret(webhook: Webhook) -> None:
    webhook.status = 404
    with pytest.raises(RuntimeError, match="answered 404") as raised:
        post(webhook.url, "hello")
    assert "secret" not in str(raised.value)
    with pytest.raises(RuntimeError, match="answered ValueError"):
        post("no address", "hello")


def died(instance: dg.DagsterInstance, message: str | None) -> str:
    run = instance.create_run_for_job(broken, tags={"dagster/partition": "2026-03-19", "dagster/backfill": "abcdefgh"})
    event = instance.report_run_failed(run, message)
    return failure_message(run, event.message or "")


@pytest.mark.parametrize("message", ["", "Run worker abc unexpectedly crashed.\nIts process was killed."])
def test_a_run_whose_process_died_says_so_and_what_is_safe_and_what_to_do(
    instance: dg.DagsterInstance, message: str
) -> None:
    text = died(instance, message)
    assert "(2026-03-19)" in text
    assert "ended without a word" in text
    assert "Nothing is half-written" in text
    assert "shopstream status" in text


def test_a_run_that_told_its_cause_is_not_said_to_have_died(instance: dg.DagsterInstance) -> None:
    assert "without a word" not in failure_message(instance.create_run_for_job(broken), "Steps failed: ['break_down'].")


def test_a_failed_run_of_a_backfill_says_that_the_backfill_may_look_well(instance: dg.DagsterInstance) -> None:
    assert "backfill abcdefgh" in died(instance, "Steps failed: ['break_down'].")
