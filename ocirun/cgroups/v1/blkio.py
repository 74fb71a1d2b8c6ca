"""How much block I/O: v1.

Source: runtime-spec config-linux.md#block-io; kernel admin-guide/cgroup-v1/blkio-controller.rst,
block/bfq-iosched.rst.
"""

from __future__ import annotations

from ocirun.cgroups.counters import as_number, text
from ocirun.cgroups.files import has_file, set_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.counters import Part
    from ocirun.spec.types import Resources, ThrottleDevice

THROTTLES: Final = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
)
# Key of the statistics, and what the kernel's files call it.
COUNTED: Final = {
    "ioServiceBytesRecursive": "io_service_bytes",
    "ioServicedRecursive": "io_serviced",
    "ioQueueRecursive": "io_queued",
    "ioServiceTimeRecursive": "io_service_time",
    "ioWaitTimeRecursive": "io_wait_time",
    "ioMergedRecursive": "io_merged",
    "ioTimeRecursive": "time",
    "sectorsRecursive": "sectors",
}
# Where they are found, in the order of looking, each with the file that shows whether it is used.
SOURCES: Final = (
    ("bfq.", "_recursive", ("sectorsRecursive", *COUNTED)),
    ("bfq.", "_recursive", ("ioServicedRecursive", "ioServiceBytesRecursive")),
    ("", "_recursive", ("sectorsRecursive", *COUNTED)),
    ("throttle.", "_recursive", ("ioServicedRecursive", "ioServiceBytesRecursive")),
    ("throttle.", "", ("ioServicedRecursive", "ioServiceBytesRecursive")),
)
KEYS: Final = ("weight", "leafWeight", "weightDevice", *(key for key, _ in THROTTLES))


def wants(resources: Resources) -> bool:
    """Return whether I/O is weighted or throttled; zeros are "not set"."""
    block_io = resources.get("blockIO") or {}
    return any(block_io.get(key) for key in KEYS)


def apply(directory: str, resources: Resources) -> None:
    """Write weights and throttles (bytes or operations per second), one line for each device.

    Raises:
        SetupError: the kernel refused; weights need a scheduler that knows them.
    """
    block_io = resources.get("blockIO") or {}
    _set_weights(directory, resources)
    for key, file in THROTTLES:
        devices: list[ThrottleDevice] = block_io.get(key) or []  # type: ignore[assignment]
        for device in devices:
            set_value(
                directory, file, f"{device['major']}:{device['minor']} {device.get('rate', 0)}"
            )


def _set_weights(directory: str, resources: Resources) -> None:
    """Kernel: the BFQ scheduler's files have other names than those of CFQ, which was removed."""
    block_io = resources.get("blockIO") or {}
    weight, devices = block_io.get("weight"), block_io.get("weightDevice") or ()
    if weight or devices:
        prefix = "blkio" if has_file(directory, "blkio.weight") else "blkio.bfq"
        if weight:
            set_value(directory, f"{prefix}.weight", weight)
        for device in devices:
            if value := device.get("weight"):
                line = f"{device['major']}:{device['minor']} {value}"
                set_value(directory, f"{prefix}.weight_device", line)
    if leaf_weight := block_io.get("leafWeight"):
        set_value(directory, "blkio.leaf_weight", leaf_weight)
    for device in devices:
        if value := device.get("leafWeight"):
            line = f"{device['major']}:{device['minor']} {value}"
            set_value(directory, "blkio.leaf_weight_device", line)


def stat(directory: str) -> Part:
    """Return what was asked of each block device, from the first set of files that has something.

    Kernel: BFQ counts most, and more with CONFIG_BFQ_CGROUP_DEBUG; CFQ, gone in 5.0, had the names
    without a prefix; throttling always counts bytes and requests.

    Raises:
        SetupError: a file cannot be read.
    """
    found: Part = {key: [] for key in COUNTED} | {"psi": None}
    for prefix, suffix, keys in SOURCES:
        names = [(key, f"blkio.{prefix}{COUNTED[key]}{suffix}") for key in keys]
        first = _entries(directory, names[0][1])
        if first:
            found[names[0][0]] = first
            for key, name in names[1:]:
                found[key] = _entries(directory, name)
            break
    return found


def _entries(directory: str, name: str) -> list[Part]:
    """Read lines like `8:0 Read 4096` or `8:0 96`; the sum of all devices is left out."""
    found: list[Part] = []
    for line in (text(directory, name) or "").splitlines():
        device, *words = line.split() or [""]
        major, colon, minor = device.partition(":")
        if colon and words:
            found.append(
                {
                    "major": as_number(major, directory, name),
                    "minor": as_number(minor, directory, name),
                    "op": words[0] if len(words) > 1 else "",
                    "value": as_number(words[-1], directory, name),
                }
            )
    return found
