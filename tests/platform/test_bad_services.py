"""Postgres, S3 or Snowflake down, slow, refusing or cutting the connection: a clear end, and nothing half-written."""

import datetime as dt
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from bad_input import DAYS, FIRST, LINES, Proxy, Spoiled, proxy, retried, told
from dagster_process import wait_for

from shopstream_assets.cli.summary import Services
from shopstream_assets.platform.declare.partitions import ONE_DAY, Window
from shopstream_assets.platform.declare.settings import LOADING
from shopstream_assets.platform.errors import LayerError, ServiceError
from shopstream_assets.platform.lake import object_store
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.lake.writer import Extraction, LakeWriter, lake_writer
from shopstream_assets.platform.sources.postgres.reading import PostgresReading
from shopstream_assets.platform.sources.postgres.resource import PostgresResource
from shopstream_assets.platform.sources.postgres.session import OPTIONS, with_options
from shopstream_assets.platform.sources.reading import Drift, carried_schema
from shopstream_assets.platform.staging import change_log, warehouse
from shopstream_assets.platform.staging.warehouse import WarehouseResource
from shopstream_assets.platform.transform.dbt_invocation import invoke_dbt

ROOT = Path(__file__).parents[2]
LAKE = "lake/lines, partition 2026-03-01: extracting changed rows to the lake: "
STAGING = "staging/lines, partition 2026-03-01: loading the lake's partitions: "
PASSWORD = "hunter2-is-secret"
EXTRACTION = Extraction(
    window=Window(dt.date(2026, 1, 1), dt.date(2027, 1, 1)),
    position="0001/0/0",
    source="system 1",
    extracted_at=dt.datetime(2026, 3, 1, tzinfo=dt.UTC),
    columns=(),
    drift=Drift(),
    reading="",
    start=dt.date(2026, 1, 1),
)
# An unused port: nothing may listen on it without being root.
CLOSED = 1


@pytest.fixture
def lines(services: Services) -> Spoiled:
    return Spoiled(services, LINES).create().insert(id=1, note="old")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits that a test can wait for."""
    for module, limits in (
        (object_store, {"CONNECT_TIMEOUT": 1, "READ_TIMEOUT": 0.5, "ATTEMPTS": 1}),
        (warehouse, {"LOGIN_TIMEOUT": 2, "READ_TIMEOUT": 1, "RETRY_TIMEOUT": 1}),
    ):
        for name, seconds in limits.items():
            monkeypatch.setattr(module, name, seconds)


def port_of(services: Services) -> int:
    with psycopg.connect(services.source.dsn) as connection:
        return connection.info.port


def dsn(services: Services, **changes: str | int) -> str:
    """The DSN with another user, password, host, port or database."""
    with psycopg.connect(services.source.dsn) as connection:
        info = connection.info
        parts = {
            "user": info.user, "password": info.password, "host": info.host, "port": info.port, "database": info.dbname
        } | changes  # fmt: skip
    return "postgresql://{user}:{password}@{host}:{port}/{database}".format(**parts)


def source(services: Services, **changes: str | int) -> PostgresResource:
    return PostgresResource(dsn=dsn(services, **changes), schema_name=services.source.schema_name)


def snowflake(services: Services, **changes: str) -> WarehouseResource:
    return WarehouseResource(**{**services.warehouse.model_dump(), **changes})


def endpoint(services: Services, monkeypatch: pytest.MonkeyPatch, url: str) -> ObjectStoreResource:
    """The same bucket at another address."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    return ObjectStoreResource(bucket=services.store.bucket)


def s3_port() -> int:
    return int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2])


# What waits for ever is waited for so long; how soon the rest ends depends on what else the machine does.
GIVEN_UP_SECONDS = 120


def failure(work: Callable[[], object]) -> LayerError:
    """The error that the work ends with, without a secret, and not never."""
    started = time.monotonic()
    with pytest.raises(LayerError) as caught:
        work()
    assert time.monotonic() - started < GIVEN_UP_SECONDS
    assert PASSWORD not in str(caught.value)
    assert " Next: " in str(caught.value)
    return caught.value


def wide(lines: Spoiled) -> Spoiled:
    """Enough rows that they travel in many pieces."""
    return lines.run(
        "insert into {t} (id, note, updated_at) select n, repeat(md5(n::text), 32), '2026-03-01 01:00+00' "
        "from generate_series(10, 30000) n"
    )


