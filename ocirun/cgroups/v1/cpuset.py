"""Which CPUs and memory nodes: v1, where a new cgroup starts without any.

Source: runtime-spec config-linux.md#cpu; kernel admin-guide/cgroup-v1/cpusets.rst.
"""

from __future__ import annotations

from ocirun.cgroups.files import make_directories, read_value, set_value
from ocirun.errors import SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.shapes import Resources

# file, and its key in linux.resources.cpu
FILES: Final = (("cpuset.cpus", "cpus"), ("cpuset.mems", "mems"))


def wants(resources: Resources) -> bool:
    """Tell whether CPUs or memory nodes are chosen."""
    cpu = resources.get("cpu") or {}
    return bool(cpu.get("cpus") or cpu.get("mems"))


def apply(directory: str, resources: Resources) -> None:
    """Write the lists (`0-3,7`) as they are.

    Raises:
        SetupError: the kernel refused: no such CPU, or not allowed to the parent.
    """
    cpu = resources.get("cpu") or {}
    for file, key in FILES:
        if value := cpu.get(key):
            set_value(directory, file, str(value))


def prepare(directory: str, top: str, made: list[str], resources: Resources) -> bool:
    """Make the cgroup `directory` below the mount point `top`, able to take processes.

    Kernel: a new v1 cpuset has no CPUs and no memory nodes, and refuses processes; each level
    takes its parent's unless the config chooses. Directories it made are appended to `made`.
    Returns whether `directory` is new.

    Raises:
        OSError: a directory cannot be made.
        SetupError: a value cannot be copied.
    """
    is_new = make_directories(directory, top, made)
    # Order: what the config chose comes before the parent's values, which an exclusive sibling
    # could make the kernel refuse.
    apply(directory, resources)
    cpu = resources.get("cpu") or {}
    missing = [file for file, key in FILES if not cpu.get(key)]
    if missing and directory != top:
        inherit(directory, top, missing, is_empty=is_new)
    return is_new


def inherit(directory: str, top: str, files: list[str], *, is_empty: bool = False) -> None:
    """Copy `files` from the parent where they are empty, from the top down.

    `is_empty`: the cgroup was just made, so its values need not be read first.

    Raises:
        SetupError: a value cannot be read or written.
    """
    if not is_empty:
        files = [file for file in files if not _read(directory, file)]
        if not files:
            return
    parent = directory.rpartition("/")[0]
    values = [_read(parent, file) for file in files]
    if not all(values) and len(parent) > len(top):
        inherit(parent, top, files)
        values = [_read(parent, file) for file in files]
    for file, value in zip(files, values, strict=True):
        set_value(directory, file, value)


def _read(directory: str, file: str) -> str:
    try:
        return read_value(directory, file)
    except OSError as error:
        what = f"reading {directory}/{file}: {kernel_words(error)}"
        raise SetupError(what, error.errno or 0) from error
