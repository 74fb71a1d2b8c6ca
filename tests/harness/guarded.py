"""This machine, read-only to a runtime that shows it to a container.

What the tests of `try` delete are the machine's own programs and files. A runtime that is wrong, or
made wrong to see a test fail, would really delete them.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.host_dev import MS_BIND, MS_RDONLY, MS_REMOUNT
from harness.machine import CLONE_NEWNS, MS_REC_PRIVATE, libc_call

MS_REC = 0x4000
# Where the runtime itself works; nothing there is anybody's only copy.
WRITABLE = ("dev", "proc", "run", "sys", "tmp")


def guard_machine(folder: Path) -> None:
    """In a forked child: make every top directory read-only, but for `folder` in one of them.

    For Popen's preexec_fn. It needs root, and lasts as long as the child's mount namespace.
    """
    libc_call("unshare", CLONE_NEWNS)
    libc_call("mount", None, b"/", None, MS_REC_PRIVATE, None)
    # Order: a mount of its own first, which the read-only ones then have below them.
    libc_call("mount", bytes(folder), bytes(folder), None, MS_BIND | MS_REC, None)
    for name in sorted(os.listdir("/")):
        path = Path("/", name)
        if name in WRITABLE or path.is_symlink() or not path.is_dir():
            continue
        libc_call("mount", bytes(path), bytes(path), None, MS_BIND | MS_REC, None)
        libc_call("mount", None, bytes(path), None, MS_BIND | MS_REMOUNT | MS_RDONLY, None)


def tree_of(top: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, time of change and content of each file and directory below `top`."""
    found = {}
    for path in sorted(top.rglob("*")):
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (path.lstat().st_mode, path.lstat().st_mtime_ns, content)
    return found
