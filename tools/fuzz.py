"""Read damaged inputs until something fails that should have been refused.

    python tools/fuzz.py                                # two minutes, always the same cases
    python tools/fuzz.py --seed 5 --minutes 60 --keep found
    python tools/fuzz.py --repeat found/KIND            # one of them again, with its traceback

Every case is a valid input of one reader with a file or two damaged. It ends well, with an error of the
package, or as a fault: another exception, a warning of numpy, a file opened outside the input, over 20 s,
over 2 GB, a crash. Faults are grouped by kind (exception, innermost line of the package, shape of the
message); of each a small input is kept. Exit code 1 if there are any. Every kind becomes a test beside
those of its reader.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # workers are forks, which have no threads but their own

import argparse
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from fuzzing.keeping import Fault, keep, kept, minimal
from fuzzing.mutations import mutated
from fuzzing.pool import Limits, Pool, Task
from fuzzing.seeds import READERS, Reader, Seed, seeds_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="Case i of a seed is always the same.")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--cases", type=int, help="So many cases, however long they take.")
    parser.add_argument(
        "--reader", action="append", choices=list(READERS), help="This one alone; repeatable."
    )
    parser.add_argument("--keep", type=Path, help="Folder for one input of each kind.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=Path, help="A folder that --keep wrote.")
    args = parser.parse_args()
    readers = {name: reader for name, reader in READERS.items() if name in (args.reader or READERS)}
    seeds = seeds_of(readers)
    if args.repeat is not None:
        with Pool(readers, seeds, Limits(), 1) as pool:
            outcome = pool.one(kept(args.repeat, seeds))
        print(f"{outcome.text}\n{outcome.verdict}")
        sys.exit(outcome.fault)
    with Pool(readers, seeds, Limits(), args.workers) as pool:
        started = time.monotonic()
        ends = None if args.cases is not None else started + 60 * args.minutes
        counts, faults = round_of(pool, readers, seeds, args.seed, args.cases, ends)
        seconds = time.monotonic() - started
        for fault in faults.values():
            fault.changes = minimal(pool, fault, seeds[fault.reader])
            if args.keep is not None:
                keep(args.keep, fault, seeds[fault.reader])
    print(report(counts, faults, seconds))
    sys.exit(bool(faults))


def round_of(
    pool: Pool,
    readers: Mapping[str, Reader],
    seeds: Mapping[str, Seed],
    seed: int,
    count: int | None = None,
    ends: float | None = None,
) -> tuple[Counter[str], dict[str, Fault]]:
    """How many cases ended in which way, and the kinds of faults among them.

    Args:
        count: of cases; None: until `ends` on the clock of `time.monotonic`.
    """
    names = list(readers)

    def tasks() -> Iterator[tuple[int, Task]]:
        for number in itertools.count() if count is None else range(count):
            if ends is not None and time.monotonic() > ends:
                return
            name = names[number % len(names)]
            changes, _ = case(seeds[name], seed, number)
            yield number, (name, changes)

    counts: Counter[str] = Counter()
    faults: dict[str, Fault] = {}
    for number, outcome in pool.run(tasks()):
        counts[outcome.verdict] += 1
        if outcome.fault and outcome.kind in faults:
            faults[outcome.kind].count += 1
        elif outcome.fault:
            name = names[number % len(names)]
            changes, told = case(seeds[name], seed, number)
            faults[outcome.kind] = Fault(name, number, told, changes, outcome)
    return counts, faults


def case(valid: Seed, seed: int, number: int) -> tuple[dict[str, bytes | None], list[str]]:
    """What is changed in a case, and in words."""
    return mutated(valid.files, random.Random(f"{seed}/{number}"))


def report(counts: Counter[str], faults: Mapping[str, Fault], seconds: float) -> str:
    total = sum(counts.values())
    ends = ", ".join(f"{counts[verdict]} {verdict}" for verdict in sorted(counts))
    lines = [f"{total} cases in {seconds:.0f} s ({total / max(seconds, 1e-9):.0f} a second): {ends}"]
    for kind, fault in sorted(faults.items()):
        lines += [
            f"{kind}: {fault.count} times",
            f"    {fault.reader}, case {fault.case}: {'; '.join(fault.told)}",
        ]
        lines += [f"    {fault.last_line}"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
