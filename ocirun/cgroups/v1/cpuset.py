"""Which CPUs and memory nodes: v1, where a new cgroup starts without any.

Source: runtime-spec config-linux.md#cpu; kernel admin-guide/cgroup-v1/cpusets.rst.
"""

from __future__ import annotations

from ocirun.cgroups.directories import make_directories
from ocirun.cgroups.files import read_value, set_value
from ocirun.errors import SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.counters import Part
    from ocirun.spec.types import Resources

# file, and its key in linux.resources.cpu
FILES: Final = (("cpuset.cpus", "cpus"), ("cpuset.mems", "mems"))
SWITCHES: Final = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
)
LEVEL: Final = "sched_relax_domain_level"


def wants(resources: Resources) -> bool:
    """Return whether CPUs or memory nodes are chosen."""
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
    if directory == top:
        return is_new
    # Order: parents first: the kernel refuses what a parent does not have. Then the config's
    # choice instead of the parent's values, which an exclusive sibling could make it refuse.
    inherited = fill(directory.rpartition("/")[0], top)
    cpu = resources.get("cpu") or {}
    for file, key in FILES:
        # A cgroup that was there may belong to somebody: only what keeps processes out is filled.
        if is_new or not _read(directory, file):
            set_value(directory, file, str(cpu.get(key) or inherited[file]))
    return is_new


def fill(directory: str, top: str) -> dict[str, str]:
    """Copy the parent's values into an empty cpuset, from the top down; return what it has then.

    Raises:
        SetupError: a value cannot be read or written.
    """
    values = {file: _read(directory, file) for file, _ in FILES}
    empty = [file for file, value in values.items() if not value]
    if empty and len(directory) > len(top):
        inherited = fill(directory.rpartition("/")[0], top)
        for file in empty:
            set_value(directory, file, inherited[file])
            values[file] = inherited[file]
    return values


def _read(directory: str, file: str) -> str:
    try:
        return read_value(directory, file)
    except OSError as error:
        what = f"reading {directory}/{file}: {kernel_words(error)}"
        raise SetupError(what, error.errno or 0) from error


def stat(directory: str) -> Part:
    """Return the CPUs and memory nodes as lists of numbers, and every switch.

    Raises:
        SetupError: a file cannot be read.
    """
    from ocirun.cgroups.counters import as_number, number, text

    level = (text(directory, f"cpuset.{LEVEL}") or "0").strip()
    found: Part = {"cpus": _numbers_of(directory, "cpuset.cpus")}
    for name in SWITCHES:
        if name == "mem_hardwall":
            found["mems"] = _numbers_of(directory, "cpuset.mems")
        found[name] = number(directory, f"cpuset.{name}")
    # The one number that may be negative: -1 is the kernel's usual choice.
    found[LEVEL] = -1 if level == "-1" else as_number(level, directory, f"cpuset.{LEVEL}")
    return found


def _numbers_of(directory: str, name: str) -> list[int]:
    """Return the numbers of a list like `0-2,7`.

    Raises:
        SetupError: the file holds none.
    """
    from ocirun.cgroups.counters import text
    from ocirun.spec.cpulist import numbers_of

    try:
        return numbers_of(text(directory, name) or "")
    except ValueError as error:
        raise SetupError(f"reading {directory}/{name}: {error}") from error
