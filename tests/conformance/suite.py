"""Runs the validation programs of a runtime-tools checkout and compares with what is expected."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from conformance.tap import Report, read_tap

EXPECTED = Path(__file__).parent / "expected.txt"
TIMEOUT_S = 120


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
    return Outcome(
        program.stem, report.verdict(status), good, len(report.points), _reason(report, said)
    )


def _reason(report: Report, said: str) -> str:
    bad = [p.about for p in report.points if not p.ok and p.directive != "todo"]
    return (report.bailed or report.skipped or "; ".join(bad) or said).strip()[-300:]


def read_expected(text: str) -> dict[str, tuple[str, str]]:
    """Read the expectation list: `name verdict [reason]` a line, # begins a comment.

    Raises:
        ValueError: a line is not of that form, or a verdict other than pass has no reason.
    """
    expected: dict[str, tuple[str, str]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].strip().split(None, 2)
        if not words:
            continue
        if len(words) < 2 or words[1] not in ("pass", "fail", "skip", "error"):
            raise ValueError(f"not `name verdict reason`: {line!r}")
        if words[1] != "pass" and len(words) < 3:
            raise ValueError(f"without a reason: {line!r}")
        expected[words[0]] = (words[1], words[2] if len(words) > 2 else "")
    return expected


def compare(outcomes: list[Outcome], expected: dict[str, tuple[str, str]]) -> list[str]:
    """Say where the outcomes are not what was expected; a surprise for the better is one too.

    A program that is not on the list has to pass; one that is on the list has to be there.
    """
    found = {outcome.name: outcome for outcome in outcomes}
    surprises = [f"{name}: is not in the checkout" for name in expected if name not in found]
    for outcome in outcomes:
        wanted = expected.get(outcome.name, ("pass", ""))[0]
        if outcome.verdict != wanted:
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
