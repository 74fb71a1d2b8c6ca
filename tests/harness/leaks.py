"""The machine after a test equals the machine before it.

Others work on the same machine, so only what is surely ours counts: processes that descend from
this one (it is a subreaper: orphans come to it), and mounts, cgroups and files that carry the
session's mark.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import time
from pathlib import Path

from harness.machine import MARK, MNT_DETACH, cgroup_hierarchies, libc_call
from harness.runtime import PATIENCE

GRACE_S = 3.0 * PATIENCE
WALL = 0x40000000  # __WALL of waitid(2): also a child that ends without SIGCHLD


class Leaks:
    """Looks for what a test left; `before` is taken when it is made."""

    def __init__(self, state_root: Path) -> None:
        self._state_root = state_root
        self._processes = set(descendants())
        self._fds = set(open_fds())

    def check(self) -> None:
        """Fail when anything is left after a short grace; what is left is cleared away."""
        end = time.monotonic() + GRACE_S
        while left := self._left():
            if time.monotonic() > end:
                self._clear()
                raise AssertionError("left behind: " + "; ".join(left))
            time.sleep(0.01)

    def _left(self) -> list[str]:
        reap(self._processes)
        return [
            *(f"process {pid} {words(pid)}" for pid in descendants() if pid not in self._processes),
            *(f"mount {place}" for place in mounts()),
            *(f"cgroup {path}" for path in cgroups()),
            *(f"state {path}" for path in self._state()),
            *(f"descriptor {fd} {target}" for fd, target in set(open_fds()) - self._fds),
        ]

    def _state(self) -> list[Path]:
        if not self._state_root.exists():
            return []
        # "@seccomp" is no container (no id has that letter) but a cache, which is meant to stay.
        return sorted(path for path in self._state_root.iterdir() if path.name[0] != "@")

    def _clear(self) -> None:
        for pid in descendants():
            if pid not in self._processes:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
        reap(self._processes)
        for place in reversed(mounts()):
            libc_call("umount2", os.fsencode(place), MNT_DETACH)
        for path in cgroups():
            _thaw(path)
            path.rmdir()


def descendants() -> list[int]:
    """Every process below this one, zombies too."""
    end_helper()
    if not has_children():
        return []
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path("/proc", name, "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(name))
    found: list[int] = []
    queue = [os.getpid()]
    while queue:
        queue += (below := children.get(queue.pop(), []))
        found += below
    return found


def has_children() -> bool:
    """Return whether this process has a child, a zombie too: one call, while /proc has hundreds."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | WALL)
    except ChildProcessError:
        return False
    return True


def end_helper() -> None:
    """End the library's helper, which is meant to stay: what is left then is a leak."""
    if helper := sys.modules.get("ocirun.process.helper"):
        helper.close()


def reap(spare: set[int]) -> None:
    """Reap dead orphans that came to us; not those in `spare`."""
    for pid in descendants():
        if pid not in spare:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def words(pid: int) -> str:
    """The command line of a process, or its name in brackets."""
    try:
        line = (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
        return line or f"[{Path(f'/proc/{pid}/comm').read_text().strip()}]"
    except (FileNotFoundError, ProcessLookupError):
        return "(gone)"


def mounts() -> list[str]:
    """Mount points of this namespace that carry the session's mark, oldest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4].replace("\\040", " ") for line in lines if MARK in line]


def cgroups() -> list[Path]:
    """Cgroups that carry the session's mark, deepest first.

    Kernel: a directory's link count is that of its subdirectories and two. Most cgroups have none,
    and are not opened: each has some sixty files, and this runs after each test.
    """
    found = []
    folders = [str(top) for top in set(cgroup_hierarchies().values())]
    while folders:
        for path in _subfolders(folders.pop()):
            if MARK in path:
                found.append(Path(path))
            # Another session may remove its own meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_nlink > 2:
                    folders.append(path)
    return sorted(found, key=lambda path: -len(path.parts))


def _subfolders(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):  # it has been removed
            raise
        return []


def open_fds() -> list[tuple[int, str]]:
    """This process's own descriptors above stdio and where they lead."""
    end_helper()
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except FileNotFoundError:  # the one listdir used
            continue
    return [(fd, target) for fd, target in found if fd > 2]


def _thaw(path: Path) -> None:
    for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        if (path / name).exists():
            (path / name).write_text(word)
