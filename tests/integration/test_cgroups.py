"""config-linux.md#control-groups, felt on the real kernel by processes of this test.

v1 and hybrid hosts: everything. The bare v2 tree of a hybrid host: making, joining, freezing,
killing, removing; its controllers belong to v1 there, so limits on v2 are proved on recorded files
in tests/unit/cgroups/test_cgroup_v2.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ocirun.cgroups.choose import known_cgroup, layout, new_cgroup
from ocirun.cgroups.enter import enter
from ocirun.cgroups.paths import Table, read_table
from ocirun.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocirun.cgroups.cgroup import Cgroup

LAYOUT = layout()
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make cgroups"),
]
on_v1 = pytest.mark.skipif(LAYOUT not in ("v1", "hybrid"), reason=f"this host's cgroups: {LAYOUT}")
V2_MOUNT = next((mount for mount in read_table().mounts if mount.version == 2), None)
on_v2_tree = pytest.mark.skipif(V2_MOUNT is None, reason="no cgroup v2 tree is mounted")
with_runc = pytest.mark.skipif(
    not (shutil.which("runc") and shutil.which("busybox")), reason="runc and busybox not installed"
)
NOTHING = [{"allow": False, "access": "rwm"}]
MB = 1 << 20


class Child:
    """A forked process that waits, does one thing in its cgroup, and tells the result as JSON."""

    def __init__(
        self, task: Callable[[], Any] | None = None, doors: list[int] | None = None, into: int = -1
    ) -> None:
        go_out, self.go = os.pipe()
        self.told, tell = os.pipe()
        self.pid = clone(into)
        if self.pid == 0:
            status = 1
            try:
                os.close(self.go)
                enter(doors or [])
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
    left = leftovers(unique)
    for directory in sorted(left, reverse=True):
        for pid in (directory / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.05)
        directory.rmdir()
    assert left == []


def leftovers(unique: str) -> list[Path]:
    return [path for mount in read_table().mounts for path in Path(mount.point).rglob(f"{unique}*")]


@pytest.fixture
def cgroup(name: str) -> Iterator[Cgroup]:
    made = new_cgroup(name, "id", "cgroupfs")
    yield made
    if made.paths:
        made.kill_all()
    made.remove()


def in_cgroup(cgroup: Cgroup, resources: dict[str, Any], task: Callable[[], Any]) -> Any:  # noqa: ANN401
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


# Making, joining, removing


@on_v1
@pytest.mark.parametrize("way", ["moved by the parent", "by itself"])
def test_a_process_is_in_every_hierarchy(cgroup: Cgroup, name: str, way: str) -> None:
    cgroup.prepare({})
    if way == "by itself":
        doors, into = cgroup.open_doors(), cgroup.cgroup_fd()
        child = Child(lambda: None, doors, -1 if into is None else into)
        for descriptor in doors if into is None else [*doors, into]:
            os.close(descriptor)
    else:
        child = Child(lambda: None)
        cgroup.join(child.pid)
    lines = Path(f"/proc/{child.pid}/cgroup").read_text().splitlines()
    assert [line for line in lines if not line.endswith(f"/{name}")] == []
    assert cgroup.processes() == [child.pid]
    child.result()
    cgroup.remove()
    assert leftovers(name) == []


@on_v1
def test_undo_leaves_nothing(name: str) -> None:
    cgroup = new_cgroup(f"/{name}/deep/er", "id", "cgroupfs")
    cgroup.prepare({})
    assert leftovers(name) != []
    cgroup.undo()
    assert leftovers(name) == []


@on_v1
def test_an_occupied_cgroup_is_refused(cgroup: Cgroup, name: str) -> None:
    cgroup.prepare({})
    child = Child(lambda: None)
    cgroup.join(child.pid)
    with pytest.raises(
        SetupError, match=r"^container's cgroup is not empty: 1 process\(es\) found$"
    ):
        new_cgroup(name, "id", "cgroupfs").prepare({})
    assert cgroup.processes() == [child.pid]
    child.result()


@on_v1
def test_a_frozen_cgroup_is_refused(cgroup: Cgroup, name: str) -> None:
    cgroup.prepare({})
    cgroup.freeze()
    with pytest.raises(SetupError, match=r"^container's cgroup unexpectedly frozen$"):
        new_cgroup(name, "id", "cgroupfs").prepare({})
    cgroup.thaw()


@on_v1
def test_a_known_cgroup_is_removed_with_all_below_it(cgroup: Cgroup, name: str) -> None:
    cgroup.prepare({})
    for directory in cgroup.directories():
        os.makedirs(f"{directory}/a/b")
    known = known_cgroup(json.loads(json.dumps(cgroup.paths)), "cgroupfs")
    known.remove()
    assert leftovers(name) == []


@on_v1
def test_removing_a_cgroup_in_use_says_so(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    child = Child(lambda: None)
    cgroup.join(child.pid)
    with pytest.raises(SetupError, match=r"removing cgroup .*: device or resource busy"):
        cgroup.remove()
    child.result()


# Each key, read back


@on_v1
@pytest.mark.parametrize(
    ("resources", "controller", "file", "expected"),
    [
        ({"memory": {"limit": 64 * MB}}, "memory", "memory.limit_in_bytes", str(64 * MB)),
        ({"memory": {"limit": 64 * MB, "swap": 96 * MB}}, "memory",
         "memory.memsw.limit_in_bytes", str(96 * MB)),
        ({"memory": {"reservation": 32 * MB}}, "memory", "memory.soft_limit_in_bytes",
         str(32 * MB)),
        ({"memory": {"swappiness": 7}}, "memory", "memory.swappiness", "7"),
        ({"cpu": {"shares": 512}}, "cpu", "cpu.shares", "512"),
        ({"cpu": {"period": 50000, "quota": 20000}}, "cpu", "cpu.cfs_quota_us", "20000"),
        ({"cpu": {"period": 50000}}, "cpu", "cpu.cfs_period_us", "50000"),
        ({"cpu": {"quota": 20000, "burst": 10000}}, "cpu", "cpu.cfs_burst_us", "10000"),
        ({"cpu": {"idle": 1}}, "cpu", "cpu.idle", "1"),
        ({"cpu": {"realtimePeriod": 500000, "realtimeRuntime": 0}}, "cpu", "cpu.rt_period_us",
         "500000"),
        ({"cpu": {"cpus": "0", "mems": "0"}}, "cpuset", "cpuset.cpus", "0"),
        ({"pids": {"limit": 17}}, "pids", "pids.max", "17"),
        ({"pids": {"limit": 0}}, "pids", "pids.max", "1"),
        ({"pids": {"limit": -1}}, "pids", "pids.max", "max"),
        ({"blockIO": {"weight": 300}}, "blkio", "blkio.bfq.weight", "300"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 * MB}]}, "hugetlb",
         "hugetlb.2MB.limit_in_bytes", str(2 * MB)),
        ({"network": {"classID": 1048577}}, "net_cls", "net_cls.classid", "1048577"),
    ],
)  # fmt: skip
def test_limits_are_read_back(
    cgroup: Cgroup, resources: dict[str, Any], controller: str, file: str, expected: str
) -> None:
    cgroup.prepare(resources)
    needs_file(cgroup, controller, file)
    cgroup.apply(resources)
    assert read(cgroup, controller, file) == expected


@on_v1
def test_oom_killer_is_disabled(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    needs_file(cgroup, "memory", "memory.oom_control")
    cgroup.apply({"memory": {"disableOOMKiller": True}})
    assert "oom_kill_disable 1" in read(cgroup, "memory", "memory.oom_control")


@on_v1
def test_throttles_are_read_back(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    needs_file(cgroup, "blkio", "blkio.throttle.read_bps_device")
    disk = next((Path(path) for path in sorted(Path("/sys/block").iterdir())), None)
    if disk is None:
        pytest.skip("this machine has no block device")
    numbers = (disk / "dev").read_text().strip()
    major, minor = (int(word) for word in numbers.split(":"))
    kinds = {"ReadBps": "read_bps", "WriteBps": "write_bps", "ReadIOPS": "read_iops",
             "WriteIOPS": "write_iops"}  # fmt: skip
    entry = {"major": major, "minor": minor}
    block_io = {
        f"throttle{kind}Device": [{**entry, "rate": 1000 + index}]
        for index, kind in enumerate(kinds)
    }
    cgroup.apply({"blockIO": block_io})
    for index, word in enumerate(kinds.values()):
        file = f"blkio.throttle.{word}_device"
        assert read(cgroup, "blkio", file) == f"{numbers} {1000 + index}"


@on_v1
def test_limits_change_on_a_cgroup_in_use(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    for limit, swap in ((64, 64), (32, 48), (128, 256), (16, -1), (-1, 0)):
        in_bytes = [value if value <= 0 else value * MB for value in (limit, swap)]
        cgroup.apply({"memory": {"limit": in_bytes[0], "swap": in_bytes[1]}})
        if limit > 0:
            assert read(cgroup, "memory", "memory.limit_in_bytes") == str(in_bytes[0])
    for period, quota in ((100000, 50000), (2000, 1900), (1000000, 500000)):
        cgroup.apply({"cpu": {"period": period, "quota": quota}})
        assert read(cgroup, "cpu", "cpu.cfs_period_us") == str(period)
        assert read(cgroup, "cpu", "cpu.cfs_quota_us") == str(quota)


@on_v1
def test_shares_out_of_range_are_told(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    with pytest.raises(SetupError, match=r"^the maximum allowed cpu-shares is 262144$"):
        cgroup.apply({"cpu": {"shares": 262145}})
    with pytest.raises(SetupError, match=r"^the minimum allowed cpu-shares is 2$"):
        cgroup.apply({"cpu": {"shares": 1}})


@on_v1
def test_a_refused_value_names_the_file_and_the_reason(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    directory = cgroup.paths["cpuset"]
    with pytest.raises(SetupError) as caught:
        cgroup.apply({"cpu": {"cpus": "4000"}})
    words = str(caught.value)
    assert words.startswith(f"setting {directory}/cpuset.cpus to '4000': ")


# Felt inside


@on_v1
def test_pids_limit_refuses_to_fork(cgroup: Cgroup) -> None:
    def fork_until_refused() -> int:
        children = []
        try:
            while len(children) < 50:
                pid = os.fork()
                if pid == 0:
                    time.sleep(60)
                    os._exit(0)
                children.append(pid)
        except BlockingIOError:
            pass
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return len(children)

    assert in_cgroup(cgroup, {"pids": {"limit": 5}}, fork_until_refused) == 4


@on_v1
def test_memory_limit_kills_and_is_counted(cgroup: Cgroup) -> None:
    def take_too_much() -> int:
        return len(bytearray(b"x") * (256 * MB))

    limits = {"memory": {"limit": 24 * MB, "swap": 24 * MB}}
    assert in_cgroup(cgroup, limits, take_too_much) == -signal.SIGKILL
    assert cgroup.oom_kills() == 1


@on_v1
def test_only_listed_devices_open(cgroup: Cgroup, tmp_path: Path) -> None:
    def open_each() -> dict[str, str]:
        results = {}
        for path, flags in (("null", os.O_RDWR), ("kmsg", os.O_RDONLY), ("zero", os.O_RDONLY)):
            try:
                os.close(os.open(tmp_path / path, flags | os.O_NONBLOCK))
                results[path] = "opened"
            except OSError as error:
                results[path] = os.strerror(error.errno or 0)
        return results

    for node, minor in (("null", 3), ("zero", 5), ("kmsg", 11)):
        os.mknod(tmp_path / node, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    denied = {"null": "opened", "kmsg": "Operation not permitted", "zero": "opened"}
    assert in_cgroup(cgroup, {"devices": NOTHING}, open_each) == denied
    allowed = [*NOTHING, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]
    cgroup.apply({"devices": allowed})
    child = Child(open_each)
    cgroup.join(child.pid)
    assert child.result() == {**denied, "kmsg": "opened"}


@on_v1
def test_without_any_limits_devices_are_still_denied(cgroup: Cgroup) -> None:
    cgroup.prepare(None)
    cgroup.apply(None)
    rules = read(cgroup, "devices", "devices.list").splitlines()
    assert "a *:* rwm" not in rules
    assert "c 1:3 rwm" in rules
    cgroup.apply({"devices": [{"allow": True, "access": "rwm"}]})
    assert read(cgroup, "devices", "devices.list") == "a *:* rwm"


@on_v1
def test_the_kernel_ends_with_the_rules_asked_for_from_any_state(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    states = [
        [{"allow": True}, {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"}],
        [*NOTHING, {"allow": True, "type": "b", "major": 8, "access": "rw"}],
        [*NOTHING, {"allow": True, "type": "b", "major": 8, "access": "r"},
         {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}],
        [{"allow": True}],
        [],
    ]  # fmt: skip
    for rules in (*states, *reversed(states)):
        cgroup.apply({"devices": rules})  # compares with what the kernel made of it
    assert "b 8:* r" not in read(cgroup, "devices", "devices.list")


@on_v1
def test_chosen_cpus_are_the_ones_used(cgroup: Cgroup) -> None:
    last = str(max(os.sched_getaffinity(0)))
    task = lambda: sorted(os.sched_getaffinity(0))  # noqa: E731
    assert in_cgroup(cgroup, {"cpu": {"cpus": last}}, task) == [int(last)]


@on_v1
def test_cpus_are_chosen_below_new_parents(name: str) -> None:
    cgroup = new_cgroup(f"/{name}/pod/web", "id", "cgroupfs")
    cgroup.prepare({"cpu": {"cpus": "0"}})
    assert read(cgroup, "cpuset", "cpuset.cpus") == "0"
    assert read(cgroup, "cpuset", "cpuset.mems") != ""
    cgroup.undo()


@on_v1
def test_quota_slows_down(cgroup: Cgroup) -> None:
    def be_busy() -> float:
        start, used = time.monotonic(), time.process_time()
        while time.monotonic() - start < 1.0:
            pass
        return (time.process_time() - used) / (time.monotonic() - start)

    limits = {"cpu": {"period": 20000, "quota": 6000}}
    assert in_cgroup(cgroup, limits, be_busy) == pytest.approx(0.3, rel=0.15)


# Freezing and killing


def processor_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def spin() -> None:
    while True:
        pass


@on_v1
def test_frozen_processes_stand_still(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    child = Child(spin)
    cgroup.join(child.pid)
    os.write(child.go, b"x")
    cgroup.freeze()
    assert cgroup.is_frozen()
    before = processor_ticks(child.pid)
    time.sleep(0.2)
    assert processor_ticks(child.pid) == before
    cgroup.thaw()
    assert not cgroup.is_frozen()
    time.sleep(0.2)
    assert processor_ticks(child.pid) > before
    cgroup.kill_all()
    assert child.end() == -signal.SIGKILL


@on_v1
def test_below_a_frozen_cgroup_counts_as_running(cgroup: Cgroup, name: str) -> None:
    cgroup.prepare({})
    inner = new_cgroup(f"{name}/inner", "id", "cgroupfs")
    inner.prepare({})
    cgroup.freeze()
    assert (cgroup.is_frozen(), inner.is_frozen()) == (True, False)
    cgroup.thaw()


@on_v1
def test_frozen_processes_are_killed_and_nothing_stays_frozen(cgroup: Cgroup) -> None:
    cgroup.prepare({})
    child = Child(spin)
    cgroup.join(child.pid)
    cgroup.freeze()
    cgroup.kill_all()
    assert child.end() == -signal.SIGKILL
    assert not cgroup.is_frozen()


def fork_forever() -> None:
    while True:
        with contextlib.suppress(OSError):
            os.fork()


@on_v1
@pytest.mark.parametrize("hierarchies", ["all", "v1 only"])
def test_endless_forking_is_killed_completely(cgroup: Cgroup, hierarchies: str) -> None:
    if hierarchies == "v1 only":  # without cgroup.kill of the v2 tree beside them
        cgroup.paths.pop("", None)
    limits = {"pids": {"limit": 40}}
    cgroup.prepare(limits)
    child = Child(fork_forever)
    cgroup.join(child.pid)
    cgroup.apply(limits)
    os.write(child.go, b"x")
    time.sleep(0.2)
    assert len(cgroup.processes()) > 10
    cgroup.kill_all()
    assert child.end() == -signal.SIGKILL
    cgroup.remove()


@on_v1
def test_parallel_creation_below_a_shared_parent_leaves_nothing(name: str) -> None:
    limits = {"cpu": {"cpus": "0"}, "pids": {"limit": 5}, "devices": NOTHING}

    def come_and_go(number: int) -> int:
        for turn in range(10):
            cgroup = new_cgroup(f"/{name}/pod{turn % 2}/{number}", "id", "cgroupfs")
            cgroup.prepare(limits)
            child = Child(lambda: time.sleep(60))
            cgroup.join(child.pid)
            cgroup.apply(limits)
            assert cgroup.processes() == [child.pid]
            cgroup.kill_all()
            assert child.end() == -signal.SIGKILL
            (cgroup.undo if turn % 3 else cgroup.remove)()
        return number

    workers = [Child(lambda number=number: come_and_go(number)) for number in range(8)]  # type: ignore[misc]
    for worker in workers:
        os.write(worker.go, b"x")
    assert [worker.end() for worker in workers] == list(range(8))
    left = sorted(leftovers(name), reverse=True)
    for top in left:  # parents of a container stay, as with runc: nobody knows whose they are
        for pod in sorted(top.iterdir()):
            if pod.is_dir():
                pod.rmdir()
        top.rmdir()


# The bare v2 tree


@pytest.fixture
def v2_table(name: str) -> Iterator[Table]:
    """A part of the real v2 tree passes for a host that has only v2."""
    assert V2_MOUNT is not None
    top = f"{V2_MOUNT.point}/{name}"
    os.mkdir(top)
    line = f"41 31 0:38 /{name} {top} rw - cgroup2 cgroup2 rw"
    yield Table(line, f"0::/{name}/own")
    os.rmdir(top)


@on_v2_tree
def test_v2_is_made_cloned_into_frozen_killed_and_removed(v2_table: Table) -> None:
    cgroup = new_cgroup("", "web", "cgroupfs", table=v2_table)
    assert layout(v2_table) == "v2"
    cgroup.prepare({})
    into = cgroup.cgroup_fd()
    assert into is not None
    child = Child(spin, into=into)
    os.close(into)
    assert cgroup.processes() == [child.pid]
    with pytest.raises(SetupError, match="not empty: 1 process"):
        new_cgroup("", "web", "cgroupfs", table=v2_table).prepare({})
    os.write(child.go, b"x")
    cgroup.freeze()
    before = processor_ticks(child.pid)
    time.sleep(0.2)
    assert processor_ticks(child.pid) == before
    assert cgroup.is_frozen()
    cgroup.kill_all()
    assert child.end() == -signal.SIGKILL
    assert not cgroup.is_frozen()
    cgroup.remove()
    assert not os.path.exists(cgroup.paths[""])


@on_v2_tree
@pytest.mark.skipif(LAYOUT == "v2", reason=f"this host's cgroups: {LAYOUT}: nothing is missing")
def test_v2_is_joined_by_pid_and_told_what_is_missing(v2_table: Table) -> None:
    cgroup = new_cgroup("/a/b", "web", "cgroupfs", table=v2_table)
    cgroup.prepare({})
    child = Child(lambda: None)
    cgroup.join(child.pid)
    assert cgroup.processes() == [child.pid]
    with pytest.raises(SetupError, match=r"^cannot set memory limit: controller memory not avail"):
        cgroup.apply({"memory": {"limit": MB}})
    child.result()
    cgroup.remove()
    os.rmdir(os.path.dirname(cgroup.paths[""]))


@on_v2_tree
def test_v2_below_a_threaded_cgroup(v2_table: Table) -> None:
    top = v2_table.mounts[0].point
    os.mkdir(f"{top}/a")
    Path(top, "a", "cgroup.type").write_text("threaded")
    cgroup = new_cgroup("/a/b", "web", "cgroupfs", table=v2_table)
    with pytest.raises(SetupError, match="with domain controllers -- it is in threaded mode"):
        cgroup.prepare({"memory": {"limit": MB}})
    cgroup.prepare({})
    assert Path(cgroup.paths[""], "cgroup.type").read_text() == "threaded\n"
    cgroup.remove()
    os.rmdir(f"{top}/a")


# Beside runc


@pytest.fixture
def runc(tmp_path: Path, name: str) -> Iterator[Callable[[str, dict[str, Any]], dict[str, str]]]:
    """Let runc make a container with that cgroupsPath and those limits; its cgroups come back."""
    binaries = tmp_path / "rootfs" / "bin"
    binaries.mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), binaries / "sh")
    root = ["runc", "--root", str(tmp_path / "state")]

    def create(cgroups_path: str, resources: dict[str, Any]) -> dict[str, str]:
        subprocess.run(["runc", "spec"], cwd=tmp_path, check=True)
        config = json.loads((tmp_path / "config.json").read_text())
        config["process"].update(terminal=False, args=["sh"], rlimits=[])
        config["linux"].update(cgroupsPath=cgroups_path, resources=resources)
        (tmp_path / "config.json").write_text(json.dumps(config))
        with open(tmp_path / "log", "w+") as log:
            words = [*root, "create", "--bundle", str(tmp_path), name]
            made = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            )
            log.seek(0)
            assert made.returncode == 0, log.read()
        (tmp_path / "config.json").unlink()
        state = json.loads((tmp_path / "state" / name / "state.json").read_text())
        paths: dict[str, str] = state["cgroup_paths"]
        return paths

    yield create
    subprocess.run([*root, "delete", "--force", name], check=True)


COUNTERS = (
    "procs", "tasks", "threads", "usage", "failcnt", "pressure", "stat", "events", "current",
    "peak", "blkio.bfq.io", "blkio.throttle.io", "slabinfo",
)  # fmt: skip


def settings(directory: str) -> dict[str, list[str]]:
    """Read every file of a cgroup but those that count: sorted lines by file name."""
    found = {}
    for path in sorted(Path(directory).iterdir()):
        if path.is_file() and not any(word in path.name for word in COUNTERS):
            with contextlib.suppress(OSError):  # write only
                found[path.name] = sorted(path.read_text().splitlines())
    return found


@on_v1
@with_runc
@pytest.mark.parametrize(
    "resources",
    [
        {},
        {"devices": NOTHING},
        {"devices": [{"allow": True, "access": "rwm"}]},
        {
            "devices": [
                *NOTHING,
                {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
                {"allow": True, "type": "b", "major": 8, "access": "r"},
                {"allow": False, "type": "b", "major": 8, "access": "w"},
            ],
            "memory": {
                "limit": 64 * MB, "swap": 128 * MB, "reservation": 32 * MB, "swappiness": 10
            },
            "cpu": {
                "shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"
            },
            "pids": {"limit": 20},
        },
        {"memory": {"limit": 64 * MB}, "pids": {"limit": -1}, "cpu": {"quota": -1}},
        {"memory": {"limit": -1}, "cpu": {"shares": 2}},
        {"memory": {"limit": 32 * MB, "swap": -1, "disableOOMKiller": True}},
    ],
    ids=["none", "no devices", "all devices", "many", "unlimited pids", "no limit", "endless swap"],
)  # fmt: skip
def test_files_hold_what_runc_writes(
    cgroup: Cgroup,
    name: str,
    runc: Callable[[str, dict[str, Any]], dict[str, str]],
    resources: dict[str, Any],
) -> None:
    theirs = runc(f"{name}-runc", resources)
    cgroup.prepare(resources)
    cgroup.apply(resources)
    assert sorted(cgroup.paths) == sorted(theirs)
    for controller, path in cgroup.paths.items():
        ours = settings(path)
        assert ours == settings(theirs[controller])
        if controller not in ("", "name=systemd", "cpuacct"):
            assert any(file.startswith(controller) for file in ours), "nothing was compared"


@on_v1
@with_runc
@pytest.mark.parametrize("form", ["/NAME", "NAME", "../../NAME", "/../x/../NAME", "NAME//.", ""])
def test_paths_are_the_ones_runc_computes(
    name: str, runc: Callable[[str, dict[str, Any]], dict[str, str]], form: str
) -> None:
    path = form.replace("NAME", name)
    theirs = runc(path, {})
    assert new_cgroup(path, name, "cgroupfs").paths == theirs
