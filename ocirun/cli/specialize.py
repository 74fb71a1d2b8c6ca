"""Run code before a snapshot is written, so that Python has adapted its bytecode (PEP 659).

A process runs most of its code once. By itself it would look up each name and attribute the long
way, and write to the code when it counts the calls; in a snapshot both is done. What is run here
keeps nothing of the host and changes nothing there: reading a configuration, making the plan,
sending messages to ourselves, resolving paths below an open directory, and calls that must fail.

Source: docs/fast-start.md; PEP 659.
"""

from __future__ import annotations

import os

from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from ocirun.process.channel import Channel

ROUNDS: Final = 12  # Python 3.11 adapts a function after eight calls
FOLDER: Final = "/usr"  # any that is there
NOTHING: Final = -1


def specialize() -> None:
    """Run the parts of create, exec and the small verbs that have no effect on the host."""
    for _ in range(ROUNDS):
        _plan()
        try:
            _talk()
            _look()
            _name_arguments()
            _mount()
        except (OSError, SetupError):  # a sandbox may refuse what an installation does not need
            continue


def _plan() -> None:
    """Read a configuration and make its plan, as the parent of init and as init."""
    from ocirun.process.context import InitContext
    from ocirun.process.plan import plan_create, plan_join
    from ocirun.process.request import Request
    from ocirun.rootfs.devices import identity, mode_of
    from ocirun.spec import checks
    from ocirun.spec.default import default_config
    from ocirun.spec.devices import devices_of, implied_rules
    from ocirun.spec.jsontext import compact, parse

    text = os.fsencode(compact(default_config()))
    config: Any = parse(text, "config.json")
    checks.check_config(config)
    request = Request(config)
    request.rootfs, request.bundle = "/bundle/rootfs", "/bundle"
    body: Any = parse(os.fsencode(compact(request.body())), "message", "surrogateescape")
    request = Request.from_body(config, body)
    plan_create(config, request)
    plan_join(config, request)
    channel: Any = None
    init = InitContext(channel, config, request)
    _ = init.user, init.keeps_groups
    implied_rules(config)
    for device in devices_of(config):
        identity(device)
        mode_of(device)


def _talk() -> None:
    """Send ourselves messages over a channel, and receive them."""
    from ocirun.process.channel import channel_pair

    ours, theirs = channel_pair()
    try:
        _exchange(ours, theirs)
    finally:
        ours.close()
        theirs.close()


def _exchange(ours: Channel, theirs: Channel) -> None:
    from ocirun.process.messages import PROC_READY, SEND_CONFIG

    ours.send(SEND_CONFIG, {"config": {}}, [ours.fileno()])
    for fd in theirs.receive(SEND_CONFIG)[2]:
        os.close(fd)
    theirs.send(PROC_READY)
    ours.receive(PROC_READY)


def _name_arguments() -> None:
    """Call functions with arguments by name, for which Python makes a table at the first call.

    No file has an empty path: each call fails before it does anything.
    """
    here = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    _have_refused(
        lambda: os.open("", os.O_RDONLY, dir_fd=here),
        lambda: os.stat("", dir_fd=here, follow_symlinks=False),
        lambda: os.lstat("", dir_fd=here),
        lambda: os.readlink("", dir_fd=here),
        lambda: os.mkdir("", dir_fd=here),
        lambda: os.mknod("", dir_fd=here),
        lambda: os.mkfifo("", dir_fd=here),
        lambda: os.symlink("x", "", dir_fd=here),
        lambda: os.rename("", "", src_dir_fd=here, dst_dir_fd=here),
        lambda: os.unlink("", dir_fd=here),
        lambda: os.rmdir("", dir_fd=here),
    )
    os.dup2(here, here, inheritable=True)
    os.close(here)


def _mount() -> None:
    """Mount from and on descriptor -1, which no file has: each call fails."""
    from ocirun.kernel import mount
    from ocirun.rootfs import filesystems
    from ocirun.spec.mount_options import read_options

    options = read_options(["ro", "nosuid", "rprivate"])
    _have_refused(
        lambda: mount.open_tree(NOTHING, "x", 0),
        lambda: mount.move_mount(NOTHING, NOTHING),
        lambda: mount.fsconfig_string(NOTHING, "x", "y"),
        lambda: mount.fsconfig_flag(NOTHING, "x"),
        lambda: mount.fsconfig_create(NOTHING),
        lambda: mount.fsmount(NOTHING, 0),
        lambda: mount.mount_setattr(NOTHING, "x", 0, 1, 1),
        lambda: filesystems.set_attributes(NOTHING, options),
        lambda: filesystems.finish(NOTHING, options),
        lambda: filesystems.attach(NOTHING, NOTHING, "/x"),
        lambda: filesystems.attach_copy(NOTHING, NOTHING),
    )


def _have_refused(*calls: Callable[[], object]) -> None:
    for call in calls:
        try:
            call()
        except OSError:
            continue


def _look() -> None:
    """Open paths below a directory, as steps do below the root."""
    from ocirun.errors import doing
    from ocirun.kernel.mount import magic_of, mount_id
    from ocirun.process.environment import environment
    from ocirun.process.program import find_program
    from ocirun.rootfs.kernel_mounts import KernelMounts
    from ocirun.rootfs.resolve import is_same_place, open_in_root
    from ocirun.security.capabilities import CapabilitySets

    CapabilitySets({"bounding": ["CAP_KILL"]}).leave_out(0)
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        environment(["PATH=/bin", "TERM=xterm"], root_fd, 0)
        with doing(f"opening {FOLDER}"):
            fd = open_in_root(*KernelMounts().start_of(root_fd, FOLDER))
        mount_id(fd)
        magic_of(fd)
        is_same_place(fd, root_fd)
        os.close(fd)
        find_program("sh", b"/nowhere:/bin", (0, 0))
    finally:
        os.close(root_fd)
