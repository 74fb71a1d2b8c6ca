"""When CRIU fails: what is said, what goes on, and that nothing is left.

Mostly with a stand-in that speaks CRIU's recorded interface, so on machines where it does not work.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import machine
from harness.box import Box
from harness.fake_criu import FakeCriu
from harness.needs import needs
from harness.runtime import wait_until
from harness.saved import Saved

pytestmark = [needs("root")]


@pytest.fixture
def fake(box: Box, monkeypatch: pytest.MonkeyPatch) -> FakeCriu:
    fake = FakeCriu(box.folder / "bin")
    monkeypatch.setenv("PATH", f"{fake.folder}:{os.environ['PATH']}")
    return fake


@needs("tool criu")
def test_a_criu_that_does_not_work_here(box: Box) -> None:
    if machine.lack_of_criu() is None:
        pytest.skip("this host has a criu that works")
    with Saved(box).run() as saved:
        saved.checkpoint().failed("criu failed", "dump.log")
        saved.pipe.count_on()
        if box.runtime.name == "ours":
            assert "Error (criu/" in box.runtime.calls[-1].said
        saved.container.delete("--force").ok()
        saved.restore().failed("criu failed", "restore.log")
        box.runtime.call("state", saved.container.id).failed("does not exist")


@needs("ours")
def test_a_container_is_gone_after_its_dump_unless_told_otherwise(box: Box, fake: FakeCriu) -> None:
    with Saved(box).run() as saved:
        saved.checkpoint("--leave-running").ok()
        saved.checkpoint("--pre-dump").ok()
        assert saved.container.status == "running"
        saved.checkpoint().ok()
        assert fake.types[-2:] == ["VERSION", "DUMP"]
        box.runtime.call("state", saved.container.id).failed("does not exist")


@needs("ours")
def test_what_criu_is_told(box: Box, fake: FakeCriu, etc_criu: Path) -> None:
    bundle = box.bundle("/probe", "count")
    (bundle.rootfs / "real").mkdir()
    (bundle.rootfs / "link").symlink_to("/real")
    source = box.folder / "source"
    source.mkdir()
    bundle.add_mount("/link/data", "bind", str(source), "bind")
    bundle.linux["maskedPaths"] = ["/proc/uptime", "/proc/scsi"]
    (etc_criu / "own.conf").touch(0o644)
    bundle.config["annotations"] = {"org.criu.config": "/etc/criu/own.conf"}
    with Saved(box, bundle).run() as saved:
        pid = saved.container.pid
        words = ("--tcp-established", "--file-locks", "--manage-cgroups-mode", "ignore")
        saved.checkpoint(*words, "--page-server", "127.0.0.1:77", "--leave-running").ok()
        [entry] = [entry for entry in fake.asked if entry.get("type") == "DUMP"]
        text = entry["text"]
        for line in (
            f"pid: {pid}",
            "leave_running: true",
            "tcp_established: true",
            "file_locks: true",
            "manage_cgroups_mode: 0",
            'log_file: "dump.log"',
            f'root: "{bundle.rootfs}"',
            'key: "/real/data"\n    val: "/link/data"',
            'key: "/proc/uptime"\n    val: "/dev/null"',
            'address: "127.0.0.1"\n    port: 77',
            'config_file: "/etc/criu/own.conf"',
            "orphan_pts_master: true",
            "notify_scripts: true",
        ):
            assert line in text, text
        assert "/proc/scsi" not in text
        assert "tcp_close: true" not in text


@needs("ours")
def test_an_annotation_chooses_no_configuration_but_the_administrators(
    box: Box, fake: FakeCriu, etc_criu: Path
) -> None:
    """Whoever writes annotations would otherwise have CRIU run their scripts as root."""
    theirs = box.folder / "criu.conf"
    theirs.write_text(f"action-script touch {box.folder}/ran\n")
    (etc_criu / "link.conf").symlink_to(theirs)
    bundle = box.bundle("/probe", "count")
    for path in (str(theirs), "/etc/criu/link.conf", f"/etc/criu/../..{theirs}"):
        bundle.config["annotations"] = {"org.criu.config": path}
        with Saved(box, bundle).run() as saved:
            saved.checkpoint().failed(f'annotation org.criu.config: "{path}"')
            assert not saved.images.exists()
            saved.pipe.count_on()
            saved.container.delete("--force").ok()
            saved.images.mkdir()
            saved.restore().failed(f'annotation org.criu.config: "{path}"')
            box.runtime.call("state", saved.container.id).failed("does not exist")
    assert not {"DUMP", "RESTORE"} & set(fake.types)


def test_criu_killed_in_the_middle_of_a_dump(box: Box, fake: FakeCriu) -> None:
    """It had stopped the container by its freezer, and does not let it go itself."""
    fake.plan(DUMP=[["freeze"], ["die"]])
    with Saved(box).run() as saved:
        saved.checkpoint().failed()
        if box.runtime.name != "ours":
            box.runtime.call("resume", saved.container.id)
        assert saved.container.status == "running"
        saved.pipe.count_on()


@needs("ours")
def test_a_paused_container_stays_paused(box: Box, fake: FakeCriu) -> None:
    fake.plan(DUMP=[["fail", 0, "no,\n\x1b[2Jnever"]])
    with Saved(box).run() as saved:
        box.runtime.call("pause", saved.container.id).ok()
        # One line, and nothing that a terminal obeys.
        saved.checkpoint().failed("criu failed: type DUMP errno 0; no, [2Jnever")
        assert saved.container.status == "paused"


@pytest.mark.parametrize(
    "steps",
    [
        [["die"]],
        [["fail", 12, "no memory"]],
        [["notify", "setup-namespaces", 1], ["die"]],
        [["garbage"]],
        [["done", {"restore": {"pid": 1}}]],
    ],
    ids=["killed", "failed", "killed later", "garbage", "a stranger"],
)
@needs("ours")
def test_a_failed_restore_leaves_nothing(
    box: Box, fake: FakeCriu, steps: list[list[object]]
) -> None:
    fake.plan(RESTORE=steps)
    bundle = box.bundle("/probe", "count")
    if steps[0][:2] == ["notify", "setup-namespaces"]:
        # Not process 1 of the host: one that may be killed.
        saved_pid = _victim(box)
        fake.plan(RESTORE=[["notify", "setup-namespaces", saved_pid], ["die"]])
    with Saved(box, bundle) as saved:
        saved.images.mkdir()
        saved.restore().failed("criu")
        box.runtime.call("state", saved.container.id).failed("does not exist")


def _victim(box: Box) -> int:
    container = box.running()
    return container.pid


@needs("ours")
def test_a_killed_restore_is_cleared_away_by_delete(box: Box, fake: FakeCriu) -> None:
    fake.plan(RESTORE=[["notify", "pre-restore", 0], ["notify", "wait", 0]])
    fifo = box.folder / "bin" / "go"
    os.mkfifo(fifo)
    program = fake.program.read_text().replace(
        'if act == "done":', f'if words[:1] == ["wait"]:\n        open({str(fifo)!r}).read()\n'
        '    elif act == "done":'
    )  # fmt: skip
    fake.program.write_text(program)
    with Saved(box) as saved:
        saved.images.mkdir()
        process, _ = box.runtime.spawn(
            *saved.restore_words("--detach"), bundle=saved.bundle, **saved.stdio()
        )
        wait_until(lambda: ("pre-restore", True) in fake.answers, "the first notification")
        scratch = box.runtime.root / saved.container.id / "criu-root"
        assert (scratch / "probe").exists()
        process.kill()
        process.wait()
        fifo.write_text("")  # its criu may go on, and finds nobody
        saved.container.delete("--force").ok()
        assert not scratch.exists()


@needs("ours")
def test_missing_mountpoints_are_made_without_leaving_the_root(box: Box, fake: FakeCriu) -> None:
    """A hostile root: links where mountpoints are to be made lead to the host, but only there."""
    fake.plan(RESTORE=[["fail", 0, "enough"]])
    outside = box.folder / "outside"
    outside.mkdir()
    source = box.folder / "source"
    (source / "inner").mkdir(parents=True)
    bundle = box.bundle("/probe", "count")
    (bundle.rootfs / "evil").symlink_to(outside)
    bundle.add_mount("/evil/data", "bind", str(source), "bind")
    bundle.add_mount("/fresh/a", "bind", str(source), "rbind")
    bundle.add_mount("/fresh/a/deep", "bind", str(source), "rbind")
    bundle.add_mount("/fresh/tmp", "tmpfs", "tmpfs")
    bundle.add_mount("/fresh/tmp/below", "tmpfs", "tmpfs")
    with Saved(box, bundle) as saved:
        saved.images.mkdir()
        saved.restore().failed("enough")
    assert not list(outside.iterdir())
    assert (bundle.rootfs / str(outside).lstrip("/") / "data").is_dir()
    assert (bundle.rootfs / "fresh/a").is_dir()
    assert (source / "deep").is_dir()
    assert (bundle.rootfs / "fresh/tmp").is_dir()
    assert not (bundle.rootfs / "fresh/tmp/below").exists()


@needs("ours")
def test_no_mount_covers_the_root(box: Box, fake: FakeCriu) -> None:
    bundle = box.bundle("/probe", "count")
    bundle.add_mount("/..", "bind", "/tmp", "bind")
    with Saved(box, bundle) as saved:
        saved.images.mkdir()
        saved.restore().failed("is on the top of rootfs")
        assert "RESTORE" not in fake.types


@needs("ours")
@pytest.mark.usefixtures("fake")
def test_links_in_the_folder_of_images_are_not_followed(box: Box, tmp_path: Path) -> None:
    target = tmp_path / "target"
    with Saved(box).run() as saved:
        saved.images.mkdir()
        (saved.images / "descriptors.json").symlink_to(target)
        saved.checkpoint().ok()
        assert not target.exists()
        assert not (saved.images / "descriptors.json").is_symlink()


@needs("ours")
@pytest.mark.parametrize("fd", ["0", "77"])
def test_a_status_fd_must_be_open_for_writing(box: Box, fake: FakeCriu, fd: str) -> None:
    with Saved(box).run() as saved:
        with open("/dev/null", "rb") as null:
            saved.checkpoint("--status-fd", fd, stdin=null.fileno()).failed(f"--status-fd {fd}")
        assert "DUMP" not in fake.types


@needs("ours")
def test_the_status_fd_hears_when_pages_are_ready(box: Box, fake: FakeCriu) -> None:
    fake.plan(DUMP=[["notify", "status-ready", 0], ["done", {}]])
    ready, status = os.pipe()
    with Saved(box).run() as saved:
        saved.checkpoint("--lazy-pages", "--status-fd", str(status), pass_fds=[status]).ok()
        os.close(status)
        assert os.read(ready, 10) == b"\0"
        os.close(ready)
        assert "FEATURE_CHECK" in fake.types


@needs("ours")
def test_hooks_run_while_namespaces_are_set_up(box: Box, fake: FakeCriu) -> None:
    """And a hook that fails makes CRIU undo, and restore fail."""
    victim = _victim(box)
    fake.plan(RESTORE=[["notify", "setup-namespaces", victim], ["done", {}]])
    bundle = box.bundle("/probe", "count")
    seen = box.folder / "seen"
    bundle.config["hooks"] = {
        "prestart": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {seen}"]}],
        "createRuntime": [{"path": "/bin/false"}],
    }
    with Saved(box, bundle) as saved:
        saved.images.mkdir()
        saved.restore().failed("error running createRuntime hook #0: /bin/false")
        assert f'"pid":{victim}' in seen.read_text()
        assert fake.answers == [("setup-namespaces", False)]


@needs("ours")
def test_network_devices_are_not_restored(box: Box, fake: FakeCriu) -> None:
    with Saved(box).run() as saved:
        saved.checkpoint().ok()
        saved.bundle.linux["netDevices"] = {"eth0": {}}
        saved.restore().failed("/linux/netDevices: network devices cannot be moved")
        assert fake.types[-1] == "VERSION"
