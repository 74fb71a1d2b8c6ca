"""Run all checks, one after the other."""

from __future__ import annotations

import os

from ocirun.doctor import cgroups, kernel, namespaces, security, surroundings
from ocirun.doctor.probe import LACKING, UNKNOWN, ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirun.doctor.probe import Finding, Probe


def all_probes(root: str | None) -> list[tuple[str, tuple[Probe, ...]]]:
    """Return the checks by group; `root` as in surroundings.probes."""
    return [
        ("kernel", kernel.PROBES),
        ("namespaces", namespaces.probes()),
        ("cgroups", cgroups.PROBES),
        ("security", security.PROBES),
        ("surroundings", surroundings.probes(root)),
    ]


def examine(root: str | None) -> list[Finding]:
    """Run every check. The caller has one thread: some checks fork."""
    return [ask(group, probe) for group, probes in all_probes(root) for probe in probes]


def can_run(findings: list[Finding]) -> bool:
    """Return whether this user can run any container."""
    return not any(one.needed and one.verdict in (LACKING, UNKNOWN) for one in findings)


def report(findings: list[Finding]) -> dict[str, Any]:
    """Return the findings as JSON; docs/doctor.md has the members."""
    return {
        "kernel": os.uname().release,
        "uid": os.geteuid(),
        "canRun": can_run(findings),
        "findings": [finding.body() for finding in findings],
    }
