"""Saved states: a guest that is up and has nothing of a container yet, in a file.

The first machine of its kind boots; when its guest is up, its state is written to a file in
`saved/`, beside the initial RAM disk. Later machines of this kind are restored from it.

    0              the guest's memory; pages that it has not touched are holes
    size of that   QEMU's migration stream, which has everything else

We copy the memory, and not QEMU: it would touch every page. The stream is last, so QEMU notices
where a file was cut short.

The file's name is a digest of all that the state depends on: the command line, and which files
QEMU, the kernel and the initial RAM disk are. So an update of any of them makes a new one, and of
the old ones some are kept, KEPT in all.

Security: root alone may write there. Restored machines have the same keys of the kernel's hash
tables and the same stack canary in the guest's first process; random numbers differ (restore.py).

Source: docs/vm.md#saved-states; qemu-qmp-ref(7), migrate; open(2), O_TMPFILE.
"""

from __future__ import annotations

import os
import time
from errno import ENXIO

from ocirun.engines.vm.qemu import command_line
from ocirun.engines.vm.qmp import QmpError
from ocirun.errors import SetupError, doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.engines.vm.qemu import Hardware
    from ocirun.engines.vm.qmp import Qmp

KEPT: Final = 4
PATIENCE_S: Final = 60.0
PAUSE_S: Final = 0.01
WRITABLE_BY_OTHERS: Final = 0o022
FILE_TYPE, REGULAR, DIRECTORY = 0o170000, 0o100000, 0o040000
FDNAME: Final = "state"


class SavedState:
    """The state for machines like `hardware`, whether it is there or not."""

    __slots__ = ("folder", "name")

    def __init__(self, hardware: Hardware) -> None:
        """Find out its name; `hardware.states` has to be a folder's.

        Raises:
            SetupError: a file that it depends on cannot be looked at.
        """
        import hashlib  # cold

        words = command_line(hardware, qmp=0, agent=0, console=0, memory=0, user=())
        with doing("naming the saved state of a machine"):
            for path in (hardware.hypervisor, hardware.kernel, hardware.initrd):
                found = os.stat(path)
                facts = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
                words.append(f"{path} {facts}")
        self.folder = hardware.states
        self.name = hashlib.sha256(os.fsencode("\0".join(words))).hexdigest()

    @property
    def path(self) -> str:
        """What messages call it."""
        return f"{self.folder}/{self.name}"

    def open(self) -> int:
        """Return a descriptor of it that the caller closes; -1 where there is none yet.

        Raises:
            SetupError: it is there and not to be used.
        """
        with doing(f"opening {self.path}"):
            try:
                folder_fd = self._open_folder()
            except FileNotFoundError:
                return -1
            try:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                fd = os.open(self.name, flags, dir_fd=folder_fd)
            except FileNotFoundError:
                return -1
            finally:
                os.close(folder_fd)
        try:
            _require_own(self.path, os.fstat(fd), REGULAR)
            os.utime(fd)  # the ones that were not used for the longest time are removed first
        except BaseException:
            os.close(fd)
            raise
        return fd

    def save(self, qmp: Qmp, memory_fd: int) -> None:
        """Write the state of a machine, which stands still meanwhile, and then goes on.

        `memory_fd` (borrowed) is the memory of its guest.

        Raises:
            SetupError: it could not be written; there is nothing half.
            QmpError: QEMU has ended, or the machine does not go on.
        """
        with doing(f"making {self.path}"):
            if not os.path.isdir(self.folder):
                os.mkdir(self.folder, 0o700)
            folder_fd = self._open_folder()
            try:
                # Kernel: a file without a name is gone with its last descriptor, however we end.
                flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
                fd = os.open(".", flags, 0o600, dir_fd=folder_fd)
                try:
                    _write(qmp, memory_fd, fd)
                    os.fsync(fd)
                    self._name(fd, folder_fd)
                finally:
                    os.close(fd)
                self._remove_oldest(folder_fd)
            finally:
                os.close(folder_fd)

    def try_to_save(self, qmp: Qmp, memory_fd: int, notes: list[str]) -> None:
        """Save it if that is possible; `notes` gets a line about it."""
        try:
            self.save(qmp, memory_fd)
            notes.append(f"saved {self.path}")
        except SetupError as error:
            notes.append(f"not saved: {error}")

    def discard(self) -> None:
        """Remove it: it did not work.

        Raises:
            SetupError: it cannot be removed.
        """
        with doing(f"removing {self.path}"):
            folder_fd = self._open_folder()
            try:
                os.unlink(self.name, dir_fd=folder_fd)
            except FileNotFoundError:
                return
            finally:
                os.close(folder_fd)

    def _open_folder(self) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.folder, flags)
        try:
            _require_own(self.folder, os.fstat(fd), DIRECTORY)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _name(self, fd: int, folder_fd: int) -> None:
        try:
            os.link(f"/proc/self/fd/{fd}", self.name, dst_dir_fd=folder_fd, follow_symlinks=True)
        except FileExistsError:
            return  # another machine of this kind was faster

    def _remove_oldest(self, folder_fd: int) -> None:
        by_age = []
        for name in os.listdir(folder_fd):
            try:
                found = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            by_age.append((found.st_mtime_ns, name))
        for _, name in sorted(by_age)[:-KEPT]:
            try:
                os.unlink(name, dir_fd=folder_fd)
            except FileNotFoundError:
                continue


