"""Containers of an ordinary user.

Source: docs/runc-compat/state.md#root-directory, docs/runc-compat/rootless.md#cgroups,
docs/runc-compat/rootless.md; user_namespaces(7), newuidmap(1).
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from harness import library
from harness.box import Box
from harness.bundle import Bundle
from harness.mountinfo import mount_at
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import wait_until
from harness.user import Home

pytestmark = needs("userns")

OLD_RUNC = peer_deviates("runc", "1.1 on v1 wants a cgroup it may write", sometimes=True)


@pytest.fixture
def home(box: Box) -> Home:
    return Home(box)


@pytest.fixture(params=["command", "library"])
def each_home(home: Home, request: pytest.FixtureRequest) -> Home:
    if request.param == "library":
        if home.box.runtime.name != "ours":
            pytest.skip(f"this is not about {home.box.runtime.name}")
        home.box.runtime.path = str(library.write_library_command(home.box.folder))
    return home


@OLD_RUNC
class TestMaps:
    """Who the container's root is."""

    def test_one_id_of_the_users_own(self, each_home: Home) -> None:
        report = each_home.report(each_home.bundle())
        uid = str(each_home.user.uid)
        assert [line.split() for line in report["uid_map"]] == [["0", uid, "1"]]
        assert [line.split() for line in report["gid_map"]] == [["0", uid, "1"]]
        assert report["setgroups"] == "deny\n"
        assert report["uids"] == [0, 0, 0]
        assert report["groups"] in ([], [65534])

    def test_one_id_that_is_not_root_inside(self, home: Home) -> None:
        bundle = home.bundle()
        for entry in ("uidMappings", "gidMappings"):
            bundle.linux[entry][0]["containerID"] = 1000
        bundle.process["user"] = {"uid": 1000, "gid": 1000}
        if home.box.runtime.name == "runc":
            pytest.xfail("runc wants root to be mapped")
        assert home.report(bundle)["uids"] == [1000, 1000, 1000]

    @needs("tool newuidmap")
    def test_several_ids_through_newuidmap(self, each_home: Home) -> None:
        bundle = each_home.bundle(subordinate=True)
        bundle.process["user"] = {"uid": 1000, "gid": 1001}
        report = each_home.report(bundle)
        uid = str(each_home.user.uid)
        expected = [["0", uid, "1"], ["1", "700000", "65536"]]
        assert [line.split() for line in report["uid_map"]] == expected
        assert [line.split() for line in report["gid_map"]] == expected
        assert report["setgroups"] == "allow\n"
        assert (report["uids"][0], report["gids"][0]) == (1000, 1001)

    @needs("tool newuidmap")
    def test_ids_that_are_not_the_users_are_refused(self, home: Home) -> None:
        bundle = home.bundle(subordinate=True)
        bundle.linux["uidMappings"][1]["hostID"] = 1000
        home.box.container(bundle).create(**home.keys).failed("newuidmap")

    @needs("ours")
    def test_without_the_helper_it_is_named(self, home: Home) -> None:
        bundle = home.bundle(subordinate=True)
        keys = home.keys
        keys["env"] = keys["env"] | {"PATH": "/nowhere"}
        home.box.container(bundle).create(**keys).failed("newgidmap", "$PATH")


