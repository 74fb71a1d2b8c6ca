"""Containers of an ordinary user in the scopes of the user's own systemd.

Source: docs/runc-compat/rootless.md#cgroups.

The calls come from outside the user's session, as over ssh: the kernel lets the user move no
process into its manager's tree, so systemd has to. One test calls from inside.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator

import pytest
from harness import machine
from harness.box import Box
from harness.bundle import Bundle
from harness.machine import MARK
from harness.needs import needs
from harness.runtime import wait_until
from harness.units import Units, scoped, unit_of
from harness.user import Home, ManagedUser

pytestmark = [
    pytest.mark.integration,
    needs("root", "systemd", "user manager", "cgroup v2", "userns"),
]

MB = 1 << 20


@pytest.fixture
def home(box: Box) -> Home:
    box.runtime.settings = ["--systemd-cgroup"]
    return Home(box, ManagedUser(box.folder, uid=machine.managed_user() or -1))


@pytest.fixture
def units(home: Home) -> Generator[Units, None, None]:
    units = Units(home.user.uid)
    yield units
    home.box.clean()
    units.wait_until_none()


def own_scope(home: Home, *args: str) -> Bundle:
    """A bundle in the user's own slice, whose root is the user."""
    bundle = home.bundle(*(args or ("/probe", "wait")))
    bundle.linux["cgroupsPath"] = scoped(home.box, slice_name="").linux["cgroupsPath"]
    return bundle


def test_the_scope_is_the_users(home: Home, units: Units) -> None:
    bundle = own_scope(home)
    bundle.linux["resources"] = {
        "memory": {"limit": 64 * MB},
        "pids": {"limit": 20},
        "cpu": {"quota": 12345, "period": 50000},
    }
    container = home.box.container(bundle)
    container.create(**home.keys).ok()
    uid = home.user.uid
    shown = units.show(unit_of(home.box))
    manager = f"/user.slice/user-{uid}.slice/user@{uid}.service"
    assert shown["ControlGroup"] == f"{manager}/user.slice/{unit_of(home.box)}"
    assert (shown["MemoryMax"], shown["TasksMax"]) == (str(64 * MB), "20")
    directory = units.directory(unit_of(home.box))
    files = {name: (directory / name).read_text() for name in ("memory.max", "pids.max", "cpu.max")}
    assert files == {"memory.max": f"{64 * MB}\n", "pids.max": "20\n", "cpu.max": "12345 50000\n"}
    assert (directory / "cgroup.procs").read_text() == f"{container.pid}\n"
    container.delete("--force", **home.keys).ok()


def test_memory_and_processes_are_limited(home: Home, units: Units) -> None:  # noqa: ARG001
    bundle = own_scope(home, "sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done")
    bundle.linux["resources"] = {"memory": {"limit": 16 * MB, "swap": 16 * MB}}
    assert home.run(bundle).status == 128 + 9
    bundle = own_scope(home, "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; echo all")
    bundle.linux["resources"] = {"pids": {"limit": 4}}
    assert "can't fork" in home.run(bundle).stderr


def test_a_cgroup_namespace_begins_at_the_scope(home: Home, units: Units) -> None:  # noqa: ARG001
    bundle = own_scope(home, "cat", "/proc/self/cgroup")
    bundle.linux["namespaces"].append({"type": "cgroup"})
    assert home.run(bundle).ok().stdout == "0::/\n"


@needs("ours")  # runc 1.1 leaves the process where its caller is
def test_exec_is_moved_by_systemd(home: Home, units: Units) -> None:
    container = home.box.container(own_scope(home))
    container.create(**home.keys).ok()
    container.start(**home.keys).ok()
    place = units.property(unit_of(home.box), "ControlGroup")
    said = container.exec("cat", "/proc/self/cgroup", **home.keys).ok()
    assert said.stdout == f"0::{place}\n"
    (units.directory(unit_of(home.box)) / "sub").mkdir()
    os.chown(units.directory(unit_of(home.box)) / "sub", home.user.uid, home.user.uid)
    flags = ("--cgroup", "/sub")
    below = container.exec("cat", "/proc/self/cgroup", flags=flags, **home.keys).ok()
    assert below.stdout == f"0::{place}/sub\n"
    home.box.runtime.call("pause", container.id, **home.keys).ok()
    home.box.runtime.call("resume", container.id, **home.keys).ok()
    container.delete("--force", **home.keys).ok()


def test_delete_needs_no_flag(home: Home, units: Units) -> None:
    container = home.box.container(own_scope(home))
    container.create(**home.keys).ok()
    home.box.runtime.settings = []
    container.delete("--force", **home.keys).ok()
    units.wait_until_none()


def test_no_bus_is_told(home: Home, units: Units) -> None:
    keys = home.keys
    keys["env"] = {**keys["env"], "XDG_RUNTIME_DIR": str(home.user.folder)}
    failed = home.box.container(own_scope(home)).create(**keys).failed()
    if home.box.runtime.name == "ours":
        assert f"connecting to the D-Bus at unix:path={home.user.folder}/bus" in failed.said
    assert units.listed() == []


@needs("ours")
def test_from_inside_the_users_manager(home: Home, units: Units) -> None:
    """A service of the user, as podman's: the process can be born in the scope."""
    bundle = own_scope(home)
    bundle.save()
    container = home.box.container(bundle)
    call = home.box.runtime.prepare("create", "--bundle", bundle.path, container.id).argv
    wrapper = ["systemd-run", "-q", "--user", f"-M{home.user.uid}@.host", "--wait", "--pipe"]
    unit = f"--unit={MARK}-caller"
    told = ["-p", "Delegate=yes", "-p", "KillMode=process", f"--setenv=PATH={os.environ['PATH']}"]
    done = subprocess.run([*wrapper, unit, *told, *call], check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0
    procs = units.directory(unit_of(home.box)) / "cgroup.procs"
    pid = procs.read_text().strip()
    assert container.state()["pid"] == int(pid)
    container.delete("--force", **home.keys).ok()
    wait_until(lambda: not units.listed(), "no unit is left")
