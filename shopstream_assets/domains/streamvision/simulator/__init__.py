"""A deterministic streaming service: plays any day of StreamVision's operational tables, at any scale.

`calendar` is volume and the viewer's local time; `members`, `catalogue`, `viewing`, `ratings` and `searches` each
generate one part of the service; `comments` are what viewers write; `service` is the `Simulator` itself. Importing it
loads numpy and pyarrow, so definitions import it where they run it.
"""

from shopstream_assets.domains.streamvision.simulator.service import Simulator

__all__ = ["Simulator"]
