"""Snowflake's protocol over HTTP on 127.0.0.1, as far as the Python connector and dbt use it.

fakesnow 0.12.1's server accepts any password, answers unexpected errors with HTTP 500 (which the connector retries
for ever), never learns that a client closed its session, and lets a retried request run twice. So this is another
one; all that is left of fakesnow's are statement numbers.
"""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from fakesnow.statement_type import DML_TYPE_IDS
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from shopstream_assets.embedded.snowflake import dispatch
from shopstream_assets.embedded.snowflake.errors import SnowflakeError
from shopstream_assets.embedded.snowflake.sessions import Account, Running, Session
from shopstream_assets.embedded.snowflake.statements import Answer
from shopstream_assets.embedded.snowflake.types import from_binding

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
_SERVER_VERSION = "9.30.0"  # of Snowflake, as clients see it
# Statements may wait for each other's locks, so there must be a thread for everyone.
_THREADS = 256
# Snowflake answers "still running" after 45 s, and the client asks again.
_ANSWER_WITHIN = 40.0
# A retried request gets the first one's answer, if it is no longer than this many bytes.
_KEPT_ANSWER = 1 << 20
_KEPT_FOR = 5.0  # seconds

_Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Credentials:
    """What a client must know. Without a password anyone may log in; users are not told apart."""

    password: str | None = None

    def accept(self, password: str) -> bool:
        """Whether a client with this password may log in."""
        return self.password is None or hmac.compare_digest(self.password.encode(), password.encode())


