"""The root as CRIU needs it before a restore: a mount, with all mount points in it.

What the container's file systems are mounted on may be missing: its root may be a fresh copy.
The mountpoints are made by a child in a mount namespace of its own, where it may mount what
create would mount, to make those that lie inside bind mounts, and nothing has to be unmounted.

Source: criu(8), --root; docs/runc-compat/checkpoint.md#restore.
"""

from __future__ import annotations

import os
from errno import EINVAL

from ocirun.errors import SetupError, doing
from ocirun.kernel.mount import (
    AT_FDCWD,
    AT_RECURSIVE,
    MNT_DETACH,
    MS_PRIVATE,
    OPEN_TREE_CLONE,
    mount_setattr,
    move_mount,
    open_tree,
    umount2,
)
from ocirun.kernel.process import CLONE_NEWNS
from ocirun.process.child import run_in_child
from ocirun.rootfs import prepare
from ocirun.rootfs.context import MountContext, read_entries
from ocirun.rootfs.mountpoints import open_directory, refuse_proc
from ocirun.rootfs.mounts import load_for, mount_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Final

    from ocirun.process.request import Request
    from ocirun.spec.types import Config

FOLDER: Final = "criu-root"  # runc's name; in the folder of the container's state


class ScratchRoot:
    """For the length of a block: `path`, a folder in `directory` on which `rootfs` is bound."""

    __slots__ = ("path", "rootfs")

    def __init__(self, directory: str, rootfs: str) -> None:
        self.path = f"{directory}/{FOLDER}"
        self.rootfs = rootfs

    def __enter__(self) -> ScratchRoot:
        with doing(f"binding {self.rootfs} on {self.path}"):
            os.mkdir(self.path, 0o700)
            try:
                tree_fd = open_tree(AT_FDCWD, self.rootfs, OPEN_TREE_CLONE | AT_RECURSIVE)
                try:
                    mount_setattr(tree_fd, "", AT_RECURSIVE, propagation=MS_PRIVATE)
                    _attach(tree_fd, self.path)
                finally:
                    os.close(tree_fd)
            except BaseException:
                os.rmdir(self.path)
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            remove_scratch(self.path)
        except SetupError as failure:
            if error is None:
                raise
            error.add_note(str(failure))  # the first failure is the one to tell


def _attach(tree_fd: int, path: str) -> None:
    place_fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        move_mount(tree_fd, place_fd)
    finally:
        os.close(place_fd)


def remove_scratch(path: str) -> None:
    """Unmount and remove the scratch root at `path`, also one that a killed restore has left."""
    with doing(f"unmounting {path}"):
        try:
            umount2(path, MNT_DETACH)
        except OSError as error:
            if error.errno != EINVAL:  # it was killed before it had mounted anything
                raise
        os.rmdir(path)


def make_mountpoints(config: Config, request: Request) -> None:
    """Make what is missing of the container's mountpoints in its root.

    Raises:
        SetupError: a destination is not allowed, or cannot be made.
    """
    load_for(read_entries(config, request.bundle, request.rootfs))
    with doing("cloning the process that makes mountpoints"):
        run_in_child(
            "the process that makes mountpoints", lambda _: _make_all(config, request), CLONE_NEWNS
        )


def _make_all(config: Config, request: Request) -> None:
    prepare.set_propagation("rslave")
    root_fd = prepare.attach_root(request.rootfs, "rslave")
    context = MountContext()
    covered: list[str] = []
    for entry in read_entries(config, request.bundle, request.rootfs):
        # CRIU restores what is in new file systems, mountpoints too.
        if any(entry.destination.startswith(f"{place}/") for place in covered):
            continue
        if entry.options.bind and not entry.is_idmapped:
            mount_entry(root_fd, entry, context)
        else:
            refuse_proc(entry.destination, entry.fs_name == "proc")
            with doing(f'making the mountpoint "{entry.destination}"'):
                os.close(open_directory(root_fd, entry.destination)[0])
            covered.append(entry.destination)
