"""Containers of an ordinary user whose systemd has given it a cgroup of its own.

Run as that user, below its own manager: `make lab USER=u1`. What a user may do without any cgroup
is in test_rootless.py.

Source: docs/runc-compat/rootless.md#cgroups, docs/runc-compat/rootless.md; user_namespaces(7),
newuidmap(1), cgroups(7) "Delegation".
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.machine import own_cgroup
from harness.needs import needs
from harness.runtime import wait_until

pytestmark = needs("delegated", "userns")

TOP = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "memory", "pids")
MB = 1 << 20


@pytest.fixture(scope="module")
def cgroup() -> Path:
    """The user's own cgroup; this process waits in a child of it, beside those of the containers.

    Kernel: only a cgroup without processes of its own may give controllers to its children. The
    manager removes them all when we end.
    """
    own = TOP / own_cgroup("").lstrip("/")
    waiting = own / "waiting"
    waiting.mkdir()
    for pid in (own / "cgroup.procs").read_text().split():
        (waiting / "cgroup.procs").write_text(pid)
    (own / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in CONTROLLERS))
    return own


def subordinate(file: str) -> tuple[int, int]:
    """The first of the user's own ids in /etc/subuid or /etc/subgid, and their count."""
    name = os.environ["USER"]
    for line in Path(file).read_text().splitlines():
        user, first, count = line.split(":")
        if user == name:
            return int(first), int(count)
    raise AssertionError(f"{file} has nothing for {name}")


def rootless(bundle: Bundle, *, several: bool = False) -> Bundle:
    """Map the user to root inside, and its subordinate ids to the others."""
    bundle.set_namespace("user")
    for key, own, file in (
        ("uidMappings", os.getuid(), "/etc/subuid"),
        ("gidMappings", os.getgid(), "/etc/subgid"),
    ):
        maps = [{"containerID": 0, "hostID": own, "size": 1}]
        if several:
            first, count = subordinate(file)
            maps.append({"containerID": 1, "hostID": first, "size": count})
        bundle.linux[key] = maps
    return bundle


def limited(
    box: Box, cgroup: Path, resources: dict[str, Any], *args: str
) -> tuple[Container, Path]:
    """A container that is not run yet, with limits, and where its cgroup will be."""
    bundle = rootless(box.bundle(*(args or ("/probe", "wait"))))
    container = box.container(bundle)
    place = cgroup / container.id
    bundle.linux["cgroupsPath"] = f"/{place.relative_to(TOP)}"
    bundle.linux["resources"] = resources
    return container, place


def start(container: Container) -> None:
    container.create().ok()
    container.start().ok()
    container.wait_output("ready")


class TestIds:
    """Who the container's users are, through the real newuidmap."""

    def test_a_single_id_is_mapped_without_helpers(self, box: Box) -> None:
        report = box.report(rootless(box.bundle()))
        assert [line.split() for line in report["uid_map"]] == [["0", str(os.getuid()), "1"]]
        assert report["setgroups"] == "deny\n"

    @needs("tool newuidmap")
    def test_the_subordinate_ids(self, box: Box) -> None:
        bundle = rootless(box.bundle(), several=True)
        bundle.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": []}
        report = box.report(bundle)
        first, count = subordinate("/etc/subuid")
        own = ["0", str(os.getuid()), "1"]
        assert [line.split() for line in report["uid_map"]] == [own, ["1", str(first), str(count)]]
        assert report["setgroups"] == "allow\n"
        assert (report["uids"][0], report["gids"][0]) == (1000, 1001)

    @needs("tool newuidmap")
    def test_ids_of_somebody_else_are_refused(self, box: Box) -> None:
        bundle = rootless(box.bundle(), several=True)
        bundle.linux["uidMappings"][1]["hostID"] = 1
        box.container(bundle).create().failed("newuidmap")


