"""The state root: one folder for each container, its name the container's id.

    ROOT/ID/state.json    the record (record.py)
    ROOT/ID/init          what finds its processes when that is damaged (record.py)
    ROOT/ID/config.json   the configuration as it was at create
    ROOT/ID/start.fifo    the gate; there until the container is started
    ROOT/ID/started.fifo  what init answers; as long
    ROOT/ID/criu-root/    while it is restored (criu/scratch.py)
    ROOT/ID/notify/       mounted in the container, where a service manager waits (sd_notify.py)
    ROOT/ID/networks.json what it holds by the annotation org.ocirun.networks (networks.py)
    ROOT/ID/resolv.conf   mounted in the container, and so is hosts (network_files.py)
    ROOT/@networks        locked while one of these is changed
    ROOT/@seccomp/        compiled filters (security/seccomp/cache.py); no id begins with "@"

mkdir is exclusive, so of concurrent creates of one id exactly one wins. While a container is
being made its maker holds a lock on the folder, which ends with the maker: a folder without a
lock and without a process is a leftover. folder.py has what may be relied on.

Source: docs/runc-compat/state.md.
"""

from __future__ import annotations

import os

from ocirun.container.folder import Folder, fault_of, open_root
from ocirun.container.record import INIT_LINK, STATE_FILE, Record
from ocirun.errors import (
    ContainerError,
    ContainerExists,
    ContainerNotFound,
    DamagedRecord,
    UsageError,
    doing,
    kernel_words,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.container.written import Written

DEFAULT_ROOT: Final = "/run/ocirun"
_ID_CHARACTERS: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-."
)
MAX_ID_LENGTH: Final = 255  # a directory's name is no longer
FILE_TYPE: Final = 0o170000
DIRECTORY: Final = 0o040000
LOCK_WAIT_S: Final = 10.0


def default_root() -> str:
    """Return the state root when the caller names none.

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
    from ocirun.kernel.procstat import is_in_user_namespace

    return is_in_user_namespace()


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
    """The containers below one root directory.

    `written` is what this program has written into the record of one of them (written.py), or None.
    """

    __slots__ = ("root", "written")

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.written: Written | None = None

    def claim(self, container_id: str) -> Folder:
        """Make the folder of a new container, and lock it for as long as it is being made.

        Returns:
            The folder, locked; the caller unlocks and closes it.

        Raises:
            ContainerExists: the id is taken.
            SetupError: the root is not ours alone.
        """
        check_id(container_id)
        root_fd = self.make_root()
        try:
            while True:
                _make_folder(root_fd, container_id, f"{self.root}/{container_id}")
                if folder := self._lock_new(root_fd, container_id):
                    return folder
        finally:
            os.close(root_fd)

    def _lock_new(self, root_fd: int, container_id: str) -> Folder | None:
        """Open and lock the folder that was just made; None where a delete was faster.

        That has found it empty, and taken it for a leftover. If the kernel refuses, the folder is
        removed.
        """
        folder: Folder | None = None
        try:
            with doing(f"opening the root directory {self.root}"):
                folder = Folder(os.dup(root_fd), self.root, container_id)
            if folder.lock(LOCK_WAIT_S) and folder.is_in_place():
                return folder
        except ContainerNotFound:
            return None
        except BaseException:
            if folder:
                folder.close()
            _remove_if_empty(root_fd, container_id)
            raise
        folder.close()
        return None

    def make_root(self) -> int:
        """Open the state root, which is made if there is none; the caller closes the descriptor."""
        try:
            return open_root(self.root)
        except FileNotFoundError:
            with doing(f"making the root directory {self.root}"):
                _make_parents(self.root.rpartition("/")[0])
                # Session cleaners leave what is sticky alone (XDG base directory specification).
                sticky = self.root != DEFAULT_ROOT and self.root == default_root()
                try:
                    os.mkdir(self.root, 0o700)
                except FileExistsError:
                    return open_root(self.root)
                if sticky:
                    os.chmod(self.root, 0o1700)
                return open_root(self.root)

    def open(self, container_id: str) -> Folder:
        """Open the folder of a container, with or without a record in it; the caller closes it.

        Raises:
            ContainerNotFound: there is none.
            NotAContainer: a link or something else has its name.
            SetupError: the root is not ours alone.
        """
        check_id(container_id)
        try:
            root_fd = open_root(self.root)
        except FileNotFoundError:
            raise ContainerNotFound(container_id) from None
        folder = Folder(root_fd, self.root, container_id)
        folder.written = self.written
        return folder

    def load(self, container_id: str) -> Record:
        """Read what is kept of a container; the caller closes the record.

        Raises:
            ContainerNotFound: there is no such folder, or none with a record in it yet.
            NotAContainer: a link or something else has its name. DamagedRecord: it is damaged.
        """
        folder = self.open(container_id)
        try:
            return _read(folder)
        except BaseException:
            folder.close()
            raise

    def ids(self) -> list[str]:
        """Return the ids that have a folder of ours, sorted; a root that is not there has none.

        Raises:
            SetupError: the root is not ours alone.
        """
        try:
            root_fd = open_root(self.root)
        except FileNotFoundError:
            return []
        try:
            names = [name for name in os.listdir(root_fd) if _ID_CHARACTERS.issuperset(name)]
            return sorted(name for name in names if _is_folder(root_fd, name))
        finally:
            os.close(root_fd)

    def recorded_ids(self) -> list[str]:
        """Return the ids that have a record or what `init` repeats of one; raises like `ids`."""
        return [
            name
            for name in self.ids()
            if any(
                os.path.lexists(f"{self.root}/{name}/{file}") for file in (STATE_FILE, INIT_LINK)
            )
        ]


def _read(folder: Folder) -> Record:
    record = Record.read(folder)
    if record is None:
        if Record.recover(folder):
            raise DamagedRecord(folder.id, f"{folder.path}/{STATE_FILE} is gone")
        raise ContainerNotFound(folder.id)
    return record


def _is_folder(root_fd: int, name: str) -> bool:
    with doing(f"looking at the container {name}"):
        try:
            found = os.stat(name, dir_fd=root_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
    return found.st_mode & FILE_TYPE == DIRECTORY and not fault_of(found)


def _make_folder(root_fd: int, container_id: str, path: str) -> None:
    try:
        os.mkdir(container_id, 0o700, dir_fd=root_fd)
    except FileExistsError:
        raise ContainerExists(container_id) from None
    except OSError as error:
        raise ContainerError(container_id, f"making {path}: {kernel_words(error)}") from error


def _remove_if_empty(root_fd: int, container_id: str) -> None:
    try:
        os.rmdir(container_id, dir_fd=root_fd)
    except OSError:  # a delete was faster, or it is another create's by now
        return


def _make_parents(path: str) -> None:
    """Make the directories that the root lacks above it, for us alone as with runc."""
    if not path or os.path.isdir(path):
        return
    _make_parents(path.rpartition("/")[0])
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
