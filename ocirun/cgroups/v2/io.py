"""How much block I/O: v2.

Source: runtime-spec config-linux.md#block-io; kernel admin-guide/cgroup-v2.rst, io.weight, io.max;
block/bfq-iosched.rst.
"""

from __future__ import annotations

from ocirun.cgroups.counters import as_number, nested, pressure
from ocirun.cgroups.files import has_file, set_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.counters import Part
    from ocirun.spec.types import Resources, ThrottleDevice

THROTTLES: Final = (
    ("throttleReadBpsDevice", "rbps"),
    ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"),
    ("throttleWriteIOPSDevice", "wiops"),
)
KEYS: Final = ("weight", "weightDevice", *(key for key, _ in THROTTLES))
# Keys of the statistics; v2 counts what the first two are about.
COUNTED: Final = (
    "ioServiceBytesRecursive",
    "ioServicedRecursive",
    "ioQueueRecursive",
    "ioServiceTimeRecursive",
    "ioWaitTimeRecursive",
    "ioMergedRecursive",
    "ioTimeRecursive",
    "sectorsRecursive",
)
WORDS: Final = {  # of io.stat
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}
BFQ: Final = "io.bfq.weight"


def wants(resources: Resources) -> bool:
    """Return whether I/O is weighted or throttled; zeros are "not set"."""
    block_io = resources.get("blockIO") or {}
    return any(block_io.get(key) for key in KEYS)


def apply(directory: str, resources: Resources) -> None:
    """Write weights and throttles (bytes or operations per second), one line for each device.

    Raises:
        SetupError: the kernel refused.
    """
    block_io = resources.get("blockIO") or {}
    weight, weighted = block_io.get("weight"), block_io.get("weightDevice") or ()
    if weight or weighted:
        has_bfq = has_file(directory, BFQ)
        if weight and has_bfq:
            set_value(directory, BFQ, weight)
        elif weight:
            set_value(directory, "io.weight", io_weight(weight))
        for device in weighted:
            # Without BFQ devices have no weight of their own; runc leaves them out too.
            if has_bfq and (value := device.get("weight")):
                set_value(directory, BFQ, f"{device['major']}:{device['minor']} {value}")
    for key, word in THROTTLES:
        devices: list[ThrottleDevice] = block_io.get(key) or []  # type: ignore[assignment]
        for throttled in devices:
            # Kernel: 0 is refused here, and says "no limit" on v1 and in the specification.
            rate = throttled.get("rate") or "max"
            line = f"{throttled['major']}:{throttled['minor']} {word}={rate}"
            set_value(directory, "io.max", line)


def io_weight(weight: int) -> int:
    """Stretch a blkio weight (10 to 1000) over the range of io.weight (1 to 10000)."""
    return 1 + (weight - 10) * 9999 // 990


def stat(directory: str) -> Part:
    """Return the bytes and the requests of each block device, under the names they have on v1.

    Raises:
        SetupError: a file cannot be read.
    """
    found: Part = {key: [] for key in COUNTED}
    for device, values in nested(directory, "io.stat"):
        major, colon, minor = device.partition(":")
        if not colon:
            continue
        numbers = {
            "major": as_number(major, directory, "io.stat"),
            "minor": as_number(minor, directory, "io.stat"),
        }
        for word, (key, op) in WORDS.items():
            if word in values:
                found[key].append({**numbers, "op": op, "value": values[word]})
    found["psi"] = pressure(directory, "io.pressure")
    return found
