"""Paths inside the root that cannot leave it.

Every path of config.json that lies inside the container is opened here, once, relative to the
root's descriptor, and everything after works on the descriptor. The kernel keeps the walk inside
(RESOLVE_IN_ROOT: absolute links and ".." end at the root) and refuses the links of /proc that
lead anywhere else. What is missing is made one component at a time, each relative to the one
before it.

Security: CVE-2021-30465, CVE-2024-45310, CVE-2026-41579: a container that shares a volume
exchanges a directory for a symbolic link while the runtime works below it.
Source: openat2(2).
"""

from __future__ import annotations

import os
from errno import EAGAIN, EINTR, EINVAL, ELOOP, ENOENT, EXDEV

from ocirun.errors import SetupError
from ocirun.kernel.mount import mount_id
from ocirun.kernel.oserror import oserror
from ocirun.kernel.paths import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

INSIDE: Final = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
STRAIGHT: Final = INSIDE | RESOLVE_NO_SYMLINKS
DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY

RACES: Final = 128  # how often a walk disturbed by renames is tried again
LINKS: Final = (
    40  # how many symbolic links with missing targets one path may hold, as in path_resolution(7)
)


class LeadsToRoot(SetupError):
    """A path inside the container leads to its root, which nothing may cover."""

    def __init__(self, path: str) -> None:
        super().__init__(f'mountpoint "{path}" is on the top of rootfs')


def open_in_root(root_fd: int, path: str, flags: int = os.O_PATH) -> int:
    """Open `path` of the container, with symbolic links resolved inside the root.

    Returns a descriptor the caller closes.

    Raises:
        LeadsToRoot: the path leads to the root itself.
        OSError: as open(2); EAGAIN when somebody keeps renaming what is on the way.
    """
    try:
        return open_straight(root_fd, path, flags)
    except OSError as error:
        if error.errno != ELOOP:
            raise
    return open_through_links(root_fd, path, flags)


def open_straight(root_fd: int, path: str, flags: int) -> int:
    """Open `path` of the container, which must hold no symbolic link and no "..".

    The end of such a path cannot be the root itself: nothing is left to verify, and one call does.
    Returns a descriptor the caller closes.

    Raises:
        OSError: as open(2); ELOOP when it is not such a path.
    """
    if ".." in path or not path.strip("/."):
        raise oserror(ELOOP, "openat2", path)
    return open_unmoved(root_fd, path, flags, STRAIGHT)


def open_through_links(root_fd: int, path: str, flags: int) -> int:
    """Open `path` of the container wherever it leads inside the root: open_in_root's other half."""
    fd = open_unmoved(root_fd, path or "/", flags, INSIDE)
    if is_same_place(fd, root_fd):
        os.close(fd)
        raise LeadsToRoot(path)
    return fd


def make_dir_in_root(root_fd: int, path: str, mode: int = 0o755) -> int:
    """Open the directory `path` of the container, after making what is missing of it.

    Returns an O_PATH descriptor the caller closes. Raises as open_in_root does.
    """
    try:
        return open_in_root(root_fd, path, DIRECTORY)
    except FileNotFoundError:
        return make_missing(root_fd, path, mode)


def make_file_in_root(root_fd: int, path: str, *, nofollow: bool = False) -> int:
    """Open the file `path` of the container for mounting over it; made empty (0644) if missing.

    With `nofollow` a symbolic link at the end is itself opened, for the caller to refuse it.
    Returns a descriptor the caller closes. Raises as open_in_root does.
    """
    try:
        return open_in_root(root_fd, path, os.O_PATH | os.O_NOFOLLOW if nofollow else os.O_PATH)
    except FileNotFoundError:
        pass
    parts = components(path)
    for _ in range(LINKS):
        name = parts[-1]
        parent_fd = open_parent(root_fd, parts)
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                return os.open(name, flags, 0o644, dir_fd=parent_fd)
            except FileExistsError:
                target = _link_target(parent_fd, name)
            if target is None:  # somebody made it meanwhile: a file is what was wanted
                flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
                return os.open(name, flags, dir_fd=parent_fd)
        finally:
            os.close(parent_fd)
        parts = _substitute(parts[:-1], target, [])
        if not parts:
            raise LeadsToRoot(path)
    raise oserror(ELOOP, "openat2", path)


