"""The terminal is mounted on /dev/console of the container, and its slave is the one we made.

CVE-2025-52565: the slave was opened by its name, and /dev/console as well, so that a link in its
place put a file of /proc in the place of the console, or the console over a file of /proc.

In 1,000 rounds (`make bars`, 28 November 2026, kernel 6.18) nothing lay over a file of /proc.

runc 1.1.5 is before it: it opens both by name.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from harness import bars
from harness.attack import Exchanger, Opens
from harness.box import Box
from harness.bundle import Bundle
from harness.inside import CLONE_NEWPID, do, inside, mounts
from harness.mountinfo import mount_at, mounts_of
from harness.needs import needs
from harness.peers import peer_deviates
from harness.terminal import ConsoleSocket

from ocirun.errors import OcirunError
from ocirun.kernel.mount import umount2
from ocirun.process import terminal
from ocirun.process.steps import enter

ROUNDS = bars.count(40, 1000)
MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"]},
]


def with_image_dev(box: Box) -> Bundle:
    """A bundle with a terminal whose /dev is the image's own."""
    bundle = box.bundle(terminal=True)
    bundle.config["mounts"] = [dict(mount) for mount in MOUNTS]
    return bundle


@needs("ours")
@pytest.mark.parametrize("target", ["/proc/version", "/etc/passwd", "console2", "/"])
def test_a_console_that_is_a_link_is_refused(box: Box, target: str) -> None:
    bundle = with_image_dev(box)
    (bundle.rootfs / "dev/console").symlink_to(target)
    with ConsoleSocket(box.folder / "console") as console:
        call = box.container(bundle).create("--console-socket", console.path)
    call.failed("/dev/console")


@peer_deviates("crun", "1.8 opens it by name", sometimes=True)
@peer_deviates("runc", "1.1 is before CVE-2025-52565", sometimes=True)
def test_a_console_that_is_exchanged_for_a_link(box: Box) -> None:
    """Nothing lies over a file of /proc, in any round."""
    bundle = with_image_dev(box)
    (bundle.rootfs / "dev/console").touch()
    (bundle.rootfs / "dev/link").symlink_to("/proc/version")
    pid_file = box.folder / "pid"
    found = []
    with Exchanger((bundle.rootfs / "dev/console", bundle.rootfs / "dev/link")):
        for number in range(ROUNDS):
            container = box.container(bundle)
            with ConsoleSocket(box.folder / f"console{number}") as console:
                words = ("--pid-file", pid_file, "--console-socket", console.path)
                if container.create(*words).status == 0:
                    lines = Path(f"/proc/{pid_file.read_text()}/mountinfo").read_text()
                    found += [line for line in lines.splitlines() if " /proc/" in line]
                    container.delete("--force").ok()
    assert found == []


def test_the_console_is_the_containers_own_slave(box: Box) -> None:
    """On runc too, where nobody attacks."""
    bundle = box.bundle("/probe", terminal=True)
    with ConsoleSocket(box.folder / "console") as console:
        container = box.container(bundle)
        container.create("--console-socket", console.path).ok()
        lines = Path(f"/proc/{container.pid}/mountinfo").read_text().splitlines()
        row = mount_at({"mountinfo": lines}, "/dev/console")
        assert row.kind == "devpts"
        assert row.root == "/0"
        assert len([m for m in mounts_of({"mountinfo": lines}) if m.kind == "devpts"]) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_what_is_exchanged_for_the_multiplexer_is_not_opened(tmp_path: Path) -> None:
    """A FIFO or a device of the image in the place of /dev/pts/ptmx, 1,000 times."""
    root = tmp_path / "root"
    (root / "dev/pts").mkdir(parents=True)
    (root / "other").mkdir()
    os.mkfifo(root / "other/ptmx")
    os.mknod(root / "dev/pts/ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
    opens = Opens(root / "dev/pts/ptmx", root / "other/ptmx")

    def work() -> object:
        root_fd, _ = do(root)
        opened = 0
        for _ in range(1000):
            try:
                master, slave, _ = terminal.open_pty(root_fd)
            except Exception:  # noqa: BLE001  # what is meant to happen
                continue
            opened += 1
            os.close(master)
            os.close(slave)
        return opened

    with Exchanger((root / "dev/pts", root / "other")):
        opened = inside(work)
    assert opened == 0  # neither is on a devpts
    assert opens.count() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_the_console_never_covers_a_file_of_proc(tmp_path: Path) -> None:
    """The step alone, 1,000 times: its place is a file when looked at, a link when mounted on."""
    root = tmp_path / "root"
    (root / "dev").mkdir(parents=True)
    (root / "dev/console").touch()
    (root / "dev/link").symlink_to("/proc/version")

    def work() -> object:
        root_fd, _ = do(root, *MOUNTS)
        done, found = 0, []
        for _ in range(1000):
            slave = os.open("/dev/null", os.O_RDWR)
            try:
                terminal.bind_console(root_fd, slave)
            except Exception:  # noqa: BLE001  # a lost race may fail
                continue
            finally:
                os.close(slave)
            done += 1
            attacker.pause()
            for place in mounts(str(root)):
                if place.startswith("/proc/"):
                    found.append(place)
                if place.startswith(("/dev/console", "/dev/link")):
                    umount2(f"{root}{place}", 2 | 8)
            attacker.go()
        return done, found

    with Exchanger((root / "dev/console", root / "dev/link"), pause_s=0.0001) as attacker:
        done, found = inside(work, CLONE_NEWPID)  # type: ignore[misc]
    assert found == []
    assert done > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_what_is_exchanged_for_the_null_device_is_not_opened(tmp_path: Path) -> None:
    """The step that reopens /dev/null, 1,000 times: a FIFO is there when it opens it by name."""
    root = tmp_path / "root"
    (root / "dev").mkdir(parents=True)
    os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(root / "dev/other")
    opens = Opens(root / "dev/other")

    def work() -> object:
        root_fd, _ = do(root)
        init: Any = SimpleNamespace(root_fd=root_fd)
        done = 0
        for _ in range(1000):
            null = os.open("/dev/null", os.O_RDWR)
            os.dup2(null, 0)
            os.close(null)
            try:
                enter.reopen_null(init)
            except OcirunError:
                continue
            done += os.fstat(0).st_dev == os.stat(root / "dev").st_dev
        return done

    with Exchanger((root / "dev/null", root / "dev/other")):
        assert inside(work) not in (0, 1000)
    assert opens.count() == 0
