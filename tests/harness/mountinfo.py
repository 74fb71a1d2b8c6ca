"""Reads the lines of /proc/PID/mountinfo that the probe reports (proc(5))."""

from __future__ import annotations

from typing import Any, NamedTuple


class MountLine(NamedTuple):
    """One mount as the kernel describes it."""

    point: str
    root: str
    options: set[str]
    tags: list[str]
    kind: str
    source: str
    data: set[str]


def read_line(line: str) -> MountLine:
    before, _, after = line.partition(" - ")
    fields = before.split(" ")
    kind, source, data = after.split(" ", 2)
    point = fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
    tags = [tag for tag in fields[6:] if tag]
    return MountLine(
        point, fields[3], set(fields[5].split(",")), tags, kind, source, set(data.split(","))
    )


def mounts_of(report: dict[str, Any]) -> list[MountLine]:
    return [read_line(line) for line in report["mountinfo"]]


def mount_at(report: dict[str, Any], point: str) -> MountLine:
    """The topmost mount at `point`; fails when there is none."""
    found = [mount for mount in mounts_of(report) if mount.point == point]
    assert found, f"nothing is mounted at {point}: {report['mountinfo']}"
    return found[-1]
