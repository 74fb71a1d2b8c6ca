"""Be an ordinary user of this machine, for a child process of the test, and make containers so.

The machine is not changed: in a mount namespace of its own the child sees other /etc/passwd,
/etc/subuid and /etc/subgid, and may reach the interpreter wherever that is installed.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.box import Box
from harness.bundle import Bundle
from harness.machine import CLONE_NEWNS, MS_REC_PRIVATE, REPO, libc_call
from harness.runtime import Result

MS_BIND = 4096
MS_REC = 16384
NAME = "ocitest"


class User:
    """A user with an own uid and gid and a range of subordinate ids.

    `folder` (made here, in `parent`) is its home and runtime directory.
    """

    def __init__(
        self, parent: Path, uid: int = 43210, subordinate: tuple[int, int] = (700000, 65536)
    ) -> None:
        self.uid = uid
        self.open_devices: tuple[str, ...] = ()  # of /dev, which everybody may use then
        self._devices = parent / "devices"
        self.subordinate = subordinate
        self.folder = parent / "home"
        self.folder.mkdir(mode=0o700)
        os.chown(self.folder, uid, uid)
        self._etc = parent / "etc"
        self._etc.mkdir()
        first, count = subordinate
        for name in ("passwd", "group"):
            fields = f"{NAME}:x:{uid}:" + (
                f"{uid}::{self.folder}:/bin/sh" if name == "passwd" else ""
            )
            (self._etc / name).write_text(Path("/etc", name).read_text() + fields + "\n")
        for name in ("subuid", "subgid"):
            (self._etc / name).write_text(f"{NAME}:{first}:{count}\n")

    @property
    def environment(self) -> dict[str, str]:
        """What a login gives."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "USER": NAME,
            "XDG_RUNTIME_DIR": str(self.folder),
        }

    def become(self) -> None:
        """In a forked child, before execve: be this user. For Popen's preexec_fn."""
        libc_call("unshare", CLONE_NEWNS)
        libc_call("mount", None, b"/", None, MS_REC_PRIVATE, None)
        for name in ("passwd", "group", "subuid", "subgid"):
            place = Path("/etc", name)
            if place.exists():
                _bind(self._etc / name, place)
        for place in (Path(sys.base_prefix), REPO):
            _make_reachable(place)
        for name in self.open_devices:
            _bind(self._open_device(name), Path("/dev", name))
        os.setgroups([])
        os.setgid(self.uid)
        os.setuid(self.uid)

    def _open_device(self, name: str) -> Path:
        copy = self._devices / name
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            os.mknod(copy, stat.S_IFCHR, Path("/dev", name).stat().st_rdev)
            copy.chmod(0o666)
        return copy


class ManagedUser(User):
    """A user of this machine whose own systemd manager runs; called from outside its session."""

    @property
    def environment(self) -> dict[str, str]:
        """What a login gives, with the folder in which the manager's bus is."""
        return {**super().environment, "XDG_RUNTIME_DIR": f"/run/user/{self.uid}"}


def _bind(source: Path, place: Path) -> None:
    libc_call("mount", os.fsencode(source), os.fsencode(place), None, MS_BIND | MS_REC, None)


def _make_reachable(place: Path) -> None:
    """Where a folder on the way is closed, put an open one in its place that holds only `place`."""
    for closed in reversed(place.parents):
        if not closed.stat().st_mode & 0o001:
            kept = os.open(place, os.O_PATH | os.O_DIRECTORY)
            libc_call("mount", b"tmpfs", os.fsencode(closed), b"tmpfs", 0, b"mode=755")
            place.mkdir(parents=True)
            _bind(Path(f"/proc/self/fd/{kept}"), place)
            os.close(kept)
            return


class Home:
    """What an ordinary user makes, with the workbench of the test."""

    def __init__(self, box: Box, user: User | None = None) -> None:
        self.box = box
        self.user = user or User(box.folder)
        self._own(box.folder / "calls")
        box.runtime.root.mkdir()
        self._own(box.runtime.root)
        box.runtime.owner = self.keys  # nobody else, root included, may use this state root

    def _own(self, top: Path) -> None:
        os.chown(top, self.user.uid, self.user.uid)
        for folder, folders, files in os.walk(top):
            for name in folders + [f for f in files if f not in ("busybox", "probe")]:
                os.lchown(os.path.join(folder, name), self.user.uid, self.user.uid)

    def bundle(self, *args: str, subordinate: bool = False) -> Bundle:
        """A bundle with a map of the user alone, or of the user and the subordinate ids."""
        bundle = self.box.bundle(*args)
        bundle.set_namespace("user")
        first, count = self.user.subordinate
        maps = [{"containerID": 0, "hostID": self.user.uid, "size": 1}]
        if subordinate:
            maps.append({"containerID": 1, "hostID": first, "size": count})
        bundle.linux["uidMappings"] = maps
        bundle.linux["gidMappings"] = [dict(entry) for entry in maps]
        self._own(bundle.path)
        return bundle

    @property
    def keys(self) -> dict[str, Any]:
        """For every call that the user makes."""
        return {"preexec_fn": self.user.become, "env": self.user.environment}

    def run(self, bundle: Bundle, *flags: str) -> Result:
        return self.box.container(bundle).run(*flags, **self.keys)

    def report(self, bundle: Bundle) -> dict[str, Any]:
        report: dict[str, Any] = self.run(bundle).ok().json()
        return report

    def command(
        self, *words: str, through: tuple[str, ...] = (), **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Call the runtime without the harness's own --root.

        Outputs go through a file: a container that is created holds on to them.
        """
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [*through, self.box.runtime.path, *words],
                preexec_fn=self.user.become,
                env=self.user.environment | more,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                text=True,
                timeout=30,
                check=False,
            )
            output.seek(0)
            done.stdout = output.read()
        return done
