"""The code location `streamvision`."""

from shopstream_assets.domains.streamvision.charts import CHARTS
from shopstream_assets.domains.streamvision.checks import CHECKS, ON_THE_CLOCK
from shopstream_assets.domains.streamvision.tables import TABLES
from shopstream_assets.platform.definitions import domain_definitions
from shopstream_assets.platform.domain import Domain
from shopstream_assets.platform.settings import DomainSettings
from shopstream_assets.platform.simulate import Simulator


def simulator(settings: DomainSettings) -> Simulator:
    """The simulated service that the settings describe."""
    # numpy, pyarrow and pools of names: only a step that plays a day pays for them.
    from shopstream_assets.domains.streamvision import simulator as service

    return service.Simulator(start_date=settings.start_date, seed=settings.seed, scale=settings.scale)


STREAMVISION = Domain(name="streamvision", tables=TABLES, simulator=simulator, charts=CHARTS)

defs = domain_definitions(STREAMVISION, checks=CHECKS, on_a_clock=ON_THE_CLOCK)
