"""A page of the dashboards: what people of a business look at every day."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """A page over the marts of a domain.

    `path` is its part of the address, `icon` a name of Google's Material Symbols, which come with Streamlit. `module`
    has a function `show(marts)` that draws it; it is imported when the page is first looked at, as it brings Streamlit,
    which only the dashboards have.
    """

    path: str
    title: str
    icon: str
    module: str

    def address(self, domain: str) -> str:
        """Where it is, below the dashboards' own address."""
        return f"{domain}-{self.path}"
