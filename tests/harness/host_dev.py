"""A /dev of the tests' own, and a look at the machine's after each of them.

A runtime that is wrong, or made wrong to see a test fail, has chowned and replaced device nodes of
a real machine. So the session gets a mount namespace with copies of the nodes on a tmpfs. The
host's are looked at through a descriptor that was opened before; no runtime inherits it.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import NamedTuple

from harness.machine import CLONE_NEWNS, libc_call

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE = 1, 32, 4096, 8192
MS_REC_SLAVE = 0x4000 | (1 << 19)
MS_REC_SHARED = 0x4000 | (1 << 20)


class Node(NamedTuple):
    """What must not change: kind and mode, owner, the device it stands for, a link's target."""

    mode: int
    uid: int
    gid: int
    rdev: int
    target: str

    def __str__(self) -> str:
        device = f" {os.major(self.rdev)}:{os.minor(self.rdev)}" if self.rdev else self.target
        return f"{stat.filemode(self.mode)} {self.uid}:{self.gid}{device}"


def _root_is_shared() -> bool:
    rows = (line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return any(row[4] == "/" and any(tag.startswith("shared:") for tag in row[6:]) for row in rows)


class HostDev:
    """The machine's /dev, kept by a descriptor, and the private one that covers it for root.

    This process enters a mount namespace of its own for good.
    """

    def __init__(self) -> None:
        self.host_fd = os.open("/dev", os.O_RDONLY | os.O_DIRECTORY)
        self._host = nodes(self.host_fd)
        self._fd = -1
        self._own: dict[str, Node] = {}
        if os.geteuid() == 0:
            is_shared = _root_is_shared()
            libc_call("unshare", CLONE_NEWNS)
            # Ours does not reach the host; what the host mounts meanwhile still reaches us.
            libc_call("mount", None, b"/", None, MS_REC_SLAVE, None)
            cover(self.host_fd, self._host)
            if is_shared:
                # As on every host of systemd's, where it matters to what is mounted (CRIU restores
                # a root that was a slave from one that is shared). Order: /dev was moved before.
                libc_call("mount", None, b"/", None, MS_REC_SHARED, None)
            self._fd = os.open("/dev", os.O_RDONLY | os.O_DIRECTORY)
            self._own = nodes(self._fd)

    def check(self) -> None:
        """Fail when a node is not what it was; one of ours is made anew for the next test."""
        changes = differences(self._host, nodes(self.host_fd))
        self._host = nodes(self.host_fd) if changes else self._host
        words = [f"the host's /dev/{change}" for change in changes.values()]
        if self._fd >= 0:
            changes = differences(self._own, nodes(self._fd))
            for path in changes:
                mend(Path("/dev", path), self._own.get(path))
            words += [f"/dev/{change}" for change in changes.values()]
        assert not words, f"changed: {'; '.join(words)}"


def nodes(dev_fd: int) -> dict[str, Node]:
    """List what is below an open /dev by relative path.

    Other file systems mounted there (pts, shm) are left out, and so are sockets, which daemons
    make and remove at any time.
    """
    found: dict[str, Node] = {}
    device = os.fstat(dev_fd).st_dev
    for folder, folders, files, fd in os.fwalk(".", dir_fd=dev_fd):
        here: list[str] = []
        for name in (*folders, *files):
            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if info.st_dev != device or stat.S_ISSOCK(info.st_mode):
                continue
            here.append(name)
            target = os.readlink(name, dir_fd=fd) if stat.S_ISLNK(info.st_mode) else ""
            path = os.path.normpath(f"{folder}/{name}")
            found[path] = Node(info.st_mode, info.st_uid, info.st_gid, info.st_rdev, target)
        folders[:] = [name for name in folders if name in here]
    return found


def differences(before: dict[str, Node], after: dict[str, Node]) -> dict[str, str]:
    """Return what has changed, by path.

    A device or a link more is what the kernel and udev do when something is plugged in.
    """
    changes = {}
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        if old is None and new is not None and not stat.S_ISREG(new.mode):
            continue
        if old != new:
            changes[path] = f"{path} was {old or 'not there'}, is {new or 'gone'}"
    return changes


def cover(host_fd: int, wanted: dict[str, Node]) -> None:
    """Mount on /dev a tmpfs that has the nodes `wanted`, and what the host has mounted below."""
    folder = Path(tempfile.mkdtemp(prefix="ocitest-dev-"))
    libc_call("mount", b"tmpfs", bytes(folder), b"tmpfs", 0, b"mode=755")
    for path, node in wanted.items():
        try:
            make(folder / path, node)
        except PermissionError:  # mknod may be refused where tests still can run
            borrow(host_fd, path, folder / path)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4].replace("\\040", " ")
        if place.startswith("/dev/"):
            below = folder / place.removeprefix("/dev/")
            if os.path.isdir(place):
                below.mkdir(parents=True, exist_ok=True)
            else:
                below.touch()
            libc_call("mount", place.encode(), bytes(below), None, MS_BIND, None)
    libc_call("mount", bytes(folder), b"/dev", None, MS_MOVE, None)
    folder.rmdir()


def make(path: Path, node: Node) -> None:
    """Make one node as it was elsewhere."""
    if stat.S_ISLNK(node.mode):
        path.symlink_to(node.target)
    elif stat.S_ISDIR(node.mode):
        path.mkdir()
    else:
        os.mknod(path, stat.S_IFMT(node.mode) | 0o600, node.rdev)
    os.chown(path, node.uid, node.gid, follow_symlinks=False)
    if not stat.S_ISLNK(node.mode):
        path.chmod(stat.S_IMODE(node.mode))


def borrow(host_fd: int, path: str, target: Path) -> None:
    """Bind the host's node, read-only: what it stands for can be written to, itself it cannot."""
    target.touch()
    source = f"/proc/self/fd/{host_fd}/{path}".encode()
    libc_call("mount", source, bytes(target), None, MS_BIND, None)
    flags = MS_BIND | MS_REMOUNT | MS_RDONLY
    libc_call("mount", None, bytes(target), None, flags, None)


def mend(path: Path, node: Node | None) -> None:
    """Make `path` what it was."""
    if path.is_symlink() or path.exists():
        path.unlink()
    if node is not None:
        make(path, node)
