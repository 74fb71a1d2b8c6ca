"""A cache of compiled filters: libseccomp takes some 20 ms for a default profile, a file 2.

    ROOT/@seccomp/HASH    the program; the hash is of all that decides it

No container's id contains "@". The folder and its files must be ours and writable only by us;
otherwise they are ignored: a user who could write here would decide what containers may do.
"""

from __future__ import annotations

import os
import stat
from _blake2 import blake2b

from ocirun.kernel.seccomp import BPF_MAXINSNS, INSTRUCTION_BYTES
from ocirun.spec.jsontext import compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Seccomp

NAME: Final = "@seccomp"
FORMAT: Final = 2  # increased when the same profile is compiled to another program
MAX_FILES: Final = 64
HASH_BYTES: Final = 32
WRITABLE_TO_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
# What does not decide the program.
ELSEWHERE: Final = ("flags", "listenerPath", "listenerMetadata")


class Cache:
    """The place of one profile's program below the state root `root`.

    `made_by` names all but the profile that decides the program: the library, the kernel's level,
    the machine.
    """

    __slots__ = ("_folder", "_name")

    def __init__(self, root: str, profile: Seccomp, made_by: str) -> None:
        deciding = {name: value for name, value in profile.items() if name not in ELSEWHERE}
        text = compact([FORMAT, made_by, deciding])
        self._name = blake2b(os.fsencode(text), digest_size=HASH_BYTES).hexdigest()
        self._folder = f"{root}/{NAME}"

    def load(self) -> bytes | None:
        """Return the program; None if it is not cached, or others may have written it."""
        folder_fd = self._open_folder()
        if folder_fd is None:
            return None
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(self._name, flags, dir_fd=folder_fd)
        except OSError:  # whatever is wrong with it: compiled anew
            return None
        finally:
            os.close(folder_fd)
        try:
            if not _is_ours(fd, stat.S_IFREG):
                return None
            program = os.read(fd, BPF_MAXINSNS * INSTRUCTION_BYTES + 1)
        finally:
            os.close(fd)
        whole = 0 < len(program) <= BPF_MAXINSNS * INSTRUCTION_BYTES
        return program if whole and len(program) % INSTRUCTION_BYTES == 0 else None

    def store(self, program: bytes) -> None:
        """Store `program`; if the disk is full or read-only, do nothing."""
        folder_fd = self._open_folder()
        if folder_fd is None:
            try:
                os.mkdir(self._folder, 0o700)
            except OSError:  # the root is not there (yet), or the folder is somebody else's
                return
            folder_fd = self._open_folder()
        if folder_fd is None:
            return
        try:
            _make_room(folder_fd)
            self._write(folder_fd, program)
        except OSError:
            return
        finally:
            os.close(folder_fd)

    def _write(self, folder_fd: int, program: bytes) -> None:
        """Write the file under another name first, so that it is complete or absent."""
        temporary = f"{self._name}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600, dir_fd=folder_fd)
        try:
            data = memoryview(program)
            while data:
                data = data[os.write(fd, data) :]
            os.rename(temporary, self._name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        except BaseException:
            os.unlink(temporary, dir_fd=folder_fd)
            raise
        finally:
            os.close(fd)

    def _open_folder(self) -> int | None:
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(self._folder, flags)
        except OSError:
            return None
        if _is_ours(fd, stat.S_IFDIR):
            return fd
        os.close(fd)
        return None


def _is_ours(fd: int, kind: int) -> bool:
    """Return whether `fd` is of `kind`, belongs to us, and can be written by nobody else."""
    status = os.fstat(fd)
    return (
        stat.S_IFMT(status.st_mode) == kind
        and status.st_uid == os.geteuid()
        and not status.st_mode & WRITABLE_TO_OTHERS
    )


def _make_room(folder_fd: int) -> None:
    """Empty the folder if it is full: few hosts have so many profiles."""
    names = os.listdir(folder_fd)
    if len(names) >= MAX_FILES:
        for name in names:
            os.unlink(name, dir_fd=folder_fd)
