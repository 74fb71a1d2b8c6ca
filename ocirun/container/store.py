"""The root directory: one folder for each container, its name the container's id.

    ROOT/ID/state.json    what we remember (record.py)
    ROOT/ID/config.json   the configuration as it was at create
    ROOT/ID/start.fifo    the gate; there until the container is started
    ROOT/ID/started.fifo  what init answers; as long
    ROOT/ID/criu-root/    while it is restored (criu/scratch.py)
    ROOT/ID/notify/       mounted in the container, where a service manager waits (sd_notify.py)
    ROOT/@seccomp/        compiled filters (security/seccomp/cache.py); no id begins with "@"

mkdir is exclusive, so of concurrent creates of one id exactly one wins. While a container is
being made its maker holds a lock on the folder, which ends with the maker: a folder without a
lock and without a process is a leftover.

Source: docs/runc-compat/state.md.
"""

from __future__ import annotations

import os
from errno import ENOTEMPTY

from ocirun.container.record import Record
from ocirun.errors import (
    ContainerError,
    ContainerExists,
    ContainerNotFound,
    UsageError,
    doing,
    kernel_words,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

DEFAULT_ROOT: Final = "/run/ocirun"
_ID_CHARACTERS: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-."
)
MAX_ID_LENGTH: Final = 255  # a directory's name is no longer
REMOVE_TRIES: Final = 10


def default_root() -> str:
    """Choose the root directory when the caller names none.

    Real root always gets /run/ocirun. Everybody else, root of a user namespace included unless it
    calls itself root, gets a folder of its own below XDG_RUNTIME_DIR.

    Source: docs/runc-compat/state.md#root-directory.
    """
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    if runtime_dir and (os.geteuid() != 0 or _is_mapped_root()):
        return f"{runtime_dir}/ocirun"
    return DEFAULT_ROOT


def _is_mapped_root() -> bool:
    if os.environ.get("USER") == "root":
        return False
    with doing("reading /proc/self/uid_map"):
        fd = os.open("/proc/self/uid_map", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 4096).split() != [b"0", b"0", b"4294967295"]
        finally:
            os.close(fd)


def check_id(container_id: str) -> None:
    """Refuse an id that is not a plain name.

    Security: it becomes the name of a directory, and of a cgroup.

    Raises:
        UsageError: with runc's words.
    """
    if not container_id:
        raise UsageError("container id cannot be empty")
    if (
        container_id in (".", "..")
        or len(container_id) > MAX_ID_LENGTH
        or not _ID_CHARACTERS.issuperset(container_id)
    ):
        raise UsageError(f"invalid container ID format: {container_id!r}")


class Store:
    """The containers below one root directory."""

    __slots__ = ("root",)

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def directory(self, container_id: str) -> str:
        """Give the folder of a container, whether it is there or not."""
        check_id(container_id)
        return f"{self.root}/{container_id}"

    def claim(self, container_id: str) -> int:
        """Make the folder of a new container, and lock it for as long as it is being made.

        Returns:
            The descriptor that holds the lock; for `release`.

        Raises:
            ContainerExists: somebody else was first.
        """
        directory = self.directory(container_id)
        with doing(f"making the root directory {self.root}"):
            self._make_root()
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            raise ContainerExists(container_id) from None
        except OSError as error:
            raise ContainerError(
                container_id, f"making {directory}: {kernel_words(error)}"
            ) from error
        with doing(f"locking {directory}"):
            try:
                return _lock(directory)
            except OSError:
                os.rmdir(directory)
                raise

    def release(self, lock_fd: int) -> None:
        """Say that the container is made, or given up; close the descriptor that `claim` gave.

        Unlocked by word and not by closing alone: where another thread of our program is just
        starting a process, that one has a copy of the descriptor until its execve.
        """
        from ocirun.kernel.locks import unlock

        try:
            unlock(lock_fd)
        except OSError:
            return  # closing it lets go as well
        finally:
            os.close(lock_fd)

    def _make_root(self) -> None:
        if os.path.isdir(self.root):
            return
        os.makedirs(self.root, 0o700, exist_ok=True)
        if self.root != DEFAULT_ROOT and self.root == default_root():
            # Session cleaners leave what is sticky alone (XDG base directory specification).
            os.chmod(self.root, 0o1700)

    def is_being_made(self, container_id: str) -> bool:
        """Tell whether the maker of the container is still at work."""
        from ocirun.kernel.locks import is_held

        try:
            fd = os.open(self.directory(container_id), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return is_held(fd)
        finally:
            os.close(fd)

    def load(self, container_id: str) -> Record:
        """Read what is remembered of a container.

        Raises:
            ContainerNotFound: there is no such folder, or none with a record in it yet.
        """
        record = Record.read(self.directory(container_id), container_id)
        if record is None:
            raise ContainerNotFound(container_id)
        return record

    def exists(self, container_id: str) -> bool:
        """Tell whether the container has a folder, with or without a record in it."""
        return os.path.isdir(self.directory(container_id))

    def ids(self) -> list[str]:
        """List the ids that have a folder, sorted; a root that is not there has none."""
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return []
        return sorted(
            name
            for name in names
            if _ID_CHARACTERS.issuperset(name) and os.path.isdir(f"{self.root}/{name}")
        )

    def remove(self, container_id: str) -> None:
        """Remove the folder of a container with all its files; what is gone already is fine."""
        directory = self.directory(container_id)
        with doing(f"removing {directory}"):
            for tries_left in range(REMOVE_TRIES - 1, -1, -1):
                try:
                    for name in os.listdir(directory):
                        _unlink(f"{directory}/{name}")
                    os.rmdir(directory)
                except FileNotFoundError:  # another delete was faster
                    return
                except OSError as error:
                    # An update that is at work may have put its new file there in between.
                    if error.errno != ENOTEMPTY or not tries_left:
                        raise
                else:
                    return


def _lock(directory: str) -> int:
    """Open and lock the folder of a container; the descriptor holds the lock."""
    from ocirun.kernel.locks import hold

    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        hold(fd)
    except OSError:
        os.close(fd)
        raise
    return fd


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        _remove_folder(path)


def _remove_folder(path: str) -> None:
    """Remove one of the two folders that a container's own may hold.

    Order: what a killed restore has left is unmounted, and never emptied: it shows the root.
    """
    from ocirun.criu.scratch import FOLDER, remove_scratch  # cold: seldom there

    if path.endswith(f"/{FOLDER}"):
        remove_scratch(path)
        return
    _empty(path)  # notify/, which a container with root's rights can fill
    os.rmdir(path)


def _empty(folder: str) -> None:
    """Remove all that is in `folder`, by bringing up what is deeper.

    Security: it may be deeper than any recursion or path, and a mount that has come here from a
    container is somebody's data: nothing can be brought up out of it (EXDEV).
    """
    while names := os.listdir(folder):
        for name in names:
            path = f"{folder}/{name}"
            try:
                os.unlink(path)
            except IsADirectoryError:
                for inner in os.listdir(path):
                    os.rename(f"{path}/{inner}", f"{folder}/{os.urandom(16).hex()}")
                os.rmdir(path)
