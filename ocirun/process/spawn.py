"""Three ways to bring init into being, one protocol.

    forked     the parent clones itself; the child carries on in run_init with everything loaded
    staged     a short-lived process enters namespaces first and clones init as its own sibling
    executed   the same, where the parent has threads and may not fork: the stage is a fresh,
               sealed interpreter (`ocirun init`)

In the last two the stage reads bootstrapData, enters what must be entered before the clone, and
answers procCloned with init's pidfd. CLONE_PARENT makes init our child in every case.

Source: clone3(2), pid_namespaces(7), time_namespaces(7).
"""

from __future__ import annotations

import os
from errno import E2BIG, EACCES, EBUSY, EINVAL, EOPNOTSUPP

from ocirun.errors import ProtocolError, SetupError, doing
from ocirun.kernel.process import CLONE_NEWTIME, CLONE_PARENT, clone3, unshare
from ocirun.process.channel import Channel, PeerGone
from ocirun.process.init import run_init, tell_error
from ocirun.process.messages import BOOTSTRAP_DATA, PROC_CLONED
from ocirun.process.namespaces import join_namespaces
from ocirun.process.seal import keep_only

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, NoReturn

    Cloned = tuple[int, int, bool]  # host pid, pidfd, born in its cgroup

INIT_CHANNEL_FD: Final = 3  # where the executed stage finds its end of the channel
TIMENS_OFFSETS: Final = "/proc/self/timens_offsets"


def fork_init(ours: Channel, theirs: Channel, clone: tuple[int, int | None], rootfs: str) -> Cloned:
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
            run_init(theirs)
    return pid, pidfd, born_in_cgroup


def clone_init(flags: int, cgroup_fd: int | None) -> Cloned:
    """Clone, into the cgroup when the kernel does that.

    Born there, init needs not be moved, for which the kernel would wait an RCU grace period.

    Returns:
        Init's host pid (0 in init), its pidfd, which the caller closes, and whether it was born
        in the cgroup.
    """
    with doing("cloning init"):
        if cgroup_fd is not None:
            try:
                return *clone3(flags, cgroup_fd), True
            except OSError as error:
                # Kernel: 5.7 knows the flag; a threaded or a strange cgroup refuses it.
                if error.errno not in (E2BIG, EINVAL, EOPNOTSUPP, EBUSY, EACCES):
                    raise
        return *clone3(flags), False


def fork_stage(ours: Channel, theirs: Channel) -> int:
    """Fork the stage out of ourselves; give its pid. Never returns in the stage."""
    with doing("cloning the stage of init"):
        pid, pidfd = clone3(0)
    if pid == 0:
        ours.close()
        run_stage(theirs)
    os.close(pidfd)
    return pid


def execute_stage(theirs: Channel, command: str) -> int:
    """Start the stage as a fresh `ocirun init`; `command` is the launcher's path. Give its pid."""
    with doing(f"starting {command} init"):
        return os.posix_spawn(
            command,
            [command, "init"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), INIT_CHANNEL_FD)],
            setsigmask=(),
        )


def run_stage(channel: Channel) -> NoReturn:
    """Be the stage: enter namespaces, clone init beside us, say which one it is, and go."""
    try:
        _, bootstrap, fds = channel.receive(BOOTSTRAP_DATA)
        if bootstrap.get("joins"):
            from ocirun.process.joiner import join_and_clone  # exec, not create

            join_and_clone(channel, bootstrap, fds)
        else:
            _enter_and_clone(channel, bootstrap, fds)
    except PeerGone:
        os._exit(1)
    except BaseException as error:  # noqa: BLE001  # told to the parent, whatever it is
        tell_error(channel, error)
        os._exit(1)
    os._exit(0)


def _enter_and_clone(channel: Channel, bootstrap: dict[str, Any], fds: list[int]) -> None:
    keep_only([*range(3, 3 + bootstrap["kept_fds"]), channel.fileno(), *fds])
    with doing(f"changing to the root {bootstrap['rootfs']}"):
        os.chdir(bootstrap["rootfs"])
    cgroup_fd = fds.pop() if bootstrap["into_cgroup"] else None
    join_namespaces(dict(zip(bootstrap["join"], fds, strict=True)))
    if bootstrap["time_offsets"] is not None:
        _new_time_namespace(bootstrap["time_offsets"])
    pid, pidfd, born_in_cgroup = clone_init(bootstrap["flags"] | CLONE_PARENT, cgroup_fd)
    if pid == 0:
        run_init(channel, staged=True)
    channel.send(PROC_CLONED, born_in_cgroup, [pidfd])


def _new_time_namespace(offsets: dict[str, dict[str, int]]) -> None:
    """Make a time namespace for our children, and set its clocks before the first one enters."""
    with doing("creating the time namespace"):
        unshare(CLONE_NEWTIME)
    lines = "".join(
        f"{clock} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}\n"
        for clock, offset in offsets.items()
    )
    if lines:
        with doing("setting the offsets of the time namespace"):
            fd = os.open(TIMENS_OFFSETS, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, lines.encode())
            finally:
                os.close(fd)


def receive_cloned(ours: Channel, stage_pid: int) -> Cloned:
    """Learn from the stage which process init is, and reap the stage.

    Returns:
        What clone_init does.
    """
    try:
        _, born_in_cgroup, fds = ours.receive(PROC_CLONED)
    except PeerGone as error:
        raise SetupError("the stage of init died before it could say why") from error
    finally:
        os.waitpid(stage_pid, 0)
    if len(fds) != 1:
        raise ProtocolError(f"{PROC_CLONED} came with {len(fds)} descriptors instead of a pidfd")
    return _pid_of(fds[0]), fds[0], bool(born_in_cgroup)


def _pid_of(pidfd: int) -> int:
    """Read the pid that a pidfd names, as our own procfs numbers it."""
    fd = os.open(f"/proc/self/fdinfo/{pidfd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(fd, 4096)
    finally:
        os.close(fd)
    for line in text.splitlines():
        if line.startswith(b"Pid:"):
            return int(line[4:])
    raise ProtocolError(f"{PROC_CLONED} came with a descriptor that is not a pidfd")


class _WorkingDirectory:
    """Be in another directory for the length of a block."""

    __slots__ = ("back_fd", "path")

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        self.back_fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        with doing(f"changing to the root {self.path}"):
            os.chdir(self.path)

    def __exit__(self, *_: object) -> None:
        os.fchdir(self.back_fd)
        os.close(self.back_fd)
