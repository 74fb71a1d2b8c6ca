"""config-linux.md#cgroups-path, on recorded mount tables; the results are runc's."""

from __future__ import annotations

import pytest

from ocirun.cgroups.choose import layout
from ocirun.cgroups.paths import Table, clean, hierarchies_of, own_hierarchies, v1_paths, v2_path

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
42 31 0:39 / /sys/fs/cgroup/perf rw,relatime - cgroup cgroup rw,name=mine
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
OWN = """\
9:name=mine:/x
8:name=systemd:/
5:devices:/
4:memory:/process_api/abf
3:cpuset:/
2:cpu,cpuacct:/deep/er
0::/
"""
V2 = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"


def of(path: str, mounts: str = HYBRID, own: str = OWN) -> dict[str, str]:
    return v1_paths(Table(mounts, own), path, "web")


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("", ""),
        ("/a/b", "/a/b"),
        ("//a//b/", "/a/b"),
        ("a/./b/", "a/b"),
        ("../../c", "c"),
        ("a/../../../c", "c"),
        ("/../x/../d", "/d"),
        ("/", "/"),
        ("..", "."),
    ],
)
def test_dots_lead_nowhere(given: str, cleaned: str) -> None:
    assert clean(given) == cleaned


def test_absolute_path_hangs_below_each_mount_point() -> None:
    assert of("/a/b") == {
        "cpuset": "/sys/fs/cgroup/cpuset/a/b",
        "devices": "/sys/fs/cgroup/devices/a/b",
        "memory": "/sys/fs/cgroup/memory/a/b",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/a/b",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/a/b",
        "name=systemd": "/sys/fs/cgroup/systemd/a/b",
        "": "/sys/fs/cgroup/unified/a/b",
    }


def test_relative_path_hangs_below_our_own_cgroup_of_each_controller() -> None:
    paths = of("e/f")
    assert paths["memory"] == "/sys/fs/cgroup/memory/process_api/abf/e/f"
    assert paths["cpu"] == paths["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct/deep/er/e/f"
    assert paths["devices"] == "/sys/fs/cgroup/devices/e/f"
    assert paths[""] == "/sys/fs/cgroup/unified/e/f"


def test_without_a_path_the_id_is_taken() -> None:
    assert of("")["memory"] == "/sys/fs/cgroup/memory/process_api/abf/web"


def test_named_hierarchies_of_others_are_left_alone() -> None:
    assert "name=mine" not in of("/a")


def test_inside_a_container_the_mount_shows_a_part() -> None:
    mounts = "35 31 0:32 /docker/1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    assert of("e", mounts, "4:memory:/docker/1/in")["memory"] == "/sys/fs/cgroup/memory/in/e"
    assert of("e", mounts, "4:memory:/docker/1")["memory"] == "/sys/fs/cgroup/memory/e"
    assert of("e", mounts, "4:memory:/docker/12")["memory"] == "/sys/fs/cgroup/memory/e"
    assert of("/e", mounts, "4:memory:/docker/1")["memory"] == "/sys/fs/cgroup/memory/e"


def test_a_cgroup_above_our_namespace_counts_as_its_top() -> None:
    mounts = "35 31 0:32 / /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    assert of("e", mounts, "4:memory:/../other")["memory"] == "/sys/fs/cgroup/memory/e"
    assert of("e", mounts, "4:memory:/..name")["memory"] == "/sys/fs/cgroup/memory/..name/e"


def test_the_usual_mount_wins_over_one_inside_a_rootfs() -> None:
    other = "90 31 0:32 / /var/c/rootfs/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    assert of("/a", other + HYBRID)["memory"] == "/sys/fs/cgroup/memory/a"
    assert of("/a", other)["memory"] == "/var/c/rootfs/sys/fs/cgroup/memory/a"


def test_mount_points_are_unescaped() -> None:
    mounts = "35 31 0:32 / /mnt/a\\040b\\134 rw - cgroup cgroup rw,memory\n"
    assert of("/a", mounts)["memory"] == "/mnt/a b\\/a"


def test_v2_relative_path_hangs_beside_our_own_cgroup() -> None:
    def path(given: str, own: str) -> str:
        return v2_path(Table(V2, f"0::{own}"), given, "web")

    assert path("/a/b", "/u/s.scope") == "/sys/fs/cgroup/a/b"
    assert path("a/b", "/u/s.scope") == "/sys/fs/cgroup/u/a/b"
    assert path("", "/u/s.scope") == "/sys/fs/cgroup/u/web"
    assert path("", "/") == "/sys/fs/cgroup/web"
    assert path("../..", "/u/v/s") == "/sys/fs/cgroup/u/v"


def test_the_layout_is_known_from_the_mount_table() -> None:
    v1_only = HYBRID.replace(HYBRID.splitlines(keepends=True)[-1], "")
    in_a_container = "9 9 0:3 / /run/c/systemd rw - cgroup cgroup rw,name=systemd\n"
    assert layout(Table(HYBRID, "")) == "hybrid"
    assert layout(Table(v1_only, "")) == "v1"
    assert layout(Table(V2, "")) == "v2"
    assert layout(Table(in_a_container + V2, "")) == "v2"
    assert layout(Table("22 27 0:21 / /proc rw - proc proc rw", "")) == "none"


def test_what_may_be_shown_of_v1() -> None:
    shown = [one.body() for one in hierarchies_of(Table(HYBRID, OWN), of("/a"))]
    assert shown[0] == [
        ["cpu", "cpuacct"],
        "/sys/fs/cgroup/cpu,cpuacct",
        "/sys/fs/cgroup/cpu,cpuacct/a",
    ]
    assert shown[-1] == [["name=systemd"], "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/systemd/a"]
    assert len(shown) == 5


def test_what_may_be_shown_of_v2() -> None:
    paths = {"": "/sys/fs/cgroup/a"}
    (shown,) = hierarchies_of(Table(V2, "0::/"), paths)
    assert shown.body() == [[], "/sys/fs/cgroup", "/sys/fs/cgroup/a"]


def test_a_container_without_a_cgroup_is_shown_its_creators() -> None:
    shown = [one.body() for one in own_hierarchies(Table(HYBRID, OWN))]
    assert [["memory"], "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/process_api/abf"] in shown
