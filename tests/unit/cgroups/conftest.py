"""A make-believe kernel: plain directories that get a cgroup's files when they are made."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from ocirun.cgroups import choose, files
from ocirun.cgroups.devicerules import Verdicts, bits_of, text
from ocirun.cgroups.paths import Table
from ocirun.cgroups.v1.devices import ALLOW, LIST, parse_list

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ocirun.cgroups.cgroup import Cgroup

V1_FILES = {
    "cpuset": {"cpuset.cpus": "", "cpuset.mems": ""},
    "devices": {"devices.list": "a *:* rwm\n", "devices.allow": "", "devices.deny": ""},
    "memory": {
        "memory.limit_in_bytes": "9223372036854771712\n",
        "memory.memsw.limit_in_bytes": "9223372036854771712\n",
        "memory.soft_limit_in_bytes": "",
        "memory.kmem.tcp.limit_in_bytes": "9223372036854771712\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        "memory.swappiness": "60\n",
        "memory.usage_in_bytes": "4096\n",
        "memory.max_usage_in_bytes": "8192\n",
    },
    "cpu": {
        "cpu.shares": "1024\n",
        "cpu.cfs_period_us": "100000\n",
        "cpu.cfs_quota_us": "-1\n",
        "cpu.cfs_burst_us": "0\n",
        "cpu.idle": "0\n",
        "cpu.rt_period_us": "",
        "cpu.rt_runtime_us": "",
    },
    "cpuacct": {},
    "pids": {"pids.max": "max\n"},
    "blkio": {
        "blkio.bfq.weight": "",
        "blkio.bfq.weight_device": "",
        "blkio.throttle.read_bps_device": "",
        "blkio.throttle.write_bps_device": "",
        "blkio.throttle.read_iops_device": "",
        "blkio.throttle.write_iops_device": "",
    },
    "hugetlb": {"hugetlb.2MB.limit_in_bytes": "", "hugetlb.2MB.rsvd.limit_in_bytes": ""},
    "net_cls": {"net_cls.classid": "0\n"},
    "net_prio": {"net_prio.ifpriomap": ""},
    "freezer": {"freezer.state": "THAWED\n", "freezer.self_freezing": "0\n"},
    "rdma": {"rdma.max": ""},
    "systemd": {},
}
V2_FILES = {
    "cgroup.type": "domain\n",
    "cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma\n",
    "cgroup.subtree_control": "",
    "cgroup.freeze": "0\n",
    "cgroup.events": "populated 0\nfrozen 0\n",
    "cgroup.kill": "",
    "cpu.idle": "0\n",
    "cpu.weight": "100\n",
    "cpu.max": "max 100000\n",
    "cpu.max.burst": "0\n",
    "cpuset.cpus": "",
    "cpuset.mems": "",
    "io.weight": "",
    "io.max": "",
    "memory.current": "1048576\n",
    "memory.events": "low 0\nhigh 0\nmax 1\noom 2\noom_kill 2\n",
    "memory.max": "max\n",
    "memory.low": "0\n",
    "memory.high": "max\n",
    "memory.swap.max": "max\n",
    "pids.max": "max\n",
    "hugetlb.2MB.max": "max\n",
    "hugetlb.2MB.rsvd.max": "max\n",
    "rdma.max": "",
}


def kernel_model(start: Verdicts, writes: list[tuple[str, list[str]]]) -> Verdicts:
    """Do what security/device_cgroup.c does: exact keys only, `a` empties everything."""
    state = Verdicts(allows=start.allows)
    state.exceptions = dict(start.exceptions)
    for file, line in [(file, line) for file, lines in writes for line in lines]:
        allow = file == ALLOW
        if line.startswith("a"):
            state.decide_all(allow)
            continue
        kind, numbers, access = line.split()
        major, _, minor = numbers.partition(":")
        key = (kind, *(-1 if word == "*" else int(word) for word in (major, minor)))
        bits = state.exceptions.pop(key, 0)  # type: ignore[arg-type]
        bits = bits | bits_of(access) if allow != state.allows else bits & ~bits_of(access)
        if bits:
            state.exceptions[key] = bits  # type: ignore[index]
    return state


class FakeKernel:
    """Directories below `root` behave like cgroups; `writes` has (path below root, text)."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.writes: list[tuple[str, str]] = []
        self.refusals: dict[tuple[str, str], list[int]] = {}  # (file name, text): errnos to give
        self.forbidden: set[str] = set()  # hierarchies in which mkdir gives EACCES
        self.kept_rules: list[str] = []  # lines of devices.list that no write can remove
        self.real = (os.mkdir, os.rmdir)
        monkeypatch.setattr(os, "mkdir", self.mkdir)
        monkeypatch.setattr(os, "rmdir", self.rmdir)
        monkeypatch.setattr(files, "send", self.send)

    def mount(self, name: str, point: str | None = None) -> None:
        """Make the top of a hierarchy: "unified" or the name of a v1 controller."""
        self.mkdir(str(self.root / (point or name)))

    def hierarchy(self, path: str) -> str:
        return os.path.relpath(path, self.root).split("/")[0]

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        if not path.startswith(str(self.root)):
            self.real[0](path, mode)
            return
        if self.hierarchy(path) in self.forbidden:
            raise PermissionError(13, "Permission denied", path)
        self.real[0](path, mode)
        names = self.hierarchy(path).split(",")
        found = {}
        for name in names:
            found |= V2_FILES if name == "unified" else V1_FILES[name]
        for file, content in {"cgroup.procs": "", "tasks": "", **found}.items():
            with open(f"{path}/{file}", "w") as stream:
                stream.write(content)

    def rmdir(self, path: str) -> None:
        if os.path.isdir(path) and path.startswith(str(self.root)):
            if any(os.path.isdir(f"{path}/{name}") for name in os.listdir(path)):
                raise OSError(16, "Device or resource busy", path)
            with open(f"{path}/cgroup.procs") as stream:
                if stream.read():
                    raise OSError(16, "Device or resource busy", path)
            for name in os.listdir(path):
                os.unlink(f"{path}/{name}")
        self.real[1](path)

    def send(self, fd: int, text: str) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        errnos = self.refusals.get((os.path.basename(path), text))
        if errnos:
            code = errnos.pop(0)
            raise OSError(code, os.strerror(code), path)
        self.writes.append((os.path.relpath(path, self.root), text))
        with open(path, "w") as stream:
            stream.write(text + "\n")
        directory, _, name = path.rpartition("/")
        if name.startswith("devices."):
            self.decide(directory, name, text)

    def decide(self, directory: str, file: str, line: str) -> None:
        """Keep `devices.list` as the kernel would; what `kept_rules` names stays whatever."""
        with open(f"{directory}/{LIST}") as stream:
            state = kernel_model(parse_list(stream.read()), [(file, [line])])
        lines = [text(key, bits) for key, bits in state.exceptions.items()]
        lines = ["a *:* rwm"] if state.allows else [*lines, *self.kept_rules]
        with open(f"{directory}/{LIST}", "w") as stream:
            stream.write("".join(line + "\n" for line in lines))

    def put(self, path: str, text: str) -> None:
        """Change a file behind the runtime's back."""
        (self.root / path).write_text(text)

    def texts(self, path: str) -> list[str]:
        """List what was written to the file whose path ends so."""
        return [text for written, text in self.writes if written.endswith(path)]

    def made(self, path: str = "web", layout: str = "v1", **more: Any) -> Cgroup:  # noqa: ANN401
        """Prepare a cgroup and forget what was written for that."""
        cgroup = choose.new_cgroup(path, "id", "cgroupfs", table=self.table(layout), **more)
        cgroup.prepare({})
        self.writes.clear()
        return cgroup

    def table(self, layout: str, own: str = "/own") -> Table:
        """Return the mount table and own cgroups of a host with that layout; make its trees."""
        lines, mine = [], []
        if layout in ("v1", "hybrid"):
            for number, name in enumerate(V1_FILES, 1):
                self.mount(name)
                option = "name=systemd" if name == "systemd" else name
                lines.append(mountinfo_line(f"{self.root}/{name}", "/", "cgroup", option))
                mine.append(f"{number}:{option}:{own}")
                if own != "/":
                    self.mkdir(f"{self.root}/{name}{own}")
            for file, value in (("cpuset.cpus", "0-3\n"), ("cpuset.mems", "0\n")):
                self.put(f"cpuset/{file}", value)
        if layout in ("v2", "hybrid"):
            self.mount("unified")
            if own != "/":
                self.mkdir(f"{self.root}/unified{own}")
            lines.append(mountinfo_line(f"{self.root}/unified", "/", "cgroup2", "nsdelegate"))
            mine.append(f"0::{own}")
        self.writes.clear()
        return Table("\n".join(["22 27 0:21 / /proc rw - proc proc rw", *lines]), "\n".join(mine))


