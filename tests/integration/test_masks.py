"""Masked and read-only paths.

Source: runtime-spec config-linux.md#masked-paths, #readonly-paths;
docs/runc-compat/mounts.md#masked-and-read-only-paths.
"""

from __future__ import annotations

import errno

import pytest
from harness.box import EMPTY, Box
from harness.bundle import Bundle
from harness.mountinfo import mount_at, mounts_of
from harness.peers import peer_deviates


def with_files(box: Box) -> Bundle:
    bundle = box.bundle()
    (bundle.rootfs / "secret").write_text("secret\n")
    (bundle.rootfs / "folder").mkdir()
    (bundle.rootfs / "folder/inner").write_text("secret\n")
    return bundle


class TestMasked:
    """maskedPaths read as empty."""

    def test_a_file_reads_as_empty(self, box: Box) -> None:
        bundle = with_files(box)
        bundle.linux["maskedPaths"] = ["/secret"]
        assert box.attempts(bundle, "read:/secret") == [EMPTY]
        assert (bundle.rootfs / "secret").read_text() == "secret\n"

    def test_a_folder_looks_empty_and_refuses_writes(self, box: Box) -> None:
        bundle = with_files(box)
        bundle.linux["maskedPaths"] = ["/folder"]
        calls = box.attempts(bundle, "stat:/folder/inner", "create:/folder/new")
        assert calls == [errno.ENOENT, errno.EROFS]

    def test_files_of_proc_and_sys(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.add_mount("/sys", "sysfs", "sysfs", "ro")
        bundle.linux["maskedPaths"] = ["/proc/kcore", "/proc/timer_list", "/sys/firmware"]
        assert box.attempts(bundle, "read:/proc/timer_list") == [EMPTY]
        bundle.process["args"] = ["/probe"]
        assert mount_at(box.report(bundle), "/sys/firmware").kind == "tmpfs"

    def test_missing_ones_are_ignored(self, box: Box) -> None:
        bundle = with_files(box)
        bundle.linux["maskedPaths"] = ["/no/such", "/secret"]
        assert box.attempts(bundle, "read:/secret") == [EMPTY]

    def test_it_cannot_be_taken_off_without_privilege(self, box: Box) -> None:
        bundle = with_files(box)
        bundle.linux["maskedPaths"] = ["/secret"]
        bundle.process["capabilities"] = {}
        assert box.attempts(bundle, "umount:/secret", "read:/secret") == [errno.EPERM, EMPTY]

    def test_a_link_masks_what_it_leads_to_inside(self, box: Box) -> None:
        bundle = with_files(box)
        (bundle.rootfs / "link").symlink_to("/secret")
        bundle.linux["maskedPaths"] = ["/link"]
        assert box.attempts(bundle, "read:/link") == [EMPTY]

    def test_a_path_that_leads_out_of_proc_again_is_masked(self, box: Box) -> None:
        bundle = with_files(box)
        bundle.linux["maskedPaths"] = ["/proc/../secret"]
        assert box.attempts(bundle, "read:/secret") == [EMPTY]

    @peer_deviates("runc", "mounts on the root, which nobody in it sees")
    @peer_deviates("crun", "mounts on the root, which nobody in it sees")
    def test_the_root_cannot_be_masked(self, box: Box) -> None:
        for path in ("/", "/proc/.."):
            bundle = box.bundle()
            bundle.linux["maskedPaths"] = [path]
            refused = box.container(bundle).create()
            refused.failed(f'masking "{path}": it is the root of the container')

    @pytest.mark.parametrize("path", ["relative", "/../secret"])
    def test_odd_paths_do_not_lead_out(self, box: Box, path: str) -> None:
        bundle = with_files(box)
        bundle.linux["maskedPaths"] = [path]
        bundle.process["args"] = ["/probe", "try", "read:/secret"]
        run = box.container(bundle).run()
        if run.status == 0 and path.startswith("/"):
            assert run.json()[0]["errno"] == -1


class TestReadonly:
    """readonlyPaths refuse writes."""

    def test_a_file_becomes_read_only(self, box: Box) -> None:
        bundle = with_files(box)
        bundle.linux["readonlyPaths"] = ["/secret"]
        assert box.attempts(bundle, "write:/secret", "read:/secret") == [errno.EROFS, 0]

    def test_a_folder_and_what_is_in_it(self, box: Box) -> None:
        bundle = with_files(box)
        bundle.linux["readonlyPaths"] = ["/folder"]
        calls = box.attempts(bundle, "create:/folder/x", "write:/folder/inner", "create:/x")
        assert calls == [errno.EROFS, errno.EROFS, 0]

    def test_proc_sys_becomes_read_only(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.linux["readonlyPaths"] = ["/proc/sys", "/proc/irq"]
        assert box.attempts(bundle, "write:/proc/sys/kernel/hostname") == [errno.EROFS]

    def test_the_mounts_other_attributes_stay(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.mounts[0]["options"] = ["nosuid", "noexec", "nodev"]
        bundle.linux["readonlyPaths"] = ["/proc/sys"]
        options = mount_at(box.report(bundle), "/proc/sys").options
        assert {"ro", "nosuid", "noexec", "nodev"} <= options

    def test_missing_ones_are_ignored(self, box: Box) -> None:
        bundle = with_files(box)
        bundle.linux["readonlyPaths"] = ["/no/such", "/secret"]
        assert box.attempts(bundle, "write:/secret") == [errno.EROFS]

    @peer_deviates("crun", "refuses what is mounted in it as well")
    def test_the_root_itself_without_what_is_mounted_in_it(self, box: Box) -> None:
        for path in ("/", "//", "/link"):
            bundle = with_files(box)
            (bundle.rootfs / "link").symlink_to(".")
            bundle.linux["readonlyPaths"] = [path, "/folder"]
            calls = box.attempts(bundle, "create:/new", "create:/folder/new", "create:/dev/new")
            assert calls == [errno.EROFS, errno.EROFS, 0], path

    def test_without_the_properties_there_are_no_such_mounts(self, box: Box) -> None:
        points = {mount.point for mount in mounts_of(box.report(box.bundle()))}
        assert points == {"/", "/proc", "/dev", "/dev/pts"}
