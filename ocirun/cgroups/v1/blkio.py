"""How much block I/O: v1.

Source: runtime-spec config-linux.md#block-io; kernel admin-guide/cgroup-v1/blkio-controller.rst,
block/bfq-iosched.rst.
"""

from __future__ import annotations

from ocirun.cgroups.files import has_file, set_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.shapes import Resources, ThrottleDevice

THROTTLES: Final = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device"),
)
KEYS: Final = ("weight", "leafWeight", "weightDevice", *(key for key, _ in THROTTLES))


def wants(resources: Resources) -> bool:
    """Tell whether I/O is weighted or throttled; zeros are "not set"."""
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
    """Kernel: the BFQ scheduler has files of its own names; CFQ, which had the others, is gone."""
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
