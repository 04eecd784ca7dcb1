"""The code location `shopstream`."""

from shopstream_assets.domains.shopstream.charts import CHARTS
from shopstream_assets.domains.shopstream.checks import equals_the_source, equals_the_source_everywhere
from shopstream_assets.domains.shopstream.tables import TABLES
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.simulator import Simulator
from shopstream_assets.platform.definitions import domain_definitions


def simulator(settings: DomainSettings) -> Simulator:
    """The simulated store that the settings describe."""
    # numpy, pyarrow and pools of names: only a step that plays a day pays for them.
    from shopstream_assets.domains.shopstream import simulator as store

    return store.Simulator(start_date=settings.start_date, seed=settings.seed, scale=settings.scale)


SHOPSTREAM = Domain(name="shopstream", tables=TABLES, simulator=simulator, charts=CHARTS)

defs = domain_definitions(SHOPSTREAM, checks=[equals_the_source], on_a_clock=[equals_the_source_everywhere])
