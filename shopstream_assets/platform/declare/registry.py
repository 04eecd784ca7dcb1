"""The domains that are installed: each package names its own under the entry points `shopstream.domains`.

A company's package adds one without a change here, in its pyproject.toml:

    [project.entry-points."shopstream.domains"]
    airline = "company_airline.domain:AIRLINE"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from shopstream_assets.platform.declare.domain import Domain

if TYPE_CHECKING:
    from shopstream_assets.platform.errors import Problem

GROUP = "shopstream.domains"


def registered() -> Mapping[str, EntryPoint]:
    """The entry points of all domains, by name, in the order of their names; nothing of them is imported."""
    return {found.name: found for found in sorted(entry_points(group=GROUP), key=lambda found: found.name)}


def domains() -> list[Domain]:
    """All domains that are installed, in the order of their names. Raises Problem as `domain_named` does."""
    return [domain_named(name) for name in registered()]


def domains_that_load(left_out: Callable[[str, Exception], None]) -> list[Domain]:
    """Those of all domains that can be loaded; `left_out` is told the name of each other one, and why.

    For what is done for several businesses: one of them being broken is not the others' matter.
    """
    found = []
    for name in registered():
        try:
            found.append(domain_named(name))
        # It raises nothing but Problem, which is not imported where nothing is wrong: it brings dagster.
        except Exception as problem:  # noqa: BLE001
            left_out(name, problem)
    return found


def _problem(found: str, next_step: str) -> Problem:
    # With dagster, whose second a command that only asks for names does without.
    from shopstream_assets.platform.errors import Problem

    return Problem(found, next_step)


def domain_named(name: str) -> Domain:
    """The domain of that name.

    Raises Problem where none is installed under that name, or what is cannot be loaded or is another.
    """
    found = registered()
    if name not in found:
        raise _problem(
            f"no domain is called {name!r}; installed are: {', '.join(found) or 'none'}.",
            f"name one of those, or install the package that has it: its pyproject.toml names the domain under the "
            f'entry points "{GROUP}"; after a change there install it again (`make install`).',
        )
    try:
        domain = found[name].load()
    # Whatever its module raises: it may be anyone's.
    except Exception as error:
        raise _problem(
            f"the domain {name} cannot be loaded from {found[name].value} ({type(error).__name__}: {error}).",
            "correct that entry point, or the module that it names.",
        ) from error
    if not isinstance(domain, Domain) or domain.name != name:
        raise _problem(
            f"the entry point {name} names {found[name].value}, which is no Domain of that name.",
            "let it name the Domain whose `name` it is.",
        )
    return domain
