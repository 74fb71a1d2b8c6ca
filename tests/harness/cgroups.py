"""Cgroups of one test, made by our own code, and processes of this test in them."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.needs import needs
from ocirun.cgroups.choose import layout, new_cgroup
from ocirun.cgroups.directories import remove_directories
from ocirun.cgroups.enter import enter
from ocirun.cgroups.paths import read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocirun.cgroups.cgroup import Cgroup

LAYOUT = layout()
on_v1 = needs("cgroup v1")
V2_MOUNT = next((mount for mount in read_table().mounts if mount.version == 2), None)
on_v2_tree = pytest.mark.skipif(V2_MOUNT is None, reason="no cgroup v2 tree is mounted")
NOTHING = [{"allow": False, "access": "rwm"}]
MB = 1 << 20


class Child:
    """A forked process that waits, does one thing in its cgroup, and tells the result as JSON."""

    def __init__(
        self,
        task: Callable[[], Any] | None = None,
        join_fds: list[int] | None = None,
        into: int = -1,
    ) -> None:
        go_out, self.go = os.pipe()
        self.told, tell = os.pipe()
        self.pid = clone(into)
        if self.pid == 0:
            status = 1
            try:
                os.close(self.go)
                enter(join_fds or [])
                os.write(tell, b"ready\n")
                os.read(go_out, 1)
                if task is not None:
                    os.write(tell, json.dumps(task()).encode())
                    status = 0
            finally:
                os._exit(status)
        os.close(go_out)
        os.close(tell)
        assert os.read(self.told, 6) == b"ready\n"

    def result(self) -> Any:  # noqa: ANN401
        """Let it go on; its result, or minus the signal that killed it."""
        os.write(self.go, b"x")
        return self.end()

    def end(self) -> Any:  # noqa: ANN401
        data = b""
        while more := os.read(self.told, 65536):
            data += more
        _, status = os.waitpid(self.pid, 0)
        os.close(self.told)
        os.close(self.go)
        return json.loads(data) if data else -os.WTERMSIG(status)


def clone(into: int) -> int:
    """Fork, into the v2 cgroup of descriptor `into` when there is one (clone3(2))."""
    if into < 0:
        return os.fork()
    flags = 0x2_0000_0000  # CLONE_INTO_CGROUP
    fields = struct.pack("11Q", flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, into)
    pid = ctypes.CDLL(None, use_errno=True).syscall(435, fields, len(fields))
    assert pid >= 0, os.strerror(ctypes.get_errno())
    return int(pid)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A cgroup name of this test alone; afterwards no cgroup of that name may be left."""
    word = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:60]
    unique = f"ocirun-cg-{os.getpid()}-{word}"
    yield unique
    end = time.monotonic() + 2  # what was just killed may still be on its way out
    while (left := leftovers(unique)) and time.monotonic() < end:
        time.sleep(0.02)
    for directory in sorted(left, reverse=True):
        for pid in (directory / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        remove_directories([str(directory)])
    assert left == []


def leftovers(unique: str) -> list[Path]:
    # os.walk passes over what others remove meanwhile, which Path.rglob stumbles on.
    return [
        Path(folder, name)
        for mount in read_table().mounts
        for folder, names, _ in os.walk(mount.point)
        for name in names
        if name.startswith(unique)
    ]


@pytest.fixture
def cgroup(name: str) -> Iterator[Cgroup]:
    made = new_cgroup(name, "id", "cgroupfs")
    yield made
    if made.paths:
        made.kill_all()
    made.remove()


def in_cgroup(cgroup: Cgroup, resources: Any, task: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Do `task` in a new process of a cgroup with these limits."""
    cgroup.prepare(resources)
    child = Child(task)
    cgroup.join(child.pid)
    cgroup.apply(resources)
    return child.result()


def read(cgroup: Cgroup, controller: str, file: str) -> str:
    return Path(cgroup.paths[controller], file).read_text().strip()


def needs_file(cgroup: Cgroup, controller: str, file: str) -> None:
    """Skip where this kernel lacks a feature, and say which; the cgroup is prepared."""
    if controller not in cgroup.paths:
        pytest.skip(f"the {controller} hierarchy is not mounted")
    if not Path(cgroup.paths[controller], file).exists():
        pytest.skip(f"this kernel has no {file}")
