"""A deterministic store: plays any day of ShopStream's operational tables, at any scale.

`world` is time, chance and volume; `people`, `contacts`, `catalogue`, `orders` and `sessions` each generate one part of
the store; `names` draws the pools of names; `arrow` turns arrays into tables; `store` is the `Simulator` itself.
Importing it loads numpy and pyarrow, so definitions import it where they run it.
"""

from shopstream_assets.domains.shopstream.simulator.store import Simulator

__all__ = ["Simulator"]
