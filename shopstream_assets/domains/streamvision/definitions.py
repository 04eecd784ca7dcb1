"""The code location `streamvision`."""

from shopstream_assets.domains.streamvision.checks import CHECKS, ON_THE_CLOCK
from shopstream_assets.domains.streamvision.domain import STREAMVISION
from shopstream_assets.platform.definitions import domain_definitions

defs = domain_definitions(STREAMVISION, checks=CHECKS, on_a_clock=ON_THE_CLOCK)