@OLD_RUNC
class TestLife:
    """From create to delete."""

    def test_every_verb_works_for_an_ordinary_user(self, each_home: Home) -> None:
        home = each_home
        bundle = home.bundle("/probe", "trap")
        container = home.box.container(bundle)
        container.create(**home.keys).ok()
        call = home.box.runtime.call
        call("start", container.id, **home.keys).ok()
        container.wait_output("ready")
        state = call("state", container.id, **home.keys).ok().json()
        assert state["status"] == "running"
        assert os.stat(f"/proc/{state['pid']}/root").st_uid == home.user.uid
        call("kill", container.id, "USR1", **home.keys).ok()
        container.wait_output("got 10")
        call("kill", container.id, "KILL", **home.keys).ok()
        container.wait_status("stopped")
        call("delete", container.id, **home.keys).ok()

    @needs("tool newuidmap")
    def test_a_process_of_another_id_can_be_killed(self, home: Home) -> None:
        bundle = home.bundle("/probe", "wait", subordinate=True)
        bundle.process["user"] = {"uid": 500, "gid": 500}
        container = home.box.container(bundle)
        container.create(**home.keys).ok()
        home.box.runtime.call("start", container.id, **home.keys).ok()
        container.wait_output("ready")
        home.box.runtime.call("kill", container.id, "KILL", **home.keys).ok()
        container.wait_status("stopped")

    def test_hooks_run_as_the_user(self, home: Home) -> None:
        out = home.user.folder / "seen"
        bundle = home.bundle("true")
        script = f"id -u > {out}; readlink /proc/self/ns/user >> {out}"
        hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}
        bundle.config["hooks"] = {"createRuntime": [hook]}
        home.run(bundle).ok()
        assert out.read_text().split() == [
            str(home.user.uid),
            os.readlink("/proc/self/ns/user"),
        ]

    @needs("ours")
    def test_the_executable_is_a_sealed_memory_file(self, home: Home) -> None:
        container = home.box.container(home.bundle())
        container.create(**home.keys).ok()
        exe = os.readlink(f"/proc/{container.pid}/exe")
        assert exe.startswith("/memfd:")


