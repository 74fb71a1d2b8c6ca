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
from ocirun.rootfs.resolve import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.context import InitContext


def create_container_hooks(init: InitContext) -> None:
    """Run createContainer hooks: in the container's namespaces, with the host's files in sight."""
    from ocirun.process.hooks import run_hooks

    with doing("changing to the root"):
        os.fchdir(init.root_fd)
    hooks = init.config["hooks"]["createContainer"]
    run_hooks("createContainer", hooks, init.state("creating"), {})


def enter_root(init: InitContext) -> None:
    """Make the root "/"."""
    if not init.request.namespaces.has("mount"):
        pivoting.chroot(init.root_fd)
    elif init.request.no_pivot:
        pivoting.move_root(init.root_fd)
    else:
        pivoting.pivot(init.root_fd)


def repropagate(init: InitContext) -> None:
    """Make "/" shared or unbindable where that was asked for."""
    prepare.repropagate(init.config.get("linux", {}).get("rootfsPropagation"))


def reopen_null(init: InitContext) -> None:
    """Swap the host's /dev/null among fds 0 to 2 for the container's.

    Security: a descriptor of the host's /dev leads into the host's file system.
    """
    wanted = [fd for fd in range(3) if user.is_null(fd)]
    if not wanted:
        return
    with doing("reopening /dev/null"):
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        null_fd = open_in_root(init.root_fd, "/dev/null", flags)
        try:
            if not user.is_null(null_fd):
                raise SetupError("/dev/null of the container is not the null device")
            for fd in wanted:
                os.dup2(null_fd, fd, inheritable=True)
        finally:
            os.close(null_fd)


def make_cwd(init: InitContext) -> None:
    """Make the working directory and its parents where they are missing, mode 0755."""
    cwd = init.config["process"]["cwd"]
    try:
        user.make_cwd(init.root_fd, cwd)
    except OSError as error:
        raise user.cwd_error(cwd, error) from error


def open_terminal(init: InitContext) -> None:
    """Make the terminal, send its master out, and sit down at its slave."""
    from ocirun.process import terminal
    from ocirun.process.sockets import send_fd

    master, slave, name = terminal.open_pty(init.root_fd)
    try:
        if init.request.namespaces.has("mount") and not init.request.joins:
            terminal.bind_console(init.root_fd, slave)
        with doing("sending the terminal to the console socket"):
            send_fd(init.console_fd, master, name)
        terminal.take_as_stdio(slave, init.config["process"].get("consoleSize"))
    finally:
        os.close(master)
        os.close(slave)


def remount_readonly(init: InitContext) -> None:
    """Make read-only what had to stay writable until everything was in place."""
    from ocirun.rootfs import finalize

    finalize.remount_readonly(init.context.deferred)
    if init.config["root"].get("readonly"):
        finalize.readonly_root()


def set_hostname(init: InitContext) -> None:
    """Name the machine."""
    with doing("setting the hostname"):
        sethostname(init.config["hostname"])


def set_domainname(init: InitContext) -> None:
    """Set the NIS domain name."""
    with doing("setting the domain name"):
        setdomainname(init.config["domainname"])


def cover_readonly_paths(init: InitContext) -> None:
    """Make linux.readonlyPaths read-only."""
    masks.readonly_paths(init.root_fd, init.config["linux"]["readonlyPaths"], init.context)


def cover_masked_paths(init: InitContext) -> None:
    """Hide linux.maskedPaths."""
    null_fd = masks.open_null(init.root_fd)
    paths = init.config["linux"]["maskedPaths"]
    masks.mask_paths(init.root_fd, paths, null_fd, init.context)
    os.close(null_fd)


def set_no_new_privs(_: InitContext) -> None:
    """Give up gaining rights through execve; early, so that nothing later can be forgotten."""
    with doing("setting no_new_privs"):
        prctl_no_new_privs()


def have_limits_raised(init: InitContext) -> None:
    """Ask the parent to raise hard limits that are below what the program shall have."""
    from ocirun.process.rlimits import hard_limits_to_raise, limits_of

    init.limits = limits_of(init.config["process"]["rlimits"])
    raised = hard_limits_to_raise(init.limits)
    if raised:
        init.channel.send(PROC_LIMITS, raised)
        init.channel.receive(LIMITS_RAISED)


def set_umask(init: InitContext) -> None:
    """Set the program's umask; umask(2) looks at nine bits of it."""
    os.umask(init.user.get("umask", user.DEFAULT_UMASK) & 0o777)


def enter_cwd(init: InitContext) -> None:
    """Enter the working directory, still as root."""
    try:
        user.enter_cwd(init.root_fd, init.config["process"]["cwd"])
    except PermissionError:
        # A root-squashed network file system: the user may enter what root may not.
        init.cwd_entered = False
    except OSError as error:
        raise user.cwd_error(init.config["process"]["cwd"], error) from error
    else:
        init.cwd_entered = True


def outlive_parent(_: InitContext) -> None:
    """Stop dying with the parent: from the gate on, the container outlives its creator.

    A parent that is gone before is noticed all the same: procGate finds nobody to hear it.
    """
    set_pdeathsig(0)


def become_user(init: InitContext) -> None:
    """Give up what the program shall not have: capabilities, groups, uid."""
    from ocirun.security.capabilities import CapabilitySets, apply_sets, drop_bounding_set

    # Security: a configuration that names no capabilities gives none.
    sets = CapabilitySets(init.config["process"].get("capabilities") or {})
    # Order: the bounding set needs CAP_SETPCAP, which the new uid does not have.
    drop_bounding_set(sets)
    set_keepcaps(True)
    user.own_stdio(init.user["uid"])
    user.become_user(init.user)
    if not init.cwd_entered:
        try:
            user.enter_cwd(init.root_fd, init.config["process"]["cwd"])
        except OSError as error:
            raise user.cwd_error(init.config["process"]["cwd"], error) from error
    set_keepcaps(False)
    apply_sets(sets)


def settle_environment(init: InitContext) -> None:
    """Settle the program's environment, HOME included."""
    process = init.config["process"]
    init.environment = environment(process.get("env") or [], init.root_fd, init.user["uid"])
    if init.request.listen_fds:
        init.environment[b"LISTEN_FDS"] = str(init.request.listen_fds).encode()
        init.environment[b"LISTEN_PID"] = str(os.getpid()).encode()
    if init.request.listen_names:
        init.environment[b"LISTEN_FDNAMES"] = init.request.listen_names.encode()


def find_program(init: InitContext) -> None:
    """Find the file that args[0] means, as the user who is to run it."""
    init.program = locate_program(
        init.config["process"]["args"][0], init.environment.get(b"PATH"), init.own_executable
    )
