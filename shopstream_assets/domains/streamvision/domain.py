"""StreamVision, as the platform knows it."""

from shopstream_assets.domains.streamvision.charts import CHARTS
from shopstream_assets.domains.streamvision.headlines import HEADLINES
from shopstream_assets.domains.streamvision.pages import PAGES
from shopstream_assets.domains.streamvision.report import REPORT
from shopstream_assets.domains.streamvision.tables import TABLES
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.simulator import Simulator


def simulator(settings: DomainSettings) -> Simulator:
    """The simulated service that the settings describe."""
    # numpy, pyarrow and pools of names: only a step that plays a day pays for them.
    from shopstream_assets.domains.streamvision import simulator as service

    return service.Simulator(settings.start_date, settings.seed, settings.scale, settings.growth)


STREAMVISION = Domain(
    name="streamvision",
    title="StreamVision",
    short="stream",
    tables=TABLES,
    simulator=simulator,
    headlines=HEADLINES,
    charts=CHARTS,
    pages=PAGES,
    report=REPORT,
)
