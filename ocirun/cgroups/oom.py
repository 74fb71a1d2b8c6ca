"""Wait for the kernel's report that a container ran out of memory.

v1 signals an eventfd that was registered for `memory.oom_control`; v2 changes `memory.events`,
which inotify watches.

Source: kernel admin-guide/cgroup-v1/memory.rst, 10. OOM Control; admin-guide/cgroup-v2.rst,
memory.events; docs/runc-compat/cli.md#events.
"""

from __future__ import annotations

import os
from errno import ENOENT

from ocirun.cgroups.files import has_file, read_counter, write_text
from ocirun.cgroups.paths import is_unified
from ocirun.errors import SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

EVENTS: Final = "memory.events"  # of v2
CONTROL: Final = "memory.oom_control"  # of v1
READ_SIZE: Final = 4096


class OomWatch:
    """Watches one cgroup; `fd` is readable when something may have happened.

    Made by `watch`, ended by `close`.
    """

    __slots__ = ("_directory", "_kills", "_unified", "fd")

    def __init__(self, directory: str, fd: int, *, unified: bool) -> None:
        self.fd = fd
        self._directory = directory
        self._unified = unified
        self._kills = 0
        self._kills = self._count()

    def _count(self) -> int:
        """Count the kills on v2, below included."""
        try:
            return read_counter(self._directory, EVENTS, "oom_kill") if self._unified else 0
        except OSError:
            return self._kills  # the cgroup is being removed: nothing more will be counted

    def news(self) -> bool:
        """Return whether memory ran out since the last call; never waits."""
        try:
            happened = bool(os.read(self.fd, READ_SIZE))
        except BlockingIOError:
            happened = False
        if not self._unified:
            # Kernel: the removal of the cgroup signals the eventfd, too.
            return happened and has_file(self._directory, CONTROL)
        # Order: counted even when nothing was signalled: the kernel counts before it signals.
        before, self._kills = self._kills, max(self._kills, self._count())
        return self._kills > before

    def close(self) -> None:
        """Watch no longer."""
        os.close(self.fd)


def watch(paths: dict[str, str]) -> OomWatch | None:
    """Watch the cgroup whose directories are `paths`; None when its memory is not controlled.

    The caller closes it.

    Raises:
        SetupError: the kernel refused.
    """
    unified = is_unified(paths)
    directory = paths[""] if unified else paths.get("memory", "")
    file = EVENTS if unified else CONTROL
    if not directory or not has_file(directory, file):
        return None
    try:
        fd = _watch_file(f"{directory}/{file}") if unified else _register(directory)
    except OSError as error:
        if error.errno == ENOENT:  # it went away meanwhile
            return None
        what = f"watching {directory}/{file}: {kernel_words(error)}"
        raise SetupError(what, error.errno or 0) from error
    return OomWatch(directory, fd, unified=unified)


def _watch_file(path: str) -> int:
    from ocirun.kernel import inotify

    fd = inotify.inotify_init1(inotify.IN_CLOEXEC | inotify.IN_NONBLOCK)
    try:
        inotify.inotify_add_watch(fd, path, inotify.IN_MODIFY)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _register(directory: str) -> int:
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        control = os.open(f"{directory}/{CONTROL}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            write_text(f"{directory}/cgroup.event_control", f"{fd} {control}")
        finally:
            os.close(control)
    except BaseException:
        os.close(fd)
        raise
    return fd
