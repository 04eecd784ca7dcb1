"""The `shopstream` command. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from shopstream_assets.platform.declare.domain import Domain


@contextlib.contextmanager
def _plain_errors(*others: type[Exception], needs_services: bool = False) -> Iterator[None]:
    """Show what the stack, the settings (or one of `others`) have to say without a traceback, and exit with 1.

    Where a service of the local stack has died, that is what is said, whatever failed for it. `needs_services`: what is
    done cannot begin without them.
    """
    from shopstream_assets.embedded.errors import StackError

    if needs_services:
        from shopstream_assets.embedded.outage import outage

        # Before drivers try again and again, and say so.
        if (died := outage()) is not None:
            raise click.ClickException(died)
    try:
        yield
    except StackError as error:
        raise click.ClickException(str(error)) from error
    except Exception as error:
        from shopstream_assets.embedded.outage import outage

        if (died := outage()) is not None:
            raise click.ClickException(died) from error
        from shopstream_assets.platform.declare.environment import SettingsError

        if isinstance(error, (SettingsError, *others)):
            raise click.ClickException(str(error)) from error
        raise


def _say(message: str) -> None:
    click.echo(message, err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """ShopStream: a data platform in which every table is a Dagster asset."""


@main.group()
def stack() -> None:
    """The local stack: PostgreSQL, S3 and the Snowflake protocol, without Docker."""


@stack.command()
@click.option("--ui", is_flag=True, help="Also run Dagster (webserver and daemon) until Ctrl-C.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of Dagster's page. [default: 3000, or a free one]")
def up(ui: bool, port: int | None) -> None:
    """Start what does not run, and write the environment to .shopstream/env.

    With --ui this stays in the foreground; Ctrl-C stops Dagster, and also the services unless they ran before.
    """
    from shopstream_assets.embedded import stack as local

    if port is not None and not ui:
        raise click.UsageError("--port is the port of Dagster's page: it goes with --ui.")
    with _plain_errors():
        if not ui:
            local.up(say=_say)
            _print_status()
            return
        _serve(port)


def _serve(port: int | None) -> None:
    """`stack up --ui`."""
    from shopstream_assets.embedded import stack as local
    from shopstream_assets.embedded import ui as dagster
    from shopstream_assets.embedded.state import alone, home, is_at_work
    from shopstream_assets.embedded.supervision import end_left_over

    here = home()
    refusal = (
        f"Starting Dagster: it runs for {here.root} already, at {{about}} (process {{pid}}). Open that page; Ctrl-C in "
        "its shell, or `kill {pid}`, ends it."
    )
    with alone(here, "ui", refusal, "an address that it has yet to choose") as tell:
        # First: the page of a command that was killed has our port.
        if left := end_left_over(here.dagster_processes, runs_go_on=True):
            _say(f"A `make up` before this one was killed; ended what it left: {', '.join(left)}. Its runs go on.")
        chosen = dagster.choose_port(port)
        tell(f"http://127.0.0.1:{chosen}")
        ran_before = all(row.state == "up" for row in local.status())
        try:
            variables = local.up(say=_say)
            dagster.serve(variables, chosen, _say, lambda deaths: local.revive(deaths, say=_say))
        except KeyboardInterrupt:
            _say("Interrupted.")
        finally:
            if ran_before or is_at_work(here, "demo"):
                why = "ran before" if ran_before else "are needed by a demo"
                _say(f"The services {why} and go on; `shopstream stack down` stops them.")
            else:
                local.down(say=_say)
                _say("The services are stopped; their data is kept.")


@stack.command()
def down() -> None:
    """Stop the services; their data is kept."""
    from shopstream_assets.embedded import stack as local

    with _plain_errors():
        stopped = local.down(say=_say)
    click.echo(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


@stack.command("status")
def services() -> None:
    """Show each service, and which domains do not load; exit with 1 unless all services are up."""
    with _plain_errors():
        all_up = _print_status()
    if not all_up:
        raise SystemExit(1)


def _print_status() -> bool:
    from shopstream_assets.embedded import stack as local
    from shopstream_assets.platform.declare.registry import domains_that_load

    rows = local.status()
    for row in rows:
        click.echo(f"{row.service:<10} {row.state:<14} {row.address or '-':<16} pid {row.pid or '-':<8} {row.detail}")
    domains_that_load(lambda name, problem: click.echo(f"{name:<10} {'left out':<14} {problem}"))
    return all(row.state == "up" for row in rows)


@stack.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(yes: bool) -> None:
    """Stop the services and delete all local data, logs and settings."""
    from shopstream_assets.embedded import stack as local
    from shopstream_assets.embedded.state import home

    with _plain_errors():
        if not yes:
            click.confirm(f"Delete everything in {home().folder}?", abort=True)
        local.reset(say=_say)
    click.echo("The local stack is gone; `shopstream stack up` starts with empty data.")


# Of the several businesses on the platform, the one that a command is about.
_DOMAIN = click.option(
    "--domain", "name", default="shopstream", show_default=True, metavar="NAME", help="A domain that is installed."
)
_DOMAINS = click.option(
    "--domain",
    "name",
    default="shopstream",
    show_default=True,
    metavar="NAME",
    help="A domain that is installed, or all of them: all.",
)


def _named(name: str) -> list[str]:
    """The names of the domains that `_DOMAINS` stands for."""
    from shopstream_assets.platform.declare.registry import registered

    return list(registered()) if name == "all" else [name]


@main.command()
@_DOMAINS
@click.option("--quiet", is_flag=True, help="Show the result only.")
def demo(name: str, quiet: bool) -> None:
    """Play 90 days of a business, carry them through every layer, and show what came out."""
    from shopstream_assets.cli.demo import DemoFailed, run
    from shopstream_assets.platform.errors import Problem

    with _plain_errors(DemoFailed, Problem):
        run(_named(name), quiet=quiet)


@main.command()
@_DOMAINS
def status(name: str) -> None:
    """Show which days failed or are missing, per asset, and the command that repairs them; exit with 1 if any.

    Reads the environment, and before it `.env` of the current folder; what the shell sets wins.
    """
    _load_dotenv(Path(".env"))
    from shopstream_assets.cli.each import for_each
    from shopstream_assets.cli.status import show
    from shopstream_assets.platform.errors import Problem

    well = []
    with _plain_errors(Problem, needs_services=True):
        failed = for_each(_named(name), lambda domain: well.append(show(domain)))
        if failed:
            raise click.ClickException("\n".join(failed))
    if not all(well):
        raise SystemExit(1)


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the page. [default: 8501, or a free one]")
def dashboard(port: int | None) -> None:
    """Serve the dashboards on 127.0.0.1 until Ctrl-C: pages over the marts of every domain that has been built.

    Reads the environment, and before it `.env` of the current folder; what the shell sets wins.
    """
    from importlib.util import find_spec

    if find_spec("streamlit") is None:
        raise click.ClickException(
            "Starting the dashboards: Streamlit is not installed. Next: `make install`, or install this package with "
            "the extra `dashboards`."
        )
    dotenv = Path(".env")
    _load_dotenv(dotenv)
    # A domain may have an account of its own, as STREAMVISION_SNOWFLAKE_ACCOUNT.
    if not any(name.endswith("SNOWFLAKE_ACCOUNT") and value for name, value in os.environ.items()):
        where = "does not say it" if dotenv.is_file() else "does not exist"
        raise click.ClickException(
            f"Starting the dashboards: nothing says which warehouse to read. SNOWFLAKE_ACCOUNT is not set, and "
            f"{dotenv.absolute()} {where}. Next: `shopstream stack up`, then run this in the folder of the stack; or "
            "set the variables as .env.example describes."
        )
    with _plain_errors(needs_services=True):
        from shopstream_assets.embedded.ui import PREFERRED_DASHBOARDS_PORT, choose_port

        chosen = choose_port(port, PREFERRED_DASHBOARDS_PORT, "the dashboards")
        from shopstream_assets.dashboards.server import serve

        serve(chosen, lambda: _say(f"The dashboards are at http://127.0.0.1:{chosen} - Ctrl-C stops them."))


@main.command()
@_DOMAIN
@click.argument("models", nargs=-1, metavar="[MODEL]...")
def rebuild(name: str, models: tuple[str, ...]) -> None:
    """Build MODELs, and those made from them, anew from all that staging holds; all models where none is named.

    Reads neither Postgres nor the lake. Reads the environment, and before it `.env` of the current folder; what the
    shell sets wins. Exits with 1 when the run failed.
    """
    _load_dotenv(Path(".env"))
    from shopstream_assets.cli import rebuilding as anew
    from shopstream_assets.platform.declare.registry import domain_named
    from shopstream_assets.platform.errors import Problem

    with _plain_errors(anew.RebuildFailed, Problem, needs_services=True):
        anew.rebuild(domain_named(name), models, _say)


@main.command()
@_DOMAIN
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
def restage(name: str, tables: tuple[str, ...]) -> None:
    """Load the staging of TABLEs anew from the lake; of all tables where none is named.

    Does not read Postgres. Reads the environment, and before it `.env` of the current folder; what the shell sets wins.
    Exits with 1 when the run failed.
    """
    _load_dotenv(Path(".env"))
    from shopstream_assets.cli import rebuilding as anew
    from shopstream_assets.platform.declare.registry import domain_named
    from shopstream_assets.platform.errors import Problem

    with _plain_errors(anew.RebuildFailed, Problem, needs_services=True):
        anew.restage(domain_named(name), tables, _say)


@main.command()
@_DOMAIN
@click.argument("tables", nargs=-1, metavar="[TABLE]...")
def accept(name: str, tables: tuple[str, ...]) -> None:
    """Take the source of TABLEs as it is now: restored, failed over, or with many rows gone; of all if none is named.

    For an extraction that stopped because of it. Good for a day; then such a change stops again. Rows that the source
    lacks are deleted in every layer by the extractions that follow. Reads the environment, and before it `.env` of the
    current folder; what the shell sets wins.
    """
    _load_dotenv(Path(".env"))
    from shopstream_assets.cli import acceptance
    from shopstream_assets.platform.declare.registry import domain_named
    from shopstream_assets.platform.errors import Problem

    with _plain_errors(acceptance.NoSuchTable, Problem, needs_services=True):
        for table in acceptance.accept(domain_named(name), tables):
            click.echo(f"The next extraction of {table} takes its source as it is.")


@main.command()
@click.argument("url", metavar="POSTGRES_URL")
@click.option("--schema", default="public", show_default=True, help="Schema that holds the tables.")
@click.option(
    "--table", "tables", multiple=True, metavar="NAME", help="A table or view; again for more. [default: all]"
)
@click.option("--time-zone", metavar="ZONE", help="Whose local time a timestamp without time zone holds: UTC.")
@click.option("--owner", default="team:data", show_default=True, help="Owner of the tables: team:<name>, or an e-mail.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write. [default: stdout]")
def declare(
    url: str, schema: str, tables: tuple[str, ...], time_zone: str | None, owner: str, output: Path | None
) -> None:
    """Write the Python declaration of tables that exist in the database at POSTGRES_URL.

    What can be read of them is declared, and what cannot be is guessed: comments say what was guessed, what to see to
    before the first load, and why a table is left out. Only looks. The password is better left to PGPASSWORD or
    ~/.pgpass than to the shell's history; it is never written.
    """
    from shopstream_assets.cli.declare.command import declared
    from shopstream_assets.platform.errors import Problem

    with _plain_errors(Problem):
        text, told = declared(url, schema, tables, owner, time_zone, output)
    if output is None:
        click.echo(text, nl=False)
    _say(told)


@main.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with 1, naming each file that differs.")
def generate(check: bool) -> None:
    """Write the files that follow from the installed domains.

    Each domain's SQL in deploy/snowflake and dbt sources; workspace.yaml; the code locations in the Helm values; the
    sections of .env.example; the Power BI projects. Run it after a change of a domain, its tables, marts or metrics.
    """
    from shopstream_assets.cli.generate import files
    from shopstream_assets.platform.declare.registry import domains
    from shopstream_assets.platform.errors import Problem

    for made, here in files.KINDS:
        with _plain_errors(Problem):
            expected = made(domains())
            changed = files.differing(expected, here()) if check else files.write(expected, here())
        for path in changed:
            if path not in expected:
                found = "belongs to no domain that is installed" if check else "is deleted: its domain is not installed"
            else:
                found = "differs from the domains" if check else "is written"
            click.echo(f"{files.shown(path)} {found}.")
        if check and changed:
            raise click.ClickException(f"{len(changed)} generated files differ. Next: `{files.COMMAND}` writes them.")


@main.command()
@_DOMAINS
def doctor(name: str) -> None:
    """Check the settings of a domain, that every service permits what the platform does, and that its code loads.

    Reads the environment, and before it `.env` of the current folder; what the shell sets wins. Exits with 1 when a
    check fails. Writes only probes of its own, and removes them.
    """
    from shopstream_assets.cli.each import for_each
    from shopstream_assets.platform.errors import Problem

    _load_dotenv(Path(".env"))
    names, well = _named(name), []
    with _plain_errors(Problem):
        failed = for_each(names, lambda domain: well.append(_examine(domain, with_title=len(names) > 1)))
        if failed:
            raise click.ClickException("\n".join(failed))
    if not all(well):
        raise SystemExit(1)


def _examine(domain: Domain, with_title: bool) -> bool:
    """Print what `doctor` finds of a domain; returns whether nothing fails."""
    from shopstream_assets.cli.doctor.code_location import check_code_location
    from shopstream_assets.cli.doctor.examination import examine
    from shopstream_assets.cli.doctor.settings import check_dotenv

    if with_title:
        click.echo(f"{domain.title}:")
    well = True
    for finding in (
        *check_dotenv(Path(".env"), domain, os.environ),
        *examine(domain, os.environ),
        *check_code_location(domain),
    ):
        well &= finding.result != "FAIL"
        mark = click.style(f"{finding.result:<5}", fg={"ok": "green", "warn": "yellow", "FAIL": "red"}[finding.result])
        click.echo(f"{mark} {finding.what:<36} {finding.found}")
        if finding.advice:
            click.echo(f"      {'':<36} -> {finding.advice}")
    return well


def _load_dotenv(path: Path) -> None:
    if path.is_file():
        from dotenv import dotenv_values

        for name, value in dotenv_values(path).items():
            if value is not None:
                os.environ.setdefault(name, value)
