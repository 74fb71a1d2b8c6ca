"""Files of a cgroup directory: small texts, one system call each to read or to write.

Everything here takes the directory as an absolute path of the host. A cgroup's file is opened,
read or written once, and closed: the kernel parses one write as one request.

Source: kernel admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1/cgroups.rst.
"""

from __future__ import annotations

import os
from errno import EACCES, EINVAL, ENODEV, ENOENT, ENOSPC, ERANGE

from ocirun.errors import SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

READ_SIZE: Final = 65536
# What a cgroup may choose from, in v1 and v2.
EFFECTIVE: Final = {
    "cpuset.cpus": ("cpuset.effective_cpus", "cpuset.cpus.effective"),
    "cpuset.mems": ("cpuset.effective_mems", "cpuset.mems.effective"),
}


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
