"""The steps of init from its hooks to its filter, in the order of plan.py."""

from __future__ import annotations

import os

from ocirun.errors import SetupError, doing
from ocirun.kernel import process as kernel_process
from ocirun.kernel.prctl import set_keepcaps, set_pdeathsig
from ocirun.kernel.prctl import set_no_new_privs as prctl_no_new_privs
from ocirun.kernel.process import setdomainname, sethostname
from ocirun.process import stdio, user
from ocirun.process.environment import environment
from ocirun.process.messages import LIMITS_RAISED, PROC_LIMITS
from ocirun.process.program import find_program as locate_program
from ocirun.rootfs import masks, prepare
from ocirun.rootfs import pivot as pivoting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.process.context import InitContext


def create_container_hooks(init: InitContext) -> None:
    """Run createContainer hooks: in the container's namespaces, with the host's files visible."""
    from ocirun.process.hooks import run_hooks

    with doing("changing to the root"):
        os.fchdir(init.root_fd)
    hooks = init.config["hooks"]["createContainer"]
    run_hooks("createContainer", hooks, init.state("creating"), {}, outputs=init.hook_outputs)


def pivot_root(init: InitContext) -> None:
    """Make the root "/", and detach the host's."""
    pivoting.pivot(init.root_fd)


def move_root(init: InitContext) -> None:
    """Make the root "/" by moving its mount there, as `--no-pivot` asks for."""
    pivoting.move_root(init.root_fd)


def chroot(init: InitContext) -> None:
    """Make the root "/" for us alone, where there is no mount namespace."""
    pivoting.chroot(init.root_fd)


def repropagate(init: InitContext) -> None:
    """Make "/" shared or unbindable where that was asked for."""
    prepare.repropagate(init.config.get("linux", {}).get("rootfsPropagation"))


def reopen_null(init: InitContext) -> None:
    """Swap the host's /dev/null among fds 0 to 2 for the container's.

    Security: a descriptor of the host's /dev leads into the host's file system. The node is looked
    at before it is opened, because opening another device may do something.
    Order: before the pivot, while /proc is the host's.
    """
    wanted = [fd for fd in range(3) if stdio.is_null(fd)]
    if not wanted:
        return
    with doing("reopening /dev/null"):
        path_fd = masks.open_null(init.root_fd)
        try:
            null_fd = os.open(f"/proc/self/fd/{path_fd}", os.O_RDWR | os.O_CLOEXEC)
        finally:
            os.close(path_fd)
        try:
            # A mount namespace that is joined may have another /proc.
            if not stdio.is_null(null_fd):
                raise SetupError("/proc/self/fd leads to something else than the null device")
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
    """Open a new pseudo-terminal of the container's devpts."""
    from ocirun.process import terminal

    init.pty = terminal.open_pty(init.root_fd)


def bind_console(init: InitContext) -> None:
    """Bind the terminal on /dev/console."""
    from ocirun.process import terminal

    terminal.bind_console(init.root_fd, init.pty[1])


def take_terminal(init: InitContext) -> None:
    """Send the terminal's master to the console socket, and take its slave as stdio."""
    from ocirun.process import terminal
    from ocirun.process.sockets import send_fd

    master, slave, name = init.pty
    with doing("sending the terminal to the console socket"):
        send_fd(init.console_fd, master, name)
    terminal.take_as_stdio(slave, init.config["process"].get("consoleSize"))
    os.close(master)
    os.close(slave)


def remount_readonly(init: InitContext) -> None:
    """Make read-only what had to stay writable until everything was in place."""
    from ocirun.rootfs import finalize

    finalize.remount_readonly(init.context.deferred)


def readonly_root(_: InitContext) -> None:
    """Make "/" read-only."""
    from ocirun.rootfs import finalize

    finalize.readonly_root()


def set_hostname(init: InitContext) -> None:
    """Set the host name."""
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
    """Set no_new_privs; early, so that nothing later can be forgotten."""
    with doing("setting no_new_privs"):
        prctl_no_new_privs()


def have_limits_raised(init: InitContext) -> None:
    """Ask the parent to raise hard limits that are below those of the configuration."""
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
    except FileNotFoundError as error:
        if not init.request.joins:
            raise user.cwd_error(init.config["process"]["cwd"], error) from error
        # The stage of exec is in another pid namespace: /proc/self is not there for it.
        init.cwd_entered = False
    except OSError as error:
        raise user.cwd_error(init.config["process"]["cwd"], error) from error
    else:
        init.cwd_entered = True


def outlive_parent(_: InitContext) -> None:
    """Stop dying with the parent: from the gate on, the container outlives its creator.

    A parent that died earlier is noticed anyway: nobody receives procGate.
    """
    set_pdeathsig(0)


def drop_bounding_set(init: InitContext) -> None:
    """Drop what the program can never regain. Order: the new uid has no CAP_SETPCAP."""
    from ocirun.security import capabilities

    capabilities.drop_bounding_set(init.capability_sets())


def become_user(init: InitContext) -> None:
    """Become the user, with every capability still permitted."""
    set_keepcaps(True)
    stdio.give(init.request.given_stdio, init.user["uid"])
    user.become_user(init.user, keep_groups=init.keeps_groups)
    if not init.cwd_entered:
        try:
            user.enter_cwd(init.root_fd, init.config["process"]["cwd"])
        except OSError as error:
            raise user.cwd_error(init.config["process"]["cwd"], error) from error
    set_keepcaps(False)


def set_capabilities(init: InitContext) -> None:
    """Set the capabilities of the program."""
    from ocirun.security import capabilities

    capabilities.apply_sets(init.capability_sets())


def set_capabilities_but_one(init: InitContext) -> None:
    """Set the capabilities of the program, and keep what loading its filter takes."""
    from ocirun.security import capabilities

    capabilities.apply_sets(init.capability_sets(), capabilities.SYS_ADMIN)


def give_up_sys_admin(init: InitContext) -> None:
    """Drop the capabilities that were kept for the filter."""
    from ocirun.security import capabilities

    capabilities.give_up_kept(init.capability_sets())


def reset_signals(_: InitContext) -> None:
    """Reset every signal to its default disposition, and block none: Python ignores SIGPIPE."""
    kernel_process.reset_signals()


def end_on_signals(_: InitContext) -> None:
    """Reset signals, and let those that end a process end us, though we are process 1."""
    kernel_process.reset_signals(ends_too=True)


def set_limits(init: InitContext) -> None:
    """Set the program's resource limits.

    Order: as late as a filter allows, because they count for us as well.
    """
    from ocirun.process.rlimits import set_own_limits

    set_own_limits(init.limits)


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
