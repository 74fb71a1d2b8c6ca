"""Namespaces of every kind in one container: new ones, joined ones, foreign ones.

Each mix is made by the command, whose init is forked, and by the library, whose init is executed.

Source: runtime-spec config-linux.md#namespaces; setns(2), user_namespaces(7);
docs/runc-compat/init.md#namespaces.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import wait_until

FILES = {
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mnt",
    "cgroup": "cgroup",
    "time": "time",
    "user": "user",
}
MAP = (0, 100000, 65536)
OTHER_MAP = (0, 300000, 65536)
WITHOUT_TIME = peer_deviates("runc", "1.1 does not know time namespaces")


@pytest.fixture
def stranger() -> Generator[subprocess.Popen[bytes], None, None]:
    """A process in namespaces that belong to a user namespace of its own."""
    process = subprocess.Popen(
        ["unshare", "--user", "--net", "--uts", "--ipc", "--cgroup", "sleep", "100"]
    )
    wait_until(
        lambda: inode(process.pid, "cgroup") != inode(os.getpid(), "cgroup"), "the namespaces"
    )
    (Path("/proc") / str(process.pid) / "uid_map").write_text("0 500000 65536")
    (Path("/proc") / str(process.pid) / "gid_map").write_text("0 500000 65536")
    yield process
    process.kill()
    process.wait()


def inode(pid: int, kind: str) -> int:
    return os.stat(f"/proc/{pid}/ns/{FILES[kind]}").st_ino


def path(pid: int, kind: str) -> str:
    return f"/proc/{pid}/ns/{FILES[kind]}"


def waiting(bundle: Bundle) -> Bundle:
    bundle.process["args"] = ["/probe", "wait"]
    return bundle


def with_userns(bundle: Bundle, *maps: tuple[int, int, int]) -> Bundle:
    bundle.use_userns(*(maps or (MAP,)))
    return bundle


def joining(box: Box, other: int, *kinds: str) -> Bundle:
    bundle = box.bundle()
    for kind in kinds:
        bundle.set_namespace(kind, path(other, kind))
    return bundle


def check(report: dict[str, object], other: int, *kinds: str) -> None:
    """The kinds are those of the process `other`, the rest is not."""
    namespaces = report["namespaces"]
    assert isinstance(namespaces, dict)
    for kind, name in FILES.items():
        if kind in kinds:
            assert namespaces[name] == inode(other, kind), kind
        elif kind in ("pid", "network", "ipc", "uts", "mount"):
            assert namespaces[name] != inode(other, kind), kind


def owner_of(ns_path: str) -> int:
    """The inode of the user namespace that owns the namespace."""
    import fcntl

    fd = os.open(ns_path, os.O_RDONLY)
    try:
        owner = fcntl.ioctl(fd, 0xB701)  # NS_GET_USERNS
        try:
            return os.fstat(owner).st_ino
        finally:
            os.close(owner)
    finally:
        os.close(fd)


class TestNew:
    """Everything new at once."""

    @WITHOUT_TIME
    @peer_deviates("crun", "1.8 does not know time namespaces", sometimes=True)
    def test_all_eight_namespaces_can_be_new(self, each_way: Box) -> None:
        bundle = waiting(with_userns(each_way.bundle()))
        bundle.set_namespace("cgroup")
        bundle.set_namespace("time")
        bundle.linux["timeOffsets"] = {"monotonic": {"secs": 7}, "boottime": {"secs": -1}}
        container = each_way.running(bundle)
        for kind in FILES:
            assert inode(container.pid, kind) != inode(os.getpid(), kind)
            if kind != "user":
                assert owner_of(path(container.pid, kind)) == inode(container.pid, "user"), kind
        offsets = Path(f"/proc/{container.pid}/timens_offsets").read_text().split()
        assert offsets == ["monotonic", "7", "0", "boottime", "-1", "0"]


class TestJoined:
    """By path, with and without a new user namespace."""

    @pytest.mark.parametrize("userns", [False, True], ids=["", "userns"])
    @pytest.mark.parametrize(
        "kinds",
        [("network",), ("pid",), ("ipc", "uts"), ("cgroup",), ("network", "pid", "ipc", "uts")],
        ids="+".join,
    )
    @peer_deviates("crun", "1.8 cannot do all with a pid namespace and new ids", sometimes=True)
    def test_of_another_container(
        self, each_way: Box, kinds: tuple[str, ...], *, userns: bool
    ) -> None:
        other_bundle = waiting(each_way.bundle())
        other_bundle.set_namespace("cgroup")
        other = each_way.running(other_bundle).pid
        bundle = joining(each_way, other, *kinds)
        if userns:
            with_userns(bundle)
        if userns and "pid" in kinds:
            # Kernel: a procfs of a pid namespace that is not its own is not mounted by a mapped
            # root; clients bind one.
            bundle.mounts[0] = bind("/proc", "/proc")
        report = each_way.report(bundle)
        check(report, other, *kinds)
        if userns:
            assert report["uid_map"][0].split() == ["0", "100000", "65536"]

    @WITHOUT_TIME
    @peer_deviates("crun", "1.8 does not know them", sometimes=True)
    @pytest.mark.parametrize("userns", [False, True], ids=["", "userns"])
    def test_a_time_namespace_is_joined(self, each_way: Box, *, userns: bool) -> None:
        other_bundle = waiting(each_way.bundle())
        other_bundle.set_namespace("time")
        other_bundle.linux["timeOffsets"] = {"boottime": {"secs": 1000}}
        other = each_way.running(other_bundle).pid
        bundle = joining(each_way, other, "time")
        if userns:
            with_userns(bundle)
        check(each_way.report(bundle), other, "time")

    @peer_deviates("runc", "1.1 wants the maps beside the path")
    @pytest.mark.parametrize(
        "kinds", [("user",), ("user", "network"), ("user", "pid", "ipc", "uts")], ids="+".join
    )
    def test_a_user_namespace_and_what_it_owns(self, each_way: Box, kinds: tuple[str, ...]) -> None:
        other = each_way.running(waiting(with_userns(each_way.bundle()))).pid
        bundle = joining(each_way, other, *kinds)
        report = each_way.report(bundle)
        check(report, other, *kinds)
        assert report["uids"] == [0, 0, 0]

    @peer_deviates("runc", "1.1 wants the maps beside the path")
    def test_a_user_namespace_and_a_network_of_the_host(self, each_way: Box) -> None:
        """The network belongs to the host's user namespace: it must be entered before the other."""
        network = each_way.running().pid
        other = each_way.running(waiting(with_userns(each_way.bundle()))).pid
        bundle = joining(each_way, other, "user")
        bundle.set_namespace("network", path(network, "network"))
        report = each_way.report(bundle)
        assert report["namespaces"]["net"] == inode(network, "network")
        assert report["namespaces"]["user"] == inode(other, "user")

    @pytest.mark.parametrize("kind", ["network", "uts", "ipc", "cgroup"])
    @pytest.mark.parametrize("userns", [False, True], ids=["", "userns"])
    def test_namespaces_of_a_foreign_user_namespace_are_joined(
        self, each_way: Box, stranger: subprocess.Popen[bytes], kind: str, *, userns: bool
    ) -> None:
        """It belongs to a user namespace that is neither the host's nor the container's."""
        bundle = joining(each_way, stranger.pid, kind)
        if userns:
            with_userns(bundle, OTHER_MAP)
        check(each_way.report(bundle), stranger.pid, kind)

    @peer_deviates("runc", "1.1 knows neither time nor a path beside no maps")
    @peer_deviates("crun", "1.8 does not know time namespaces", sometimes=True)
    def test_all_but_mount(self, each_way: Box) -> None:
        other_bundle = waiting(with_userns(each_way.bundle()))
        other_bundle.set_namespace("cgroup")
        other_bundle.set_namespace("time")
        other = each_way.running(other_bundle).pid
        kinds = [kind for kind in FILES if kind != "mount"]
        check(each_way.report(joining(each_way, other, *kinds)), other, *kinds)

    def test_maps_equal_to_those_of_the_path(self, each_way: Box) -> None:
        other = each_way.running(waiting(with_userns(each_way.bundle()))).pid
        bundle = with_userns(each_way.bundle())
        bundle.set_namespace("user", path(other, "user"))
        check(each_way.report(bundle), other, "user")

    @peer_deviates("runc", "1.1 does not compare")
    @peer_deviates("crun", "does not compare")
    @pytest.mark.parametrize("maps", [OTHER_MAP, (0, 100000, 65535)])
    def test_other_maps_than_those_of_the_path(
        self, each_way: Box, maps: tuple[int, int, int]
    ) -> None:
        other = each_way.running(waiting(with_userns(each_way.bundle()))).pid
        bundle = with_userns(each_way.bundle(), maps)
        bundle.set_namespace("user", path(other, "user"))
        each_way.container(bundle).create().failed("non-matching mapping")


