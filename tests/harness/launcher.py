"""A copy of the installed launcher with a package of its own, a stub that reports its process."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STUB = """
import os, sys

def attempt(flags):
    try:
        os.close(os.open("/proc/self/exe", flags))
    except OSError as error:
        return error.errno
    return 0

def main():
    import fcntl, json
    fd = os.open("/proc/self/exe", os.O_RDONLY)
    status = os.fstat(fd)
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        seals = 0
    os.close(fd)
    with open("/proc/self/status") as file:
        ignored = next(line.split()[1] for line in file if line.startswith("SigIgn"))
    print(json.dumps({
        "exe": os.readlink("/proc/self/exe"), "file": [status.st_dev, status.st_ino],
        "read_only": bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY), "seals": seals,
        "write": attempt(os.O_RDWR), "argv": sys.argv, "environment": dict(os.environ),
        "path": sys.path, "prefix": sys.prefix, "executable": sys.executable,
        "isolated": sys.flags.isolated, "site": "site" in sys.modules, "ignored": int(ignored, 16),
        "fds": sorted(int(name) for name in os.listdir("/proc/self/fd")),
    }))
    sys.stdout.flush()
    os._exit(0)
"""

F_SEAL_WRITE = 8
F_SEAL_ALL_OLD = 15
SYS_FSOPEN = 430
SYS_MEMFD_CREATE = {"x86_64": 319, "aarch64": 279}.get(os.uname().machine)


class Install:
    """A prefix with a copy of the launcher and the stub where its package belongs."""

    def __init__(self, prefix: Path, launcher: Path) -> None:
        self.prefix = prefix
        self.program = prefix / "bin" / "ocirun"
        self.program.parent.mkdir(parents=True)
        # With the fast start (test_fast_start.py) the ordinary launcher has another name.
        cold = launcher.with_name("ocirun-cold")
        launcher = cold if cold.exists() else launcher
        shutil.copy(launcher, self.program)
        name = re.search(rb"lib/(python3\.\d+t?)/site-packages", launcher.read_bytes())
        assert name, f"{launcher} names no package folder"
        self.python = name[1].decode()
        self.packages = prefix / "lib" / self.python / "site-packages"
        (self.packages / "ocirun" / "cli").mkdir(parents=True)
        for file in ("__init__.py", "errors.py", "cli/__init__.py"):
            (self.packages / "ocirun" / file).touch()
        self.stub = self.packages / "ocirun" / "cli" / "launcher.py"
        self.stub.write_text(STUB)

    def call(
        self,
        *arguments: str,
        before: Callable[[], None] | None = None,
        **keys: Any,  # noqa: ANN401  # handed to run() as it is
    ) -> subprocess.CompletedProcess[str]:
        """Run the launcher; `before` is called in the child just before."""
        return subprocess.run(
            [keys.pop("program", self.program), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            stdin=subprocess.DEVNULL,
            preexec_fn=before,
            **keys,
        )

    def report(self, *arguments: str, **keys: Any) -> dict[str, Any]:  # noqa: ANN401
        """Run the launcher and return what the stub saw."""
        result = self.call(*arguments, **keys)
        assert result.returncode == 0, result.stderr
        report: dict[str, Any] = json.loads(result.stdout)
        return report

    def refusal(self, *arguments: str, **keys: Any) -> str:  # noqa: ANN401
        """Run the launcher, be sure that it fails with one sentence, return the sentence."""
        result = self.call(*arguments, **keys)
        assert (result.returncode, result.stdout) == (1, "")
        assert re.fullmatch(r"ocirun: [^\n]+[^.\n]\n", result.stderr), result.stderr
        return result.stderr


def forbid(*numbers: int | None) -> None:
    """Make system calls of this process fail with EPERM, by seccomp.

    Source: seccomp(2), the classic BPF of linux/filter.h.
    """
    load, jump_equal, give_back = 0x20, 0x15, 0x06
    steps = [(load, 0, 0, 0)]
    for number in numbers:
        assert number is not None
        steps += [(jump_equal, 0, 1, number), (give_back, 0, 0, 0x00050000 | errno.EPERM)]
    steps.append((give_back, 0, 0, 0x7FFF0000))
    program = b"".join(struct.pack("HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(program)
    header = struct.pack("HP", len(steps), ctypes.addressof(buffer))
    prctl = ctypes.CDLL(None).prctl
    assert prctl(38, 1, 0, 0, 0) == 0
    assert prctl(22, 2, ctypes.c_char_p(header), 0, 0) == 0
