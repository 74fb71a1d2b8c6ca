"""Run a piece of a test in a forked child with namespaces of its own.

For tests of the functions that init is made of: the child may mount, pivot and chroot as it likes,
and everything goes away with it. What it returns or raises comes back through a pipe.
"""

from __future__ import annotations

import json
import os
import traceback
from typing import TYPE_CHECKING, Any

from ocirun.errors import OcirunError
from ocirun.kernel._native import ffi, lib
from ocirun.kernel.mount import (
    AT_RECURSIVE,
    MOUNT_ATTR_RDONLY,
    OPEN_TREE_CLONE,
    mount_setattr,
    move_mount,
    open_tree,
)
from ocirun.rootfs import mounts as rootfs_mounts
from ocirun.rootfs.context import Entry, MountContext
from ocirun.rootfs.prepare import attach_root, set_propagation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000


TMPFS = {"destination": "/t", "type": "tmpfs", "source": "tmpfs"}
# Name and minor number; the major is 1.
NODES = {
    "null": 3,
    "zero": 5,
    "full": 7,
    "random": 8,
    "urandom": 9,
}
DEVICES: list[dict[str, Any]] = [
    {"path": f"/dev/{name}", "type": "c", "major": 1, "minor": minor, "fileMode": 0o666}
    for name, minor in NODES.items()
]


class Refused(Exception):
    """The child raised an OcirunError; its words."""


class Crashed(Exception):
    """The child raised something else; its traceback."""


def inside(
    work: Callable[[], object],
    namespaces: int = 0,
    *,
    propagate: bool = True,
    root_of_userns: bool = False,
) -> object:
    """Return what `work` returns (as JSON carries it) in a child with a mount namespace.

    `namespaces`: more CLONE_NEW* flags. `propagate`: make "/" rslave first. `root_of_userns`: a
    user namespace that maps only root.

    Raises:
        Refused: `work` raised an OcirunError.
        Crashed: `work` raised something else, or the child died.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            if root_of_userns:
                _enter_user_namespace(namespaces | CLONE_NEWNS)
            else:
                _unshare(namespaces | CLONE_NEWNS)
            grandchild = os.fork() if namespaces & CLONE_NEWPID else 0
            if grandchild:
                os.waitpid(grandchild, 0)
                os._exit(0)
            if propagate:
                set_propagation(None)
                _protect_dev()
            answer = {"value": work()}
        except OcirunError as error:
            answer = {"refused": str(error)}
        except BaseException:  # noqa: BLE001  # told to the parent
            answer = {"crashed": traceback.format_exc()}
        with os.fdopen(writing, "w") as pipe:
            json.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    if not text:
        raise Crashed("the child said nothing")
    told = json.loads(text)
    if "refused" in told:
        raise Refused(told["refused"])
    if "crashed" in told:
        raise Crashed(told["crashed"])
    return told["value"]


class Mounted:
    """One row of mountinfo."""

    def __init__(self, line: str) -> None:
        fields = line.split(" ")
        dash = fields.index("-")
        self.number, self.parent, self.device, self.root, self.place = fields[:5]
        self.options = set(fields[5].split(","))
        self.optional = " ".join(fields[6:dash])
        self.fs_name, self.source, self.super_options = fields[dash + 1 : dash + 4]


def mounts(prefix: str = "") -> dict[str, Mounted]:
    """Every mount by its place below `prefix` (cut off); of stacked ones the topmost."""
    with open("/proc/self/mountinfo") as file:
        rows = [Mounted(line) for line in file.read().splitlines()]
    return {
        row.place.removeprefix(prefix) or "/": row for row in rows if row.place.startswith(prefix)
    }


def do(
    root: Path,
    *entries: Any,  # noqa: ANN401  # mounts as JSON
    **circumstances: object,
) -> tuple[int, MountContext]:
    """Attach the root and do the mount entries; in a child only.

    Returns the root's descriptor and the context they were done in.
    """
    context = MountContext(**circumstances)  # type: ignore[arg-type]
    root_fd = attach_root(str(root), None)
    for index, entry in enumerate(entries):
        mount_entry(root_fd, entry, context, index, bundle=str(root.parent))
    return root_fd, context


def mount_entry(
    root_fd: int,
    mount: Any,  # noqa: ANN401  # JSON
    context: MountContext,
    index: int = -1,
    *,
    bundle: str = "/",
    rootfs: str = "",
) -> None:
    """Read one entry of `mounts`, load what it needs, and do it."""
    entry = Entry(mount, index, bundle, rootfs)
    rootfs_mounts.load_for([entry])
    rootfs_mounts.mount_entry(root_fd, entry, context)


def seen(row: Mounted) -> dict[str, Any]:
    """A mount as the tests compare it."""
    return {
        "options": sorted(row.options),
        "type": row.fs_name,
        "source": row.source,
        "super": sorted(row.super_options.split(",")),
        "optional": row.optional,
    }


def mounted(
    root: Path, *entries: dict[str, Any], at: str, namespaces: int = 0, **more: object
) -> dict[str, Any]:
    """Do the entries in a child and return what mountinfo then says of `at`."""

    def work() -> object:
        do(root, *entries, **more)
        return seen(mounts(str(root))[at])

    result = inside(work, namespaces)
    assert isinstance(result, dict)
    return result


def without_master(optional: str) -> str:
    """Drop what the machine's own "/" being shared adds: its copies are slaves of it."""
    return " ".join(word for word in optional.split() if not word.startswith("master:"))


def _protect_dev() -> None:
    """Make the machine's /dev read-only for this child.

    A resolver that is broken, or broken on purpose to see a test fail, follows "/dev" to the
    machine's own and would replace its ptmx. It did once.
    """
    dev_fd = os.open("/dev", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    copy_fd = open_tree(dev_fd, "", OPEN_TREE_CLONE | AT_RECURSIVE)
    mount_setattr(copy_fd, "", AT_RECURSIVE, MOUNT_ATTR_RDONLY)
    move_mount(copy_fd, dev_fd)
    os.close(copy_fd)
    os.close(dev_fd)


def _unshare(flags: int) -> None:
    if lib.unshare(flags) < 0:
        raise OSError(ffi.errno, f"unshare({flags:#x})")


def _enter_user_namespace(flags: int) -> None:
    _unshare(CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    _unshare(flags)