class FakePrograms:
    """What bpf(2) keeps: programs by id, which ones are attached, and what was done, in order.

    A descriptor of a program is a real one (of /dev/null), so that a test sees who forgets it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from ocirun.kernel import bpf

        self.codes: dict[int, bytes] = {}
        self.open: dict[int, int] = {}  # descriptor: id
        self.attached: list[int] = []
        self.done: list[str] = []
        self.refusals: dict[str, int] = {}  # function: errno
        self.log = ""
        for name in ("prog_load", "prog_attach", "prog_detach", "prog_query", "prog_get_fd_by_id"):
            monkeypatch.setattr(bpf, name, getattr(self, name))

    def refuse(self, function: str) -> None:
        if code := self.refusals.get(function):
            raise OSError(code, os.strerror(code))

    def add(self, code: bytes = b"") -> int:
        self.codes[number := len(self.codes) + 1] = code
        return number

    def fd_of(self, number: int) -> int:
        fd = os.open("/dev/null", os.O_RDONLY)
        self.open[fd] = number
        return fd

    def prog_load(
        self, kind: int, code: bytes, license_name: str, name: str, log: bytearray | None = None
    ) -> int:
        assert (kind, license_name, name) == (15, "Apache-2.0", "ocirun_devices")
        if log is not None:
            log[: len(self.log) + 1] = self.log.encode() + b"\0"
        self.refuse("prog_load")
        return self.fd_of(self.add(code))

    def prog_attach(
        self, cgroup_fd: int, prog_fd: int, attach_type: int, flags: int, replaced_fd: int = 0
    ) -> None:
        assert (attach_type, flags & 2) == (6, 2)
        assert os.path.isdir(f"/proc/self/fd/{cgroup_fd}")
        self.refuse("prog_attach")
        number = self.open[prog_fd]
        if flags & 4:
            old = self.open[replaced_fd]
            self.attached[self.attached.index(old)] = number
            self.done.append(f"replace {old} by {number}")
        else:
            self.attached.append(number)
            self.done.append(f"attach {number}")

    def prog_detach(self, cgroup_fd: int, prog_fd: int, attach_type: int) -> None:
        assert (cgroup_fd > 2, attach_type) == (True, 6)
        self.refuse("prog_detach")
        self.attached.remove(self.open[prog_fd])
        self.done.append(f"detach {self.open[prog_fd]}")

    def prog_query(self, cgroup_fd: int, attach_type: int) -> list[int]:
        assert (cgroup_fd > 2, attach_type) == (True, 6)
        self.refuse("prog_query")
        return list(self.attached)

    def prog_get_fd_by_id(self, prog_id: int) -> int:
        self.refuse("prog_get_fd_by_id")
        return self.fd_of(prog_id)


def mountinfo_line(point: str, root: str, kind: str, options: str) -> str:
    return f"36 31 0:33 {root} {point} rw,relatime shared:9 - {kind} {kind} rw,{options}"


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> FakePrograms:
    """Keep every bpf(2) away from the real kernel."""
    return FakePrograms(monkeypatch)


@pytest.fixture(scope="session")
def device_kernel() -> Callable[[Verdicts, list[tuple[str, list[str]]]], Verdicts]:
    """Return what the kernel's v1 device cgroup makes of writes."""
    return kernel_model


def rule(kind: str, major: int | None, minor: int | None, access: str) -> dict[str, object]:
    numbers = {"major": major, "minor": minor}
    given = {key: value for key, value in numbers.items() if value is not None}
    return {"allow": True, "type": kind, "access": access, **given}


@pytest.fixture(autouse=True)
def implied_devices(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Two implied rules are enough to see that they come last."""
    module = ModuleType("ocirun.spec.devices")
    module.DEFAULT_RULES = [rule("c", None, None, "m"), rule("c", 1, 3, "rwm")]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ocirun.spec.devices", module)
    return module.DEFAULT_RULES  # type: ignore[no-any-return]