class TestMount:
    """A mount namespace that somebody else made."""

    @pytest.fixture
    def prepared(self, box: Box) -> Generator[subprocess.Popen[bytes], None, None]:
        """A process in a mount namespace of its own, where box/place is mounted."""
        (box.folder / "place").mkdir()
        script = f"mount -t tmpfs tmpfs {box.folder}/place; mkdir {box.folder}/place/here; "
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             f"{script} exec sleep 100"]
        )  # fmt: skip
        mounts = Path(f"/proc/{process.pid}/mountinfo")
        wait_until(lambda: f"{box.folder}/place" in mounts.read_text(), "the mount")
        yield process
        process.kill()
        process.wait()

    @pytest.mark.parametrize("userns", [False, True], ids=["", "userns"])
    def test_its_mounts_can_be_bound(
        self, each_way: Box, prepared: subprocess.Popen[bytes], *, userns: bool
    ) -> None:
        mount = inode(prepared.pid, "mount")
        bundle = joining(each_way, prepared.pid, "mount")
        bundle.mounts.append(bind(str(each_way.folder / "place"), "/data"))
        bundle.process["args"] = ["ls", "/data"]
        if userns:
            # A mapped root has no right over mounts of the host.
            each_way.container(with_userns(bundle)).create().failed()
            return
        assert each_way.output(bundle) == "here\n"
        assert inode(prepared.pid, "mount") == mount

    @peer_deviates("runc", "1.1 needs the joined namespace's /proc")
    @peer_deviates("crun", "1.8 needs the joined namespace's /proc")
    def test_nothing_of_it_is_run(self, each_way: Box, prepared: subprocess.Popen[bytes]) -> None:
        """What the joined namespace has in the place of our modules is not looked at."""
        import ocirun

        modules = str(Path(ocirun.__file__).parent)
        script = f"mount -t tmpfs tmpfs {modules}; mount -t tmpfs tmpfs /proc"
        subprocess.run(
            ["nsenter", f"--mount=/proc/{prepared.pid}/ns/mnt", "sh", "-c", script], check=True
        )
        bundle = joining(each_way, prepared.pid, "mount", "pid")
        bundle.drop_namespace("pid")
        bundle.process["oomScoreAdj"] = 500
        bundle.set_namespace("pid", path(os.getpid(), "pid"))
        assert each_way.report(bundle)["namespaces"]["mnt"] == inode(prepared.pid, "mount")