def unchanged(lines: Spoiled, before: bytes) -> None:
    """The earlier manifest is in force, no other was written, and the next extraction works."""
    assert lines.manifest_bytes() == before
    keys = [key for key, _, _ in lines.services.store.listed(LINES.lake_prefix)]
    assert [key for key in keys if "/_manifests/" in key] == [lines.manifest_key()]
    manifest = lines.stage()
    assert manifest.rows == manifest.source_rows == len(lines.staged("id"))


# Postgres


def test_a_postgres_that_is_down_is_named_by_host_and_port_and_may_be_tried_again(lines: Spoiled) -> None:
    error = failure(lines.by(source=source(lines.services, port=CLOSED, password=PASSWORD)).extract)
    assert str(error).startswith(f"{LAKE}Postgres did not answer or cut the connection (")
    assert 'server at "127.0.0.1", port 1 failed: Connection refused' in str(error)
    assert "check that the server runs and that the DSN's host and port reach it (`shopstream doctor`)." in str(error)
    assert error.allow_retries


def test_a_postgres_that_accepts_but_never_answers_is_given_up(lines: Spoiled) -> None:
    with proxy(port_of(lines.services)) as between:
        between.stall()
        silent = PostgresResource(dsn=dsn(lines.services, port=between.port) + "?connect_timeout=2")
        error = failure(lines.by(source=silent).extract)
    assert "timeout expired" in str(error)
    assert error.allow_retries


def test_a_connection_that_is_cut_in_the_middle_of_a_scan_leaves_the_earlier_manifest_in_force(lines: Spoiled) -> None:
    lines.extract()
    before = lines.manifest_bytes()
    wide(lines)
    with proxy(port_of(lines.services)) as between:
        between.cut_after(2 * 1024 * 1024)
        error = failure(lines.by(source=source(lines.services, port=between.port)).extract)
    assert str(error).startswith(f"{LAKE}Postgres did not answer or cut the connection (")
    assert error.allow_retries
    unchanged(lines, before)


def test_a_backend_that_is_terminated_in_the_middle_of_a_scan_leaves_the_earlier_manifest_in_force(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines.extract()
    before = lines.manifest_bytes()
    wide(lines)
    scan = PostgresReading.scan

    def terminated(*arguments: Any) -> Iterator[pa.RecordBatch]:
        batches = scan(*arguments)
        yield next(batches)
        lines.run(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            f"where application_name = 'shopstream' and query like '%{lines.services.source.schema_name}%'"
        )
        yield from batches

    with monkeypatch.context() as patched:
        patched.setattr(PostgresReading, "scan", terminated)
        error = failure(lines.extract)
    # Whether the server's last words arrive before the connection is seen to be closed is a matter of chance.
    words = ("Postgres did not answer or cut the connection (", "the session was ended by an administrator (")
    assert str(error).startswith(tuple(LAKE + said for said in words))
    assert error.allow_retries
    unchanged(lines, before)


@pytest.mark.parametrize(
    ("changes", "found", "next_step"),
    [
        ({"password": PASSWORD}, "Postgres refused the login (", "correct the user and password in the DSN."),
        ({"user": "nobody"}, "Postgres refused the login (", "correct the user and password in the DSN."),
        ({"password": ""}, "Postgres refused the login (", "correct the user and password in the DSN."),
        ({"database": "nowhere"}, "the Postgres database is missing (", "correct the database in the DSN."),
    ],
)
def test_a_login_that_postgres_refuses_is_not_tried_again(
    lines: Spoiled, changes: dict[str, str], found: str, next_step: str
) -> None:
    error = failure(lines.by(source=source(lines.services, **changes)).extract)
    assert str(error).startswith(LAKE + found)
    assert str(error).endswith(f"Next: {next_step}")
    assert not error.allow_retries


def test_a_table_that_may_not_be_read_asks_for_the_grant(lines: Spoiled) -> None:
    role, schema = f"reader_{lines.services.source.schema_name[5:]}", lines.services.source.schema_name
    lines.run(f"create role {role} login password '{PASSWORD}'", f'grant usage on schema "{schema}" to {role}')
    try:
        error = failure(lines.by(source=source(lines.services, user=role, password=PASSWORD)).extract)
    finally:
        lines.run(f"drop owned by {role}", f"drop role {role}")
    assert str(error) == (
        f"{LAKE}the role {role} may not read {schema}.lines. "
        f'Next: `grant select on "{schema}"."lines" to "{role}";` (as its owner).'
    )
    assert not error.allow_retries


@pytest.mark.parametrize("stray", ["/", "?", "@", "%zz", " ", ""])
def test_a_dsn_that_would_be_misread_is_refused_without_showing_a_part_of_it(lines: Spoiled, stray: str) -> None:
    misread = dsn(lines.services, password=f"{PASSWORD}{stray}{PASSWORD}") if stray else f"host=x password={PASSWORD}"
    error = failure(lines.by(source=PostgresResource(dsn=misread)).extract)
    assert "the DSN is not a URI that Postgres understands (it is not shown, for it may hold a password)" in str(error)
    assert not error.allow_retries


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://h/d",
        "postgres://u:p%40%2F%25@[::1]:5432,other:5433/d",
        "postgresql:///d?host=/run/postgresql",
        "postgresql://u@h/d?options=-c%20statement_timeout%3D5s&connect_timeout=3",
    ],
)
def test_time_limits_and_utf8_are_added_to_a_dsn_that_otherwise_stays_as_written(uri: str) -> None:
    extended = with_options(uri)
    assert extended.startswith(uri)
    for name, value in OPTIONS.items():
        assert (f"{name}={value}" in extended) != (f"{name}=" in uri)


