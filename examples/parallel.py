"""A runner of jobs in parallel, once with threads and once with asyncio.

    python examples/parallel.py ROOTFS COMMAND…        each COMMAND is a line for sh -c

Prints a line for each job, in the order in which they were given.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import ocirun
from ocirun import aio


def run_in_threads(
    rootfs: str, jobs: Sequence[str], *, workers: int = 4
) -> list[ocirun.CompletedContainer]:
    """Run each job in a container of its own, `workers` at a time."""

    def one(job: str) -> ocirun.CompletedContainer:
        return ocirun.run(["sh", "-c", job], rootfs=rootfs, capture_output=True, text=True)

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, jobs))


async def run_in_loop(
    rootfs: str, jobs: Sequence[str], *, workers: int = 4
) -> list[ocirun.CompletedContainer]:
    """The same with asyncio; if one cannot be started, the others are cancelled and deleted."""
    turn = asyncio.Semaphore(workers)

    async def one(job: str) -> ocirun.CompletedContainer:
        async with turn:
            words = ["sh", "-c", job]
            return await aio.run(words, rootfs=rootfs, capture_output=True, text=True)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(job)) for job in jobs]
    return [task.result() for task in tasks]


def main() -> int:
    rootfs, jobs = sys.argv[1], sys.argv[2:]
    from_threads = run_in_threads(rootfs, jobs)
    from_loop = asyncio.run(run_in_loop(rootfs, jobs))
    for job, one, other in zip(jobs, from_threads, from_loop, strict=True):
        print(f"{one.returncode} {other.returncode} {one.stdout.strip()!r} {job}")
    return max([done.returncode for done in from_threads], default=0)


if __name__ == "__main__":
    sys.exit(main())
