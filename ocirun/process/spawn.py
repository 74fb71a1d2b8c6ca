"""Three ways to create init, one protocol.

    forked     the parent clones itself; the child carries on in run_init with everything loaded
    staged     a short-lived process enters namespaces first and clones init as its own sibling
    helped     both of these, done by a helper (helper.py) where the parent has threads and may not
               fork

The stage (stage.py) reads bootstrapData and answers procCloned with init's pidfd. CLONE_PARENT
makes init our child in every case.

Source: clone3(2).
"""

from __future__ import annotations

import os

from ocirun.errors import ProtocolError, SetupError, doing
from ocirun.kernel.process import clone3
from ocirun.process.channel import PeerGone
from ocirun.process.clone import clone_init, reap
from ocirun.process.init import run_init
from ocirun.process.messages import PROC_CLONED, PROC_STAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.channel import Channel
    from ocirun.process.clone import Cloned
    from ocirun.process.init import Inherited


def fork_init(
    ours: Channel,
    theirs: Channel,
    clone: tuple[int, int | None],
    rootfs: str,
    inherited: Inherited | None,
) -> Cloned:
    """Clone ourselves into init.

    `clone` is the flags and the cgroup v2 to be born in, for clone_init. `rootfs` is the working
    directory init starts in: its copy of that reference survives in the new mount namespace, also
    where the path itself could not be walked by the mapped user.

    Returns:
        What clone_init does. Never returns in init.
    """
    with _WorkingDirectory(rootfs):
        pid, pidfd, born_in_cgroup = clone_init(*clone)
        if pid == 0:
            ours.close()
            run_init(theirs, inherited=inherited)
    return pid, pidfd, born_in_cgroup


def fork_stage(ours: Channel, theirs: Channel, inherited: Inherited | None) -> int:
    """Fork the stage out of ourselves; return its pid. Never returns in the stage."""
    from ocirun.process.stage import run_stage  # cold, and loaded before the clone

    with doing("cloning the stage of init"):
        pid, pidfd = clone3(0)
    if pid == 0:
        ours.close()
        run_stage(theirs, inherited)
    os.close(pidfd)
    return pid


def order_init(theirs: Channel, clone: tuple[int, int | None], rootfs: str, command: str) -> None:
    """Have the helper clone init: as fork_init does. `command` is the launcher's path.

    `receive_ordered` returns which process it is.
    """
    from ocirun.process.helper import order_clone  # cold: the library's way

    flags, cgroup_fd = clone
    order = {"flags": flags, "rootfs": rootfs, "into_cgroup": cgroup_fd is not None}
    order_clone(command, order, [theirs.fileno(), *([] if cgroup_fd is None else [cgroup_fd])])
    theirs.close()


def receive_ordered(ours: Channel) -> Cloned:
    """Receive from an init that the helper has cloned which process it is.

    Returns:
        What clone_init does.
    """
    try:
        return _receive_init(ours)
    except PeerGone as error:
        raise _helper_died() from error


def order_stage(ours: Channel, theirs: Channel, command: str) -> int:
    """Have the helper clone the stage; `command` is the launcher's path. Return its pid."""
    from ocirun.process.helper import order_clone  # cold: the library's way

    order_clone(command, {"stage": True}, [theirs.fileno()])
    theirs.close()
    try:
        return int(ours.receive(PROC_STAGE)[1])
    except PeerGone as error:
        raise _helper_died() from error


def _helper_died() -> SetupError:
    from ocirun.process.helper import words_of_dead

    return SetupError(f"the helper that clones init for this program died{words_of_dead()}")


def receive_cloned(ours: Channel, stage_pid: int) -> Cloned:
    """Receive from the stage which process init is, and reap the stage.

    Returns:
        What clone_init does.
    """
    try:
        return _receive_init(ours)
    except PeerGone as error:
        raise SetupError("the stage of init died before it could say why") from error
    finally:
        reap(stage_pid)


def _receive_init(ours: Channel) -> Cloned:
    _, born_in_cgroup, fds = ours.receive(PROC_CLONED)
    try:
        return _pid_of(fds), fds[0], bool(born_in_cgroup)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise


def _pid_of(fds: list[int]) -> int:
    """Read the pid that a pidfd, the only one of `fds`, names, as our own procfs numbers it."""
    if len(fds) != 1:
        raise ProtocolError(f"{PROC_CLONED} came with {len(fds)} descriptors instead of a pidfd")
    path = f"/proc/self/fdinfo/{fds[0]}"
    with doing(f"reading {path}, the pid of a pidfd"):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(fd, 4096)
        finally:
            os.close(fd)
    for line in text.splitlines():
        if line.startswith(b"Pid:"):
            return int(line[4:])
    raise ProtocolError(f"{PROC_CLONED} came with a descriptor that is not a pidfd")


class _WorkingDirectory:
    """Change to another directory for the length of a block."""

    __slots__ = ("back_fd", "path")

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        self.back_fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        with doing(f"changing to the root {self.path}"):
            os.chdir(self.path)

    def __exit__(self, *_: object) -> None:
        try:
            with doing("changing back to the working directory"):
                os.fchdir(self.back_fd)
        finally:
            os.close(self.back_fd)
