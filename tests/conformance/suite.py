"""Runs the validation programs of a runtime-tools checkout and compares with what is expected."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from conformance.tap import Report, read_tap

EXPECTED = Path(__file__).parent / "expected.txt"
TIMEOUT_S = 120
VERDICTS = r"(?:pass|fail|skip|error)(?:\|(?:pass|fail|skip|error))*"
EXPECTATION = re.compile(
    rf"(?P<name>\S+)\s+(?P<ours>{VERDICTS})(?=\s|$)"
    rf"(?:\s+runc=(?P<runc>{VERDICTS}))?(?:\s+crun=(?P<crun>{VERDICTS}))?\s*(?P<reason>.*)$"
)
LOCK = Path(tempfile.gettempdir()) / "runtime-tools.lock"
# Programs that print a point only when the runtime fails: a status of 0 is their only "ok".
SILENT = ("process_rlimits_fail", "process_capabilities_fail")


class Outcome(NamedTuple):
    """What one program came to: its name, its verdict, how many points were ok of how many."""

    name: str
    verdict: str
    good: int
    total: int
    said: str = ""


def programs_of(checkout: Path) -> list[Path]:
    """Find the built programs, validation/*/*.t (older checkouts: validation/*.t)."""
    found = [*checkout.glob("validation/*/*.t"), *checkout.glob("validation/*.t")]
    return sorted(path for path in found if os.access(path, os.X_OK) and path.is_file())


def run_program(program: Path, checkout: Path, runtime: str) -> Outcome:
    """Run one program with RUNTIME set, from the checkout, as its Makefile does."""
    environment = dict(os.environ, RUNTIME=runtime)
    try:
        done = subprocess.run(
            [program],
            cwd=checkout,
            env=environment,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        text, status = done.stdout.decode(errors="replace"), done.returncode
        said = done.stderr.decode(errors="replace")
    except subprocess.TimeoutExpired as error:
        text, status = (error.stdout or b"").decode(errors="replace"), -1
        said = f"no end after {TIMEOUT_S} s"
    report = read_tap(text)
    good = sum(point.ok for point in report.points)
    verdict = report.verdict(status)
    if program.stem in SILENT and not report.points:
        verdict = "error" if status else "pass"
    reason = "" if verdict == "pass" else _reason(report, said)
    return Outcome(program.stem, verdict, good, len(report.points), reason)


def with_state_root(runtime: str, folder: Path) -> str:
    """Write a program that calls `runtime` with a state root in `folder`; the programs cannot.

    Returns its path. The default state root is left to the containers of this machine.
    """
    program = folder / Path(runtime).name
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(runtime)} --root {folder}/state "$@"\n')
    program.chmod(0o755)
    return str(program)


@contextlib.contextmanager
def only_run() -> Iterator[None]:
    """Wait until no other run is on this machine: all programs use the cgroup /cgrouptest."""
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _reason(report: Report, said: str) -> str:
    bad = [p.about for p in report.points if not p.ok and p.directive != "todo"]
    return (report.bailed or report.skipped or "; ".join(bad) or said).strip()[-300:]


def read_expected(text: str, runtime: str = "ours") -> dict[str, tuple[str, str]]:
    """Read the expectation list for `runtime`: its verdicts, joined by "|", and the reason.

    A line is `name verdicts [runc=verdicts] [crun=verdicts] [reason]`, # begins a comment.

    Raises:
        ValueError: a line is not of that form, or a verdict other than pass has no reason.
    """
    expected: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        match = EXPECTATION.match(line.partition("#")[0].strip())
        if match is None:
            if line.partition("#")[0].strip():
                raise ValueError(f"not `name verdict reason`: {line!r}")
            continue
        if match["ours"] != "pass" and not match["reason"]:
            raise ValueError(f"without a reason: {line!r}")
        expected[match["name"]] = (match[runtime] or match["ours"], match["reason"])
    return expected


def compare(outcomes: list[Outcome], expected: dict[str, tuple[str, str]]) -> list[str]:
    """Return which outcomes were not expected, the better ones included.

    A program that is not on the list has to pass; one that is on the list has to be there.
    """
    found = {outcome.name: outcome for outcome in outcomes}
    surprises = [f"{name}: is not in the checkout" for name in expected if name not in found]
    for outcome in outcomes:
        wanted = expected.get(outcome.name, ("pass", ""))[0]
        if outcome.verdict not in wanted.split("|"):
            text = f"{outcome.name}: {outcome.verdict}, expected {wanted}"
            surprises.append(text + (f" ({outcome.said})" if outcome.said else ""))
    return surprises


def table(outcomes: list[Outcome]) -> str:
    """Lay the outcomes out for people, with the sums below."""
    width = max((len(outcome.name) for outcome in outcomes), default=4)
    rows = []
    for o in outcomes:
        reason = o.said.partition("\n")[0][:90]
        rows.append(f"{o.name:{width}}  {o.verdict:5}  {o.good:3}/{o.total:<3}  {reason}".rstrip())
    verdicts = [outcome.verdict for outcome in outcomes]
    sums = ", ".join(f"{verdicts.count(word)} {word}" for word in ("pass", "fail", "skip", "error"))
    return "\n".join([*rows, "", sums])
