"""`make kills`: kill -9 of anything, at random, under load; then everything must come to rest, and be right.

    python tests/reliability/kills.py --kills 200 --seed 1

Starts `shopstream stack up --ui` in a temporary folder, over a small shop that it writes to. Rounds of a few kills,
with commits, backfills, runs, cancellations and cut connections among them, each end with a wait for rest and a
comparison of every layer with the source. Ends with status 1 where a round did not end as it must; that round's acts
are then in `torture/kills-<seed>-<round>.json`, beside a copy of all logs.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "convergence"), str(HERE.parents[1])]

KILLS_IN_A_ROUND = 5


@dataclass
class Figures:
    """What was done, and how it ended. Seconds are those from the last act of a round to rest."""

    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    recovered: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    backfills: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    took: float = 0

    def __str__(self) -> str:
        def told(counts: Counter[str]) -> str:
            return ", ".join(f"{name} {count}" for name, count in counts.most_common()) or "none"

        rest = self.seconds or [0.0]
        return (
            f"{sum(self.kills.values())} kills in {self.rounds} rounds, {self.took:.0f} s\n"
            f"  killed: {told(self.kills)}\n"
            f"  besides: {told(self.acts)}\n"
            f"  rounds: {told(self.recovered)}\n"
            f"  seconds to rest: median {statistics.median(rest):.0f}, max {max(rest):.0f}\n"
            f"  backfills ended: {told(self.backfills)}; runs ended: {told(self.runs)}"
        )


def rounds(kills: int, in_a_round: int) -> Iterator[int]:
    """How many kills each round has."""
    while kills > 0:
        yield min(kills, in_a_round)
        kills -= in_a_round


@contextmanager
def fresh_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kills-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def search(kills: int, in_a_round: int, seed: int, failures: Path, patience: float, stop_at: float) -> Figures:
    """Rounds of kills until there were as many; begins with a new stack after a round that did not end as it must."""
    figures, begun = Figures(), time.monotonic()
    planned = list(rounds(kills, in_a_round))
    number = 0
    while number < len(planned) and time.monotonic() < stop_at:
        with fresh_folder() as folder:
            # Imported only now: definitions read the environment, which is the new stack's.
            from siege import Siege

            with Siege.laid(folder, patience) as siege:
                while number < len(planned) and time.monotonic() < stop_at:
                    chance = random.Random(f"{seed} {number}")
                    wrong = siege.round(chance, planned[number], figures)
                    number += 1
                    figures.rounds, figures.took = number, time.monotonic() - begun
                    print(f"round {number}: {siege.summary()}", flush=True)
                    if wrong:
                        _write(failures, seed, number, siege.acts, wrong, siege.installation.logs_of_everything())
                        break
    figures.took = time.monotonic() - begun
    return figures


def _write(
    failures: Path, seed: int, number: int, acts: Sequence[str], wrong: Sequence[str], logs: Sequence[Path]
) -> None:
    name = failures / f"kills-{seed}-{number}"
    kept = name.with_name(f"{name.name}-logs")
    shutil.rmtree(kept, ignore_errors=True)
    for folder in logs:
        shutil.copytree(folder, kept / folder.name, ignore_dangling_symlinks=True)
    found = {"seed": seed, "round": number, "wrong": wrong, "acts": acts, "logs": str(kept)}
    name.with_suffix(".json").write_text(json.dumps(found, indent=1))
    print(f"round {number} of seed {seed} did not end as it must ({name}.json, logs: {kept}):")
    print("\n".join(f"    {act}" for act in acts))
    print("\n".join(f"  {line[:1500]}" for line in wrong), flush=True)


def main() -> None:
    """Search, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--round", type=int, default=KILLS_IN_A_ROUND, help="kills between two waits for rest")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--failures", type=Path, default=Path("torture"), help="folder for rounds that fail")
    parser.add_argument(
        "--patience", type=float, default=900, help="seconds without the end of a run; then a command is tried"
    )
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no round after so long")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    given.failures.mkdir(parents=True, exist_ok=True)
    print(f"seed {given.seed}: {given.kills} kills, from {dt.datetime.now(dt.UTC):%H:%M:%S} UTC on", flush=True)
    stop_at = time.monotonic() + given.seconds
    figures = search(given.kills, given.round, given.seed, given.failures, given.patience, stop_at)
    print(figures, flush=True)
    sys.exit(figures.recovered["not recovered"] > 0)


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    main()