# S3


def test_an_s3_that_is_down_ends_the_extraction_and_may_be_tried_again(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    store = endpoint(lines.services, monkeypatch, f"http://127.0.0.1:{CLOSED}")
    error = failure(lines.by(store=store).extract)
    assert str(error).startswith(f"{LAKE}S3 did not answer for s3://{store.bucket}/raw/postgres/lines/")
    assert "Next: check AWS_ENDPOINT_URL and the network (`shopstream doctor`)." in str(error)
    assert error.allow_retries


@pytest.mark.parametrize("fault", [Proxy.stall, Proxy.cut])
@pytest.mark.parametrize("layer", ["lake", "staging"])
def test_an_s3_that_stalls_or_cuts_is_given_up(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch, impatient: None, fault: Callable[[Proxy], None], layer: str
) -> None:
    lines.stage()
    before = lines.manifest_bytes()
    lines.run("update {t} set note = 'new'")
    with proxy(s3_port()) as between, monkeypatch.context() as patched:
        far = lines.by(store=endpoint(lines.services, patched, f"http://127.0.0.1:{between.port}"))
        fault(between)
        error = failure(far.extract if layer == "lake" else far.load)
    assert "S3 did not answer for s3://" in str(error)
    assert error.allow_retries
    assert lines.staged("note") == [("old",)]
    unchanged(lines, before)


def test_an_s3_that_fails_before_the_manifests_are_written_leaves_the_earlier_ones_in_force(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    lines.extract()
    before = lines.manifest_bytes()
    lines.run("update {t} set note = 'new'")
    publish = LakeWriter.publish
    with proxy(s3_port()) as between, monkeypatch.context() as patched:
        far = lines.by(store=endpoint(lines.services, patched, f"http://127.0.0.1:{between.port}"))

        def cut_then_publish(writer: LakeWriter, *arguments: Any) -> object:
            for day in writer.days.values():
                for upload in day.objects:
                    upload.result()
            between.cut()
            return publish(writer, *arguments)

        patched.setattr(LakeWriter, "publish", cut_then_publish)
        error = failure(far.extract)
    assert f"{lines.manifest_key()}" in str(error)
    unchanged(lines, before)


def test_an_upload_that_fails_ends_the_scan_without_reading_the_rest(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    schema = carried_schema(LINES.columns)
    read = 0

    def one_row_a_day() -> Iterator[pa.RecordBatch]:
        nonlocal read
        for read in range(10_000):
            moment = pa.scalar(dt.datetime.combine(FIRST, dt.time(), dt.UTC) + read * ONE_DAY, schema[-1].type)
            nothing = (pa.nulls(1, column.type) for column in list(schema)[:-1])
            yield pa.RecordBatch.from_arrays([*nothing, pa.repeat(moment, 1)], schema=schema)

    store = endpoint(lines.services, monkeypatch, f"http://127.0.0.1:{CLOSED}")
    with pytest.raises(ServiceError), lake_writer(store, LINES, EXTRACTION, ()) as writer:
        writer.write(one_row_a_day())
    assert read < 100


ANSWERS = {
    "AccessDenied": (403, False),
    "InvalidAccessKeyId": (403, False),
    "ExpiredToken": (400, False),
    "InvalidRequest": (400, False),
    "SlowDown": (503, True),
}


@contextmanager
def answering(status: int, code: str) -> Iterator[str]:
    """The address of an S3 that gives every request the same answer."""

    class Answer(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("code", ANSWERS)
def test_what_s3_refuses_is_tried_again_only_where_it_may_pass(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch, impatient: None, code: str
) -> None:
    status, passes = ANSWERS[code]
    with answering(status, code) as url:
        error = failure(lines.by(store=endpoint(lines.services, monkeypatch, url)).extract)
    assert code in str(error)
    assert error.allow_retries is passes
    if status == 403:
        assert "Next: correct the AWS credentials, or grant s3:GetObject, s3:PutObject and s3:ListBucket" in str(error)


def test_a_small_object_is_sent_without_a_round_trip_that_asks_whether_it_may(lines: Spoiled) -> None:
    store, sent = lines.services.store, []
    large = b"x" * (object_store.SMALL_BYTES + 1)

    def note(request: Any, **_: object) -> None:
        sent.append(dict(request.headers))

    store.client.meta.events.register("before-send.s3.PutObject", note)
    try:
        store.put("asked/nothing", b"content", "text/plain")
        store.replace("asked/nothing-again", b"content", "text/plain", None)
        # Of a large one S3's refusal would be lost, where it closes while the object is still being sent.
        store.put("asked/first", large, "text/plain")
    finally:
        store.client.meta.events.unregister("before-send.s3.PutObject", note)
        store.delete(["asked/nothing", "asked/nothing-again", "asked/first"])
    assert [int(headers["Content-Length"]) for headers in sent] == [7, 7, len(large)]
    assert ["Expect" in headers for headers in sent] == [False, False, True]


@pytest.mark.parametrize("layer", ["lake", "staging"])
def test_a_bucket_that_is_missing_is_named(lines: Spoiled, layer: str) -> None:
    lines.extract()
    far = lines.by(store=ObjectStoreResource(bucket="no-such-bucket"))
    error = failure(far.extract if layer == "lake" else far.load)
    assert "the bucket no-such-bucket does not exist. Next: create it, or correct" in str(error)
    assert not error.allow_retries


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"AWS_PROFILE": "nobody"}, "The config profile (nobody) could not be found"),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "Invalid endpoint: nonsense"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "Unable to locate credentials"),
    ],
)
def test_settings_with_which_s3_cannot_be_asked_are_told(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], found: str
) -> None:
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    error = failure(lines.by(store=ObjectStoreResource(bucket=lines.services.store.bucket)).extract)
    assert f"S3 cannot be asked for s3://{lines.services.store.bucket}/" in str(error)
    assert found in str(error)
    assert not error.allow_retries


