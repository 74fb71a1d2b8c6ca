"""Be an ordinary user of this machine, for a child process of the test.

The machine is not changed: in a mount namespace of its own the child sees other /etc/passwd,
/etc/subuid and /etc/subgid, and may reach the interpreter wherever that is installed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.machine import CLONE_NEWNS, MS_REC_PRIVATE, REPO, libc_call

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
        os.setgroups([])
        os.setgid(self.uid)
        os.setuid(self.uid)


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
