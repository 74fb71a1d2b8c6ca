"""The entries of `mounts`.

Source: runtime-spec config.md#mounts; docs/runc-compat/mounts.md#options,
docs/runc-compat/mounts.md#destinations.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from harness.box import Box
from harness.machine import MNT_DETACH, libc_call
from harness.mountinfo import mount_at, mounts_of
from harness.needs import needs
from harness.peers import peer_deviates


@pytest.fixture
def outside(box: Box) -> Path:
    """A folder of the host with a file in it."""
    folder = box.folder / "outside"
    folder.mkdir()
    (folder / "file").write_text("from the host\n")
    return folder


class TestKinds:
    """Filesystems of each type the default configs ask for."""

    def test_proc_shows_the_containers_processes(self, box: Box) -> None:
        bundle = box.bundle("sh", "-c", "cd /proc; echo [0-9]*")
        assert box.output(bundle).split()[0] == "1"

    def test_tmpfs_with_size_and_mode(self, box: Box) -> None:
        bundle = box.bundle("stat", "-c", "%a", "/data")
        bundle.add_mount("/data", "tmpfs", "tmpfs", "nosuid", "size=64k", "mode=1750")
        assert box.output(bundle) == "1750\n"
        bundle.process["args"] = ["/probe"]
        mount = mount_at(box.report(bundle), "/data")
        assert mount.kind == "tmpfs"
        assert "size=64k" in mount.data
        assert "nosuid" in mount.options

    def test_tmpfs_takes_the_mode_of_the_folder_it_covers(self, box: Box) -> None:
        bundle = box.bundle("stat", "-c", "%a", "/data")
        (bundle.rootfs / "data").mkdir()
        (bundle.rootfs / "data").chmod(0o1710)
        bundle.add_mount("/data", "tmpfs", "tmpfs")
        assert box.output(bundle) == "1710\n"

    def test_sysfs_has_its_options(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.add_mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
        mount = mount_at(box.report(bundle), "/sys")
        assert mount.kind == "sysfs"
        assert {"ro", "nosuid", "noexec", "nodev"} <= mount.options

    def test_mqueue_is_mounted(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.add_mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")
        assert mount_at(box.report(bundle), "/dev/mqueue").kind == "mqueue"

    def test_shm_is_writable_with_its_mode(self, box: Box) -> None:
        bundle = box.bundle("sh", "-c", "echo x > /dev/shm/x; stat -c %a /dev/shm")
        bundle.add_mount("/dev/shm", "tmpfs", "shm", "nosuid", "mode=1777", "size=65536k")
        assert box.output(bundle) == "1777\n"

    def test_devpts_is_a_new_instance(self, box: Box) -> None:
        report = box.report(box.bundle())
        assert mount_at(report, "/dev/pts").kind == "devpts"
        assert [path for path in report["dev"] if path.startswith("/dev/pts/")] == ["/dev/pts/ptmx"]

    def test_an_unknown_type_is_an_error(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.add_mount("/data", "nosuchfs", "none")
        box.container(bundle).create().failed("/data", "no such device")

    def test_bad_data_is_an_error_that_names_the_mount(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.add_mount("/data", "tmpfs", "tmpfs", "size=banana")
        box.container(bundle).create().failed("/data", "invalid argument")

    def test_they_are_mounted_in_order(self, box: Box) -> None:
        bundle = box.bundle("cat", "/a/b/file")
        outside = box.folder / "x"
        outside.mkdir()
        (outside / "file").write_text("inner\n")
        bundle.add_mount("/a", "tmpfs", "tmpfs")
        bundle.add_mount("/a/b", "bind", str(outside), "bind")
        assert box.output(bundle) == "inner\n"

    def test_the_same_place_twice_is_covered(self, box: Box) -> None:
        bundle = box.bundle("ls", "/data")
        (box.folder / "one").mkdir()
        (box.folder / "two").mkdir()
        (box.folder / "two/second").touch()
        bundle.add_mount("/data", "bind", str(box.folder / "one"), "bind")
        bundle.add_mount("/data", "bind", str(box.folder / "two"), "bind")
        assert box.output(bundle) == "second\n"


class TestOptions:
    """Words of `options` become attributes of the mount."""

    @pytest.mark.parametrize(
        "word", ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime"]
    )
    def test_a_word_becomes_an_attribute(self, box: Box, word: str) -> None:
        bundle = box.bundle()
        bundle.add_mount("/data", "tmpfs", "tmpfs", word)
        assert word in mount_at(box.report(bundle), "/data").options

    @pytest.mark.parametrize(
        ("words", "there", "absent"),
        [
            (["ro", "rw"], "rw", "ro"),
            (["rw", "ro"], "ro", "rw"),
            (["nosuid", "suid"], "rw", "nosuid"),
            (["noexec", "nodev", "exec"], "nodev", "noexec"),
            (["noatime", "strictatime"], "rw", "noatime"),
            (["strictatime"], "rw", "relatime"),
            (["strictatime", "noatime"], "rw", "noatime"),
            (["noatime", "relatime"], "noatime", "relatime"),
            pytest.param(
                ["defaults"], "rw", "ro", marks=peer_deviates("runc", "1.1 passes it on as data")
            ),
        ],
    )
    def test_which_of_two_words_wins(
        self, box: Box, words: list[str], there: str, absent: str
    ) -> None:
        bundle = box.bundle()
        bundle.add_mount("/data", "tmpfs", "tmpfs", *words)
        options = mount_at(box.report(bundle), "/data").options
        assert there in options
        assert absent not in options

    @needs(kernel=(5, 10))
    @peer_deviates("crun", "does not know it")
    def test_nosymfollow_is_applied(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.add_mount("/data", "tmpfs", "tmpfs", "nosymfollow")
        assert "nosymfollow" in mount_at(box.report(bundle), "/data").options

    def test_a_read_only_tmpfs_refuses_writes(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.add_mount("/data", "tmpfs", "tmpfs", "ro")
        assert box.attempts(bundle, "create:/data/x") == [errno.EROFS]

    def test_a_read_only_dev_still_gets_its_devices(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.mounts[1]["options"].append("ro")
        assert box.attempts(bundle, "write:/dev/null", "create:/dev/x") == [0, errno.EROFS]

    def test_tmpcopyup_fills_the_tmpfs(self, box: Box) -> None:
        bundle = box.bundle(
            "sh", "-c", "cat /data/file; echo more > /data/file; stat -c %a /data/s"
        )
        (bundle.rootfs / "data").mkdir()
        (bundle.rootfs / "data/file").write_text("below\n")
        (bundle.rootfs / "data/s").mkdir()
        (bundle.rootfs / "data/s").chmod(0o1711)
        bundle.add_mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
        assert box.output(bundle) == "below\n1711\n"
        assert (bundle.rootfs / "data/file").read_text() == "below\n"

    @peer_deviates("crun", "1.8 leaves the mode of a new tmpfs", sometimes=True)
    def test_tmpcopyup_keeps_owners_but_that_of_the_tmpfs_itself(self, box: Box) -> None:
        bundle = box.bundle("stat", "-c", "%a %u:%g", "/data", "/data/sub")
        data = bundle.rootfs / "data"
        (data / "sub").mkdir(mode=0o700, parents=True)
        for folder in (data, data / "sub"):
            os.chown(folder, 12, 34)
        bundle.add_mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
        assert box.output(bundle) == "755 0:0\n700 12:34\n"


class TestBind:
    """Bind mounts."""

    def test_a_directory_is_shared_in_both_directions(self, box: Box, outside: Path) -> None:
        bundle = box.bundle("sh", "-c", "cat /data/file; echo inside > /data/new")
        bundle.add_mount("/data", "bind", str(outside), "bind")
        assert box.output(bundle) == "from the host\n"
        assert (outside / "new").read_text() == "inside\n"

    def test_a_file_on_a_missing_place(self, box: Box, outside: Path) -> None:
        bundle = box.bundle("cat", "/etc/deep/name")
        bundle.add_mount("/etc/deep/name", "bind", str(outside / "file"), "bind")
        assert box.output(bundle) == "from the host\n"
        assert (bundle.rootfs / "etc/deep/name").is_file()

    def test_the_type_does_not_matter(self, box: Box, outside: Path) -> None:
        bundle = box.bundle("cat", "/data/file")
        bundle.add_mount("/data", "none", str(outside), "rbind")
        assert box.output(bundle) == "from the host\n"

    def test_a_relative_source_is_relative_to_the_bundle(self, box: Box) -> None:
        bundle = box.bundle("cat", "/data/file")
        (bundle.path / "near").mkdir()
        (bundle.path / "near/file").write_text("near\n")
        bundle.add_mount("/data", "bind", "near", "bind")
        assert box.output(bundle) == "near\n"

    def test_a_missing_source_is_an_error(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.add_mount("/data", "bind", "/no/such/source", "bind")
        box.container(bundle).create().failed("/no/such/source", "no such file or directory")

    def test_a_read_only_bind_is_readable_only(self, box: Box, outside: Path) -> None:
        bundle = box.bundle()
        bundle.add_mount("/data", "bind", str(outside), "bind", "ro")
        assert box.attempts(bundle, "write:/data/file", "open:/data/file") == [errno.EROFS, 0]

    def test_noexec_nosuid_nodev(self, box: Box, outside: Path) -> None:
        bundle = box.bundle()
        bundle.add_mount("/data", "bind", str(outside), "rbind", "noexec", "nosuid", "nodev")
        options = mount_at(box.report(bundle), "/data").options
        assert {"noexec", "nosuid", "nodev", "rw"} <= options

    def test_without_words_the_sources_attributes_stay(self, box: Box, outside: Path) -> None:
        libc_call("mount", b"tmpfs", os.fsencode(outside), b"tmpfs", 2 | 8, None)  # nosuid, noexec
        try:
            bundle = box.bundle()
            bundle.add_mount("/data", "bind", str(outside), "bind")
            options = mount_at(box.report(bundle), "/data").options
        finally:
            libc_call("umount2", os.fsencode(outside), MNT_DETACH)
        assert {"nosuid", "noexec"} <= options

    def test_rbind_takes_what_is_below(self, box: Box, outside: Path) -> None:
        (outside / "sub").mkdir()
        libc_call("mount", b"tmpfs", os.fsencode(outside / "sub"), b"tmpfs", 0, None)
        (outside / "sub/deep").touch()
        try:
            for word, seen in (("rbind", "deep\n"), ("bind", "")):
                bundle = box.bundle("ls", "/data/sub")
                bundle.add_mount("/data", "bind", str(outside), word)
                assert box.output(bundle) == seen
        finally:
            libc_call("umount2", os.fsencode(outside / "sub"), MNT_DETACH)

    @needs(kernel=(5, 12))
    @pytest.mark.parametrize(("word", "expected"), [("ro", 0), ("rro", errno.EROFS)])
    def test_rro_reaches_submounts_and_ro_does_not(
        self, box: Box, outside: Path, word: str, expected: int
    ) -> None:
        (outside / "sub").mkdir()
        libc_call("mount", b"tmpfs", os.fsencode(outside / "sub"), b"tmpfs", 0, None)
        try:
            bundle = box.bundle()
            bundle.add_mount("/data", "bind", str(outside), "rbind", word)
            calls = box.attempts(bundle, "create:/data/x", "create:/data/sub/x")
        finally:
            libc_call("umount2", os.fsencode(outside / "sub"), MNT_DETACH)
        assert calls == [errno.EROFS, expected]

    @pytest.mark.parametrize("word", ["private", "slave", "shared", "rslave"])
    def test_propagation_of_one_mount(self, box: Box, outside: Path, word: str) -> None:
        bundle = box.bundle()
        bundle.add_mount("/data", "bind", str(outside), "bind", word)
        tags = mount_at(box.report(bundle), "/data").tags
        assert any(tag.startswith("shared:") for tag in tags) is (word == "shared")

    def test_values_for_a_file_system_do_no_harm_on_a_bind(self, box: Box, outside: Path) -> None:
        bundle = box.bundle()
        words = ("bind", "nosuid", "mode=755", "size=1k")
        bundle.add_mount("/data", "bind", str(outside), *words)
        found = mount_at(box.report(bundle), "/data")
        assert "nosuid" in found.options

    @peer_deviates("runc", "1.1 passes it on, and the kernel ignores it")
    @peer_deviates("crun", "passes it on, and the kernel ignores it")
    def test_an_unknown_word_on_a_bind_is_refused(self, box: Box, outside: Path) -> None:
        """It may be a slip of the pen that was to protect something."""
        bundle = box.bundle()
        bundle.add_mount("/data", "bind", str(outside), "bind", "noexce")
        box.container(bundle).create().failed("filesystem-specific options", "noexce")


class TestHostilePlaces:
    """A destination is resolved inside the root, once."""

    def test_a_link_to_the_host_stays_inside(self, box: Box, outside: Path) -> None:
        bundle = box.bundle("cat", "/real/file")
        (bundle.rootfs / "real").mkdir()
        (bundle.rootfs / "data").symlink_to("/real")
        bundle.add_mount("/data", "bind", str(outside), "bind")
        assert box.output(bundle) == "from the host\n"

    @pytest.mark.parametrize("target", ["../../../../../../../../tmp/x", "/tmp/../../../tmp/x"])
    def test_dots_in_a_link_stay_inside(self, box: Box, outside: Path, target: str) -> None:
        bundle = box.bundle("cat", "/tmp/x/file")
        (bundle.rootfs / "tmp/x").mkdir()
        (bundle.rootfs / "data").symlink_to(target)
        bundle.add_mount("/data", "bind", str(outside), "bind")
        assert box.output(bundle) == "from the host\n"

    def test_dots_in_the_destination_stay_inside(self, box: Box, outside: Path) -> None:
        bundle = box.bundle("cat", "/data/file")
        bundle.add_mount("/../../../data", "bind", str(outside), "bind")
        assert box.output(bundle) == "from the host\n"

    @pytest.mark.parametrize("name", ["cpuinfo", "meminfo", "stat", "uptime", "loadavg"])
    def test_lxcfs_files_may_cover_proc(self, box: Box, outside: Path, name: str) -> None:
        bundle = box.bundle("cat", f"/proc/{name}")
        bundle.add_mount(f"/proc/{name}", "bind", str(outside / "file"), "bind")
        assert box.output(bundle) == "from the host\n"

    def test_the_root_itself_is_no_place(self, box: Box, outside: Path) -> None:
        bundle = box.bundle("ls", "/")
        bundle.add_mount("/", "bind", str(outside), "bind")
        run = box.container(bundle).run()
        assert run.status != 0 or "probe" in run.stdout


class TestWhereTheyCome:
    """Destinations and sources that name the root by its path on the host."""

    @peer_deviates("runc", "1.1 looks for it below the root once more", sometimes=True)
    @peer_deviates("crun", "takes it literally", sometimes=True)
    def test_a_destination_that_begins_with_the_roots_own_path(
        self, box: Box, outside: Path
    ) -> None:
        """runc strips it: the mount is at /final."""
        bundle = box.bundle("cat", "/final/file")
        bundle.add_mount(f"{bundle.rootfs}/final", "bind", str(outside), "bind")
        assert box.output(bundle) == "from the host\n"
        assert not (bundle.rootfs / str(bundle.rootfs)[1:]).exists()

    @peer_deviates("crun", "takes it in silence", sometimes=True)
    def test_a_relative_destination_is_read_from_the_root_with_a_warning(
        self, box: Box, outside: Path
    ) -> None:
        bundle = box.bundle("cat", "/data/file")
        bundle.add_mount("data", "bind", str(outside), "bind")
        run = box.container(bundle).run().ok()
        assert run.stdout == "from the host\n"
        messages = [line["msg"] for line in run.log_lines if line["level"] == "warning"]
        assert any("mount destination data is not absolute" in message for message in messages)

    def test_a_destination_that_only_looks_like_it(self, box: Box, outside: Path) -> None:
        bundle = box.bundle("cat", f"{box.folder}/bundle1/rootfs2/file")
        bundle.add_mount(f"{bundle.rootfs}2", "bind", str(outside), "bind")
        assert box.output(bundle) == "from the host\n"

    @pytest.mark.parametrize("userns", [False, True])
    @peer_deviates("runc", "1.1 opens sources first with a user namespace", sometimes=True)
    @peer_deviates("crun", "1.8 opens sources first", sometimes=True)
    def test_a_source_that_an_earlier_entry_provides(self, box: Box, *, userns: bool) -> None:
        bundle = box.bundle("sh", "-c", "echo one >/data/sub/file && cat /again/file")
        if userns:
            bundle.use_userns((0, 100000, 65536))
        bundle.add_mount("/data", "tmpfs", "tmpfs", "size=64k")
        bundle.add_mount("/data/sub", "tmpfs", "tmpfs", "size=64k")
        bundle.add_mount("/again", "bind", f"{bundle.rootfs}/data/sub", "bind")
        assert box.output(bundle) == "one\n"

    @needs("ours")
    def test_a_late_source_is_looked_for_inside_the_root(self, box: Box, outside: Path) -> None:
        """A link on the mount, which may be the container's own, does not lead to the host."""
        (outside / "link").symlink_to("/etc")
        bundle = box.bundle("ls", "/again")
        (bundle.rootfs / "etc/of-the-image").touch()
        bundle.use_userns((0, 100000, 65536))
        bundle.add_mount("/data", "bind", str(outside), "rbind")
        bundle.add_mount("/again", "bind", f"{bundle.rootfs}/data/link", "rbind")
        assert "of-the-image" in box.output(bundle).split()

    @needs("ours")
    def test_the_ids_of_a_late_source_are_mapped(self, box: Box) -> None:
        bundle = box.bundle("stat", "-c", "%u", "/again")
        bundle.add_mount("/data", "tmpfs", "tmpfs", "size=64k")
        bundle.add_mount("/again", "bind", f"{bundle.rootfs}/data", "bind")
        bundle.mounts[-1]["uidMappings"] = [{"containerID": 0, "hostID": 77, "size": 1}]
        bundle.mounts[-1]["gidMappings"] = [{"containerID": 0, "hostID": 77, "size": 1}]
        assert box.output(bundle) == "77\n"


class TestAfterwards:
    """What mounting leaves in the bundle and outside of it."""

    @peer_deviates("runc", "applies the caller's umask")
    def test_missing_places_are_made_with_mode_755(self, box: Box, outside: Path) -> None:
        bundle = box.bundle("true")
        bundle.add_mount("/new/deep", "bind", str(outside), "bind")
        box.container(bundle).run(umask=0o077).ok()
        assert (bundle.rootfs / "new/deep").stat().st_mode & 0o777 == 0o755

    def test_mounts_of_the_host_are_gone_inside(self, box: Box) -> None:
        points = {mount.point for mount in mounts_of(box.report(box.bundle()))}
        assert points == {"/", "/proc", "/dev", "/dev/pts"}

    def test_the_old_root_is_not_reachable(self, box: Box) -> None:
        bundle = box.bundle("ls", "/..", "/../..", "/proc/1/root/..")
        assert set(box.output(bundle).split()) >= {"probe", "bin"}
        assert "work" not in box.output(bundle).split()