class Protocol:
    """The HTTP side of one account."""

    def __init__(self, account: Account, credentials: Credentials, stack_token: str) -> None:
        self._account = account
        self._credentials = credentials
        self._stack_token = stack_token
        self.sessions = account.sessions
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="statement")
        self._running: dict[str, asyncio.Future[bytes]] = {}  # query or request id -> its answer
        self._asked_to_return: set[asyncio.Future[bytes]] = set()  # told "still running": the client will be back
        self.app = Starlette(
            routes=[
                Route("/session/v1/login-request", self._login, methods=["POST"]),
                Route("/session", self._session, methods=["POST"]),
                Route("/session/heartbeat", self._session, methods=["POST"]),
                Route("/session/token-request", self._renew, methods=["POST"]),
                Route("/queries/v1/query-request", self._query, methods=["POST"]),
                Route("/queries/v1/abort-request", self._abort, methods=["POST"]),
                Route("/queries/{query_id}/abort-request", self._abort_query, methods=["POST"]),
                Route("/queries/{query_id}/result", self._result, methods=["GET"]),
                Route("/monitoring/queries/{query_id}", self._monitor, methods=["GET"]),
                Route("/telemetry/send", self._telemetry, methods=["POST"]),
                Route("/shopstream/identity", self._identity, methods=["GET"]),
            ],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.get_running_loop().run_in_executor(None, self._close)

    def _close(self) -> None:
        self.sessions.close()
        self._threads.shutdown(cancel_futures=True)
        self._account.storage.close()

    async def _identity(self, request: Request) -> Response:
        digest = hashlib.sha256(self._stack_token.encode()).hexdigest()
        return _json({"service": "snowflake", "pid": os.getpid(), "token_sha256": digest})

    async def _login(self, request: Request) -> Response:
        data = (await _body(request))["data"]
        user, password = str(data.get("LOGIN_NAME") or ""), str(data.get("PASSWORD") or "")
        if not self._credentials.accept(password):
            return _failure(SnowflakeError(390100, "08004", "Incorrect username or password was specified."))
        try:
            session = Session(self._account, user, data.get("SESSION_PARAMETERS") or {})
        except SnowflakeError as error:
            return _failure(error)
        names = [request.query_params.get(key) for key in ("databaseName", "schemaName")]
        session.enter(*(_identifier(name) for name in names))
        self.sessions.add(session)
        return _json(
            {
                "data": {
                    "token": session.token,
                    # without a master token the connector does not tell when it closes
                    "masterToken": session.token,
                    "validityInSeconds": 14_400,
                    "masterValidityInSeconds": 14_400,
                    "serverVersion": _SERVER_VERSION,
                    "sessionId": int(session.number),
                    "parameters": [
                        {"name": "AUTOCOMMIT", "value": session.transactions.autocommit},
                        {"name": "TIMEZONE", "value": "Etc/UTC"},
                        {"name": "CLIENT_TELEMETRY_ENABLED", "value": False},
                        # arrays are bound in the request, not staged with PUT
                        {"name": "CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", "value": 0},
                    ],
                    "sessionInfo": {
                        "databaseName": session.namespace.database,
                        "schemaName": session.namespace.schema,
                        "warehouseName": None,
                        "roleName": "SYSADMIN",
                    },
                },
                "success": True,
            }
        )

    async def _session(self, request: Request) -> Response:
        session = self._session_of(request)
        if session is None:
            return _gone()
        if request.query_params.get("delete") == "true":
            await self._in_thread(lambda: self.sessions.remove(session.token))
        return _done()

    async def _renew(self, request: Request) -> Response:
        session = self._session_of(request)
        if session is None:
            return _gone()
        data = {"sessionToken": session.token, "masterToken": session.token, "validityInSeconds": 14_400}
        return _json({"data": data, "success": True})

    async def _query(self, request: Request) -> Response:
        session = self._session_of(request)
        if session is None:
            return _gone()
        request_id = request.query_params.get("requestId") or uuid.uuid4().hex
        answer = self._running.get(request_id)
        if answer is None:  # not a retry of one that is running, or was answered a moment ago
            body = await _body(request)
            query_id = str(uuid.uuid4())
            loop = asyncio.get_running_loop()
            answer = loop.run_in_executor(self._threads, self._run, session, body, request_id, query_id)
            self._running[request_id] = self._running[query_id] = answer
            answer.add_done_callback(lambda done: self._forget_later(done, request_id, query_id))
        return await self._wait(request_id, answer)

    async def _result(self, request: Request) -> Response:
        if self._session_of(request) is None:
            return _gone()
        query_id = request.path_params["query_id"]
        answer = self._running.get(query_id)
        if answer is None:
            return _failure(SnowflakeError(709, "02000", f"Statement {query_id} not found"))
        return await self._wait(query_id, answer)

    async def _wait(self, key: str, answer: "asyncio.Future[bytes]") -> Response:
        done, _ = await asyncio.wait([answer], timeout=_ANSWER_WITHIN)
        if done:
            return Response(answer.result(), media_type="application/json")
        self._asked_to_return.add(answer)
        data = {"queryId": key, "getResultUrl": f"/queries/{key}/result", "progressDesc": None}
        return _json({"data": data, "code": "333334", "message": "Query execution in progress.", "success": True})

    def _forget_later(self, done: "asyncio.Future[bytes]", *keys: str) -> None:
        """Keep a short answer for a moment, in case the client did not get it and asks again."""
        failed = done.cancelled() or done.exception() is not None
        large = not failed and len(done.result()) > _KEPT_ANSWER
        delay = _KEPT_FOR if done in self._asked_to_return or not large else 0.0

        def forget() -> None:
            self._asked_to_return.discard(done)
            for key in keys:
                self._running.pop(key, None)

        asyncio.get_running_loop().call_later(delay, forget)

    def _run(self, session: Session, body: dict[str, Any], request_id: str, query_id: str) -> bytes:
        sql, started = str(body["sqlText"]), time.monotonic()
        try:
            answer = self._answer(session, sql, body, request_id, query_id)
            return json.dumps(_success(session, answer, query_id)).encode()
        except SnowflakeError as error:
            return _failure_bytes(error, query_id)
        finally:
            logger.info("%.1f ms, session %s: %s", (time.monotonic() - started) * 1000, session.number, sql)

    def _answer(self, session: Session, sql: str, body: dict[str, Any], request_id: str, query_id: str) -> Answer:
        bindings: dict[str, Any] = body.get("bindings") or {}
        if not all(key.isdigit() for key in bindings):
            raise SnowflakeError(2, "0A000", "Unsupported feature in the local Snowflake: named bindings")
        bound = [bindings[str(position)] for position in range(1, len(bindings) + 1)]
        if any(isinstance(binding["value"], list) for binding in bound):
            columns = [[from_binding(binding["type"], value) for value in binding["value"]] for binding in bound]
            rows = list(zip(*columns, strict=True))
            return session.in_turn(request_id, query_id, sql, lambda: dispatch.run_many(session, sql, rows))
        parameters = [from_binding(binding["type"], binding["value"]) for binding in bound]
        describe_only = bool(body.get("describeOnly"))
        count = int((body.get("parameters") or {}).get("MULTI_STATEMENT_COUNT", 1))
        return session.in_turn(
            request_id,
            query_id,
            sql,
            lambda: dispatch.run(session, sql, parameters, describe_only=describe_only, count=count),
        )

    async def _abort(self, request: Request) -> Response:
        session = self._session_of(request)
        if session is None:
            return _gone()
        wanted = str((await _body(request)).get("requestId"))
        await self._cancel(lambda: session.cancel(lambda running: running.request == wanted))
        return _done()

    async def _abort_query(self, request: Request) -> Response:
        if self._session_of(request) is None:
            return _gone()
        wanted = request.path_params["query_id"]

        def is_wanted(running: Running) -> bool:
            return running.query == wanted

        await self._cancel(lambda: any([session.cancel(is_wanted) for session in self.sessions.all()]))
        return _done()

    async def _monitor(self, request: Request) -> Response:
        if self._session_of(request) is None:
            return _gone()
        answer = self._running.get(request.path_params["query_id"])
        status = "SUCCESS" if answer is None or answer.done() else "RUNNING"
        return _json({"data": {"queries": [{"status": status}]}, "success": True})

    async def _telemetry(self, request: Request) -> Response:
        return _done()

    def _session_of(self, request: Request) -> Session | None:
        header = request.headers.get("Authorization", "")
        token = header.removeprefix('Snowflake Token="').removesuffix('"')
        return self.sessions.get(token, request.scope.get("client"))

    async def _cancel(self, work: Callable[[], bool]) -> None:
        # Not among the statements' threads, all of which may wait for what is to be cancelled.
        await asyncio.get_running_loop().run_in_executor(None, work)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, work)