# Snowflake


def test_a_warehouse_that_is_down_is_given_up_and_may_be_tried_again(lines: Spoiled, impatient: None) -> None:
    lines.extract()
    error = failure(lines.by(warehouse=snowflake(lines.services, port=str(CLOSED))).load)
    assert str(error).startswith(f"{STAGING}Snowflake did not answer (")
    assert "Next: check SNOWFLAKE_ACCOUNT (and SNOWFLAKE_HOST, if set) and the network" in str(error)
    assert error.allow_retries


@pytest.mark.parametrize("fault", [Proxy.stall, Proxy.cut])
def test_a_warehouse_that_stalls_or_cuts_in_the_middle_of_a_load_leaves_staging_as_it_was(
    lines: Spoiled, monkeypatch: pytest.MonkeyPatch, impatient: None, fault: Callable[[Proxy], None]
) -> None:
    lines.stage()
    lines.run("update {t} set note = 'new'")
    lines.extract()
    copy = change_log._copy
    with proxy(int(lines.services.warehouse.port)) as between, monkeypatch.context() as patched:

        def fault_then_copy(*arguments: Any) -> None:
            fault(between)
            copy(*arguments)

        patched.setattr(change_log, "_copy", fault_then_copy)
        error = failure(lines.by(warehouse=snowflake(lines.services, port=str(between.port))).load)
    assert str(error).startswith(f"{STAGING}Snowflake did not answer (")
    assert error.allow_retries
    monkeypatch.undo()
    assert lines.staged("note") == [("old",)]
    # The lock of the session that was lost is waited for.
    lines.load()
    assert lines.staged("note") == [("new",)]


