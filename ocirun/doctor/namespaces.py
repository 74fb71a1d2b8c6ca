"""Checks of namespaces: each kind is created in a child; and what ordinary users need for them.

Source: namespaces(7), user_namespaces(7), newuidmap(1), subuid(5).
"""

from __future__ import annotations

import os

from ocirun.doctor.probe import DEGRADED, LACKING, Lacks, Probe, in_child, read
from ocirun.kernel.process import unshare
from ocirun.kernel.which import find_in_path
from ocirun.process.namespaces import FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

SYSCTL: Final = "/proc/sys"
HELPERS: Final = ("newuidmap", "newgidmap")
S_ISUID: Final = 0o4000
# Sysctls that keep user namespaces from ordinary users: name, bad value, good value.
SWITCHES: Final = (
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
)


def creating(kind: str) -> Callable[[], str]:
    """Return a check that creates a `kind` namespace."""

    def make() -> str:
        if kind == "user":
            in_child(int, FLAGS[kind])
        else:
            in_child(lambda: unshare(FLAGS[kind]))
        return "can be made"

    return make


def limits() -> str:
    """Return how many namespaces a user may have.

    Raises:
        Lacks: the limit of some kind is 0.
    """
    folder = f"{SYSCTL}/user"
    found = {}
    for name in sorted(os.listdir(folder)):
        if name.startswith("max_") and name.endswith("_namespaces"):
            found[name.removeprefix("max_").removesuffix("_namespaces")] = read(f"{folder}/{name}")
    none = [kind for kind, count in found.items() if count == "0"]
    if none:
        raise Lacks(f"no {', '.join(none)} namespaces are allowed")
    return f"{min(map(int, found.values()))} or more of each kind"


def switches() -> str:
    """Check the sysctls that keep user namespaces from ordinary users.

    Raises:
        Lacks: one is set.
    """
    for name, bad, good in SWITCHES:
        try:
            value = read(f"{SYSCTL}/{name}")
        except FileNotFoundError:
            continue
        if value == bad:
            key = name.replace("/", ".")
            raise Lacks(f"{key} = {value}", remedy=f"sysctl {key}={good}, or a profile for ocirun.")
    return "no switch forbids them"


def helpers() -> str:
    """Check the helpers that write id maps for ordinary users.

    Raises:
        Lacks: one is missing, or has no privilege.
    """
    for name in HELPERS:
        path = find_in_path(name)
        if path is None:
            raise Lacks(f"no {name} in PATH")
        if not os.stat(path).st_mode & S_ISUID and not _has_file_capabilities(path):
            raise Lacks(
                f"{path} is neither setuid root nor has it file capabilities",
                remedy=f"As root: chmod u+s {path}.",
            )
    return "newuidmap and newgidmap"


def _has_file_capabilities(path: str) -> bool:
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:  # none, or a file system without
        return False


def subordinate_ids() -> str:
    """Return how many subordinate ids this user may map.

    Raises:
        Lacks: there are none.
    """
    uid = os.getuid()
    if uid == 0:
        return "root may map any"
    names = {str(uid), *_names_of(uid)}
    counts = []
    for file in ("/etc/subuid", "/etc/subgid"):
        try:
            rows = [line.split(":") for line in read(file).splitlines()]
        except FileNotFoundError as error:
            raise Lacks(f"there is no {file}") from error
        count = sum(int(row[2]) for row in rows if len(row) == 3 and row[0] in names)
        if not count:
            raise Lacks(f"{file} has no line for uid {uid}")
        counts.append(count)
    return f"{counts[0]} uids and {counts[1]} gids"


def _names_of(uid: int) -> list[str]:
    """Return the names of `uid` in /etc/passwd; users of a directory service are not found."""
    rows = [line.split(":") for line in read("/etc/passwd").splitlines()]
    return [row[0] for row in rows if len(row) > 2 and row[2] == str(uid)]


def _probe(kind: str) -> Probe:
    rootless = os.geteuid() != 0
    if kind == "user":
        consequence = (
            "This user cannot create any container."
            if rootless
            else "Containers with a user namespace are refused; ordinary users cannot run any."
        )
        remedy = "Raise user.max_user_namespaces, and see the switches below."
        return Probe(
            "user",
            creating("user"),
            consequence,
            remedy,
            needed=rootless,
            did="cloned a child with CLONE_NEWUSER",
        )
    consequence = f"Containers with a new {kind} namespace are refused."
    remedy = "Use a kernel that has it (and, inside a container, CAP_SYS_ADMIN or user namespaces)."
    needed = kind == "mount"
    return Probe(
        kind,
        creating(kind),
        consequence,
        remedy,
        needed=needed,
        did=f"made a new {kind} namespace in a child",
    )


def probes() -> tuple[Probe, ...]:
    """Return the checks, which depend on the user."""
    rootless = os.geteuid() != 0
    return (
        *(_probe(kind) for kind in sorted(FLAGS)),
        Probe(
            "namespace limits",
            limits,
            "Containers with such a namespace are refused.",
            "Raise the sysctl user.max_KIND_namespaces.",
            did="read /proc/sys/user/max_*_namespaces",
        ),
        Probe(
            "user namespaces for all",
            switches,
            "Ordinary users cannot run containers.",
            "Change the sysctl.",
            without=LACKING if rootless else DEGRADED,
            did="read the sysctls that switch them off",
        ),
        Probe(
            "id-map helpers",
            helpers,
            "Containers of ordinary users can only have the user's own id.",
            "Install the package uidmap (shadow-utils).",
            without=DEGRADED,
            did="looked for newuidmap and newgidmap in PATH, and at their rights",
        ),
        Probe(
            "subordinate ids",
            subordinate_ids,
            "Containers of this user can only have the user's own id.",
            "Add a range with usermod --add-subuids and --add-subgids.",
            without=DEGRADED,
            did="read /etc/subuid and /etc/subgid",
        ),
    )
