"""One container's folder in the state root, held open: the descriptor is the container's identity.

Security: a name can be exchanged between two looks at it, and a link can lead anywhere (`delete`
would follow it as root). So the root and the folder are opened without following links, must
belong to us and be writable only by us, and everything in the folder is done relative to
its descriptor. What is removed is the open folder, not what has its name now.

The lock (flock) is held while the container is created and while it is removed. Its holder, once it
has found the folder at its name, can rely on that: nobody removes a folder without its lock.

Source: openat(2), flock(2); docs/runc-compat/state.md.
"""

from __future__ import annotations

import _thread
import os
import time
from errno import EACCES, EBUSY, ELOOP, ENOSYS, ENOTDIR, ENOTEMPTY, EPERM

from ocirun.errors import (
    ContainerError,
    ContainerNotFound,
    NotAContainer,
    SetupError,
    doing,
    kernel_words,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.container.written import Written

OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
WRITABLE_BY_OTHERS: Final = 0o022
FILE_TYPE: Final = 0o170000
REGULAR: Final = 0o100000
REMOVE_TRIES: Final = 10
LAST_FILE: Final = "state.json"
LOCK_PAUSE_S: Final = 0.001  # doubled each time
LONGEST_LOCK_PAUSE_S: Final = 0.02


class Folder:
    """The folder of the container `id`; owns its descriptor `fd` and the root's.

    `path` is what messages call it, and what is mounted from it. `written` is what this program has
    written into the record in it, if it has kept that.
    """

    __slots__ = ("_is_locked", "_root_fd", "fd", "id", "path", "written")

    def __init__(self, root_fd: int, root: str, container_id: str) -> None:
        """Open the folder; `root_fd` belongs to it from here, also when this raises.

        Raises:
            ContainerNotFound: nothing has this name.
            NotAContainer: what has it is not a folder of ours.
            SetupError: the kernel could not look, which says nothing about the container.
        """
        self._root_fd = root_fd
        self._is_locked = False
        self.id = container_id
        self.path = f"{root}/{container_id}"
        self.written: Written | None = None
        self.fd = -1
        try:
            self.fd = os.open(container_id, OPEN_FOLDER, dir_fd=root_fd)
            self._check_owner()
        except FileNotFoundError:
            self.close()
            raise ContainerNotFound(container_id) from None
        except OSError as error:
            message = kind_of(root_fd, container_id, error)
            self.close()
            if error.errno not in (EACCES, ELOOP, ENOTDIR):
                # Not "does not exist": callers forget a container of which they are told that.
                words = f"opening {self.path}: {kernel_words(error)}"
                raise SetupError(words, error.errno or 0) from error
            raise NotAContainer(container_id, self.path, message) from error
        except BaseException:
            self.close()
            raise

    def _check_owner(self) -> None:
        with doing(f"looking at {self.path}"):
            found = os.fstat(self.fd)
        if fault := fault_of(found):
            raise NotAContainer(self.id, self.path, fault)

    def close(self) -> None:
        """Close both descriptors, which releases the lock. May be called twice."""
        self.unlock()
        for fd in (self.fd, self._root_fd):
            if fd >= 0:
                os.close(fd)
        self.fd = self._root_fd = -1

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lock(self, seconds: float = 0) -> bool:
        """Take the lock, waiting `seconds` at most; return whether it is ours now.

        Kernel: where flock is refused (a seccomp profile around us), we go on as its owner: then
        only the descriptors tell containers apart.
        """
        from fcntl import LOCK_EX, LOCK_NB, flock

        end = time.monotonic() + seconds if seconds else 0.0
        pause_s = LOCK_PAUSE_S
        while not self._is_locked:
            try:
                flock(self.fd, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    return False
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_LOCK_PAUSE_S)
                continue
            except OSError as error:
                if error.errno not in (ENOSYS, EPERM):
                    message = f"locking {self.path}: {kernel_words(error)}"
                    raise SetupError(message, error.errno or 0) from error
            self._is_locked = True
        return True

    def unlock(self) -> None:
        """Release the lock, if we have it.

        Explicitly (LOCK_UN): where another thread of our program is just starting a process, that
        one has a copy of the descriptor until its execve, and closing ours would not be enough.
        """
        if not self._is_locked:
            return
        from fcntl import LOCK_UN, flock

        self._is_locked = False
        try:
            flock(self.fd, LOCK_UN)
        except OSError:
            return  # closing releases it, too

    def is_locked_by_another(self) -> bool:
        """Return whether another process makes or removes the container."""
        if self._is_locked:
            return False
        from fcntl import LOCK_NB, LOCK_SH, LOCK_UN, flock

        try:
            flock(self.fd, LOCK_SH | LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in (ENOSYS, EPERM):
                raise
            return False
        flock(self.fd, LOCK_UN)
        return False

    def is_in_place(self) -> bool:
        """Return whether the folder still has its name: not removed, moved or replaced."""
        with doing(f"looking at {self.path}"):
            try:
                found = os.stat(self.id, dir_fd=self._root_fd, follow_symlinks=False)
            except FileNotFoundError:
                return False
            own = os.fstat(self.fd)
        return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)

    def inode(self) -> int:
        """Return the inode number, which a copy of the folder does not have."""
        with doing(f"looking at {self.path}"):
            return os.fstat(self.fd).st_ino

    def open(self, name: str, flags: int) -> int:
        """Open the file `name`, not following a link; the caller closes the descriptor."""
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)

    def read(self, name: str) -> bytes | None:
        """Return what the regular file `name` holds, None when there is none.

        Raises:
            OSError: as open(2) and read(2) say; ELOOP for a link.
            ContainerError: it is not a regular file.
        """
        try:
            fd = self.open(name, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            if os.fstat(fd).st_mode & FILE_TYPE != REGULAR:
                raise ContainerError(self.id, f"{self.path}/{name} is not a regular file")
            data = bytearray()
            while piece := os.read(fd, 1 << 20):
                data += piece
            return bytes(data)
        finally:
            os.close(fd)

    def write(self, name: str, text: str) -> None:
        """Write the file `name` atomically, as readers see it.

        Raises:
            SetupError: the kernel refused.
        """
        temporary = f".{name}.{_thread.get_native_id()}"
        with doing(f"writing {self.path}/{name}"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                fd = os.open(temporary, flags, 0o600, dir_fd=self.fd)
            except FileExistsError:  # of a killed writer that had the number of this thread
                os.unlink(temporary, dir_fd=self.fd)
                fd = os.open(temporary, flags, 0o600, dir_fd=self.fd)
            try:
                data = memoryview(os.fsencode(text))
                while data:
                    data = data[os.write(fd, data) :]
                os.rename(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            except BaseException:
                os.unlink(temporary, dir_fd=self.fd)
                raise
            finally:
                os.close(fd)

    def remove(self) -> None:
        """Remove the folder with all in it. The caller holds the lock.

        Files go relative to the descriptor; the name goes only while it is this folder's.

        Order: the record goes last. If we are killed in between, `delete` can be repeated.

        Raises:
            SetupError: the kernel refused.
        """
        with doing(f"removing {self.path}"):
            for tries_left in range(REMOVE_TRIES - 1, -1, -1):
                for name in sorted(os.listdir(self.fd), key=LAST_FILE.__eq__):
                    self._remove_entry(name)
                if not self.is_in_place():
                    return
                try:
                    os.rmdir(self.id, dir_fd=self._root_fd)
                except FileNotFoundError:
                    return
                except OSError as error:
                    # An update that is at work may have put its new file there in between.
                    if error.errno != ENOTEMPTY or not tries_left:
                        raise
                else:
                    return

    def _remove_entry(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            from ocirun.container.subfolders import remove_subfolder  # cold: seldom there

            remove_subfolder(self.fd, name)
        except OSError as error:
            if error.errno != EBUSY:
                raise
            # A network namespace for CNI's plugins, of which nobody could or would call DEL.
            from ocirun.kernel.mount import MNT_DETACH, umount2  # cold

            umount2(f"/proc/self/fd/{self.fd}/{name}", MNT_DETACH)
            os.unlink(name, dir_fd=self.fd)


def open_root(root: str) -> int:
    """Open the state root, which has to be ours alone; the caller closes the descriptor.

    Raises:
        FileNotFoundError: it is not there.
        SetupError: it is a link or not a directory, or others may write to it, who could then
            decide what is run and removed with our rights.
    """
    try:
        fd = os.open(root, OPEN_FOLDER)
    except FileNotFoundError:
        raise
    except OSError as error:
        message = kind_of(None, root, error)
        raise SetupError(f"state root {root} {message}", error.errno or 0) from error
    try:
        with doing(f"looking at the state root {root}"):
            fault = fault_of(os.fstat(fd))
    except SetupError:
        os.close(fd)
        raise
    if fault:
        os.close(fd)
        raise SetupError(f"state root {root} {fault}")
    return fd


def fault_of(found: os.stat_result) -> str:
    """Return why a directory is not ours alone; "" when it is."""
    if found.st_uid != os.geteuid():
        return f"belongs to uid {found.st_uid}, not to uid {os.geteuid()}"
    if found.st_mode & WRITABLE_BY_OTHERS:
        return f"may be written to by others (mode {found.st_mode & 0o7777:#o})"
    return ""


def kind_of(dir_fd: int | None, path: str, error: OSError) -> str:
    """Return the error for a `path` that could not be opened as a directory."""
    if error.errno not in (ELOOP, ENOTDIR):
        return f"cannot be opened: {error.strerror}"
    try:
        is_link = os.readlink(path, dir_fd=dir_fd) is not None
    except OSError:
        is_link = False
    return "is a symbolic link" if is_link else "is not a directory"
