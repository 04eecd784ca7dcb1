"""What the demo's progress bar knows of a run while it goes on."""

import dagster as dg
import pytest

from shopstream_assets.cli.demo import Steps


def test_steps_are_counted_as_they_begin_and_end_and_no_event_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, told = Steps(), []
    read: list[int] = []

    def look(instance: dg.DagsterInstance, run_id: str) -> None:
        seen.look(instance, run_id)
        told.append((list(seen.running), seen.ended))

    @dg.op
    def first(context: dg.OpExecutionContext) -> int:
        look(context.instance, context.run_id)
        return 1

    @dg.op
    def second(context: dg.OpExecutionContext, before: int) -> int:
        look(context.instance, context.run_id)
        if context.retry_number == 0:
            raise dg.RetryRequested
        return before

    @dg.op
    def third(before: int) -> None:
        raise dg.Failure("as it happens")

    @dg.job
    def steps() -> None:
        third(second(first()))

    with dg.DagsterInstance.ephemeral() as instance:
        plain = instance.get_records_for_run

        def counting(*arguments: object, **named: object) -> object:
            found = plain(*arguments, **named)  # type: ignore[arg-type]
            read.extend(record.storage_id for record in found.records)
            return found

        monkeypatch.setattr(instance, "get_records_for_run", counting)
        run = steps.execute_in_process(instance=instance, raise_on_error=False)
        look(instance, run.run_id)
    assert told == [(["first"], 0), (["second"], 1), (["second"], 1), ([], 3)]
    assert len(read) == len(set(read)) > 5