class TestPid:
    """Without a pid namespace of its own."""

    @pytest.fixture
    def pair(self, each_way: Box) -> Generator[tuple[Container, Container], None, None]:
        """A container, and one with several processes in the pid namespace of the first."""
        other = each_way.running()
        bundle = joining(each_way, other.pid, "pid")
        bundle.process["args"] = ["sh", "-c", "sleep 100 & sleep 100 & echo ready; wait"]
        container = each_way.running(bundle)
        container.wait_output("ready")
        pid = container.pid
        yield other, container
        container.delete("--force")
        # Kernel: process 1 of a namespace does not end before who else is in there is reaped, and
        # this one is a child of ours.
        os.waitpid(pid, 0)

    def test_the_pid_told_is_the_hosts(self, pair: tuple[Container, Container]) -> None:
        other, container = pair
        assert inode(container.pid, "pid") == inode(other.pid, "pid")
        assert b"sleep" in Path(f"/proc/{container.pid}/cmdline").read_bytes()
        assert container.state()["status"] == "running"

    def test_kill_ends_all_of_it_and_nothing_else(self, pair: tuple[Container, Container]) -> None:
        other, container = pair
        container.stop()
        container.delete().ok()
        # Its other processes were no children of process 1, who is not there to reap them.
        wait_until(lambda: not others_in(other.pid), "the end of the background processes")
        assert other.state()["status"] == "running"

    def test_delete_by_force_ends_all_of_it(self, pair: tuple[Container, Container]) -> None:
        other, container = pair
        container.delete("--force").ok()
        wait_until(lambda: not others_in(other.pid), "the end of the background processes")
        assert other.state()["status"] == "running"

    def test_a_term_reaches_only_init(self, pair: tuple[Container, Container]) -> None:
        _, container = pair
        container.kill("TERM").ok()
        container.wait_status("stopped")
        container.delete().ok()

    def test_it_ends_with_the_namespace(self, pair: tuple[Container, Container]) -> None:
        other, container = pair
        os.kill(other.pid, signal.SIGKILL)
        container.wait_status("stopped")
        container.delete().ok()

    def test_hooks_of_the_runtime_are_in_its_namespaces(self, each_way: Box) -> None:
        other = each_way.running()
        bundle = joining(each_way, other.pid, "pid", "network", "uts")
        out = each_way.folder / "seen"
        script = f"readlink /proc/self/ns/pid /proc/self/ns/net /proc/self/ns/mnt > {out}; cat"
        bundle.config["hooks"] = {
            "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"{script} > {out}.state"]}]
        }
        report = each_way.report(bundle)
        here = [os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "net", "mnt")]
        assert out.read_text().split() == here
        assert report["pid"] != 1


