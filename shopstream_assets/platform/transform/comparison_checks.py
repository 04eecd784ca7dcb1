"""The checks that a comparison of a mart with the source makes: of a run's days, and of every day on a clock."""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping

import dagster as dg

from shopstream_assets.platform.declare.domain import Domain, asset_key
from shopstream_assets.platform.declare.environment import domain_settings
from shopstream_assets.platform.declare.on_a_clock import ON_A_CLOCK
from shopstream_assets.platform.declare.partitions import DAY_TAG, ONE_DAY, SPAN_TAGS, Window, ranges, spans
from shopstream_assets.platform.errors import told_from
from shopstream_assets.platform.lake.object_store import ObjectStoreResource
from shopstream_assets.platform.sources.port import SourceResource
from shopstream_assets.platform.staging.warehouse import WarehouseResource
from shopstream_assets.platform.transform.comparison import NOTHING, Comparison, Figures, Subject, compare

# Days, or stretches of days, that a message names.
NAMED = 3


def equals_the_source(domain: Domain, subject: Subject, *, everywhere: bool = False) -> dg.AssetChecksDefinition:
    """The check of a mart: over the days of a run, which it may stop; or `everywhere`, on a clock and on demand."""
    first, second = subject.names

    @dg.asset_check(
        asset=asset_key(domain.name, "marts", subject.mart),
        name="equals_the_source_everywhere" if everywhere else "equals_the_source",
        blocking=not everywhere,
        # Reading everything, no sensor asks for it with a refresh.
        metadata=ON_A_CLOCK if everywhere else None,
        description=f"{first} and {second} of {'every day' if everywhere else 'the days of the run'} equal those "
        "counted directly in Postgres, but for what is in quarantine. What has changed since is told, not failed.",
    )
    def check(
        context: dg.AssetCheckExecutionContext,
        source: SourceResource,
        store: ObjectStoreResource,
        warehouse: WarehouseResource,
    ) -> dg.AssetCheckResult:
        window = None if everywhere else window_of(context.run.tags, dt.datetime.now(dt.UTC))
        with told_from("marts", subject.mart, window or "all", "comparing with Postgres"):
            settings = domain_settings(domain)
            found = compare(
                subject, source, store, warehouse, settings.start_date, window, zone=settings.reporting_time_zone
            )
        return dg.AssetCheckResult(
            passed=not found.faults,
            description=told(domain, subject, found),
            metadata={
                "days_compared": len(found.source.keys() | found.mart.keys()) - len(found.moving),
                "days_not_settled": len(found.moving),
                "days_that_differ": len(found.faults),
            },
        )

    return check


def window_of(tags: Mapping[str, str], now: dt.datetime) -> Window | None:
    """The days (UTC) that a run's tags name; None where they name none."""
    first, last = (tags.get(DAY_TAG, tags.get(span)) for span in SPAN_TAGS)
    if first is None or last is None:
        return None
    return Window.seen_at(dt.date.fromisoformat(first), dt.date.fromisoformat(last) + ONE_DAY, now)


def told(domain: Domain, subject: Subject, found: Comparison) -> str | None:
    """What differs: figures of both sides, and what repairs them."""
    if not found.faults:
        if not found.moving:
            return None
        named = spans(sorted(map(str, found.moving)))
        return f"{len(found.moving)} days have changed since the mart was built, and are not compared: {named}."
    days = sorted(found.faults)
    examples = "; ".join(
        f"{day}: Postgres has {_spoken(subject, found.source.get(day))}, "
        f"the mart {_spoken(subject, found.mart.get(day))}"
        for day in days[:NAMED]
    )
    return (
        f"{len(days)} days differ, though the mart was built from what the source has now. {examples}. Next: "
        f"{' and '.join(_commands(domain, subject, {place for day in days for place in found.faults[day]}))}."
    )


def _spoken(subject: Subject, figures: Figures | None) -> str:
    return " and ".join(f"{number} {name}" for number, name in zip(figures or NOTHING, subject.names, strict=True))


def _commands(domain: Domain, subject: Subject, days: Collection[dt.date]) -> Iterator[str]:
    """Shell commands that take days of the table anew from the source, with all that follows from them."""
    for first, last in list(ranges(sorted(map(str, days))))[:NAMED]:
        yield f"`{domain.materialize_command(domain.all_from(subject.table.name), first, last)}`"
