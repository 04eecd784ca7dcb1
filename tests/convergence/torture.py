"""`make torture`: many long sequences, each from an empty shop to rest; what fails is reduced and written down.

    python tests/convergence/torture.py --sequences 200 --steps 25 --seed 1 --models 0.25
    python tests/convergence/torture.py --replay failure-1-17.json [--reduce]

Starts a stack of its own in a temporary folder. Ends with status 1 where a sequence failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kill import Forge
    from world import Step, World

    from shopstream_assets.cli.summary import Services

HERE = Path(__file__).parent


@contextmanager
def services() -> Iterator[tuple[Services, Forge]]:
    """A stack, the services on it, and a forge for acts that are killed."""
    from shopstream_assets.embedded import stack

    with tempfile.TemporaryDirectory(prefix="torture-") as folder, stack.running(Path(folder)) as variables:
        os.environ.update(variables)
        from kill import Forge
        from small_shop import DAYS, impatient

        first = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=DAYS - 1)
        os.environ["SHOPSTREAM_START_DATE"] = first.isoformat()
        from shopstream_assets.cli.summary import Services
        from shopstream_assets.domains.shopstream.domain import SHOPSTREAM
        from shopstream_assets.platform.sources.postgres.resource import PostgresResource

        source = PostgresResource(dsn=impatient(variables["SHOPSTREAM_POSTGRES_DSN"]), schema_name="small_shop")
        with Forge() as forge:
            yield dataclasses.replace(Services.of(SHOPSTREAM), source=source), forge


@dataclasses.dataclass
class Figures:
    """What was run: sequences, the steps taken by kind, the acts that were cut by how, and how long they took."""

    sequences: int = 0
    failed: int = 0
    steps: Counter[str] = dataclasses.field(default_factory=Counter)
    cuts: Counter[str] = dataclasses.field(default_factory=Counter)
    refused: int = 0
    seconds: float = 0

    def __str__(self) -> str:
        each = ", ".join(f"{name} {count}" for name, count in self.steps.most_common())
        return (
            f"{self.sequences} sequences, {sum(self.steps.values())} steps in {self.seconds:.0f} s; "
            f"{self.failed} sequences failed; {self.cuts['cancel']} acts were cancelled, {self.cuts['kill']} killed "
            f"and {self.cuts['hold']} held; {self.refused} ended early.\n  steps: {each}"
        )


def search(
    open_world: Callable[[bool], World], sequences: int, steps: int, seed_number: int, with_models: bool, folder: Path
) -> Figures:
    """Run `sequences` random sequences of up to `steps` steps; writes each that fails to `folder` as JSON."""
    from hypothesis import HealthCheck, Phase, seed, settings
    from hypothesis.stateful import run_state_machine_as_test
    from machine import Machine, StagingMachine
    from world import told_step

    figures, started = Figures(), time.monotonic()

    def on_failure(world: World, error: Exception) -> None:
        figures.failed += 1
        file = folder / f"failure-{seed_number}-{figures.sequences}{'' if with_models else '-staging'}.json"
        file.write_text(json.dumps({"with_models": with_models, "error": str(error), "steps": world.steps}, indent=1))
        print(f"\nsequence {figures.sequences} of seed {seed_number} failed after {len(world.steps)} steps ({file}):")
        print("\n".join(f"    {told_step(step)}" for step in world.steps))
        print(f"{type(error).__name__}: {str(error)[:1500]}", flush=True)

    def on_end(world: World) -> None:
        figures.sequences += 1
        figures.steps.update(name for name, *_ in world.steps)
        figures.cuts.update(world.cuts)
        figures.refused += len(world.told)
        if figures.sequences % 10 == 0:
            seconds = time.monotonic() - started
            print(f"... {figures.sequences} sequences in {seconds:.0f} s, {figures.failed} failed", flush=True)

    class Tortured(Machine if with_models else StagingMachine):  # type: ignore[misc]
        kills = True

    Tortured.open_world = staticmethod(lambda: open_world(with_models))
    Tortured.on_failure, Tortured.on_end = staticmethod(on_failure), staticmethod(on_end)
    run_state_machine_as_test(
        seed(seed_number)(Tortured),
        settings=settings(
            max_examples=sequences,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
    figures.seconds = time.monotonic() - started
    return figures


def fails(open_world: Callable[[bool], World], steps: Sequence[Step], with_models: bool) -> str | None:
    """How a sequence fails, if it does."""
    from world import take

    world = open_world(with_models)
    try:
        for step in steps:
            take(world, step)
    except Exception as error:  # noqa: BLE001 - whatever a sequence ends in is its result
        return f"{type(error).__name__}: {error}"
    finally:
        world.close()
    return None


def replay(open_world: Callable[[bool], World], file: Path, reduce: bool) -> bool:
    """Run a written sequence again, and print it, reduced if asked for; whether it fails."""
    from reduction import reduced
    from world import told_step

    written = json.loads(file.read_text())
    steps: Sequence[Step] = [(name, tuple(args), kwargs) for name, args, kwargs in written["steps"]]
    with_models: bool = written["with_models"]
    told = fails(open_world, steps, with_models)
    if told and reduce:
        steps = reduced(steps, lambda fewer: fails(open_world, fewer, with_models) is not None)
        told = fails(open_world, steps, with_models)
        file.with_suffix(".reduced.json").write_text(json.dumps({**written, "error": told, "steps": steps}, indent=1))
    print("\n".join(f"    {told_step(step)}" for step in steps))
    print(told or "does not fail")
    return told is not None


def main() -> None:
    """Search, or replay a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=200)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--models", type=float, default=0.25, help="share of the sequences that go on to the marts")
    parser.add_argument("--failures", type=Path, default=Path("torture"), help="folder for sequences that fail")
    parser.add_argument("--replay", type=Path, nargs="*")
    parser.add_argument("--reduce", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    failed = False
    with services() as (found, forge):
        from world import World

        def open_world(with_models: bool) -> World:
            return World(found, with_models, forge)

        if given.replay:
            failed = any([replay(open_world, file, given.reduce) for file in given.replay])
        else:
            given.failures.mkdir(parents=True, exist_ok=True)
            with_models = round(given.sequences * given.models)
            print(f"seed {given.seed}: {given.sequences} sequences of up to {given.steps} steps", flush=True)
            for count, models in ((given.sequences - with_models, False), (with_models, True)):
                if count:
                    figures = search(open_world, count, given.steps, given.seed, models, given.failures)
                    print(f"{'with' if models else 'without'} core and marts: {figures}", flush=True)
                    failed = failed or bool(figures.failed)
    sys.exit(failed)


if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
    main()