def test_dbt_gives_up_a_warehouse_that_falls_silent_in_the_middle_of_a_statement(
    services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, impatient: None
) -> None:
    slow = (
        "{{ config(materialized='table') }} select /* falls_silent */ count(*) as n "
        "from table(generator(rowcount => 3000000)) a, table(generator(rowcount => 3000000)) b"
    )
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "endless.sql").write_text(slow)
    (tmp_path / "dbt_project.yml").write_text("{name: shopstream, profile: shopstream, flags: {}}")
    direct = services.warehouse

    def statements(cursor: Any) -> list[Any]:
        cursor.execute(
            "select session_id from table(information_schema.query_history_by_user()) where "
            f"execution_status = 'RUNNING' and query_text like '%falls_silent%' and session_id <> {session.session_id}"
        )
        return list(cursor.fetchall())

    with proxy(int(direct.port)) as between, direct.connection(LOADING) as session, session.cursor() as cursor:
        monkeypatch.setenv("SNOWFLAKE_PORT", str(between.port))
        monkeypatch.setenv("SNOWFLAKE_DATABASE", direct.database)
        where = ["--project-dir", str(tmp_path), "--profiles-dir", str(ROOT / "dbt_project" / "shopstream"), "--quiet"]
        with ThreadPoolExecutor(1) as pool:
            building = pool.submit(invoke_dbt, ["build", *where])
            [(writer,)] = wait_for(lambda: statements(cursor), "the statement to begin", 60)
            between.stall()
            result = building.result(60)
        direct.cancel([writer])
    assert not result.success
    nodes: Any = result.result
    assert "no answer within 1 s" in nodes[0].message


@pytest.mark.parametrize(
    ("changes", "found", "next_step"),
    [
        ({"password": PASSWORD}, "Snowflake refused the login (", "correct SNOWFLAKE_USER and its password or"),
        ({"password": ""}, "Snowflake refused the login (", "correct SNOWFLAKE_USER and its password or private key."),
        ({"database": "NOWHERE"}, "an object in Snowflake is missing or not granted (", "create it (deploy/snowflake;"),
        (
            {"private_key_path": "/no/such/key.p8", "private_key_passphrase": PASSWORD},
            "the settings of the Snowflake connection cannot be used ([Errno 2] No such file",
            "correct SNOWFLAKE_PRIVATE_KEY_PATH and its passphrase",
        ),
        ({"port": "x"}, "the settings of the Snowflake connection cannot be used (", "correct SNOWFLAKE_PRIVATE_KEY"),
    ],
)
def test_what_snowflake_refuses_is_not_tried_again(
    lines: Spoiled, changes: dict[str, str], found: str, next_step: str
) -> None:
    lines.extract()
    error = failure(lines.by(warehouse=snowflake(lines.services, **changes)).load)
    assert str(error).startswith(STAGING + found)
    assert f"Next: {next_step}" in str(error)
    assert not error.allow_retries


def test_a_request_to_a_warehouse_that_is_gone_is_repeated_for_two_minutes_at_most(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snowflake.connector.errors import OperationalError

    clock, waited = 0.0, []
    monkeypatch.setattr(warehouse.time, "monotonic", lambda: clock)
    pauses = services.warehouse.parameters(LOADING)["backoff_policy"]()
    with pytest.raises(OperationalError, match="no answer within 120 s"):  # noqa: PT012
        for pause in pauses:
            waited.append(pause)
            clock += pause
    assert waited[:6] == [1, 2, 4, 8, 16, 16]
    assert 120 <= sum(waited) <= 136


def test_the_run_of_a_staging_asset_tells_the_refusal_and_does_not_try_again(lines: Spoiled) -> None:
    lines.extract()
    result = lines.by(warehouse=snowflake(lines.services, password=PASSWORD)).materialize("staging")
    assert not result.success
    assert not retried(result)
    assert told(result).startswith(f"{STAGING}Snowflake refused the login (")
    assert PASSWORD not in told(result)


def test_a_range_that_fails_publishes_none_of_its_days(lines: Spoiled) -> None:
    lines.insert(id=2, updated_at="2026-03-03 12:00+00")
    wide(lines)
    with proxy(port_of(lines.services)) as between:
        between.cut_after(2 * 1024 * 1024)
        failure(lambda: lines.by(source=source(lines.services, port=between.port)).extract(DAYS))
    assert [key for key, _, _ in lines.services.store.listed("raw/") if key.endswith(".json")] == []
