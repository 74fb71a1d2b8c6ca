"""`mounts add` and `mounts remove`: what a running container gets and loses, and what it must not.

crun has the verb, the one at hand is older: what is checked here is what the container
and the kernel say.

Source: docs/runc-compat/cli.md#mounts; docs/mounts.md.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from harness.box import Box
from harness.late_mounts import add, bind, mounted, new, of_the_host, options_at, remove
from harness.needs import needs
from harness.user import Home

pytestmark = needs("root", "ours")


class TestAdd:
    """What is added is there, as it was asked for."""

    def test_a_directory_appears_with_its_mount_point(self, box: Box, shared: Path) -> None:
        container = box.running()
        add(container, bind(shared, "/data/new")).ok()
        assert container.exec("cat", "/data/new/file").ok().stdout == "of the host\n"

    def test_a_relative_destination_is_warned_of(self, box: Box, shared: Path) -> None:
        container = box.running()
        done = add(container, bind(shared, "data")).ok()
        assert "mount destination data is not absolute" in done.log

    def test_the_list_may_come_from_standard_input(self, box: Box, shared: Path) -> None:
        container = box.running()
        document = json.dumps([bind(shared, "/data/new")]).encode()
        box.runtime.call("mounts", "add", container.id, "-", stdin=document).ok()
        assert container.exec("cat", "/data/new/file").ok().stdout == "of the host\n"
        box.runtime.call("mounts", "remove", container.id, "-", stdin=document).ok()
        assert container.exec("cat", "/data/new/file").status != 0
        refused = box.runtime.call("mounts", "add", container.id, "-", stdin=b"{")
        refused.failed("standard input")

    def test_a_file_covers_a_file(self, box: Box, shared: Path) -> None:
        container = box.running()
        add(container, bind(shared / "file", "/etc/hostname", "ro")).ok()
        assert container.exec("cat", "/etc/hostname").ok().stdout == "of the host\n"
        assert "ro" in options_at(container, "/etc/hostname")

    def test_options_are_applied_to_an_added_mount(self, box: Box, shared: Path) -> None:
        container = box.running()
        add(container, bind(shared, "/data", "ro", "nosuid", "nodev", "noexec", "noatime")).ok()
        wanted = {"ro", "nosuid", "nodev", "noexec", "noatime"}
        assert wanted <= options_at(container, "/data")
        assert container.exec("touch", "/data/x").status != 0

    def test_several_in_order(self, box: Box, shared: Path) -> None:
        container = box.running()
        add(container, new("tmpfs", "/data", "size=1m"), bind(shared, "/data/in")).ok()
        assert container.exec("cat", "/data/in/file").ok().stdout == "of the host\n"
        remove(container, "/data", "/data/in").ok()
        assert [place for place in mounted(container) if place.startswith("/data")] == []

    def test_a_tmpfs_keeps_the_mode_of_what_it_covers(self, box: Box) -> None:
        container = box.running()
        add(container, new("tmpfs", "/tmp", "size=64k", "nodev")).ok()
        line = container.exec("stat", "-c", "%a", "/tmp").ok().stdout
        assert line == "1777\n"

    @pytest.mark.parametrize("kind", ["sysfs", "mqueue", "devpts"])
    def test_a_file_system_of_its_namespaces(self, box: Box, kind: str) -> None:
        container = box.running()
        add(container, new(kind, "/mnt/new", "nosuid")).ok()
        assert "/mnt/new" in mounted(container)
        if kind == "sysfs":
            assert container.exec("ls", "/mnt/new/class/net").ok().stdout == "lo\n"

    def test_an_overlay_of_the_hosts_folders(self, box: Box, shared: Path) -> None:
        lower = box.folder / "lower"
        lower.mkdir()
        options = f"lowerdir={shared}:{lower}"
        container = box.running()
        add(container, new("overlay", "/data", options)).ok()
        assert container.exec("cat", "/data/file").ok().stdout == "of the host\n"

    def test_everything_below_with_rbind_and_rro(self, box: Box, shared: Path) -> None:
        below = shared / "below"
        below.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "below", below], check=True)
        try:
            container = box.running()
            mount = bind(shared, "/data", "rro")
            mount["options"][0] = "rbind"
            add(container, mount).ok()
            for place in ("/data", "/data/below"):
                assert "ro" in options_at(container, place)
            container.stop()
        finally:
            subprocess.run(["umount", below], check=True)

    def test_a_source_relative_to_the_bundle(self, box: Box) -> None:
        container = box.running()
        (container.bundle.path / "beside").write_text("the bundle\n")
        add(container, bind("beside", "/beside")).ok()
        assert container.exec("cat", "/beside").ok().stdout == "the bundle\n"

    def test_the_host_sees_nothing_of_it(self, box: Box, shared: Path) -> None:
        before = of_the_host(box)
        container = box.running()
        add(container, bind(shared, "/data"), new("tmpfs", "/more")).ok()
        assert of_the_host(box) == before

    def test_a_created_container_has_them_when_it_starts(self, box: Box, shared: Path) -> None:
        container = box.created(None, "cat", "/data/file")
        add(container, bind(shared, "/data")).ok()
        assert container.finished() == "of the host\n"

    def test_a_paused_one(self, box: Box, shared: Path) -> None:
        container = box.running()
        box.runtime.call("pause", container.id).ok()
        add(container, bind(shared, "/data")).ok()
        box.runtime.call("resume", container.id).ok()
        assert "/data" in mounted(container)

    @needs("userns")
    def test_a_user_namespace(self, box: Box, shared: Path) -> None:
        shared.chmod(0o700)  # its root could not open it itself
        bundle = box.bundle("/probe", "wait")
        bundle.use_userns((0, 100000, 65536))
        container = box.running(bundle)
        add(container, bind(shared, "/data"), new("tmpfs", "/own", "mode=750")).ok()
        assert container.exec("stat", "-c", "%u %a", "/own").ok().stdout == "0 750\n"
        assert "/data" in mounted(container)
        owner = (container.bundle.rootfs / "data").stat().st_uid
        assert owner == 100000

    @needs("userns")
    def test_an_idmapped_mount(self, box: Box, shared: Path) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.use_userns((0, 100000, 65536))
        container = box.running(bundle)
        call = add(container, bind(shared, "/data", "idmap"))
        if "cannot be" in call.said:
            pytest.skip("no id-mapped mounts on the file system of the tests")
        call.ok()
        assert container.exec("stat", "-c", "%u", "/data/file").ok().stdout == "0\n"

    def test_with_no_pivot(self, box: Box, shared: Path) -> None:
        container = box.container(None, "/probe", "wait")
        container.run("--detach", "--no-pivot").ok()
        add(container, bind(shared, "/data")).ok()
        assert container.exec("cat", "/data/file").ok().stdout == "of the host\n"
        remove(container, "/data").ok()


class TestRemove:
    """What is removed is gone, and nothing else."""

    def test_what_was_added(self, box: Box, shared: Path) -> None:
        container = box.running()
        before = mounted(container)
        add(container, bind(shared, "/data")).ok()
        remove(container, "/data").ok()
        assert mounted(container) == before

    def test_it_may_be_in_use(self, box: Box, shared: Path) -> None:
        container = box.running(None, "sh", "-c", "while :; do sleep 0.05; done")
        add(container, bind(shared, "/data")).ok()
        container.exec("sh", "-c", "cd /data && sleep 50", flags=("--detach",)).ok()
        remove(container, "/data").ok()
        assert "/data" not in mounted(container)

    def test_only_the_topmost(self, box: Box, shared: Path) -> None:
        container = box.running()
        add(container, bind(shared, "/data"), new("tmpfs", "/data")).ok()
        remove(container, "/data").ok()
        assert container.exec("cat", "/data/file").ok().stdout == "of the host\n"

    def test_all_are_found_before_one_goes(self, box: Box, shared: Path) -> None:
        container = box.running()
        add(container, bind(shared, "/data")).ok()
        remove(container, "/nowhere", "/data").failed("no such file or directory")
        remove(container, "/etc", "/data").failed('nothing is mounted at "/etc"')
        remove(container, "/data", "/data").failed()  # the second time it is gone
        assert "/data" not in mounted(container)

    def test_a_place_without_a_mount(self, box: Box) -> None:
        remove(box.running(), "/etc").failed('nothing is mounted at "/etc"')


class TestRefusals:
    """What is wrong with the file, the container or the call."""

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "is empty"),
            ("{}", "must be a list"),
            ("[{}]", "destination"),
            ('[{"destination": 5}]', "/0/destination"),
            ('[{"destination": "/x", "source": "/", "options": "bind"}]', "/0/options"),
        ],
    )
    def test_a_file_that_breaks_a_rule(self, box: Box, text: str, said: str) -> None:
        container = box.running()
        file = box.folder / "mounts.json"
        file.write_text(text)
        box.runtime.call("mounts", "add", container.id, file).failed(said)

    def test_a_file_that_is_not_there(self, box: Box) -> None:
        box.runtime.call("mounts", "add", box.running().id, "/no/such").failed("not found")

    def test_an_unknown_container(self, box: Box) -> None:
        box.runtime.call("mounts", "add", "nobody", "/dev/null").failed("does not exist")

    def test_a_word_that_is_none(self, box: Box) -> None:
        box.runtime.call("mounts", "move", box.running().id, "/dev/null").failed('"mounts move"')

    def test_a_stopped_container(self, box: Box, shared: Path) -> None:
        container = box.running()
        container.stop()
        add(container, bind(shared, "/data")).failed("container not running")

    def test_a_container_in_the_hosts_mount_namespace(self, box: Box, shared: Path) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.drop_namespace("mount")
        del bundle.config["mounts"]
        add(box.running(bundle), bind(shared, "/data")).failed("mount namespace")

    @pytest.mark.parametrize("word", ["remount", "copy-symlink"])
    def test_what_only_create_can_do(self, box: Box, shared: Path, word: str) -> None:
        add(box.running(), bind(shared, "/data", word)).failed(word, "running container")

    @pytest.mark.parametrize("kind", ["proc", "cgroup"])
    def test_file_systems_that_only_create_can_make(self, box: Box, kind: str) -> None:
        add(box.running(), new(kind, "/x")).failed("cannot be added")

    def test_nothing_stays_of_a_list_that_fails(self, box: Box, shared: Path) -> None:
        container = box.running()
        before = mounted(container)
        call = add(
            container,
            bind(shared, "/one"),
            new("tmpfs", "/two"),
            bind(shared / "file", "/three"),
            new("tmpfs", "/etc/hostname"),  # which is no directory
            bind(shared, "/five"),
        )
        call.failed("/etc/hostname", "not a directory")
        assert mounted(container) == before

    def test_a_source_that_is_missing_is_found_before_anything(self, box: Box) -> None:
        container = box.running()
        before = mounted(container)
        call = add(container, new("tmpfs", "/one"), bind("/no/such", "/two"))
        call.failed("/no/such", "no such file or directory")
        assert mounted(container) == before

    def test_no_process_and_no_descriptor_stays(self, box: Box, shared: Path) -> None:
        container = box.running()
        folder = f"/proc/{container.pid}/fd"
        before = os.listdir(folder)
        add(container, bind(shared, "/data")).ok()
        add(container, bind("/no/such", "/data")).failed()
        assert os.listdir(folder) == before


@needs("userns")
def test_an_ordinary_user(box: Box) -> None:
    """Root of its own container only: it enters its user namespace to copy the host's mounts."""
    home = Home(box)
    container = box.container(home.bundle("/probe", "wait"))
    container.run("--detach", **home.keys).ok()
    folder = home.user.folder / "shared"
    folder.mkdir()
    (folder / "file").write_text("of the user\n")
    os.chown(folder, home.user.uid, home.user.uid)
    add(container, bind(folder, "/data", "ro"), new("tmpfs", "/own"), **home.keys).ok()
    output = container.exec("cat", "/data/file", **home.keys).ok().stdout
    assert output == "of the user\n"
    pid = json.loads((box.runtime.root / container.id / "state.json").read_text())[
        "init_process_pid"
    ]
    places = [line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    assert {"/data", "/own"} <= set(places)
    add(container, bind("/root", "/hidden"), bind("/no", "/x"), **home.keys).failed()
