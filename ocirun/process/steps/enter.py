"""The steps of init: each a function of what init knows and holds, in the order of plan.py."""

from __future__ import annotations

import os

from ocirun.errors import SetupError, doing
from ocirun.kernel.prctl import set_keepcaps, set_pdeathsig
from ocirun.kernel.prctl import set_no_new_privs as prctl_no_new_privs
from ocirun.kernel.process import (
    setdomainname,
    sethostname,
)
from ocirun.process import user
from ocirun.process.environment import environment
from ocirun.process.messages import LIMITS_RAISED, PROC_LIMITS
from ocirun.process.program import find_program as locate_program
from ocirun.rootfs import masks, prepare
from ocirun.rootfs import pivot as pivoting
from ocirun.rootfs.context import CgroupView, Hierarchy, MountContext
from ocirun.rootfs.resolve import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirun.process.channel import Channel
    from ocirun.process.request import Request
    from ocirun.process.rlimits import Limit
    from ocirun.spec.types import Config, User

OCI_VERSION = "1.3.0"


class Inside:
    """What init knows (config, request) and holds (descriptors) on its way in.

    Descriptors are -1 until a step opens them; all are close-on-exec, so that none of them
    outlives execve.
    """

    __slots__ = (
        "channel",
        "config",
        "console_fd",
        "context",
        "cwd_entered",
        "environment",
        "limits",
        "own_executable",
        "procfs_fd",
        "program",
        "request",
        "root_fd",
    )

    def __init__(self, channel: Channel, config: Config, request: Request) -> None:
        self.channel = channel
        self.config = config
        self.request = request
        self.root_fd = self.procfs_fd = self.console_fd = -1
        self.cwd_entered = False
        self.environment: dict[bytes, bytes] = {}
        self.program = b""
        self.limits: list[Limit] = []
        self.own_executable = (0, 0)
        self.context = MountContext(
            request.bundle,
            userns=request.namespaces.has("user"),
            cgroup=CgroupView(
                [Hierarchy(tuple(names), *places) for names, *places in request.hierarchies],
                unified=any(not names for names, *_ in request.hierarchies),
            ),
            cgroupns="cgroup" in request.namespaces.new,
            mount_label=config.get("linux", {}).get("mountLabel", ""),
        )

    @property
    def user(self) -> User:
        """`process.user`, uid and gid 0 where it is left out."""
        return {"uid": 0, "gid": 0, **self.config["process"].get("user", {})}

    def close(self) -> None:
        """Let go of the root: we are in it, and nothing is opened through it any more."""
        os.close(self.root_fd)
        self.root_fd = -1

    def state(self, status: str) -> dict[str, Any]:
        """The state that hooks inside the container read: the pid is the one seen in there."""
        state: dict[str, Any] = {
            "ociVersion": self.config["ociVersion"],
            "id": self.request.container_id,
            "status": status,
            "pid": os.getpid(),
            "bundle": self.request.bundle,
        }
        if self.config.get("annotations"):
            state["annotations"] = self.config["annotations"]
        return state


def create_container_hooks(inside: Inside) -> None:
    """Run createContainer hooks: in the container's namespaces, with the host's files in sight."""
    from ocirun.process.hooks import run_hooks

    with doing("changing to the root"):
        os.fchdir(inside.root_fd)
    hooks = inside.config["hooks"]["createContainer"]
    run_hooks("createContainer", hooks, inside.state("creating"), {})


def enter_root(inside: Inside) -> None:
    """Make the root "/"."""
    if not inside.request.namespaces.has("mount"):
        pivoting.chroot(inside.root_fd)
    elif inside.request.no_pivot:
        pivoting.move_root(inside.root_fd)
    else:
        pivoting.pivot(inside.root_fd)


def repropagate(inside: Inside) -> None:
    """Make "/" shared or unbindable where that was asked for."""
    prepare.repropagate(inside.config.get("linux", {}).get("rootfsPropagation"))


def reopen_null(inside: Inside) -> None:
    """Swap the host's /dev/null among fds 0 to 2 for the container's.

    Security: a descriptor of the host's /dev leads into the host's file system.
    """
    wanted = [fd for fd in range(3) if user.is_null(fd)]
    if not wanted:
        return
    with doing("reopening /dev/null"):
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        null_fd = open_in_root(inside.root_fd, "/dev/null", flags)
        try:
            if not user.is_null(null_fd):
                raise SetupError("/dev/null of the container is not the null device")
            for fd in wanted:
                os.dup2(null_fd, fd, inheritable=True)
        finally:
            os.close(null_fd)


def make_cwd(inside: Inside) -> None:
    """Make the working directory and its parents where they are missing, mode 0755."""
    cwd = inside.config["process"]["cwd"]
    try:
        user.make_cwd(inside.root_fd, cwd)
    except OSError as error:
        raise user.cwd_error(cwd, error) from error


