"""The steps of init before the root is entered: what it mounts and makes, still from outside.

Source: runtime-spec runtime.md#lifecycle; docs/runc-compat/init.md#order-of-init.
"""

from __future__ import annotations

import os

from ocirun.errors import doing
from ocirun.kernel.process import CLONE_NEWCGROUP, CLONE_NEWIPC, unshare
from ocirun.rootfs import prepare
from ocirun.rootfs.mounts import mount_entry
from ocirun.spec import OVERLAY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ocirun.process.context import InitContext
    from ocirun.rootfs.context import Entry


def join_keyring(init: InitContext) -> None:
    """Join a session keyring of the container's own."""
    from ocirun.security.keyring import join_new_keyring

    join_new_keyring(init.request.keyring, init.request.namespaces.has("user"))


def unshare_cgroup(_: InitContext) -> None:
    """Make the cgroup we are in the root of a new cgroup namespace."""
    with doing("creating the cgroup namespace"):
        unshare(CLONE_NEWCGROUP)


def unshare_ipc(_: InitContext) -> None:
    """Make an IPC namespace whose message queues belong to the container's root."""
    with doing("creating the IPC namespace"):
        unshare(CLONE_NEWIPC)


def bring_up_loopback(_: InitContext) -> None:
    """Bring up lo in the new network namespace."""
    from ocirun.network.loopback import bring_up_loopback as up

    up()


def open_root(init: InitContext) -> None:
    """Without a mount namespace: the root is entered as it lies there, nothing is mounted."""
    with doing(f"opening the root {init.request.rootfs}"):
        init.root_fd = os.open(init.request.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def set_propagation(init: InitContext) -> None:
    """Stop our mounts from reaching the host."""
    prepare.set_propagation(init.config.get("linux", {}).get("rootfsPropagation"))


def attach_root(init: InitContext) -> None:
    """Make the root a mount, which pivot_root asks for.

    In a mount namespace that is a copy of the parent's, we are in the root since before the clone
    (spawn.py), and need no right to walk the path again. One that was joined has moved us to "/".
    """
    propagation = init.config.get("linux", {}).get("rootfsPropagation")
    init.root_fd = prepare.attach_root(init.request.rootfs, propagation)


def cover_root(init: InitContext) -> None:
    """Put an overlay over the root, whose writes are the container's alone."""
    from ocirun.rootfs.overlay import cover

    size = init.config["annotations"][OVERLAY]
    init.root_fd, root_fd = -1, init.root_fd
    init.root_fd = cover(root_fd, size, init.request.mount_label, userns=init.context.userns)


def mounting(entry: Entry) -> Callable[[InitContext], None]:
    """Return the step that does one entry of config.json's mounts."""

    def mount(init: InitContext) -> None:
        mount_entry(init.root_fd, entry, init.context)

    return mount


def make_devices(init: InitContext) -> None:
    """Make the device nodes, or bind the host's or the parent's where we may not make any."""
    from ocirun.rootfs.devices import make_devices as make
    from ocirun.spec.devices import devices_of

    made_fds = {}
    if init.request.made_nodes:
        from ocirun.process.made_nodes import copy_made_nodes

        made_fds = copy_made_nodes(init.nodes_fd, init.root_fd, init.request.made_nodes)
        init.nodes_fd = -1
    make(init.root_fd, devices_of(init.config), bind=init.context.userns, made_fds=made_fds)


def link_devices(init: InitContext) -> None:
    """Make /dev/ptmx, /dev/fd, /dev/stdin and the like."""
    from ocirun.rootfs.devices import link_devices as link

    link(init.root_fd)
