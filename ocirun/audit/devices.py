"""Device nodes, and the devices that the device rules let the process open.

Source: runtime-spec config-linux.md#devices, config-linux.md#allowed-device-list; kernel
admin-guide/devices.rst; docs/audit.md.
"""

from __future__ import annotations

from ocirun.audit.finding import CRITICAL, HIGH, LOW, MEDIUM, NOTE, Rule
from ocirun.cgroups.devicerules import ANY, OPENING, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ocirun.audit.finding import Found
    from ocirun.audit.world import World

# Known character devices: grade and description.
KNOWN: Final = {
    (1, 1): (CRITICAL, "the memory of the machine"),
    (1, 2): (CRITICAL, "the memory of the kernel"),
    (1, 4): (CRITICAL, "the I/O ports"),
    (1, 11): (MEDIUM, "the kernel's log"),
    (10, 137): (HIGH, "makes disks that the host sees"),
    (10, 200): (LOW, "makes network devices"),
    (10, 223): (HIGH, "makes input devices of the host"),
    (10, 229): (LOW, "mounts file systems made by programs"),
    (10, 232): (MEDIUM, "runs virtual machines in the host's kernel"),
    (10, 236): (HIGH, "changes the host's disks"),
    (10, 237): (HIGH, "attaches files as disks of the host"),
}
STANDARD: Final = {(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)}
PTS: Final = 136
MANY: Final = 4  # how many devices a message lists

NODE: Final = Rule(
    "device-node",
    (CRITICAL, HIGH, MEDIUM, LOW),
    "Remove the device from linux.devices.",
    "The program can no longer open it.",
)
RULE: Final = Rule(
    "device-rules",
    (CRITICAL, HIGH, NOTE),
    'Begin linux.resources.devices with {"allow": false, "access": "rwm"}, then list what is used.',
    "Devices that are not listed cannot be opened.",
)
RULES: Final = (NODE, RULE)


def find(world: World) -> Found:
    """Return findings about devices that the process can open, or could after mknod(2)."""
    for node in world.nodes:
        if node.kind == "c" and ((node.major, node.minor) in STANDARD or node.major == PTS):
            continue
        if not access(world, node.kind, node.major, node.minor) & OPENING:
            continue
        if node.kind == "b":
            grade, words = CRITICAL, "a disk of the host, below its file systems"
        else:
            grade, words = KNOWN.get((node.major, node.minor), (MEDIUM, "a device of the host"))
        sentence = f"{node.path} ({node.kind} {node.major}:{node.minor}) is {words}."
        yield NODE.found(grade, sentence.replace("is makes", "makes"), node.pointer)
    yield from _rules(world)


def _rules(world: World) -> Found:
    """Return a finding about what can be opened once there is a node for it."""
    wide = [kind for kind in ("b", "c") if access(world, kind, ANY, ANY) & OPENING]
    listed = [name for kind in ("b", "c") if kind not in wide for name in _listed(world, kind)]
    if not wide and not listed:
        return
    makes = world.has("CAP_MKNOD")
    grade = CRITICAL if makes else HIGH
    if world.is_confined_root:
        grade = NOTE
    why = (
        "the process makes their nodes (CAP_MKNOD) and opens them"
        if makes
        else "whatever node comes into the container can be opened"
    )
    kinds = " and ".join({"b": "block", "c": "character"}[kind] for kind in wide)
    what = [*([f"all {kinds} devices"] if wide else []), *listed[:MANY]]
    if len(listed) > MANY:
        what.append(f"and {len(listed) - MANY} more")
    sentence = f"The device rules allow {', '.join(what)}: {why}."
    yield RULE.found(grade, sentence, "/linux/resources/devices")


def _listed(world: World, kind: str) -> Iterator[str]:
    """Yield the dangerous devices that the rules list: disks, and what KNOWN has as such.

    Nodes that are in the container have findings of their own.
    """
    nodes = {(node.kind, node.major, node.minor) for node in world.nodes}
    if kind == "b":
        numbers = [
            (major, minor)
            for major, row in (world.rules or {}).get("b", {}).items()
            for minor, bits in row.items()
            if bits & OPENING
        ]
    else:
        numbers = [
            number
            for number, (grade, _) in KNOWN.items()
            if grade in (CRITICAL, HIGH) and access(world, "c", *number) & OPENING
        ]
    for major, minor in numbers:
        if (kind, major, minor) not in nodes:
            yield text((kind, major, minor), access(world, kind, major, minor) & OPENING)


def access(world: World, kind: str, major: int, minor: int) -> int:
    """Return the access bits that the device rules allow; ANY: a number without a rule."""
    if world.rules is None:
        return OPENING
    table = world.rules[kind]
    row = table.get(major, table[ANY])
    return row.get(minor, row[ANY])
