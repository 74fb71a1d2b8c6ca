"""A /dev of the tests' own, and a look at the machine's after each of them.

A runtime that is wrong, or made wrong to see a test fail, has chowned and replaced device nodes of
a real machine. So the session gets a mount namespace with copies of the nodes on a tmpfs, and both
sets are compared with what they were before: mode, owner and device number.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from harness.machine import CLONE_NEWNS, MS_REC_PRIVATE, libc_call

MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000

Nodes = dict[str, tuple[int, int, int, int]]


class HostDev:
    """The machine's /dev, kept by a descriptor, and the private one that covers it.

    Without root, and where nodes cannot be made (no CAP_MKNOD), there is only the look at /dev.
    """

    def __init__(self, folder: Path) -> None:
        self._fds = [os.open("/dev", os.O_RDONLY | os.O_DIRECTORY)]
        if os.geteuid() == 0 and _cover(folder):
            self._fds.append(os.open("/dev", os.O_RDONLY | os.O_DIRECTORY))
        self._before = [nodes(fd) for fd in self._fds]

    def check(self) -> None:
        """Fail when a node is gone or another one than before; new ones are others' doing."""
        changed = [
            f"/dev/{name}: {before} became {after.get(name)}"
            for known, after in zip(self._before, map(nodes, self._fds), strict=True)
            for name, before in known.items()
            if after.get(name) != before
        ]
        self._before = [nodes(fd) for fd in self._fds]
        assert not changed, f"device nodes of the host have changed: {changed}"


def nodes(folder_fd: int) -> Nodes:
    """Return mode, owner and device number of each device node in the folder."""
    found = {}
    for name in os.listdir(folder_fd):
        try:
            seen = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
        except FileNotFoundError:  # a loop device that somebody has just removed
            continue
        if stat.S_ISCHR(seen.st_mode) or stat.S_ISBLK(seen.st_mode):
            found[name] = (seen.st_mode, seen.st_uid, seen.st_gid, seen.st_rdev)
    return found


def _cover(folder: Path) -> bool:
    """Put copies of the nodes over /dev, in a mount namespace of our own; False if refused."""
    libc_call("unshare", CLONE_NEWNS)
    libc_call("mount", None, b"/", None, MS_REC_PRIVATE, None)
    folder.mkdir()
    libc_call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"mode=755")
    try:
        _copy(Path("/dev"), folder)
    except PermissionError:
        libc_call("umount2", os.fsencode(folder), 0)
        return False
    libc_call("mount", os.fsencode(folder), b"/dev", None, MS_MOVE, None)
    folder.rmdir()
    return True


def _copy(source: Path, target: Path) -> None:
    for entry in os.scandir(source):
        copy = target / entry.name
        seen = entry.stat(follow_symlinks=False)
        if entry.is_symlink():
            copy.symlink_to(os.readlink(entry.path))
        elif stat.S_ISCHR(seen.st_mode) or stat.S_ISBLK(seen.st_mode):
            os.mknod(copy, seen.st_mode, seen.st_rdev)
            os.chown(copy, seen.st_uid, seen.st_gid)
            copy.chmod(stat.S_IMODE(seen.st_mode))
        elif entry.is_dir(follow_symlinks=False):
            copy.mkdir()
            if os.path.ismount(entry.path):  # pts, shm, mqueue
                libc_call("mount", os.fsencode(entry.path), bytes(copy), None, MS_BIND | MS_REC, 0)
            else:
                _copy(Path(entry.path), copy)
