"""The table of test_moved_clock.py, for the test and for the processes that it starts."""

from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.simulator import Simulator
from shopstream_assets.platform.declare.tables import BIGINT, TEXT, TIMESTAMP, Column, SourceTable

LINES = SourceTable(
    name="lines",
    grain="One row per line.",
    description="Lines.",
    owner="team:sales",
    cursor="updated_at",
    primary_key=("id",),
    columns=(
        Column("id", BIGINT, "Key."),
        Column("note", TEXT, "Note.", nullable=True),
        Column("updated_at", TIMESTAMP, "Cursor."),
    ),
    max_loss=1.0,
)


def domain() -> Domain:
    """A domain of that table; nothing is simulated."""
    return Domain("clocked", (LINES,), simulator=_nothing)


def _nothing(settings: DomainSettings) -> Simulator:
    raise AssertionError(f"nothing is simulated: {settings}")
