"""A figure that people of a business ask for first."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Headline:
    """A figure of the marts.

    `sql` yields one row of one value, which may be null; `{marts}` stands for the schema of the marts. `form` is how
    the value is written, as `str.format` has it: "{:,.2f} EUR". A null counts as 0 where the form is one for numbers.
    """

    title: str
    sql: str
    form: str = "{}"

    def written(self, value: object) -> str:
        """The value as people read it."""
        if ":" not in self.form:
            return self.form.format("-" if value is None else value)
        return self.form.format(float(value) if value is not None else 0.0)  # type: ignore[arg-type]
