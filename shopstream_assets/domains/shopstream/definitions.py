"""The code location `shopstream`."""

from shopstream_assets.domains.shopstream.checks import equals_the_source, equals_the_source_everywhere
from shopstream_assets.domains.shopstream.customer_value.asset import customer_value_assets
from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
from shopstream_assets.platform.definitions import domain_definitions

defs = domain_definitions(
    SHOPSTREAM,
    checks=[equals_the_source],
    on_a_clock=[equals_the_source_everywhere],
    fitted=[customer_value_assets],
)
