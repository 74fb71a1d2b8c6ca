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
    # A cgroup that was there may belong to somebody: only what keeps processes out is filled in.
    files = [pair for pair in FILES if is_new or not _read(directory, pair[0])]
    cpu = resources.get("cpu") or {}
    # Order: what the config chose comes before the parent's values, which an exclusive sibling
    # could make the kernel refuse.
    for file, key in files:
        if value := cpu.get(key):
            set_value(directory, file, str(value))
    missing = [file for file, key in files if not cpu.get(key)]
    if missing and directory != top:
        inherit(directory, top, missing)
    return is_new


def inherit(directory: str, top: str, files: list[str]) -> None:
    """Copy `files`, which are empty, from the parent, whose own are filled first.

    Raises:
        SetupError: a value cannot be read or written.
    """
    parent = directory.rpartition("/")[0]
    values = {file: _read(parent, file) for file in files}
    missing = [file for file, value in values.items() if not value]
    if missing and len(parent) > len(top):
        inherit(parent, top, missing)
        values |= {file: _read(parent, file) for file in missing}
    for file, value in values.items():
        set_value(directory, file, value)


def _read(directory: str, file: str) -> str:
    try:
        return read_value(directory, file)
    except OSError as error:
        what = f"reading {directory}/{file}: {kernel_words(error)}"
        raise SetupError(what, error.errno or 0) from error