def serve(protocol: Protocol, port: int) -> None:
    """Answer until SIGTERM or SIGINT, then roll back what is open, checkpoint and return."""

    class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """Tells when a client's connection is gone."""

        def connection_lost(self, exc: Exception | None) -> None:
            client = self.client
            super().connection_lost(exc)
            if client:
                # not in the event loop: it waits for the sessions' lock
                threading.Thread(target=protocol.sessions.disconnected, args=(client,), daemon=True).start()

    # uvicorn stops on these by itself, and then raises them again
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.run(
        protocol.app,
        host=HOST,
        port=port,
        http=Connection,
        log_level="warning",
        access_log=False,
        # the connector keeps its connections; closing them would look like a client that vanished
        timeout_keep_alive=24 * 3600,
        timeout_graceful_shutdown=3,
    )


async def _body(request: Request) -> dict[str, Any]:
    body = await request.body()
    if request.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    content: dict[str, Any] = json.loads(body) if body else {}
    return content


def _identifier(name: str | None) -> str | None:
    if name and name.startswith('"') and name.endswith('"'):
        return name[1:-1].replace('""', '"')
    return name.upper() if name else None


def _success(session: Session, answer: Answer, query_id: str) -> dict[str, Any]:
    result = answer.result
    if answer.type_id in DML_TYPE_IDS or session.parameters.get("PYTHON_CONNECTOR_QUERY_RESULT_FORMAT") == "JSON":
        rows: dict[str, Any] = {"queryResultFormat": "json", "rowset": result.to_json_rows()}
    else:
        encoded = base64.b64encode(result.to_arrow_stream()).decode() if result.rows.num_rows else ""
        rows = {"queryResultFormat": "arrow", "rowsetBase64": encoded}
    return {
        "data": {
            "parameters": [{"name": "TIMEZONE", "value": "Etc/UTC"}],
            "rowtype": result.rowtype,
            "total": result.rows.num_rows,
            "returned": result.rows.num_rows,
            "queryId": query_id,
            "statementTypeId": answer.type_id,
            "finalDatabaseName": session.namespace.database,
            "finalSchemaName": session.namespace.schema,
            **rows,
        },
        "success": True,
    }


def _failure_bytes(error: SnowflakeError, query_id: str | None = None) -> bytes:
    code = f"{error.errno:06d}"
    data = {"errorCode": code, "sqlState": error.sqlstate, "queryId": query_id, "internalError": False}
    return json.dumps({"data": data, "code": code, "message": error.message, "success": False}).encode()


def _failure(error: SnowflakeError) -> Response:
    # always HTTP 200: the connector retries on most other codes
    return Response(_failure_bytes(error), media_type="application/json")


def _gone() -> Response:
    return _failure(
        SnowflakeError(390111, "08003", "Session no longer exists. New login required to access the service.")
    )


def _done() -> Response:
    return _json({"data": None, "code": None, "message": None, "success": True})


def _json(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), media_type="application/json")
