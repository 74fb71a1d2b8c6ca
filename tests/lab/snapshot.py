"""The booted machine, kept: booting under emulation takes a minute, restoring it two seconds.

A snapshot is the memory (QEMU's migration to a file) and what was written to the root disk. The
disk of the payload and the shared folders are not in use yet when it is taken, so that every run
brings its own.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from lab.cache import LabError, make_part, run, say
from lab.image import root_disk
from lab.vm import Hardware, Machine

PAYLOAD_BYTES = 1 << 30  # every payload has a disk of this size: a snapshot knows it
BOOT_LIMIT_S = 600


def restored(
    cache: Path, hardware: Hardware, payload: Path, folders: dict[str, Path], scratch: Path
) -> Machine:
    """A machine that has just booted, in seconds.

    `folders` has "host" and "out"; `scratch` is for what this run writes to its disk.

    Raises:
        LabError: it does not boot.
    """
    root = root_disk(cache)

    def build(part: Path) -> None:
        part.mkdir()
        _take(part, hardware, root)

    snapshot = make_part(cache, f"snapshot-{hardware.key()}", build)
    disk = _overlay(scratch / "root.qcow2", snapshot / "root.qcow2", "qcow2")
    disks = [disk, hardware.kernel.modules, payload]
    return Machine(hardware, disks, folders, scratch / "console", snapshot / "memory")


def _take(part: Path, hardware: Hardware, root: Path) -> None:
    """Boot, wait until the machine says that it has settled, and keep it."""
    say(f"booting kernel {hardware.kernel.release}")
    nothing = part / "nothing"
    nothing.mkdir()
    payload = part / "payload.img"
    with payload.open("wb") as file:
        os.truncate(file.fileno(), PAYLOAD_BYTES)
    disks = [_overlay(part / "root.qcow2", root, "raw"), hardware.kernel.modules, payload]
    folders = {"host": nothing, "out": nothing}
    machine = Machine(hardware, disks, folders, part / "console")
    try:
        kind, data = next(machine.frames(BOOT_LIMIT_S))
        if kind != "R":
            raise LabError(f"booting: the agent said {kind} {data!r}")
        say(f"it is up: {json.loads(data)['state']}")
        machine.monitor("migrate-set-parameters", **{"max-bandwidth": 10**11})
        machine.monitor("migrate", uri=f"exec:cat > '{part / 'memory'}'")
        while (status := machine.monitor("query-migrate").get("status")) != "completed":
            if status in ("failed", "cancelled"):
                raise LabError("keeping the machine: QEMU failed to write its memory")
            time.sleep(0.05)
        machine.monitor("quit")
    except TimeoutError as error:
        console = (part / "console").read_text(errors="replace")[-2000:]
        raise LabError(f"booting: not up after {BOOT_LIMIT_S} s: {console}") from error
    finally:
        machine.stop()


def _overlay(path: Path, below: Path, form: str) -> Path:
    """A disk that starts with the contents of another one, which stays as it is."""
    # Relative: a part is renamed when it is complete.
    run("making a disk", "qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", below, path)
    return path