def open_terminal(inside: Inside) -> None:
    """Make the terminal, send its master out, and sit down at its slave."""
    from ocirun.process import terminal
    from ocirun.process.sockets import send_fd

    master, slave, name = terminal.open_pty(inside.root_fd)
    try:
        if inside.request.namespaces.has("mount") and not inside.request.joins:
            terminal.bind_console(inside.root_fd, slave)
        with doing("sending the terminal to the console socket"):
            send_fd(inside.console_fd, master, name)
        terminal.take_as_stdio(slave, inside.config["process"].get("consoleSize"))
    finally:
        os.close(master)
        os.close(slave)


def remount_readonly(inside: Inside) -> None:
    """Make read-only what had to stay writable until everything was in place."""
    from ocirun.rootfs import finalize

    finalize.remount_readonly(inside.context.deferred)
    if inside.config["root"].get("readonly"):
        finalize.readonly_root()


def set_hostname(inside: Inside) -> None:
    """Name the machine."""
    with doing("setting the hostname"):
        sethostname(inside.config["hostname"])


def set_domainname(inside: Inside) -> None:
    """Set the NIS domain name."""
    with doing("setting the domain name"):
        setdomainname(inside.config["domainname"])


def cover_readonly_paths(inside: Inside) -> None:
    """Make linux.readonlyPaths read-only."""
    masks.readonly_paths(inside.root_fd, inside.config["linux"]["readonlyPaths"])


def cover_masked_paths(inside: Inside) -> None:
    """Hide linux.maskedPaths."""
    null_fd = masks.open_null(inside.root_fd)
    paths = inside.config["linux"]["maskedPaths"]
    masks.mask_paths(inside.root_fd, paths, null_fd, inside.context.mount_label)
    os.close(null_fd)


def set_no_new_privs(_: Inside) -> None:
    """Give up gaining rights through execve; early, so that nothing later can be forgotten."""
    with doing("setting no_new_privs"):
        prctl_no_new_privs()


def have_limits_raised(inside: Inside) -> None:
    """Ask the parent to raise hard limits that are below what the program shall have."""
    from ocirun.process.rlimits import hard_limits_to_raise, limits_of

    inside.limits = limits_of(inside.config["process"]["rlimits"])
    raised = hard_limits_to_raise(inside.limits)
    if raised:
        inside.channel.send(PROC_LIMITS, raised)
        inside.channel.receive(LIMITS_RAISED)


def set_umask(inside: Inside) -> None:
    """Set the program's umask."""
    os.umask(inside.user.get("umask", user.DEFAULT_UMASK))


def enter_cwd(inside: Inside) -> None:
    """Enter the working directory, still as root."""
    try:
        user.enter_cwd(inside.root_fd, inside.config["process"]["cwd"])
    except PermissionError:
        # A root-squashed network file system: the user may enter what root may not.
        inside.cwd_entered = False
    except OSError as error:
        raise user.cwd_error(inside.config["process"]["cwd"], error) from error
    else:
        inside.cwd_entered = True


def outlive_parent(_: Inside) -> None:
    """Stop dying with the parent: from the gate on, the container outlives its creator.

    A parent that is gone before is noticed all the same: procGate finds nobody to hear it.
    """
    set_pdeathsig(0)


def become_user(inside: Inside) -> None:
    """Give up what the program shall not have: capabilities, groups, uid."""
    from ocirun.security.capabilities import CapabilitySets, apply_sets, drop_bounding_set

    # Security: a configuration that names no capabilities gives none.
    sets = CapabilitySets(inside.config["process"].get("capabilities") or {})
    # Order: the bounding set needs CAP_SETPCAP, which the new uid does not have.
    drop_bounding_set(sets)
    set_keepcaps(True)
    user.own_stdio(inside.user["uid"])
    user.become_user(inside.user)
    if not inside.cwd_entered:
        try:
            user.enter_cwd(inside.root_fd, inside.config["process"]["cwd"])
        except OSError as error:
            raise user.cwd_error(inside.config["process"]["cwd"], error) from error
    set_keepcaps(False)
    apply_sets(sets)


def settle_environment(inside: Inside) -> None:
    """Settle the program's environment, HOME included."""
    process = inside.config["process"]
    inside.environment = environment(process.get("env") or [], inside.root_fd, inside.user["uid"])
    if inside.request.listen_fds:
        inside.environment[b"LISTEN_FDS"] = str(inside.request.listen_fds).encode()
        inside.environment[b"LISTEN_PID"] = str(os.getpid()).encode()
    if inside.request.listen_names:
        inside.environment[b"LISTEN_FDNAMES"] = inside.request.listen_names.encode()


def find_program(inside: Inside) -> None:
    """Find the file that args[0] means, as the user who is to run it."""
    inside.program = locate_program(
        inside.config["process"]["args"][0], inside.environment.get(b"PATH"), inside.own_executable
    )
