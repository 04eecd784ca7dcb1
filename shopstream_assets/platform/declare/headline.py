"""A figure that people of a business ask for first."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Headline:
    """A figure of the marts.

    `sql` yields one row of one value, which may be null; `{marts}` stands for the schema of the marts. `form` is how
    the value is written, as `str.format` has it: "{:,.2f} EUR". A null counts as 0 where the form is one for amounts or
    counts; of a percentage it says that there is nothing to take it of.
    """

    title: str
    sql: str
    form: str = "{}"

    def written(self, value: object) -> str:
        """The value as people read it."""
        if value is None:
            return self.form.format(0.0) if ":" in self.form and "%" not in self.form else "-"
        return self.form.format(float(value) if ":" in self.form else value)  # type: ignore[arg-type]