def _require_own(path: str, found: os.stat_result, kind: int) -> None:
    if found.st_mode & FILE_TYPE != kind:
        raise SetupError(f"{path} is of another kind")
    if found.st_uid != os.geteuid():
        raise SetupError(f"{path} belongs to another user")
    if found.st_mode & WRITABLE_BY_OTHERS:
        raise SetupError(f"{path} can be written by other users")


def _write(qmp: Qmp, memory_fd: int, fd: int) -> None:
    qmp.command("stop")
    try:
        copy_data(memory_fd, fd)
        os.lseek(fd, os.fstat(memory_fd).st_size, os.SEEK_SET)
        _leave_memory_out(qmp)
        qmp.command("getfd", {"fdname": FDNAME}, fd)
        qmp.command("migrate", {"uri": f"fd:{FDNAME}"})
        found = _wait(qmp, "query-migrate", ("completed", "failed", "cancelled"))
        if found["status"] != "completed":
            raise SetupError(
                f"QEMU has not written it: {found.get('error-desc', 'it does not say')}"
            )
    finally:
        qmp.command("cont")


def load(qmp: Qmp, fd: int, memory_fd: int) -> None:
    """Have QEMU read the state `fd` but for its memory; then the machine stands still.

    Both are borrowed. The first has been copied to the second by copy_data.

    Raises:
        QmpError: QEMU does not read it.
    """
    os.lseek(fd, os.fstat(memory_fd).st_size, os.SEEK_SET)
    _leave_memory_out(qmp)
    qmp.command("getfd", {"fdname": FDNAME}, fd)
    qmp.command("migrate-incoming", {"uri": f"fd:{FDNAME}"})
    _wait(qmp, "query-status", ("paused", "postmigrate"))


def _leave_memory_out(qmp: Qmp) -> None:
    capability = {"capability": "x-ignore-shared", "state": True}
    qmp.command("migrate-set-capabilities", {"capabilities": [capability]})


def copy_data(source_fd: int, target_fd: int) -> None:
    """Copy what is not a hole, as far as the smaller of two files goes; make the target as long.

    Raises:
        OSError: the kernel refuses.
    """
    size = os.fstat(target_fd).st_size or os.fstat(source_fd).st_size
    os.ftruncate(target_fd, size)
    at = 0
    while at < size:
        try:
            at = os.lseek(source_fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != ENXIO:
                raise
            return  # there are only holes left
        end = min(os.lseek(source_fd, at, os.SEEK_HOLE), size)
        os.lseek(target_fd, at, os.SEEK_SET)
        while at < end and (sent := os.sendfile(target_fd, source_fd, at, end - at)):
            at += sent


def _wait(qmp: Qmp, name: str, wanted: tuple[str, ...]) -> dict[str, str]:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found: dict[str, str] = qmp.command(name)
        status = found.get("status")
        if status in wanted:
            return found
        if time.monotonic() > deadline:
            raise QmpError(f"asking QEMU for {name}: {status} for {PATIENCE_S:.0f} s")
        time.sleep(PAUSE_S)
