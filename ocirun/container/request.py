"""From options and configuration to what init is asked to do."""

from __future__ import annotations

import os
import stat
from errno import EBADF
from fcntl import F_GETFD, FD_CLOEXEC, fcntl

from ocirun.errors import Problem, SpecError, UsageError, warn
from ocirun.kernel.procstat import is_in_user_namespace
from ocirun.process.request import Request
from ocirun.rootfs.devices import is_host_dev
from ocirun.spec import LANDLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.cgroups.paths import Hierarchy
    from ocirun.container.options import CreateOptions, ExecOptions, ProcessOptions
    from ocirun.container.record import Record
    from ocirun.spec.types import Config

MAX_FDS: Final = 2**31  # Kernel: a descriptor is an int


def make_request(config: Config, container_id: str, options: CreateOptions) -> Request:
    """Decide what config.json alone does not say, and check what the host must have.

    Raises:
        SpecError: the root is missing, or an annotation is wrong. UnsupportedError: Landlock
            cannot do what is asked. UsageError: a descriptor to preserve is not open.
    """
    request = Request(config)
    request.container_id = container_id
    request.bundle = os.path.realpath(options.bundle)
    request.rootfs = _root(config, request.bundle)
    warn_of_relative(config)
    request.landlock = _landlock(config)
    request.make_devices = request.namespaces.has("mount") and not is_host_dev(config)
    request.no_pivot = options.no_pivot
    request.no_new_keyring = options.no_new_keyring
    if not request.no_new_keyring:
        from ocirun.security.keyring import new_name

        request.keyring = new_name(container_id)
    _find_fds(request, options)
    return request


def make_exec_request(config: Config, record: Record, options: ExecOptions) -> Request:
    """Decide for one more process of a running container, whose `config` has that process.

    Raises:
        UsageError: a descriptor to preserve is not open.
    """
    request = Request(config)
    request.joins = True
    request.container_id = record.id
    request.bundle = record.bundle
    request.rootfs = record.rootfs
    request.landlock = _landlock(config)
    request.no_new_keyring = record.no_new_keyring
    request.keyring = record.keyring or f"_ses.{record.id}"  # of older versions, and restored
    _find_fds(request, options)
    return request


def _landlock(config: Config) -> dict[str, Any] | None:
    """Return what init confines itself with; None where no annotation asks for Landlock."""
    if not any(name.startswith(LANDLOCK) for name in config.get("annotations") or ()):
        return None
    from ocirun.security.landlock import prepare  # cold

    return prepare(config)


def _find_fds(request: Request, options: ProcessOptions) -> None:
    """Decide which of our descriptors the program gets."""
    request.listen_fds = count_listen_fds()
    request.listen_names = names_of_listen_fds(request.listen_fds)
    request.kept_fds = find_kept_fds(
        request.listen_fds, options.preserve_fds, library=not options.may_fork
    )


def _root(config: Config, bundle: str) -> str:
    rootfs = os.path.realpath(os.path.join(bundle, config["root"]["path"]))
    try:
        mode = os.stat(rootfs).st_mode
    except FileNotFoundError:
        raise SpecError([Problem("/root/path", f"rootfs ({rootfs}) does not exist")]) from None
    if not stat.S_ISDIR(mode):
        raise SpecError([Problem("/root/path", f"rootfs ({rootfs}) is not a directory")])
    return rootfs


def count_listen_fds() -> int:
    """Count the sockets handed to us by socket activation, if they are meant for us."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return 0
    text = os.environ.get("LISTEN_FDS", "")
    return int(text) if text.isdecimal() and len(text) < 6 else 0


def names_of_listen_fds(count: int) -> str:
    """Return LISTEN_FDNAMES, the names of those `count` sockets; "" where there are no valid ones.

    Not one for each, or not of what a unit file may call them, they would only make the program
    refuse its sockets (sd_listen_fds_with_names(3)).
    """
    names = os.environ.get("LISTEN_FDNAMES", "") if count else ""
    good = names.isascii() and names.isprintable() and names.count(":") == count - 1
    return names if good else ""


def find_kept_fds(listen_fds: int, preserve_fds: int, *, library: bool) -> list[int]:
    """Return the descriptors from 3 on that the program gets.

    Those for socket activation are all open. Among those that are preserved there may be gaps,
    which stay closed (podman asks for 3 where only the third is open), but the last one is open:
    a number that is too high is a mistake.

    Security: what we have opened ourselves fills no gap; peers hand their log file into the
    container. Ours are close-on-exec, which an inherited one cannot be; the program that we are a
    `library` of opens its own in the same way.

    Raises:
        UsageError: one that has to be open is not.
    """
    first, end = 3 + listen_fds, 3 + listen_fds + preserve_fds
    # Order: the last one before all, whose number may be one with many digits.
    if preserve_fds > 0 and not (end <= MAX_FDS and _is_inherited(end - 1, library)):
        there = map(int, os.listdir("/proc/self/fd"))
        below = [fd for fd in there if first <= fd < end and _is_inherited(fd, library)]
        raise UsageError(
            f"unable to stat preserved-fd {max(below, default=first - 1) + 1 - first} "
            f"(of {preserve_fds}): {os.strerror(EBADF).lower()}"
        )
    found = [fd for fd in range(3, end) if _is_inherited(fd, library)]
    for fd in range(3, first):
        if fd not in found:
            raise UsageError(f"LISTEN_FDS names descriptor {fd}, which is not open")
    return found


def _is_inherited(fd: int, library: bool) -> bool:
    try:
        flags = fcntl(fd, F_GETFD)
    except OSError as error:
        if error.errno != EBADF:
            raise
        return False
    return library or not flags & FD_CLOEXEC


def warn_of_relative(config: Config) -> None:
    """Warn of each destination of a mount that is not absolute.

    Spec: "MUST be an absolute path"; runc goes on with a warning, and so do we.
    """
    for mount in config.get("mounts") or ():
        if not mount["destination"].startswith("/"):
            warn(
                f"mount destination {mount['destination']} is not absolute. Support for "
                "non-absolute mount destinations will be removed in a future release."
            )


def name_of(fd: int) -> str:
    """Return what `fd` is open on, as the kernel names it; "" when it is closed."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:
        return ""


def own_hierarchies() -> list[Hierarchy]:
    """Return where a container without a cgroup of its own is: where we are."""
    from ocirun.cgroups import paths  # cold

    return paths.own_hierarchies(paths.read_table())


def is_rootless(word: str) -> bool:
    """Return whether cgroups may be out of our reach: what the caller says, else who we are."""
    if word in ("true", "false"):
        return word == "true"
    return os.geteuid() != 0 or is_in_user_namespace()
