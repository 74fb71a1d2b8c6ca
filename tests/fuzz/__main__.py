"""Fuzz the readers for longer: make fuzz FUZZ_MINUTES=30 [TARGETS="config state"].

Guided by coverage: an input that reaches a new pair of lines is kept in memory and spoiled further.
An input that shows a bug is written to tests/fuzz/corpus/, shortened, and the run goes on without
that bug's place; the exit status tells whether there was one.
"""
# ruff: noqa: T201  # nothing here is a secret; a program that prints what it does

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.mutation import mutate
from fuzz.targets import TARGETS, Target

PACKAGE = f"{os.sep}ocirun{os.sep}"
SHORTENING_TRIES = 400


class Coverage:
    """Which steps from line to line of ocirun's own code have been taken so far."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, int, int]] = set()

    def is_new(self, call: Callable[[], object]) -> bool:
        """Call, and return whether it took a step that none has taken before."""
        before = len(self.seen)
        sys.settrace(self._enter)
        try:
            call()
        finally:
            sys.settrace(None)
        return len(self.seen) > before

    def _enter(self, frame: FrameType, event: str, _: Any) -> Any:  # noqa: ANN401
        name = frame.f_code.co_filename
        if event != "call" or PACKAGE not in name:
            return None
        last = 0

        def step(frame: FrameType, event: str, _: Any) -> Any:  # noqa: ANN401
            nonlocal last
            if event == "line":
                self.seen.add((name, last, frame.f_lineno))
                last = frame.f_lineno
            return step

        return step


def failure_of(target: Target, data: bytes) -> tuple[str, str] | None:
    """Return where and how reading `data` breaks a promise; None when it does not."""
    try:
        target.check(data)
    except Exception as error:  # noqa: BLE001  # every one is a finding
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename}:{where.lineno} {type(error).__name__}"
        return place, "".join(traceback.format_exception(error, limit=-4))
    return None


def shorten(target: Target, data: bytes, place: str, random: Random) -> bytes:
    """Return a shorter input that fails at the same place, where one is found soon."""
    for _ in range(SHORTENING_TRIES):
        start = random.randrange(len(data) + 1)
        shorter = data[:start] + data[start + random.choice((1, 2, 8, 64, 512)) :]
        failure = failure_of(target, shorter)
        if len(shorter) < len(data) and failure and failure[0] == place:
            data = shorter
    return data


def run(target: Target, seconds: float, random: Random) -> int:
    """Fuzz one target; return how many bugs were found."""
    coverage = Coverage()
    inputs: list[bytes] = []
    bugs: set[str] = set()
    tries = 0
    end = time.monotonic() + seconds
    queue = target.inputs()
    while queue or time.monotonic() < end:
        data = (
            queue.pop()
            if queue
            else mutate(random, random.choice(inputs), target.pieces, is_json=target.is_json)
        )
        tries += 1
        try:
            if coverage.is_new(lambda data=data: target.check(data)):  # type: ignore[misc]
                inputs.append(data)
        except Exception:  # noqa: BLE001  # looked at without the tracer, which makes it slow
            failure = failure_of(target, data)
            if failure and failure[0] not in bugs:
                bugs.add(failure[0])
                path = target.keep(shorten(target, data, failure[0], random))
                print(f"{target.name}: {path}\n{failure[1]}")
        inputs = inputs or [b""]
    print(
        f"{target.name}: {tries} inputs, {len(coverage.seen)} steps, "
        f"{len(inputs)} inputs of interest, {len(bugs)} bugs"
    )
    return len(bugs)


def main() -> int:
    """Return 1 where a bug was found."""
    parser = argparse.ArgumentParser(prog="tests/fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--minutes", type=float, default=5.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=time.time_ns(), help="of a run to repeat")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    print(f"seed {options.seed}")
    chosen = [TARGETS[name] for name in options.targets or TARGETS]
    seconds = options.minutes * 60 / len(chosen)
    return min(1, sum(run(target, seconds, Random(options.seed)) for target in chosen))


if __name__ == "__main__":
    sys.exit(main())