def others_in(pid: int) -> list[int]:
    """The processes in the pid namespace of `pid`, zombies and itself left out."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == pid:
            continue
        try:
            if inode(int(name), "pid") == inode(pid, "pid"):
                state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
                found += [int(name)] if state != "Z" else []
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def bind(source: str, destination: str) -> dict[str, object]:
    return {"destination": destination, "source": source, "options": ["rbind"]}


class TestRefusals:
    """Said before anything is made."""

    @needs("ours")
    @pytest.mark.parametrize(
        ("kind", "place", "words"),
        [
            ("network", "/no/such/path", "no such file"),
            ("network", "/etc/passwd", "not a namespace"),
            ("network", "/etc", "not a namespace"),
            ("network", "/proc/self/ns/uts", "is a uts namespace, not a network namespace"),
            ("user", "/proc/self/ns/pid", "is a pid namespace, not a user namespace"),
            ("user", "/proc/self/ns/user", "the user namespace we are in already"),
            ("pid", "proc/self/ns/pid", "must be absolute"),
        ],
    )
    def test_a_path_that_is_no_such_namespace_is_refused(
        self, each_way: Box, kind: str, place: str, words: str
    ) -> None:
        bundle = each_way.bundle()
        bundle.set_namespace(kind, place)
        seen = each_way.folder / "hook"
        hook = {"path": "/bin/touch", "args": ["touch", str(seen)]}
        bundle.config["hooks"] = {"poststop": [hook]}
        each_way.container(bundle).create().failed(words)
        assert not seen.exists()

    @needs("ours")
    def test_a_fifo_does_not_hold_us_up(self, each_way: Box) -> None:
        os.mkfifo(each_way.folder / "fifo")
        bundle = each_way.bundle()
        bundle.set_namespace("network", str(each_way.folder / "fifo"))
        each_way.container(bundle).create().failed("not a namespace")
