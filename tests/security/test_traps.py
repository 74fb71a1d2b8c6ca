"""The trapped root itself: it sees what is opened, and a runtime that touches nothing is quiet.

What ocirun must leave alone on every path, and why, is the subject of
tests/security/test_import_seal.py.
"""

from __future__ import annotations

from harness.box import Box
from harness.trapped import TrappedRoot


def test_a_trap_that_is_opened_inside_is_seen_outside(box: Box) -> None:
    bundle = box.bundle("cat", "/usr/lib/python3.11/os.py", "/etc/nsswitch.conf", "/json.py")
    with TrappedRoot(bundle) as traps:
        assert traps.touched() == []
        box.container(bundle).run().ok()
        assert traps.touched() == ["etc/nsswitch.conf", "json.py", "usr/lib/python3.11/os.py"]
        assert traps.touched() == []


def test_listing_a_folder_of_modules_is_seen(box: Box) -> None:
    bundle = box.bundle("ls", "/usr/local/lib/python3.12")
    with TrappedRoot(bundle) as traps:
        box.container(bundle).run().ok()
        assert traps.touched() == ["usr/local/lib/python3.12/"]


def test_there_are_traps_for_every_name(box: Box) -> None:
    with TrappedRoot(box.bundle(), cwd="/work dir") as traps:
        assert traps.count > 10_000
        assert (traps.bundle.rootfs / "work dir/subprocess.so").exists()


def test_a_run_touches_nothing(box: Box) -> None:
    bundle = box.bundle("/probe", user={"uid": 1000, "gid": 1000}, cwd="/home/user")
    with TrappedRoot(bundle, cwd="/home/user") as traps:
        box.container(bundle).run().ok()
        assert traps.touched() == []
        assert not (bundle.rootfs / "TRAPPED").exists()
