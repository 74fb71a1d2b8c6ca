"""The steps of exec: into the container that is there, and seen by it as late as possible.

Source: setns(2) with a pidfd, chroot(2), capabilities(7); CVE-2016-9962.
"""

from __future__ import annotations

import os

from ocirun.errors import doing
from ocirun.kernel import process
from ocirun.rootfs import pivot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.context import InitContext


def join_namespaces(init: InitContext) -> None:
    """Join the namespaces of the container's init that are not ours."""
    with doing("joining the namespaces of the container"):
        process.setns(init.init_pidfd, init.request.join_flags)


def enter_root(init: InitContext) -> None:
    """Enter the root of the container's init, by the descriptor that the parent has opened."""
    pivot.chroot(init.init_root_fd)
    os.close(init.init_root_fd)
    init.init_root_fd = -1


def open_root(init: InitContext) -> None:
    """Open the root, from which every path of the container is resolved."""
    with doing("opening the container's root"):
        init.root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def reset_affinity(_: InitContext) -> None:
    """Run on every CPU of the cpuset: the caller's affinity may be narrower."""
    with doing("resetting the CPU affinity"):
        process.reset_affinity()


def drop_capabilities(init: InitContext) -> None:
    """Keep the capabilities of the program and those that the remaining steps need.

    Security: whoever has CAP_SYS_PTRACE in the container may trace the process as soon as it is in
    the pid namespace, and shall not find more in it than it has to have. In a user namespace
    CAP_SYS_PTRACE is no right over a process that was executed outside, and all steps need is
    within it.
    """
    from ocirun.security.capabilities import SYS_ADMIN, drop_bounding_set, limit_sets

    sets = init.capability_sets()
    drop_bounding_set(sets)
    if not init.request.namespaces.has("user"):
        joining = SYS_ADMIN if init.request.cgroup_namespace else 0
        limit_sets(sets.all | _needed(init) | joining)


def drop_what_joining_took(init: InitContext) -> None:
    """Drop CAP_SYS_ADMIN, which was kept for joining the cgroup namespace."""
    from ocirun.security.capabilities import limit_sets

    limit_sets(init.capability_sets().all | _needed(init))


def _needed(init: InitContext) -> int:
    """Return what the steps need that are left when all namespaces are joined."""
    from ocirun.security import capabilities as cap

    request, spec = init.request, init.config["process"]
    needed = cap.SETGID
    if init.user["uid"]:
        needed |= cap.SETUID | cap.CHOWN
    if request.terminal:
        needed |= cap.CHOWN | cap.DAC_OVERRIDE
    if "scheduler" in spec or "ioPriority" in spec:
        needed |= cap.SYS_NICE
    if (request.seccomp or request.landlock) and not spec.get("noNewPrivileges"):
        needed |= cap.SYS_ADMIN
    return needed
