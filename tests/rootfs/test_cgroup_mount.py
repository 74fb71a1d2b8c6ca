"""The mount of type cgroup on v1, v2 and hybrid: cgroup_namespaces(7)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from harness.inside import (
    CLONE_NEWCGROUP,
    do,
    inside,
    mounted,
    mounts,
    seen,
)

from ocirun.cgroups.paths import Hierarchy
from ocirun.rootfs.context import CgroupView

if TYPE_CHECKING:
    from pathlib import Path


def v1_hierarchies() -> list[Hierarchy]:
    """The machine's v1 hierarchies with the cgroup this process is in."""
    own = {}
    with open("/proc/self/cgroup") as file:
        for line in file:
            _, names, path = line.rstrip("\n").split(":", 2)
            own[names] = path
    found = []
    for place, row in mounts().items():
        names = ",".join(
            word for word in row.super_options.split(",") if word in ",".join(own).split(",")
        )
        if row.fs_name == "cgroup" and names in own:
            path = place + own[names] if own[names] != "/" else place
            found.append(Hierarchy(tuple(names.split(",")), place, path))
    return found


@pytest.mark.parametrize("cgroupns", [False, True])
def test_the_hierarchies_of_v1(root: Path, cgroupns: bool) -> None:
    hierarchies = v1_hierarchies()
    if not hierarchies:
        pytest.skip("no cgroup v1 hierarchy")
    entry = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}  # fmt: skip

    def work() -> object:
        view = CgroupView(hierarchies, unified=False)
        do(root, entry, cgroup=view, cgroupns=cgroupns)
        found = mounts(f"{root}/sys/fs/cgroup")
        with open("/proc/self/cgroup") as file:
            own = file.read()
        return {place: [*seen(row).values(), row.root] for place, row in found.items()}, own

    found, own = inside(work, CLONE_NEWCGROUP if cgroupns else 0)  # type: ignore[misc]
    quiet = {"nosuid", "noexec", "nodev", "relatime", "ro"}
    assert found["/"][1] == "tmpfs"
    assert len(found) == 1 + len(hierarchies)
    for place, (options, fs_name, *_, top) in found.items():
        assert set(options) == quiet
        if place != "/":
            assert fs_name == "cgroup"
            if cgroupns:
                assert top == "/"
            else:
                assert f":{top}\n" in own


def test_comounted_controllers_are_linked(root: Path) -> None:
    """No machine at hand mounts cpu and cpuacct together: a directory stands for the hierarchy."""
    host = root.parent / "host" / "cpu,cpuacct"
    (host / "own").mkdir(parents=True)
    (host / "own" / "tasks").touch()
    view = CgroupView([Hierarchy(("cpu", "cpuacct"), str(host), str(host / "own"))], unified=False)
    entry = {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]}

    def work() -> object:
        do(root, entry, cgroup=view)
        top = root / "sys" / "fs" / "cgroup"
        return {name: os.listdir(top / name) for name in os.listdir(top)}, os.readlink(top / "cpu")

    assert inside(work) == [
        {"cpu,cpuacct": ["tasks"], "cpu": ["tasks"], "cpuacct": ["tasks"]},
        "cpu,cpuacct",
    ]


def unified_mount() -> str:
    for place, row in mounts().items():
        if row.fs_name == "cgroup2":
            return place
    pytest.skip("no cgroup v2 tree")


@pytest.mark.lab
@pytest.mark.parametrize("cgroupns", [False, True])
def test_the_unified_tree(root: Path, cgroupns: bool) -> None:
    place = unified_mount()
    view = CgroupView([Hierarchy((), place, place)], unified=True)
    entry = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "ro", "shared"]}  # fmt: skip
    more = CLONE_NEWCGROUP if cgroupns else 0
    found = mounted(
        root, entry, at="/sys/fs/cgroup", namespaces=more, cgroup=view, cgroupns=cgroupns
    )
    assert found["type"] == "cgroup2"
    assert {"ro", "nosuid"} < set(found["options"])
    assert found["optional"].startswith("shared:")


@pytest.mark.lab
def test_the_unified_tree_in_a_user_namespace_is_never_writable(root: Path) -> None:
    """CVE-2023-25809: without a cgroup namespace it is the whole tree of the host."""
    place = unified_mount()
    entry = {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["nosuid"]}
    for path, fs_name in ((place, "cgroup2"), ("/does/not/exist", "tmpfs")):
        view = CgroupView([Hierarchy((), path, path)], unified=True)

        def work(shown: CgroupView = view) -> object:
            do(root, entry, cgroup=shown, userns=True)
            row = mounts(str(root))["/sys/fs/cgroup"]
            return row.fs_name, "ro" in row.options

        assert inside(work, root_of_userns=True) == [fs_name, True]
