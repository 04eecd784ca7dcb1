"""ShopStream, as the platform knows it."""

from shopstream_assets.domains.shopstream.charts import CHARTS
from shopstream_assets.domains.shopstream.headlines import HEADLINES
from shopstream_assets.domains.shopstream.pages import PAGES
from shopstream_assets.domains.shopstream.report import REPORT
from shopstream_assets.domains.shopstream.tables import TABLES
from shopstream_assets.platform.declare.domain import Domain
from shopstream_assets.platform.declare.settings import DomainSettings
from shopstream_assets.platform.declare.simulator import Simulator


def simulator(settings: DomainSettings) -> Simulator:
    """The simulated store that the settings describe."""
    # numpy, pyarrow and pools of names: only a step that plays a day pays for them.
    from shopstream_assets.domains.shopstream import simulator as store

    return store.Simulator(settings.start_date, settings.seed, settings.scale, settings.growth)


SHOPSTREAM = Domain(
    name="shopstream",
    title="ShopStream",
    short="shop",
    tables=TABLES,
    simulator=simulator,
    database="SHOPSTREAM_DWH",
    database_variable="SNOWFLAKE_DATABASE",
    integration_variable="SNOWFLAKE_STORAGE_INTEGRATION",
    source_database="shop",
    headlines=HEADLINES,
    charts=CHARTS,
    pages=PAGES,
    report=REPORT,
)
