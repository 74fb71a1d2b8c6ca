"""Audit a bundle, or a running container.

    bundle      config.json ──► ConfigWorld ──► families ──► findings
    container   the kernel ──► ProcessWorld ──► families ──► findings, differences

Source: docs/audit.md.
"""

from __future__ import annotations

import os

from ocirun.audit import (
    devices,
    identity,
    limits,
    lsm,
    mounts,
    namespaces,
    paths,
    requests,
    rights,
    seccomp,
)
from ocirun.audit.differences import differences
from ocirun.audit.finding import GRADES, worst
from ocirun.audit.of_config import ConfigWorld
from ocirun.spec.load import check_root, conforms, misshapen, read_document
from ocirun.spec.rules import check_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.audit.differences import Difference
    from ocirun.audit.finding import Finding, Rule
    from ocirun.audit.world import World
    from ocirun.container.store import Store
    from ocirun.spec.types import Config

FAMILIES: Final = (
    rights, identity, namespaces, mounts, paths, devices, seccomp, lsm, limits, requests,
)  # fmt: skip


class Audit:
    """The result: `findings`, the worst first; for a container also its `differences`.

    `subject` is the path of the config.json, or the id; `pid` is 0 for a bundle. `unknown` lists
    what could not be examined, and why.
    """

    __slots__ = ("differences", "findings", "pid", "subject", "unknown")

    def __init__(self, subject: str, pid: int, world: World, found: list[Difference]) -> None:
        self.subject = subject
        self.pid = pid
        self.findings = findings_of(world)
        self.differences = found
        self.unknown = world.unknown

    def body(self) -> dict[str, Any]:
        """Return the report as JSON; schemas/audit/audit.json is its schema."""
        return {
            "kind": "container" if self.pid else "bundle",
            "subject": self.subject,
            **({"pid": self.pid} if self.pid else {}),
            "kernel": os.uname().release,
            "grade": worst(self.findings) or "none",
            "findings": [finding.body() for finding in self.findings],
            "differences": [one.body() for one in self.differences],
            "unknown": self.unknown,
        }


def all_rules() -> list[Rule]:
    """Return every rule, by family."""
    return [rule for family in FAMILIES for rule in family.RULES]


def findings_of(world: World) -> list[Finding]:
    """Return the findings of all families in `world`, the worst first."""
    found = [finding for family in FAMILIES for finding in family.find(world)]
    return sorted(found, key=lambda finding: GRADES.index(finding.grade))


def audit_bundle(bundle: str, name: str = "config.json") -> Audit:
    """Return the audit of the bundle in the directory `bundle`; creates nothing.

    A config.json that this host cannot run, for example without AppArmor, is audited as well.

    Raises:
        SpecError: the file is missing or unreadable, or does not match the schema.
    """
    document = read_document(os.path.join(bundle, name), name)
    if not conforms(document, "config"):
        raise misshapen(document, "config", name)
    config: Config = document  # type: ignore[assignment]  # checked by conforms
    world = ConfigWorld(bundle, config)
    for problem in (*check_rules(config), *check_root(bundle, config)):
        world.unknown.append(f"what would run: create refuses this config.json: {problem}")
    return Audit(os.path.normpath(os.path.join(bundle, name)), 0, world, [])


def audit_container(store: Store, container_id: str) -> Audit:
    """Return the audit of a container that is created or running.

    Its init is stopped for a moment to read its seccomp filters.

    Raises:
        ContainerNotFound: no container has this id. WrongStatus: it has stopped, or stops
            meanwhile.
    """
    from ocirun.audit.of_process import ProcessWorld
    from ocirun.container.init_process import is_there
    from ocirun.container.record import read_config
    from ocirun.container.status import CREATING, PAUSED, STOPPED, status_of
    from ocirun.errors import WrongStatus

    with store.load(container_id) as record:
        if record.engine == "vm":  # what is to be audited is not on this host
            record.refuse_engine("audit")
        status = status_of(record)
        if status in (CREATING, STOPPED):
            raise WrongStatus(record.id, status, f"cannot audit a container that is {status}")
        asked = ConfigWorld(record.bundle, read_config(record.directory))
        try:
            world = ProcessWorld(record, asked, frozen=status == PAUSED)
        except (FileNotFoundError, ProcessLookupError):
            if is_there(record):
                raise
            raise WrongStatus(record.id, STOPPED, "cannot audit a stopped container") from None
        try:
            audit = Audit(record.id, record.init_process_pid, world, differences(asked, world))
        finally:
            world.close()
        # If init has ended and its pid was reused, the data is another process's.
        if not is_there(record):
            raise WrongStatus(record.id, STOPPED, "cannot audit a stopped container")
        return audit
