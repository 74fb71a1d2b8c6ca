"""A minimal bundle plus one change."""

from __future__ import annotations

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

Config = dict[str, Any]

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NAMESPACES = ("pid", "network", "ipc", "uts", "mount")
APPLETS = """
    [ ash cat chmod chown cp cut date dd df dirname echo env false find grep head hostname id ip
    kill ls mkdir mknod mount mv ps pwd readlink rm rmdir sed sh sleep sort stat stty sync tail
    test touch tr true tty umount uname wc which yes
"""

MINIMAL: Config = {
    "ociVersion": "1.0.2",
    "process": {
        "user": {"uid": 0, "gid": 0},
        "args": ["/probe"],
        "env": [PATH],
        "cwd": "/",
    },
    "root": {"path": "rootfs"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
    ],
    "linux": {"namespaces": [{"type": kind} for kind in NAMESPACES]},
}


class Bundle:
    """A bundle folder: `path`, `rootfs` inside it, and `config`, which `save` writes.

    The root is made of hard links to the session's busybox and probe, and of small files of its
    own: a test may write into it freely.
    """

    def __init__(self, path: Path, programs: Path) -> None:
        self.path = path
        self.rootfs = path / "rootfs"
        self.config = copy.deepcopy(MINIMAL)
        fill_rootfs(self.rootfs, programs)

    @property
    def process(self) -> Config:
        """The `process` object, to be changed in place."""
        process: Config = self.config["process"]
        return process

    @property
    def linux(self) -> Config:
        """The `linux` object, to be changed in place."""
        linux: Config = self.config["linux"]
        return linux

    @property
    def mounts(self) -> list[Config]:
        """The `mounts` list, to be changed in place."""
        mounts: list[Config] = self.config["mounts"]
        return mounts

    def drop_namespace(self, kind: str) -> None:
        """Leave one namespace out."""
        self.linux["namespaces"] = [n for n in self.linux["namespaces"] if n["type"] != kind]

    def set_namespace(self, kind: str, path: str | None = None) -> None:
        """Ask for a new namespace of this kind, or to join the one at `path`."""
        self.drop_namespace(kind)
        entry = {"type": kind} | ({"path": path} if path else {})
        self.linux["namespaces"].append(entry)

    def add_mount(self, destination: str, kind: str, source: str, *options: str) -> None:
        """Append a mount."""
        self.mounts.append(
            {
                "destination": destination,
                "type": kind,
                "source": source,
                "options": list(options),
            }
        )

    def use_userns(self, *maps: tuple[int, int, int]) -> None:
        """Ask for a user namespace; each map is (inside, outside, count), for uids and gids."""
        self.set_namespace("user")
        entries = [{"containerID": i, "hostID": o, "size": n} for i, o, n in maps]
        self.linux["uidMappings"] = entries
        self.linux["gidMappings"] = copy.deepcopy(entries)
        owner = next(o for i, o, n in maps if i == 0)
        for folder, folders, files in os.walk(self.rootfs):
            # Not the hard links: they belong to every test.
            for name in folders + [f for f in files if f not in ("busybox", "probe")]:
                os.lchown(os.path.join(folder, name), owner, owner)
        os.chown(self.rootfs, owner, owner)

    def save(self) -> None:
        """Write config.json."""
        text = json.dumps(self.config, indent=1, ensure_ascii=False)
        (self.path / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))


def fill_rootfs(rootfs: Path, programs: Path) -> None:
    """Make the tree of a small root: busybox with its applets, the probe, users, folders."""
    for folder in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "home/user", "usr/bin"):
        (rootfs / folder).mkdir(parents=True)
    (rootfs / "tmp").chmod(0o1777)
    for name, place in (("busybox", "bin/busybox"), ("probe", "probe")):
        try:
            os.link(programs / name, rootfs / place)
        except OSError:  # another filesystem
            shutil.copy2(programs / name, rootfs / place)
    for applet in APPLETS.split():
        (rootfs / "bin" / applet).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:a user:/home/user:/bin/sh\n"
    )
    (rootfs / "etc/group").write_text("root:x:0:\nuser:x:1000:\ntty:x:5:\n")
    (rootfs / "etc/hostname").write_text("rootfs\n")
