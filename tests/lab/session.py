"""One command in the lab: a restored machine is told, what it prints is ours to print."""

from __future__ import annotations

import os
import shutil
import struct
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lab.cache import REPO, LabError, say
from lab.snapshot import restored
from lab.vm import Hardware, Machine

# What is made by tools, and large.
NOT_SHARED = (".git", ".venv", "build", "dist", "__pycache__", "*_cache", ".hypothesis")

# Emulated, ocirun starts five times faster with it. The image is for root alone, and only a Python
# that can have one has a second launcher.
SNAPSHOT = ["sh", "-c", "! [ -x /opt/lab/bin/ocirun-cold ] || exec /opt/lab/bin/ocirun snapshot"]


@dataclass(frozen=True)
class Lab:
    """What every command has in common; `out` is /out inside, `payload` the disk at /opt/lab."""

    cache: Path
    hardware: Hardware
    payload: Path
    out: Path
    limit_s: float

    def run(self, command: list[str], user: str, environment: dict[str, str]) -> int:
        """Run it in a machine of its own, in the checkout; its exit status.

        Raises:
            LabError: the machine does not come up or goes away, or the limit is over.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        self.out.chmod(0o1777)  # an ordinary user inside writes there too
        scratch = Path(tempfile.mkdtemp(prefix="run-", dir=self.cache))
        started = time.monotonic()
        machine = None
        try:
            folders = {"host": _copy_checkout(scratch / "checkout"), "out": self.out}
            machine = restored(self.cache, self.hardware, self.payload, folders, scratch)
            machine.tell_agent(
                {
                    "command": command,
                    "before": SNAPSHOT if user == "root" else [],
                    "user": "" if user == "root" else user,
                    "folder": "/host",
                    "env": environment,
                    "time": time.time(),
                    "seed": os.urandom(64).hex(),  # each run starts with the snapshot's entropy
                }
            )
            status = self._follow(machine)
        except TimeoutError as error:
            console = (scratch / "console").read_text(errors="replace")[-2000:]
            limit = f"not done after {self.limit_s:.0f} s; the machine is stopped"
            raise LabError(f"{limit}. {console}".strip()) from error
        finally:
            if machine is not None:
                machine.stop()
            shutil.rmtree(scratch)
        say(f"ended with {status} after {time.monotonic() - started:.0f} s")
        return status

    def _follow(self, machine: Machine) -> int:
        """Print what comes, until the exit status comes."""
        for kind, data in machine.frames(self.limit_s):
            if kind == "X":
                return int(struct.unpack(">I", data)[0])
            stream = sys.stdout if kind == "O" else sys.stderr
            stream.buffer.write(data)
            stream.flush()
        raise AssertionError("frames() only ends with an error")


def _copy_checkout(place: Path) -> Path:
    """The checkout as it is now: who edits it during a run changes nothing of the run.

    Kernel: a 9p mount that caches would see old sizes with new contents.
    """
    shutil.copytree(REPO, place, symlinks=True, ignore=_not_shared)
    return place


def _not_shared(folder: str, names: list[str]) -> set[str]:
    """Return which of `names` in `folder` stay outside; of the bundles also their root."""
    left_out = shutil.ignore_patterns(*NOT_SHARED)(folder, names)
    if Path(folder).parent == REPO / "bundles":
        left_out |= {"rootfs"} & set(names)
    return left_out
