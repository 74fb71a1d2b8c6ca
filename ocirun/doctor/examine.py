"""All questions, asked one after the other."""

from __future__ import annotations

import os

from ocirun.doctor import cgroups, kernel, namespaces, security, surroundings
from ocirun.doctor.probe import LACKING, UNKNOWN, ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirun.doctor.probe import Finding, Probe


def questions(root: str | None) -> list[tuple[str, tuple[Probe, ...]]]:
    """Give the questions by group; `root` as in surroundings.probes."""
    return [
        ("kernel", kernel.PROBES),
        ("namespaces", namespaces.probes()),
        ("cgroups", cgroups.PROBES),
        ("security", security.PROBES),
        ("surroundings", surroundings.probes(root)),
    ]


def examine(root: str | None) -> list[Finding]:
    """Ask everything; the caller has one thread, for some questions are asked by children."""
    return [ask(group, probe) for group, probes in questions(root) for probe in probes]


def can_run(findings: list[Finding]) -> bool:
    """Tell whether this user can run a container at all."""
    return not any(one.needed and one.verdict in (LACKING, UNKNOWN) for one in findings)


def report(findings: list[Finding]) -> dict[str, Any]:
    """Give the findings as JSON; docs/doctor.md has the shape."""
    return {
        "kernel": os.uname().release,
        "uid": os.geteuid(),
        "canRun": can_run(findings),
        "findings": [finding.body() for finding in findings],
    }
