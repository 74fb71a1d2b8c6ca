"""Files of a cgroup directory: small texts, one system call each to read or to write.

Everything here takes the directory as an absolute path of the host. A cgroup's file is opened,
read or written once, and closed: the kernel parses one write as one request.

Source: kernel admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1/cgroups.rst.
"""

from __future__ import annotations

import os
import time
from errno import EACCES, EBUSY, EINVAL, ENODEV, ENOENT, ENOSPC, EOPNOTSUPP, ERANGE

from ocirun.errors import SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

READ_SIZE = 65536
JOIN_TRIES = 5
JOIN_PAUSE_S = 0.03
LONGEST_PATH = 3072  # PATH_MAX, without room for a name and a file in it
# What a cgroup may choose from, in v1 and v2.
EFFECTIVE = {
    "cpuset.cpus": ("cpuset.effective_cpus", "cpuset.cpus.effective"),
    "cpuset.mems": ("cpuset.effective_mems", "cpuset.mems.effective"),
}
REMOVE_TRIES = 12
REMOVE_PAUSE_S = 0.000_25  # doubled each time: about a second in all


def read_text(path: str) -> str:
    """Read a whole small file.

    Raises:
        OSError: as open(2) and read(2) say; FileNotFoundError also where the cgroup was removed
            after the open, which the kernel calls ENODEV.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, READ_SIZE)
        if len(data) < 4096:  # one page is what the kernel hands out at once
            return os.fsdecode(data)
        parts = [data]
        while data := os.read(fd, READ_SIZE):
            parts.append(data)
        return os.fsdecode(b"".join(parts))
    except OSError as error:
        if error.errno == ENODEV:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), path) from error
        error.filename = error.filename or path  # read(2) knows only a number
        raise
    finally:
        os.close(fd)


def write_text(path: str, text: str) -> None:
    """Write `text` with one write(2), as the kernel wants a cgroup's value.

    Raises:
        OSError: as open(2) and write(2) say.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        send(fd, text)
    finally:
        os.close(fd)


def send(fd: int, text: str) -> None:
    """Write one request to the kernel through the open file of a cgroup.

    Raises:
        OSError: as write(2) says.
    """
    os.write(fd, os.fsencode(text))


def set_value(directory: str, name: str, value: str | int) -> None:
    """Set one limit: write `value` to the file `name`.

    Raises:
        SetupError: the kernel refused; says the file, the value and the kernel's word. Its cause
            is the OSError.
    """
    try:
        write_text(f"{directory}/{name}", str(value))
    except OSError as error:
        raise refused(directory, name, value, error) from error


def set_lines(directory: str, name: str, lines: list[str]) -> None:
    """Write several requests to one file, one write(2) each.

    Raises:
        SetupError: as `set_value`; the lines before the refused one hold.
    """
    if not lines:
        return
    line = lines[0]
    try:
        fd = os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            for line in lines:
                send(fd, line)
        finally:
            os.close(fd)
    except OSError as error:
        raise refused(directory, name, line, error) from error


def refused(directory: str, name: str, value: str | int, error: OSError) -> SetupError:
    """Return the error for a value that the kernel refused; the caller raises it."""
    what = f"setting {directory}/{name} to {str(value)!r}: {kernel_words(error)}"
    if hint := _hint(directory, name, error):
        what += f" ({hint})"
    return SetupError(what, error.errno or 0)


def _hint(directory: str, name: str, error: OSError) -> str:
    """Return what the kernel would take instead, where it says so."""
    if name in EFFECTIVE and error.errno in {EINVAL, ERANGE, EACCES, ENOSPC}:
        for file in EFFECTIVE[name]:
            try:
                return f"the cgroup above has {read_value(os.path.dirname(directory), file)}"
            except OSError:  # the other version's file
                continue
    # Kernel: min_cfs_quota_period and max_cfs_quota_period of kernel/sched/core.c.
    if name in {"cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.max"} and error.errno == EINVAL:
        return "a quota is 1000 or more, a period 1000 to 1000000 microseconds"
    return ""


def read_value(directory: str, name: str) -> str:
    """Read one value, without the line end.

    Raises:
        OSError: as open(2) and read(2) say.
    """
    return read_text(f"{directory}/{name}").rstrip("\n")


def read_counter(directory: str, name: str, key: str) -> int:
    """Read the number after `key` of a file of `key number` lines; 0 where there is none.

    Raises:
        OSError: as open(2) and read(2) say, but a missing file counts as 0.
    """
    try:
        text = read_text(f"{directory}/{name}")
    except FileNotFoundError:
        return 0
    for line in text.splitlines():
        word, _, number = line.partition(" ")
        if word == key:
            return int(number)
    return 0


def has_file(directory: str, name: str) -> bool:
    """Return whether this kernel offers the file `name`."""
    return os.access(f"{directory}/{name}", os.F_OK)


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
    cannot be read (EOPNOTSUPP), and `cgroup.threads` stands in for it.
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
    words = os.strerror(EBUSY).lower()
    raise SetupError(f"removing cgroup {', '.join(remaining)}: {words}", EBUSY)


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
