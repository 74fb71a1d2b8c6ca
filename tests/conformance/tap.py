"""Reads what a validation program prints: the Test Anything Protocol, version 13, and its sins.

Source: testanything.org; runtime-tools validation/*/*.t.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LINE = re.compile(r"^(not )?ok\b(?:\s+(\d+))?\s*(?:-\s*)?(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)(?:\s*#\s*(.*))?$")


class Point(NamedTuple):
    """One line of a test: whether it is ok, what it is about, whether it is skipped or to do."""

    ok: bool
    about: str
    directive: str = ""


class Report(NamedTuple):
    """One program's output: its points, how many it planned (None: no plan), if it bailed out.

    A program that tests in several rounds prints a plan after each: `planned` is their sum.
    """

    points: list[Point]
    planned: int | None
    bailed: str | None = None
    skipped: str | None = None

    def verdict(self, status: int) -> str:
        """Return "pass", "fail", "skip" or "error" (it broke its own rules or died)."""
        if self.bailed is not None:
            return "error"
        if any(not point.ok and point.directive != "todo" for point in self.points):
            return "fail"
        if status or self.planned is None or self.planned != len(self.points):
            return "error"
        if all(point.directive == "skip" for point in self.points):
            return "skip"
        return "pass"


def read_tap(text: str) -> Report:
    """Read the output of one program; lines that are not TAP are ignored, as the protocol says."""
    points: list[Point] = []
    planned: int | None = None
    bailed = skipped = None
    for line in text.splitlines():
        if line.startswith("Bail out!"):
            bailed = line.removeprefix("Bail out!").strip()
        elif plan := PLAN.match(line):
            planned = (planned or 0) + int(plan[1])
            if planned == 0:
                skipped = (plan[2] or "").strip()
        elif point := LINE.match(line):
            about, _, directive = point[3].partition(" # ")
            word = directive.strip().split(" ")[0].lower().rstrip(":")
            if about.lower().startswith(("# skip", "# todo")):  # "ok 1 # SKIP reason"
                word, about = about[2:6].lower(), ""
            known = word if word in ("skip", "todo") else ""
            points.append(Point(point[1] is None, about.strip(), known))
    return Report(points, planned, bailed, skipped)
