"""What a class of service has of caches and memory bandwidth, and what its monitoring counts.

    <resctrl>/info/L3, info/MB                  what the processor can
    <resctrl>/schemata                          what is left to everybody else
    <class>/schemata                            what the container has
    <class or monitoring group>/mon_data/mon_L3_NN/   what it uses, cache by cache

Source: kernel filesystems/resctrl.rst; runc types/events.go, libcontainer/intelrdt.
"""

from __future__ import annotations

import os

from ocirun.cgroups.counters import number, text
from ocirun.errors import SetupError, kernel_words
from ocirun.resctrl.group import find_resctrl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.counters import Part

# Key of the statistics: folder below info, its numbers.
ABILITIES: Final = {
    "l3_cache_info": ("L3", ("min_cbm_bits", "num_closids")),
    "mem_bw_info": ("MB", ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")),
}
SCHEMAS: Final = {"l3_cache_schema": "L3:", "mem_bw_schema": "MB:"}
BANDWIDTH: Final = ("mbm_total_bytes", "mbm_local_bytes")
OCCUPANCY: Final = ("llc_occupancy",)


def stat(path: str, monitoring: str) -> Part:
    """Return the class's part of the statistics; {} for a container without one.

    `path` is the folder of the class ("" for none), `monitoring` that of the container's
    monitoring group ("": the class counts for all that are in it).

    Raises:
        SetupError: a file cannot be read.
    """
    top = find_resctrl() if path else None
    if top is None:
        return {}
    found: Part = {}
    for key, (folder, names) in ABILITIES.items():
        directory = f"{top}/info/{folder}"
        if os.path.isdir(directory):
            found[key] = {name: number(directory, name) for name in names}
            if folder == "L3":
                mask = (text(directory, "cbm_mask") or "").strip()
                found[key] = {"cbm_mask": mask, **found[key]}
    every, own = _lines(top), _lines(path)
    for key, start in SCHEMAS.items():
        found[f"{key}_root"] = next((line for line in every if line.startswith(start)), "")
        found[key] = next((line for line in own if line.startswith(start)), "")
    found["schemata"] = own
    features = (text(f"{top}/info/L3_MON", "mon_features") or "").split()
    for key, names in (("mbm_stats", BANDWIDTH), ("cmt_stats", OCCUPANCY)):
        counted = [name for name in names if name in features]
        found[key] = _monitored(monitoring or path, names, counted) if counted else []
    return found


def _lines(group: str) -> list[str]:
    lines = (text(group, "schemata") or "").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _monitored(group: str, names: tuple[str, ...], counted: list[str]) -> list[Part]:
    """Read the counters of each cache, in the order of their names; 0 for what is not counted."""
    data = f"{group}/mon_data"
    try:
        folders = sorted(name for name in os.listdir(data) if os.path.isdir(f"{data}/{name}"))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SetupError(f"reading {data}: {kernel_words(error)}", error.errno or 0) from error
    return [
        {name: _count(f"{data}/{folder}", name) if name in counted else 0 for name in names}
        for folder in folders
    ]


def _count(directory: str, name: str) -> int:
    """Read one counter. Kernel: "Unavailable" and "Error" stand for what it cannot tell now."""
    word = (text(directory, name) or "").strip()
    return number(directory, name) if word.isdecimal() else 0
