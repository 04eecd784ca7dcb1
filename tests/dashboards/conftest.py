"""The known marts in databases of the tests' own, and the environment that leads pages to them."""

import datetime as dt
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import streamlit as st
from known_marts import ROWS, Warehouse, make

from shopstream_assets.platform.declare.registry import domain_named


@pytest.fixture(autouse=True)
def _the_program_stays_this_one() -> Iterator[None]:
    """Streamlit puts the page in the place of the program, which whatever forks from here would run then."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture(scope="module")
def marts(local_stack: Mapping[str, str]) -> Iterator[Mapping[str, Warehouse]]:
    """The warehouse of each domain, in databases of their own; pages read them while the module lasts."""
    from shopstream_assets.platform.declare.settings import REPORTING
    from shopstream_assets.platform.definitions import resources

    made, sessions = {}, []
    loaded = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        for name in ROWS:
            domain = domain_named(name)
            ready = resources(domain)["warehouse"].process_config_and_initialize()
            with ready.connection(REPORTING) as session, session.cursor() as cursor:
                database = f"PAGES_{name}_{uuid.uuid4().hex[:8]}".upper()
                for statement in ("database {0}", "schema {0}.CORE", "schema {0}.MARTS"):
                    cursor.execute(f"create {statement.format(database)}")
            patch.setenv(domain.database_variable, database)
            opened = resources(domain)["warehouse"].process_config_and_initialize().connection(REPORTING)
            sessions.append(opened)
            cursor = opened.__enter__().cursor()

            def execute(sql: str, values: Sequence[object] = (), cursor: Any = cursor) -> list[tuple[Any, ...]]:
                return list(cursor.execute(sql, tuple(values)).fetchall())

            execute(
                "create table core.built_partitions (model_name varchar, table_name varchar, partition_date date, "
                "manifest_hash varchar, built_at timestamp_ntz(6))"
            )
            made[name] = Warehouse(execute)
            for mart in ROWS[name]:
                make(execute, name, mart)
                made[name].build(mart, dt.datetime.now(dt.UTC).replace(tzinfo=None) - dt.timedelta(minutes=5))
        yield made
        # The pages' sessions too: they would say farewell to a server that has gone.
        st.cache_resource.clear()
        for opened in sessions:
            opened.__exit__(None, None, None)
        # Definitions keep the databases of the environment that they were loaded in.
        for name in sys.modules.keys() - loaded:
            if name.endswith(".definitions") and name.startswith("shopstream_assets.domains."):
                del sys.modules[name]
