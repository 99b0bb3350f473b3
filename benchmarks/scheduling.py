"""What the scheduler costs: microseconds and bytes a job, for a copy that does nothing.

    python benchmarks/scheduling.py [--jobs 100000] [--rounds 5]

Beside it, interleaved, what one would write otherwise: a task for every job behind a limiter.
Bytes are the peak above the plan itself (tracemalloc, in a run of its own), outcomes included:
the report holds one for every job.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import anyio
import anyio.lowlevel

from asyncsync.model.digest import Digest
from asyncsync.model.events import Observe, ignore
from asyncsync.model.job import CopyJob
from asyncsync.model.outcome import Copied, Outcome, Status
from asyncsync.model.reference import Reference
from asyncsync.model.spec import Position
from asyncsync.scheduling import running

DIGEST = Digest("sha256", "0" * 64)
CONCURRENCY = 8
Contender: TypeAlias = Callable[[Sequence[CopyJob]], Awaitable[int]]


async def copy(job: CopyJob, observe: Observe) -> Copied:
    """Copy nothing, as quickly as can be."""
    await anyio.lowlevel.checkpoint()
    return Copied(DIGEST)


async def scheduler(jobs: Sequence[CopyJob]) -> int:
    """The product's own."""
    async with running(jobs, copy, concurrency=CONCURRENCY) as run:
        async for _ in run:
            pass
    return len(run.told)


async def task_each(jobs: Sequence[CopyJob]) -> int:
    """A task for every job, and a limiter before the work."""
    limiter, outcomes = anyio.CapacityLimiter(CONCURRENCY), []

    async def one(job: CopyJob) -> None:
        async with limiter:
            copied = await copy(job, ignore)
            outcomes.append(Outcome(job, Status.COPIED, copied.digest))

    async with anyio.create_task_group() as group:
        for job in jobs:
            group.start_soon(one, job)
    return len(outcomes)


CONTENDERS: dict[str, Contender] = {"scheduler": scheduler, "a task a job": task_each}


def plan(count: int) -> list[CopyJob]:
    """So many different jobs."""
    return [
        CopyJob(
            Reference.parse(f"source.example/team/image{n}:1"),
            Reference.parse(f"target.example/team/image{n}:1"),
            (),
            Position("images.yaml", n + 1),
        )
        for n in range(count)
    ]


def seconds(contender: Contender, jobs: Sequence[CopyJob]) -> float:
    """How long it takes over all jobs. Every one has to be told."""
    begun = time.perf_counter()
    assert anyio.run(contender, jobs) == len(jobs)
    return time.perf_counter() - begun


def peak_bytes(contender: Contender, jobs: Sequence[CopyJob]) -> int:
    """The most that it holds at once beside the jobs."""
    tracemalloc.start()
    anyio.run(contender, jobs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    jobs = plan(options.jobs)
    taken: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(options.rounds):
        for name, contender in CONTENDERS.items():
            taken[name].append(seconds(contender, jobs) * 1e6 / len(jobs))
    print(f"{'':14} {'µs a job':>20} {'bytes a job':>12}")
    for name, contender in CONTENDERS.items():
        spread = (
            f"{statistics.median(taken[name]):.1f} [{min(taken[name]):.1f}-{max(taken[name]):.1f}]"
        )
        print(f"{name:14} {spread:>20} {peak_bytes(contender, jobs) / len(jobs):>12.0f}")
    ratio = statistics.median(mine / theirs for mine, theirs in zip(*taken.values(), strict=True))
    print(f"\nscheduler ÷ a task a job: {ratio:.2f} (median of {options.rounds} rounds)")
    print(
        f"{len(jobs)} jobs, {CONCURRENCY} at once, Python {platform.python_version()}, "
        f"anyio on asyncio; repeat: {' '.join(['python', *sys.argv])}"
    )


if __name__ == "__main__":
    main()