class TestCgroup:
    """Below what was delegated, limits are the user's to give."""

    @pytest.mark.parametrize(
        ("resources", "file", "value"),
        [
            ({"memory": {"limit": 64 * MB}}, "memory.max", str(64 * MB)),
            ({"pids": {"limit": 20}}, "pids.max", "20"),
            ({"cpu": {"quota": 20000, "period": 40000}}, "cpu.max", "20000 40000"),
            ({"cpu": {"shares": 1024}}, "cpu.weight", "100"),
            ({"unified": {"memory.high": str(48 * MB)}}, "memory.high", str(48 * MB)),
        ],
        ids=lambda value: value if isinstance(value, str) and "." in value else "",
    )
    def test_limits_are_set(
        self, box: Box, cgroup: Path, resources: dict[str, Any], file: str, value: str
    ) -> None:
        container, place = limited(box, cgroup, resources)
        start(container)
        assert (place / file).read_text().strip() == value
        assert str(container.pid) in (place / "cgroup.procs").read_text().split()
        container.stop()
        container.delete().ok()
        assert not place.exists()

    def test_a_pids_limit_is_felt(self, box: Box, cgroup: Path) -> None:
        words = ("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; wait")
        container, _ = limited(box, cgroup, {"pids": {"limit": 4}}, *words)
        container.create().ok()
        container.start().ok()
        wait_until(lambda: "can't fork" in container.errors, "a refusal to fork")

    def test_device_rules_are_no_obstacle(self, box: Box, cgroup: Path) -> None:
        """Only root may load their program: the container goes without, as all rootless do."""
        rules = [{"allow": False, "access": "rwm"}]
        container, place = limited(box, cgroup, {"devices": rules, "pids": {"limit": 20}})
        start(container)
        assert (place / "pids.max").read_text() == "20\n"

    def test_it_is_paused_and_resumed(self, box: Box, cgroup: Path) -> None:
        container, place = limited(box, cgroup, {"pids": {"limit": 20}})
        start(container)
        box.runtime.call("pause", container.id).ok()
        assert container.status == "paused"
        assert "frozen 1" in (place / "cgroup.events").read_text()
        box.runtime.call("resume", container.id).ok()
        assert container.status == "running"

    def test_exec_joins_it(self, box: Box, cgroup: Path) -> None:
        container, place = limited(box, cgroup, {"pids": {"limit": 20}})
        start(container)
        container.exec("sleep", "100", flags=("--detach",)).ok()
        assert len((place / "cgroup.procs").read_text().split()) == 2

    def test_delete_force_kills_all_of_it(self, box: Box, cgroup: Path) -> None:
        words = ("sh", "-c", "sleep 100 & echo ready; sleep 100")
        container, place = limited(box, cgroup, {"pids": {"limit": 20}}, *words)
        start(container)
        assert len((place / "cgroup.procs").read_text().split()) >= 2
        container.delete("--force").ok()
        assert not place.exists()

    def test_memory_beyond_the_limit_kills(self, box: Box, cgroup: Path) -> None:
        hog = ("sh", "-c", "tail /dev/zero; echo survived; sleep 100")
        container, place = limited(
            box, cgroup, {"memory": {"limit": 16 * MB, "swap": 16 * MB}}, *hog
        )
        container.create().ok()
        container.start().ok()
        wait_until(lambda: "survived" in container.output, "the end of tail", 60)
        assert "\noom_kill 1\n" in "\n" + (place / "memory.events").read_text()

    @needs("ours")
    def test_outside_of_it_nothing_is_allowed(self, box: Box, cgroup: Path) -> None:
        container, _ = limited(box, cgroup, {"pids": {"limit": 20}})
        container.bundle.linux["cgroupsPath"] = f"/system.slice/{container.id}"
        container.create().failed("permission denied")
        assert not (box.runtime.root / container.id).exists()

    def test_the_container_sees_its_own_cgroup_alone(self, box: Box, cgroup: Path) -> None:
        container, _ = limited(box, cgroup, {"pids": {"limit": 20}}, "/probe")
        container.bundle.set_namespace("cgroup")
        container.bundle.add_mount(
            "/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev"
        )
        assert container.run().ok().json()["cgroup"] == ["0::/"]


def test_many_in_turn_leave_nothing(box: Box, cgroup: Path) -> None:
    before = sorted(cgroup.iterdir())
    started = time.monotonic()
    for _ in range(5):
        container, _ = limited(box, cgroup, {"pids": {"limit": 20}}, "true")
        container.run().ok()
    assert sorted(cgroup.iterdir()) == before
    assert time.monotonic() - started < 60
