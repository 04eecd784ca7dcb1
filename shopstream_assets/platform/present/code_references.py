"""Links from an asset's page to the code that defines it: the file in the editor, or on the web."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain

REPOSITORY = Path(__file__).parents[3]
# Where the repository's files are on the web, as https://github.com/you/shopstream/blob/main.
CODE_URL = "SHOPSTREAM_CODE_URL"

Place = tuple[Path, int]


def code_references(*places: Place) -> dict[str, dg.MetadataValue]:
    """Metadata that links to lines of files of the repository; to the web where SHOPSTREAM_CODE_URL says so."""
    base = os.environ.get(CODE_URL, "").rstrip("/")
    with warnings.catch_warnings():
        # In beta since dagster 1.9; a code location would warn twice per asset.
        warnings.simplefilter("ignore", dg.BetaWarning)
        links: list[dg.LocalFileCodeReference | dg.UrlCodeReference] = [
            dg.UrlCodeReference(url=f"{base}/{path.relative_to(REPOSITORY).as_posix()}#L{line}")
            if base and path.is_relative_to(REPOSITORY)
            else dg.LocalFileCodeReference(file_path=str(path), line_number=line)
            for path, line in places
        ]
        return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=links)}


def definition(function: Callable[..., Any]) -> Place:
    """Where a function is defined."""
    return Path(function.__code__.co_filename), function.__code__.co_firstlineno


def declaration(domain: Domain, table: str) -> list[Place]:
    """Where a domain declares a source table; empty where no tables.py beside its definitions names it."""
    try:
        found = find_spec(domain.module)
    except ModuleNotFoundError:
        return []
    if found is None or found.origin is None:
        return []
    path = Path(found.origin).with_name("tables.py")
    line = _declared(path).get(table)
    return [(path, line)] if line else []


@cache
def _declared(path: Path) -> dict[str, int]:
    lines = path.read_text().splitlines() if path.exists() else []
    found = ((re.fullmatch(r'\s*name="(\w+)",', line), number) for number, line in enumerate(lines, 1))
    # The line before the name opens the declaration.
    return {match[1]: number - 1 for match, number in found if match}
