"""A process that enters a container's mount namespace and changes what is mounted there.

    parent                                   child, forked
      │ (opens the sources, on the host)       │  seals itself, enters the namespaces,
      │                                        │  attaches or detaches mounts
      │ ◄──────────────────────────── report   │  what failed, after everything was taken back

It never becomes a program of the container, and is not in its pid namespace or cgroup. Like the
process of exec it imports nothing any more, cannot be traced, and holds no descriptor but those it
needs (exec_child.py).

Source: setns(2) with a pidfd; docs/runc-compat/cli.md#mounts; CVE-2016-9962, CVE-2019-14271.
"""

from __future__ import annotations

import os
from errno import EINVAL

from ocirun.errors import doing
from ocirun.kernel.prctl import set_dumpable, set_pdeathsig
from ocirun.kernel.process import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, setns, unshare
from ocirun.process import user
from ocirun.process.child import run_in_child
from ocirun.process.init import SIGKILL
from ocirun.process.seal import forget_caller, keep_only, seal_imports
from ocirun.rootfs import hot_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ocirun.rootfs.context import Entry

    # Makes the mounts that are made outside: index in the list → descriptor.
    Prepare = Callable[[], dict[int, int]]


class MountTarget:
    """Which container to enter: init's pidfd (borrowed) and the setns flags of its namespaces.

    `label` is the container's linux.mountLabel.
    """

    __slots__ = ("flags", "init_pidfd", "label")

    def __init__(self, init_pidfd: int, flags: int, label: str) -> None:
        self.init_pidfd = init_pidfd
        # Kernel: joining a pid namespace affects only children, and we have none.
        self.flags = flags & ~CLONE_NEWPID
        self.label = label


class _EnteredTarget:
    """What the child has once it is inside."""

    __slots__ = ("own_fds", "root_fd", "target")

    def __init__(self, target: MountTarget) -> None:
        self.target = target
        # Order: before anything is entered; inside, /proc is the container's.
        self.own_fds = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.root_fd = -1

    def enter(self) -> None:
        """Join the namespaces; from here on every path is the container's."""
        with doing("joining the namespaces of the container"):
            setns(self.target.init_pidfd, self.target.flags)
        if self.target.flags & CLONE_NEWUSER:
            user.become_root_of_namespace()
            set_pdeathsig(SIGKILL)  # a change of uid has cleared it
        os.umask(user.DEFAULT_UMASK)
        with doing("opening the container's root"):
            self.root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def enter_user_namespace(self) -> None:
        """Get the rights to copy mounts of the host: those of the user namespace that we own."""
        with doing("joining the user namespace of the container"):
            setns(self.target.init_pidfd, CLONE_NEWUSER)
            user.become_root_of_namespace()
            unshare(CLONE_NEWNS)
        set_pdeathsig(SIGKILL)
        self.target.flags &= ~CLONE_NEWUSER


def add(target: MountTarget, entries: list[Entry], prepare: Prepare) -> None:
    """Attach the mounts of `entries` in the container: all of them, or none.

    `prepare` makes those that are made outside. It runs here where we are root, else in the child,
    once that has root's rights in the container's user namespace.

    Raises:
        SetupError: a step failed; what was attached before was detached again.
    """
    rootless = os.geteuid() != 0
    prepared = {} if rootless else prepare()

    def act(entered: _EnteredTarget) -> None:
        sources = prepared
        if rootless:
            entered.enter_user_namespace()
            sources = prepare()
        entered.enter()
        _attach_all(entered, entries, sources)

    try:
        _in_child(target, list(prepared.values()), act)
    finally:
        for fd in prepared.values():
            os.close(fd)


def remove(target: MountTarget, destinations: list[str]) -> None:
    """Detach what is mounted at `destinations`, the last one first: all are found, or none goes.

    Raises:
        SetupError: nothing is mounted there, or a link is on the way.
    """

    def act(entered: _EnteredTarget) -> None:
        entered.enter()
        found = [
            (destination, hot_mounts.open_mounted(entered.root_fd, destination))
            for destination in reversed(destinations)
        ]
        for destination, fd in found:
            with doing(f'unmounting "{destination}"'):
                hot_mounts.detach(entered.own_fds, fd)

    _in_child(target, [], act)


def _attach_all(entered: _EnteredTarget, entries: list[Entry], sources: dict[int, int]) -> None:
    attached: list[int] = []
    try:
        for entry in entries:
            with doing(f'mounting "{entry.source or entry.fs_name}" at "{entry.destination}"'):
                if entry.index in sources:
                    hot_mounts.place(entered.root_fd, entered.own_fds, entry, sources[entry.index])
                    attached.append(sources[entry.index])
                else:
                    label = entered.target.label
                    new = hot_mounts.place_new(entered.root_fd, entered.own_fds, entry, label)
                    attached.append(new)
    except BaseException:
        for fd in reversed(attached):
            _take_back(entered, fd)
        raise


def _take_back(entered: _EnteredTarget, mount_fd: int) -> None:
    try:
        hot_mounts.detach(entered.own_fds, mount_fd)
    except OSError as error:
        if error.errno != EINVAL:  # the container has unmounted it already
            raise


def _in_child(target: MountTarget, fds: list[int], act: Callable[[_EnteredTarget], None]) -> None:
    """Have a child do `act`. `fds` are those it needs beside its own."""

    def enter_and_act(report_fd: int) -> None:
        set_pdeathsig(SIGKILL)
        seal_imports()
        forget_caller()
        keep_only([report_fd, target.init_pidfd, *fds])
        # Security: nobody in there may trace us or follow our descriptors (CVE-2016-9962).
        set_dumpable(False)
        act(_EnteredTarget(target))

    with doing("cloning the process that mounts"):
        run_in_child("the process that mounts", enter_and_act)
