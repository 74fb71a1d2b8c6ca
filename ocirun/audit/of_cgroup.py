"""Limits and device rules of a running container's cgroups, as the kernel has them.

Source: cgroups(7), kernel admin-guide/cgroup-v1/devices.rst, admin-guide/cgroup-v2.rst;
docs/audit.md.
"""

from __future__ import annotations

import os

from ocirun.audit.facts import limit_of
from ocirun.cgroups.counters import text as counter
from ocirun.cgroups.devicerules import ANY, LETTERS, OPENING, table_of
from ocirun.cgroups.files import read_text
from ocirun.cgroups.paths import Table as Mounts
from ocirun.cgroups.paths import own_directory
from ocirun.errors import SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cgroups.devicerules import Table

    Rules = dict[str, Table]


def directories(own: str) -> dict[str, str]:
    """Return the directory of a process's cgroup in each hierarchy; "" is that of v2.

    `own` is its /proc/PID/cgroup.
    """
    table = Mounts(read_text("/proc/self/mountinfo"), own)
    paths: dict[str, str] = {}
    for name, path in table.own.items():
        mount = table.v1_mount(name) if name else table.v2_mount()
        if mount is not None:
            paths[name] = own_directory(mount, path)
    return paths


def limits_of(paths: dict[str, str]) -> tuple[int | None, int | None]:
    """Return the smallest limits of the cgroups and their parents: of processes, and of memory."""
    pids = _upwards(paths.get("pids", paths.get("", "")), "pids.max")
    memory = [
        word
        for name in ("memory.max", "memory.limit_in_bytes")
        for word in _upwards(paths.get("memory", paths.get("", "")), name)
    ]
    return _least(pids), _least(memory)


def _least(words: list[str]) -> int | None:
    limits = [limit_of(word) for word in words]
    return min((one for one in limits if one is not None), default=None)


def _upwards(path: str, name: str) -> list[str]:
    """Return the contents of the files `name` in the cgroup `path` and its parents."""
    found: list[str] = []
    while path.count("/") > 1:
        word = counter(path, name)
        if word is None and found:
            break
        if word is not None:
            found.append(word.strip())
        path = os.path.dirname(path)
    return found


def rules_of(paths: dict[str, str], asked: Rules | None) -> tuple[Rules | None, list[str]]:
    """Return what the cgroups allow of devices, and what could not be read.

    Where there are a device cgroup of v1 and programs of v2, both apply. `asked` are the rules of
    config.json, which take the place of what could not be read.
    """
    from ocirun.audit.device_programs import both, tables_of_cgroup

    rules: Rules | None = None
    unknown: list[str] = []
    unread = False
    try:
        if "devices" in paths:
            rules = _rules_of_v1(paths["devices"], asked)
        if "" in paths:
            programs, unknown = tables_of_cgroup(paths[""])
            unread = bool(unknown) and programs is None
            if programs is not None:
                rules = programs if rules is None else both(rules, programs)
    except SetupError as error:
        unknown, unread = [str(error)], True
    except OSError as error:
        unknown, unread = [f"the eBPF programs of {paths['']}: {kernel_words(error)}"], True
    return (asked if unread and rules is None else rules), unknown


def _rules_of_v1(directory: str, asked: Rules | None) -> Rules | None:
    from ocirun.cgroups.v1.devices import read_verdicts

    verdicts = read_verdicts(directory)
    # Kernel: where everything else is allowed, devices.list does not show what is denied.
    if verdicts.allows and asked and asked["b"][ANY][ANY] & asked["c"][ANY][ANY] & OPENING:
        return asked
    rules: list[dict[str, object]] = [{"allow": verdicts.allows}]
    for (kind, major, minor), bits in verdicts.exceptions.items():
        letters = "".join(letter for letter, bit in LETTERS if bits & bit)
        rules.append(
            {"allow": True, "type": kind, "major": major, "minor": minor, "access": letters}
        )
    return table_of(rules)
