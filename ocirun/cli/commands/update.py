"""`ocirun update`: other limits for a container that is there."""

from __future__ import annotations

import os

from ocirun.cli.sizes import parse_size, whole_number
from ocirun.container.update import schemas_of, update
from ocirun.errors import OcirunError, doing, warn
from ocirun.kernel.regular_files import open_document
from ocirun.spec.load import check_resources, read_open_document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.cli.call import Call
    from ocirun.spec.types import Resources

# Flag, and its key in the section.
MEMORY: Final = (
    ("memory", "limit"),
    ("memory-reservation", "reservation"),
    ("memory-swap", "swap"),
    ("kernel-memory", "kernel"),
    ("kernel-memory-tcp", "kernelTCP"),
)
CPU: Final = (
    ("cpu-share", "shares"),
    ("cpu-quota", "quota"),
    ("cpu-period", "period"),
    ("cpu-burst", "burst"),
    ("cpu-idle", "idle"),
    ("cpu-rt-period", "realtimePeriod"),
    ("cpu-rt-runtime", "realtimeRuntime"),
)
CPUSET: Final = (("cpuset-cpus", "cpus"), ("cpuset-mems", "mems"))


def run(call: Call) -> int:
    """Change the limits as a file says, or as flags say."""
    try:
        resources = _from_file(call) if call.text("resources") else _from_flags(call)
    except OcirunError:
        call.check_container()
        raise
    memory = resources.get("memory", {})
    if memory.get("kernel"):
        warn("limits on kernel memory are ignored: kernels have none any more")
    schemas = schemas_of(call.text("l3-cache-schema"), call.text("mem-bw-schema"))
    update(call.store(), call.arguments[0], resources, schemas)
    return 0


def _from_file(call: Call) -> Resources:
    """Read `--resources`; the flags about limits are then ignored, as in runc."""
    path = call.text("resources")
    if path == "-":
        return check_resources(read_open_document(0, "standard input"), "standard input")
    with doing(f"opening {path}"):
        fd = open_document(path)
    try:
        return check_resources(read_open_document(fd, path), path)
    finally:
        os.close(fd)


def _from_flags(call: Call) -> Resources:
    """Make of the flags the document that would say the same."""
    memory = {key: parse_size(call.text(flag), flag) for flag, key in MEMORY if call.text(flag)}
    cpu: dict[str, Any] = {
        key: whole_number(call.text(flag), flag) for flag, key in CPU if call.text(flag)
    }
    cpu |= {key: call.text(flag) for flag, key in CPUSET if call.text(flag)}
    document: dict[str, Any] = {}
    if memory:
        document["memory"] = memory
    if cpu:
        document["cpu"] = cpu
    if call.options["pids-limit"] is not None:
        document["pids"] = {"limit": call.number("pids-limit")}
    if call.number("blkio-weight"):
        document["blockIO"] = {"weight": call.number("blkio-weight")}
    return check_resources(document, "update")
