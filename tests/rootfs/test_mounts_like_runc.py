"""What a container sees of its mounts is what runc shows for the same config.json."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from harness.inside import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    Mounted,
    inside,
    mount_entry,
)

from ocirun.rootfs import devices, finalize, masks, pivot, prepare
from ocirun.rootfs.context import MountContext

if TYPE_CHECKING:
    from pathlib import Path

RUNC = shutil.which("runc")
BUSYBOX = shutil.which("busybox")

pytestmark = [
    pytest.mark.skipif(RUNC is None, reason="no tool runc"),
    pytest.mark.skipif(BUSYBOX is None, reason="no tool busybox"),
]

NAMESPACES = CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWUTS

QUESTIONS = "cat /proc/self/mountinfo; echo ====; stat -c '%f %u %g %t:%T %N' /dev/* /*"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of `runc spec` with busybox in it that answers QUESTIONS."""
    (tmp_path / "rootfs" / "bin").mkdir(parents=True)
    assert BUSYBOX is not None
    shutil.copy(BUSYBOX, tmp_path / "rootfs" / "bin" / "busybox")
    for name in ("sh", "cat", "stat"):
        (tmp_path / "rootfs" / "bin" / name).symlink_to("busybox")
    subprocess.run(["runc", "spec"], cwd=tmp_path, check=True)
    return tmp_path


def configure(bundle: Path, extra: list[dict[str, Any]]) -> dict[str, Any]:
    path = bundle / "config.json"
    config: dict[str, Any] = json.loads(path.read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = ["/bin/sh", "-c", QUESTIONS]
    # Its contents are compared in test_cgroup_mount: here they would name runc's own cgroup.
    config["mounts"] = [m for m in config["mounts"] if m["type"] != "cgroup"] + extra
    config["linux"]["resources"].pop("devices", None)
    path.write_text(json.dumps(config))
    return config


def as_runc(bundle: Path) -> str:
    command = ["runc", "--root", str(bundle / "state"), "run", f"rootfs-like-{os.getpid()}"]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def as_ours(bundle: Path, config: dict[str, Any]) -> str:
    linux = config["linux"]

    def work() -> object:
        os.umask(0)
        root_fd = prepare.attach_root(str(bundle / "rootfs"), None)
        context = MountContext()
        for index, entry in enumerate(config["mounts"]):
            mount_entry(root_fd, entry, context, index)
        devices.make_devices(root_fd, default_devices(), bind=False)
        devices.link_devices(root_fd)
        pivot.pivot(root_fd)
        finalize.remount_readonly(context.deferred)
        if config["root"]["readonly"]:
            finalize.readonly_root()
        slash_fd = os.open("/", os.O_PATH)
        masks.readonly_paths(slash_fd, linux["readonlyPaths"], context)
        null_fd = masks.open_null(slash_fd)
        masks.mask_paths(slash_fd, linux["maskedPaths"], null_fd, context)
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.dup2(writing, 1)
            os.execve("/bin/sh", ["sh", "-c", QUESTIONS], {})
        os.close(writing)
        with os.fdopen(reading) as pipe:
            return pipe.read()

    return str(inside(work, NAMESPACES))


def default_devices() -> list[dict[str, Any]]:
    numbers = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8),
               "urandom": (1, 9), "tty": (5, 0)}  # fmt: skip
    return [
        {"path": f"/dev/{name}", "type": "c", "major": major, "minor": minor, "fileMode": 0o666}
        for name, (major, minor) in numbers.items()
    ]


def answers(text: str) -> tuple[list[tuple[str, ...]], list[str]]:
    """Mounts without order and numbers, and what stat says of /dev and the mount points."""
    table, found = text.split("====\n")
    rows = [Mounted(line) for line in table.splitlines()]
    return sorted(map(comparable, rows)), found.splitlines()


def comparable(row: Mounted) -> tuple[str, ...]:
    details = sorted(row.super_options.split(","))
    if row.place in ("/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware"):
        details = ["ro"]  # runc 1.1 did not yet cap the size of a mask
    if row.place == "/shared":
        # runc 1.1 gives it the mode of the directory by a chmod afterwards: stat shows the same.
        details = [word for word in details if word != "mode=755"]
    # The root is the same directory, but not the same mount of it.
    place_in_fs = "" if row.place == "/" else row.root
    options = ",".join(sorted(row.options))
    # runc 1.1.15 makes what holds the root private, 1.1.5 leaves it a slave; see test_root.py.
    propagation = re.sub(r"master:\d+", "", row.optional)
    return row.place, place_in_fs, options, propagation, row.fs_name, row.source, *details


@pytest.mark.parametrize(
    "extra",
    [
        [],
        [{"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts",
          "options": ["rbind", "rprivate", "ro"]},
         {"destination": "/data", "type": "bind", "source": ".", "options": ["rbind", "rslave"]}],
        [{"destination": "/run", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "ro", "noatime", "mode=755", "size=64k"]},
         {"destination": "/shared", "type": "tmpfs", "source": "tmpfs",
          "options": ["unbindable", "nodiratime"]},
         {"destination": "/o", "type": "overlay", "source": "overlay",
          "options": ["lowerdir=/etc:/usr", "nodev", "ro"]}],
    ],
)  # fmt: skip
def test_the_container_looks_the_same(bundle: Path, extra: list[dict[str, Any]]) -> None:
    for entry in extra:
        if entry.get("source") == ".":
            entry["source"] = str(bundle)
    for name in ("data", "run", "shared", "o", "dev", "proc", "sys"):
        (bundle / "rootfs" / name).mkdir()  # the second run must not find more than the first
    config = configure(bundle, extra)
    theirs = answers(as_runc(bundle))
    ours = answers(as_ours(bundle, config))
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]
