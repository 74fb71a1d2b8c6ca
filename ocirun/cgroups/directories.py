"""The directories of cgroups: make them, list what is in and below them, remove them.

Everything here takes a directory as an absolute path of the host.

Source: kernel admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1/cgroups.rst.
"""

from __future__ import annotations

import os
import time
from errno import EBUSY, EINVAL, ENODEV, ENOENT, EOPNOTSUPP

from ocirun.cgroups.files import read_text, write_text
from ocirun.errors import SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

JOIN_TRIES: Final = 5
JOIN_PAUSE_S: Final = 0.03
LONGEST_PATH: Final = 3072  # PATH_MAX, without room for a name and a file in it
REMOVE_TRIES: Final = 12
REMOVE_PAUSE_S: Final = 0.000_25  # doubled each time: about a second in all


def join_directory(directory: str, name: str, host_pid: int) -> None:
    """Move the process into the cgroup through its file `name` (`cgroup.procs` or `tasks`).

    Kernel: EINVAL may mean that the process is not yet fully born (TASK_NEW), so it is tried again.

    Raises:
        SetupError: the kernel refused.
    """
    for tries_left in range(JOIN_TRIES - 1, -1, -1):
        try:
            write_text(f"{directory}/{name}", str(host_pid))
        except OSError as error:
            if error.errno == EINVAL and tries_left:
                time.sleep(JOIN_PAUSE_S)
                continue
            what = f"adding process {host_pid} to cgroup {directory}: {kernel_words(error)}"
            raise SetupError(what, error.errno or 0) from error
        return


def make_directories(directory: str, top: str, made: list[str]) -> bool:
    """Make the cgroup `directory` and what lacks between it and `top`, the mount point.

    Appends each directory it made to `made`, outermost first. Returns whether `directory` itself
    is new. Another runtime may remove a shared parent between our two calls: tried again.

    Raises:
        OSError: as mkdir(2) says.
    """
    for _ in range(JOIN_TRIES):
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            return False
        except FileNotFoundError:
            parent = directory.rpartition("/")[0]
            if len(parent) < len(top):
                raise
            make_directories(parent, top, made)
        else:
            made.append(directory)
            return True
    os.mkdir(directory, 0o755)
    made.append(directory)
    return True


def directories_below(directory: str, *, deepest_first: bool = False) -> Iterator[str]:
    """Yield the cgroups below `directory`, parents first or last; gone ones are left out.

    A path is good until the next one is asked for. Security: a container with cgroups of its own
    may nest them deeper than a path can say; from there on paths begin at a descriptor.

    Raises:
        OSError: as open(2) and getdents64(2) say.
    """
    # What is still to be done, the next thing last: a cgroup to look into (True), one that has
    # been (False), a descriptor to close.
    waiting: list[tuple[str, bool] | int] = [(directory, True)]
    try:
        while waiting:
            entry = waiting.pop()
            if isinstance(entry, int):
                os.close(entry)
                continue
            path, is_new = entry
            if path != directory and is_new is not deepest_first:
                yield path
            if is_new:
                waiting.append((path, False))
                _look_into(path, waiting)
    finally:
        for entry in waiting:
            if isinstance(entry, int):
                os.close(entry)


def _look_into(path: str, waiting: list[tuple[str, bool] | int]) -> None:
    """Add the cgroups right below `path` to those of `directories_below` that wait."""
    try:
        if len(os.fsencode(path)) > LONGEST_PATH:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            waiting.append(fd)
            path = f"/proc/self/fd/{fd}"
        with os.scandir(path) as entries:
            waiting += [
                (entry.path, True) for entry in entries if entry.is_dir(follow_symlinks=False)
            ]
    except OSError as error:
        if error.errno not in (ENOENT, ENODEV):
            raise


def members_in(directory: str) -> list[int]:
    """Read the host pids of one cgroup as the kernel lists them; a cgroup that is gone has none.

    Kernel: v2 lists a process of a foreign pid namespace as 0. In a threaded cgroup `cgroup.procs`
    cannot be read (EOPNOTSUPP), and `cgroup.threads` is read instead.
    """
    try:
        text = read_text(f"{directory}/cgroup.procs")
    except OSError as error:
        if error.errno == EOPNOTSUPP:
            return _threads_in(directory)
        if error.errno in (ENOENT, ENODEV):
            return []
        raise
    return [int(word) for word in text.split()]


def _threads_in(directory: str) -> list[int]:
    try:
        text = read_text(f"{directory}/cgroup.threads")
    except OSError as error:
        if error.errno in (ENOENT, ENODEV):
            return []
        raise
    return [int(word) for word in text.split()]


def members_below(directory: str) -> list[int]:
    """Read the host pids of a cgroup and of all cgroups below it, as `members_in` does."""
    pids = members_in(directory)
    for child in directories_below(directory):
        pids += members_in(child)
    return pids


def processes_below(directory: str) -> list[int]:
    """Read the host pids of a cgroup and of all below it that can be signalled from here.

    Security: 0 and negative numbers mean whole process groups to kill(2).
    """
    return [pid for pid in members_below(directory) if pid > 0]


def remove_directories(directories: Iterable[str]) -> None:
    """Remove cgroups with all that is below them, by rmdir(2) alone; gone ones are fine.

    A process that is just dying keeps its cgroup busy for a moment, so busy ones are tried again
    with doubling pauses, for about a second in all.

    Raises:
        SetupError: one is still busy, or the kernel refused for another reason.
    """
    remaining = list(directories)
    pause_s = REMOVE_PAUSE_S
    for tries_left in range(REMOVE_TRIES - 1, -1, -1):
        busy: list[str] = []
        for directory in remaining:
            try:
                if not _remove(directory):
                    busy.append(directory)
            except OSError as error:
                what = f"removing cgroup {directory}: {kernel_words(error)}"
                raise SetupError(what, error.errno or 0) from error
        if not busy:
            return
        remaining = busy
        if tries_left:
            time.sleep(pause_s)
            pause_s *= 2
    message = os.strerror(EBUSY).lower()
    raise SetupError(f"removing cgroup {', '.join(remaining)}: {message}", EBUSY)


def remove_unused(directories: Iterable[str]) -> None:
    """Remove cgroups that have nothing in them and nothing below; leave the others.

    Raises:
        SetupError: the kernel refused for another reason.
    """
    for directory in directories:
        try:
            _rmdir(directory)
        except OSError as error:
            what = f"removing cgroup {directory}: {kernel_words(error)}"
            raise SetupError(what, error.errno or 0) from error


def _remove(directory: str) -> bool:
    """Remove one cgroup and those below it; False when something is busy."""
    if _rmdir(directory):
        return True
    removed = False
    for child in directories_below(directory, deepest_first=True):
        if not _rmdir(child):
            return False
        removed = True
    return removed and _rmdir(directory)


def _rmdir(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except OSError as error:
        if error.errno in (ENOENT, ENODEV):
            return True
        if error.errno == EBUSY:
            return False
        raise
    return True
