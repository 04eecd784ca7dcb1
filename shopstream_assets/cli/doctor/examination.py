"""All checks: the settings first, then the services side by side.

Every check ends: each connection has a limit of its own, and a service that still does not answer is given up after
SERVICE_SECONDS.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shopstream_assets.cli.doctor.finding import Environment, Finding, Redactor, words
from shopstream_assets.cli.doctor.lake import check_lake
from shopstream_assets.cli.doctor.postgres import check_source, check_storage
from shopstream_assets.cli.doctor.settings import check_settings
from shopstream_assets.cli.doctor.warehouse import check_warehouse
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.environment import variable_of

SERVICE_SECONDS = 60
_LOGIN = ("ACCOUNT", "USER", "ROLE", "PORT", "PROTOCOL", "PRIVATE_KEY_PATH")


def examine(domain: Domain, environment: Environment) -> Iterator[Finding]:
    """Check the settings of a domain, then all its services side by side; yields findings service by service."""
    hide = Redactor(environment)
    broken: set[str] = set()
    for finding in check_settings(domain, environment):
        if finding.result == "FAIL":
            broken.add(finding.what)
        yield hide(finding)
    pending = [_Examination(service, domain, environment, broken) for service in services_of(domain, environment)]
    deadline = time.monotonic() + SERVICE_SECONDS
    for examination in pending:
        for finding in examination.findings(deadline):
            yield hide(finding)


@dataclass(frozen=True)
class _Service:
    """A service's checks, and the settings without which they cannot begin."""

    name: str
    needs: tuple[str, ...]
    check: Callable[[Domain, Environment], Iterator[Finding]]


class _Examination:
    """One service being checked in a thread that may be left behind when the service hangs."""

    def __init__(self, service: _Service, domain: Domain, environment: Environment, broken: set[str]) -> None:
        self.service = service
        self.results: queue.Queue[Finding | None] = queue.Queue()
        self.missing = sorted(broken.intersection(service.needs))
        if not self.missing:
            threading.Thread(target=self._run, args=(domain, environment), daemon=True).start()

    def _run(self, domain: Domain, environment: Environment) -> None:
        try:
            for finding in self.service.check(domain, environment):
                self.results.put(finding)
        # Anything that a driver raises is a finding here.
        except Exception as error:  # noqa: BLE001
            self.results.put(Finding("FAIL", self.service.name, words(error), "Read the message above."))
        self.results.put(None)

    def findings(self, deadline: float) -> Iterator[Finding]:
        if self.missing:
            found = f"not checked: needs {', '.join(self.missing)}"
            yield Finding("warn", self.service.name, found, "Correct those settings first.")
            return
        while True:
            try:
                finding = self.results.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                found = f"no answer within {SERVICE_SECONDS} s"
                advice = "Something between here and the service swallows packets, or it hangs: check network and host."
                yield Finding("FAIL", self.service.name, found, advice)
                return
            if finding is None:
                return
            yield finding


def services_of(domain: Domain, environment: Environment) -> list[_Service]:
    """The services of a domain, and the settings that each needs."""
    bucket = domain.variable("LAKE_BUCKET")
    return [
        _Service(
            "Postgres", tuple(map(domain.variable, ("POSTGRES_DSN", "POSTGRES_SCHEMA", "SOURCE_MODE"))), check_source
        ),
        _Service("S3", (bucket, "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS credentials"), check_lake),
        _Service(
            "Snowflake",
            (
                *(variable_of(domain, f"SNOWFLAKE_{name}", environment) for name in _LOGIN),
                domain.database_variable,
                domain.integration_variable,
                "SNOWFLAKE credentials",
                bucket,
            ),
            check_warehouse,
        ),
        _Service("Dagster storage", ("SHOPSTREAM_DAGSTER_POSTGRES_URL",), check_storage),
    ]