def open_parent(root_fd: int, parts: list[str]) -> int:
    """Open the directory that holds `parts[-1]`, made if missing. The caller closes it."""
    if len(parts) == 1:
        return open_unmoved(root_fd, ".", DIRECTORY, INSIDE)
    return make_dir_in_root(root_fd, "/".join(parts[:-1]))


def open_unmoved(root_fd: int, path: str, flags: int, resolve: int) -> int:
    """Call openat2, again while renames disturb it. The caller closes the descriptor.

    Kernel: a rename during a walk with ".." gives EAGAIN, a walk that is found outside EXDEV.
    """
    for _ in range(RACES):
        try:
            return openat2(root_fd, path, flags, 0, resolve)
        except OSError as error:
            if error.errno not in (EAGAIN, EINTR, EXDEV):
                raise
    raise oserror(EAGAIN, f"openat2({root_fd}, {path!r}), {RACES} times", path)


def is_same_place(one_fd: int, other_fd: int) -> bool:
    """Return whether both descriptors are the same directory seen through the same mount."""
    one, other = os.fstat(one_fd), os.fstat(other_fd)
    return (
        one.st_ino == other.st_ino
        and one.st_dev == other.st_dev
        and mount_id(one_fd) == mount_id(other_fd)
    )


def components(path: str) -> list[str]:
    """Split `path` into names; "." and empty ones fall out, ".." stays for the kernel to judge."""
    return [name for name in path.split("/") if name not in ("", ".")]


def make_missing(root_fd: int, path: str, mode: int = 0o755) -> int:
    """Make the directory `path`, found missing a moment ago; whatever is there by now is used.

    A symbolic link to something missing has its target made, inside the root. Returns an O_PATH
    descriptor the caller closes.
    """
    parts = components(path)
    for _ in range(LINKS):
        fd, missing = _open_longest(root_fd, parts)
        done = parts[: len(parts) - len(missing)]
        target = None
        for index, name in enumerate(missing):
            try:
                next_fd, target = _enter(fd, name, mode)
            finally:
                os.close(fd)
            if target is not None:
                parts = _substitute(done + missing[:index], target, missing[index + 1 :])
                break
            fd = next_fd
        if target is None:
            # The walk may have come back through ".." in a link; a fresh directory cannot be it.
            if missing or not is_same_place(fd, root_fd):
                return fd
            os.close(fd)
            raise LeadsToRoot(path)
    raise oserror(ELOOP, "openat2", path)


def _open_longest(root_fd: int, parts: list[str]) -> tuple[int, list[str]]:
    """Open the longest beginning of `parts` that exists; return it and the names that remain.

    The whole of it is not tried: it was missing, or is entered by its name from its parent.
    """
    whole = parts[-1:] == [".."]  # which nobody can make, and which may well be there
    for count in range(len(parts) - (not whole), 0, -1):
        try:
            fd = open_unmoved(root_fd, "/".join(parts[:count]), DIRECTORY, INSIDE)
        except FileNotFoundError:
            continue
        return fd, parts[count:]
    return open_unmoved(root_fd, ".", DIRECTORY, INSIDE), parts


def _enter(parent_fd: int, name: str, mode: int) -> tuple[int, str | None]:
    """Make and open the directory `name`; or return (-1, target) when it is a symbolic link."""
    if name == "..":
        raise oserror(ENOENT, f'openat({parent_fd}, "..")', name)
    try:
        os.mkdir(name, mode, dir_fd=parent_fd)
    except FileExistsError:
        target = _link_target(parent_fd, name)
        if target is not None:
            return -1, target
    flags = DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=parent_fd), None


def _link_target(parent_fd: int, name: str) -> str | None:
    """Return where the symbolic link `name` leads; None when it is something else."""
    try:
        return os.readlink(name, dir_fd=parent_fd)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        return None


def _substitute(before: list[str], target: str, after: list[str]) -> list[str]:
    """Put a link's target in the place of its name."""
    if target.startswith("/"):
        before = []
    return before + components(target) + after
