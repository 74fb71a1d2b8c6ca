"""From options and configuration to what init is asked to do."""

from __future__ import annotations

import os
import stat
from errno import EBADF
from fcntl import F_GETFD, FD_CLOEXEC, fcntl

from ocirun.errors import Problem, SpecError, UsageError, kernel_words, warn
from ocirun.process.request import Request
from ocirun.rootfs.devices import is_host_dev

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.options import CreateOptions
    from ocirun.spec.types import Config


def make_request(config: Config, container_id: str, options: CreateOptions) -> Request:
    """Decide what config.json alone does not say, and check what the host must have.

    Raises:
        SpecError: the root is missing. UsageError: a descriptor to preserve is not open.
    """
    request = Request(config)
    request.container_id = container_id
    request.bundle = os.path.realpath(options.bundle)
    request.rootfs = _root(config, request.bundle)
    for mount in config.get("mounts") or ():
        if not mount["destination"].startswith("/"):
            # Spec: "MUST be an absolute path"; runc goes on with a warning, and so do we.
            warn(
                f"mount destination {mount['destination']} is not absolute. Support for "
                "non-absolute mount destinations will be removed in a future release."
            )
    request.make_devices = request.namespaces.has("mount") and not is_host_dev(config)
    request.no_pivot = options.no_pivot
    request.no_new_keyring = options.no_new_keyring
    if not request.no_new_keyring:
        from ocirun.security.keyring import new_name

        request.keyring = new_name(container_id)
    request.listen_fds = count_listen_fds()
    request.listen_names = names_of_listen_fds(request.listen_fds)
    request.kept_fds = request.listen_fds + options.preserve_fds
    check_kept_fds(request.listen_fds, request.kept_fds, library=options.command is not None)
    return request


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
    """Give the names of those `count` sockets, as LISTEN_FDNAMES has them; "" without (good) ones.

    Not one for each, or not of what a unit file may call them, they would only make the program
    refuse its sockets (sd_listen_fds_with_names(3)).
    """
    names = os.environ.get("LISTEN_FDNAMES", "") if count else ""
    good = names.isascii() and names.isprintable() and names.count(":") == count - 1
    return names if good else ""


def check_kept_fds(listen_fds: int, kept_fds: int, *, library: bool) -> None:
    """Make sure that the descriptors from 3 on which the program shall have are open.

    Security: what we have opened ourselves is no caller's descriptor; peers hand their log file
    into the container. Ours are close-on-exec, which an inherited one cannot be; the program that
    we are a `library` of opens its own in the same way.

    Raises:
        UsageError: one is not.
    """
    for fd in range(3, 3 + kept_fds):
        try:
            _check_inherited(fd, library)
        except OSError as error:
            if fd < 3 + listen_fds:
                raise UsageError(f"LISTEN_FDS names descriptor {fd}, which is not open") from error
            raise UsageError(
                f"unable to stat preserved-fd {fd - 3 - listen_fds} (of "
                f"{kept_fds - listen_fds}): {kernel_words(error)}"
            ) from error


def _check_inherited(fd: int, library: bool) -> None:
    if fcntl(fd, F_GETFD) & FD_CLOEXEC and not library:
        raise OSError(EBADF, os.strerror(EBADF))
