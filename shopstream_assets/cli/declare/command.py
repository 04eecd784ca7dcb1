"""What `shopstream declare` does: looks, guesses, writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shopstream_assets.cli.declare.guesses import guesses
from shopstream_assets.cli.declare.source_code import module
from shopstream_assets.platform.declare.tables import local_timestamp
from shopstream_assets.platform.errors import Problem
from shopstream_assets.platform.sources.postgres.introspection import found_tables, looking


def declared(
    url: str, schema: str, names: Sequence[str], owner: str, time_zone: str | None, output: Path | None
) -> tuple[str, str]:
    """The text of a module with the declarations, written to `output` if that is given; and a sentence on it.

    Raises Problem where the database does not answer, a table is not there, a time zone must be said or is none, or
    `output` exists.
    """
    if time_zone is not None:
        try:
            local_timestamp(time_zone)
        except ValueError as error:
            raise Problem(f"declaring tables: {error}.", "correct --time-zone.") from None
    if output is not None and output.exists():
        raise Problem(
            f"{output} exists, and may hold what somebody has corrected; nothing was written.",
            "write to another file, and take over what you want.",
        )
    with looking(url) as connection:
        found = found_tables(connection, schema, list(dict.fromkeys(names)))
    made = guesses(found, owner, time_zone)
    text = module(schema, made)
    if output is not None:
        output.write_text(text, encoding="utf-8")
    left_out = [guess.found.name for guess in made if guess.table is None]
    told = f"{len(made) - len(left_out)} of {len(made)} tables are declared"
    if left_out:
        told += f"; comments say why not {', '.join(left_out)}"
    remarks = sum(len(guess.remarks) + sum(map(len, guess.of_columns.values())) for guess in made if guess.table)
    if remarks:
        told += f"; {remarks} more comments are to be seen to"
    return text, f"{told}."