@OLD_RUNC
class TestMounts:
    """What a mapped root may mount."""

    def test_every_kind_of_mount_works_for_an_ordinary_user(self, home: Home) -> None:
        bundle = home.bundle()
        bundle.add_mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
        bundle.add_mount("/dev/shm", "tmpfs", "shm", "mode=1777", "size=65536k")
        bundle.add_mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")
        bundle.linux["maskedPaths"] = ["/proc/kcore", "/sys/firmware"]
        bundle.linux["readonlyPaths"] = ["/proc/sys"]
        report = home.report(bundle)
        for place in ("/sys", "/dev/shm", "/dev/mqueue", "/dev/pts", "/dev/null", "/proc/sys"):
            mount_at(report, place)

    @needs("ours")
    def test_sysfs_of_the_hosts_network_is_refused_with_the_way_out(self, home: Home) -> None:
        bundle = home.bundle()
        bundle.drop_namespace("network")
        bundle.add_mount("/sys", "sysfs", "sysfs")
        home.box.container(bundle).create(**home.keys).failed("bind /sys")

    def test_the_hosts_sys_can_be_bound(self, home: Home) -> None:
        bundle = home.bundle("ls", "/sys")
        bundle.drop_namespace("network")
        bundle.add_mount("/sys", "none", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro")
        assert "kernel" in home.run(bundle).ok().stdout.split()

    @needs("ours")
    def test_a_group_that_is_not_mapped_is_refused(self, home: Home) -> None:
        bundle = home.bundle()
        bundle.mounts[2]["options"].append("gid=5")
        home.box.container(bundle).create(**home.keys).failed("gid=5")

    @needs("ours")
    def test_id_mapped_mounts_are_refused(self, home: Home) -> None:
        bundle = home.bundle()
        bundle.add_mount("/data", "bind", str(home.user.folder), "bind", "idmap")
        home.box.container(bundle).create(**home.keys).failed("rootless")

    def test_the_users_closed_folders(self, home: Home) -> None:
        """The root and a source below folders that only the user may enter."""
        bundle = home.bundle("cat", "/data/file")
        (home.user.folder / "file").write_text("reached\n")
        os.chown(home.user.folder / "file", home.user.uid, -1)
        bundle.path.chmod(0o700)
        bundle.add_mount("/data", "bind", str(home.user.folder), "rbind")
        assert home.run(bundle).ok().stdout == "reached\n"


class TestRefusals:
    """Said before anything is made, in runc's words."""

    @peer_deviates("crun", "1.8 leaves them out", sometimes=True)
    def test_additional_groups_are_refused(self, home: Home) -> None:
        bundle = home.bundle()
        bundle.process["user"] = {"uid": 0, "gid": 0, "additionalGids": [0]}
        result = home.box.container(bundle).create(**home.keys).failed()
        if home.box.runtime.name == "ours":
            result.failed("cannot set any additional groups in a rootless container")

    @peer_deviates("crun", "makes one of its own")
    def test_no_user_namespace(self, home: Home) -> None:
        bundle = home.bundle()
        bundle.drop_namespace("user")
        del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
        home.box.container(bundle).create(**home.keys).failed("user namespaces")

    def test_an_unmapped_user(self, home: Home) -> None:
        bundle = home.bundle()
        bundle.process["user"] = {"uid": 1, "gid": 0}
        home.box.container(bundle).create(**home.keys).failed()

    def test_a_map_of_somebody_else(self, home: Home) -> None:
        bundle = home.bundle()
        bundle.linux["uidMappings"][0]["hostID"] = 0
        home.box.container(bundle).create(**home.keys).failed()


class TestCgroups:
    """Without permission for any."""

    @needs("ours")
    @pytest.mark.parametrize("word", ["auto", "true"])
    def test_none_is_fine_without_limits(self, home: Home, word: str) -> None:
        container = home.box.container(home.bundle())
        root = ["--root", str(home.box.runtime.root), "--rootless", word]
        container.bundle.save()
        words = [*root, "create", "--bundle", str(container.bundle.path), container.id]
        assert home.command(*words).returncode == 0

    @needs("ours")
    def test_but_not_for_who_says_so(self, home: Home) -> None:
        container = home.box.container(home.bundle())
        container.bundle.save()
        root = ["--root", str(home.box.runtime.root), "--rootless", "false"]
        words = [*root, "create", "--bundle", str(container.bundle.path), container.id]
        done = home.command(*words)
        assert done.returncode == 1
        assert "permission denied" in done.stdout

    @peer_deviates("crun", "1.8 lets it pass", sometimes=True)
    @pytest.mark.parametrize(
        "resources", [{"pids": {"limit": 10}}, {"memory": {"limit": 10 << 20}}], ids=str
    )
    def test_a_limit_is_an_error(self, home: Home, resources: dict[str, Any]) -> None:
        bundle = home.bundle()
        bundle.linux["resources"] = resources
        home.box.container(bundle).create(**home.keys).failed()

    @peer_deviates("crun", "1.8 lets it pass", sometimes=True)
    def test_a_path_is_an_error(self, home: Home) -> None:
        bundle = home.bundle()
        bundle.linux["cgroupsPath"] = f"/{home.box.container().id}"
        home.box.container(bundle).create(**home.keys).failed()


@needs("ours")
class TestDefaults:
    """What works without any option."""

    @pytest.fixture
    def bundle(self, home: Home) -> Generator[Path, None, None]:
        bundle = home.bundle("true")
        (bundle.path / "config.json").unlink(missing_ok=True)
        assert home.command("spec", "--rootless", "--bundle", str(bundle.path)).returncode == 0
        config = json.loads((bundle.path / "config.json").read_text())
        config["process"] |= {"terminal": False, "args": ["id", "-u"]}
        (bundle.path / "config.json").write_text(json.dumps(config))
        return bundle.path

    def test_the_bundle_of_spec_runs(self, home: Home, bundle: Path) -> None:
        done = home.command("run", "--bundle", str(bundle), home.box.container().id)
        assert (done.returncode, done.stdout) == (0, "0\n"), done.stdout

    def test_the_state_is_in_the_runtime_directory(self, home: Home, bundle: Path) -> None:
        container_id = home.box.container().id
        done = home.command("create", "--bundle", str(bundle), container_id)
        assert done.returncode == 0, done.stdout
        root = home.user.folder / "ocirun"
        assert (root / container_id).is_dir()
        assert root.stat().st_mode & 0o7777 == 0o1700
        assert home.command("delete", "--force", container_id).returncode == 0
        assert not (root / container_id).exists()

    def test_without_a_runtime_directory_it_is_said(self, home: Home, bundle: Path) -> None:
        done = home.command(
            "create", "--bundle", str(bundle), home.box.container().id, XDG_RUNTIME_DIR=""
        )
        assert done.returncode == 1
        assert "/run/ocirun" in done.stdout


UNSHARE = ("unshare", "-Ur")
NAMELESS = ("env", "-u", "USER", *UNSHARE)


@needs("tool unshare")
class TestRootOfAUserNamespace:
    """The way of podman: the caller is root already, of a namespace made by an ordinary user."""

    def run(self, home: Home, bundle: Bundle) -> dict[str, Any]:
        container = home.box.container(bundle)
        bundle.save()
        words = ("--root", str(home.box.runtime.root), "run", "--bundle", str(bundle.path))
        done = home.command(*words, container.id, through=("unshare", "-Ur"))
        assert done.returncode == 0, done.stdout
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def test_without_another_one(self, home: Home) -> None:
        bundle = home.bundle()
        bundle.drop_namespace("user")
        del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
        report = self.run(home, bundle)
        assert report["uids"] == [0, 0, 0]
        assert report["uid_map"][0].split() == ["0", str(home.user.uid), "1"]
        assert (report["dev"]["/dev/null"]["major"], report["dev"]["/dev/null"]["minor"]) == (1, 3)

    def test_with_another_one_inside(self, home: Home) -> None:
        bundle = home.bundle()
        for entry in ("uidMappings", "gidMappings"):
            bundle.linux[entry][0]["hostID"] = 0
        report = self.run(home, bundle)
        assert report["uids"] == [0, 0, 0]

    @needs("ours")
    def test_a_device_that_the_host_lacks(self, home: Home) -> None:
        """Only real root makes one."""
        bundle = home.bundle()
        bundle.linux["uidMappings"][0]["hostID"] = bundle.linux["gidMappings"][0]["hostID"] = 0
        bundle.linux["devices"] = [{"path": "/dev/nowhere", "type": "c", "major": 1, "minor": 3}]
        bundle.save()
        words = ("create", "--bundle", str(bundle.path), home.box.container().id)
        said = home.command(*words, through=UNSHARE).stdout
        assert '/dev/nowhere\\": no such file or directory on the host' in said

    def test_with_the_hosts_node_mounted(self, home: Home) -> None:
        """podman --privileged brings the host's nodes as mounts; their owner is nobody here."""
        bundle = home.bundle()
        bundle.drop_namespace("user")
        del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
        bundle.add_mount("/dev/null", "bind", "/dev/null", "rbind", "nosuid", "noexec")
        null = self.run(home, bundle)["dev"]["/dev/null"]
        assert (null["major"], null["minor"]) == (1, 3)

    @needs("ours")
    @pytest.mark.parametrize("through", [UNSHARE, NAMELESS])
    def test_it_has_a_state_root_of_its_own(self, home: Home, through: tuple[str, ...]) -> None:
        """With or without a name: conmon, as podman starts it, is told none."""
        bundle = home.bundle("true")
        bundle.linux["uidMappings"][0]["hostID"] = bundle.linux["gidMappings"][0]["hostID"] = 0
        bundle.save()
        name = home.box.container().id
        done = home.command("create", "--bundle", str(bundle.path), name, through=through)
        assert done.returncode == 0, done.stdout
        assert (home.user.folder / "ocirun" / name).is_dir()
        assert home.command("delete", "--force", name).returncode == 0


def test_nothing_of_it_is_left(home: Home) -> None:
    container = home.box.container(home.bundle("true"))
    container.run(**home.keys)
    wait_until(lambda: not list(home.box.runtime.root.iterdir()), "an empty state root")
