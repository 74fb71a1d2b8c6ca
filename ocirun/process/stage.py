"""The stage: a short-lived process that enters namespaces and clones init as its sibling.

    a joined pid, a new time namespace   hold only children of the process that enters or makes them
    a joined user namespace              must own the new namespaces that init is cloned into
    a new user namespace beside joins    would have no right to join what the host owns

    parent                    stage                              init
      │ bootstrapData ───────► │ makes the plan, seals             ·
      │                        │ joins, unshares, sets clocks      ·
      │                        │ clone3(CLONE_PARENT) ───────────► │
      │ ◄────────── procCloned │ exits                             │
      │   (id maps written)                                        │
      │ sendConfig ──────────────────────────────────────────────► │ as always

Source: setns(2), clone3(2), pid_namespaces(7), time_namespaces(7), user_namespaces(7).
"""

from __future__ import annotations

import os
from fcntl import F_DUPFD_CLOEXEC, fcntl

from ocirun.errors import doing, send_warnings_to
from ocirun.kernel.prctl import set_dumpable
from ocirun.kernel.process import CLONE_NEWTIME, CLONE_NEWUSER, CLONE_PARENT, unshare
from ocirun.process.channel import PeerGone
from ocirun.process.clone import clone_init
from ocirun.process.init import run_init, tell_error, understand
from ocirun.process.messages import BOOTSTRAP_DATA, PROC_CLONED
from ocirun.process.namespaces import join_namespaces
from ocirun.process.seal import forget_caller, keep_only, seal_imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, NoReturn

    from ocirun.process.channel import Channel
    from ocirun.process.context import InitContext
    from ocirun.process.init import Inherited
    from ocirun.process.plan import Plan
    from ocirun.spec.types import Config

TIMENS_OFFSETS: Final = "/proc/self/timens_offsets"


def run_stage(channel: Channel, inherited: Inherited | None = None) -> NoReturn:
    """Run the stage: enter namespaces, clone init as our sibling, report its pidfd, exit.

    `inherited`: our parent has forked us, and its memory is ours.
    """
    send_warnings_to(channel.warn)
    try:
        _, bootstrap, fds = channel.receive(BOOTSTRAP_DATA)
        if bootstrap["kept_sent"]:
            fds = take_kept_fds(channel, fds, bootstrap["request"]["kept_fds"])
        # Order: before anything is joined. In a mount namespace of somebody else's /proc and the
        # files of our modules are theirs.
        inside, plan = understand(channel, bootstrap, inherited)
        if inside.request.joins:
            from ocirun.process.exec_child import join_and_clone  # exec, not create

            join_and_clone(inside, plan, bootstrap, fds)
        else:
            _enter_and_clone(inside, plan, bootstrap, fds)
    except PeerGone:
        os._exit(1)
    except BaseException as error:  # noqa: BLE001  # reported to the parent
        tell_error(channel, error)
        os._exit(1)
    os._exit(0)


def take_kept_fds(channel: Channel, fds: list[int], places: list[int]) -> list[int]:
    """Move the last of `fds` to the numbers in `places`, where the program expects them.

    A stage that a helper has cloned inherits nothing but its channel. Whatever lies in the places
    now moves up, the channel too.

    Returns:
        The other `fds`, at their new numbers.
    """
    first_free = max(places, default=2) + 1
    moved = [fcntl(fd, F_DUPFD_CLOEXEC, first_free) for fd in fds]
    channel.move(fcntl(channel.fileno(), F_DUPFD_CLOEXEC, first_free))
    others = len(fds) - len(places)
    for place, fd in zip(places, moved[others:], strict=True):
        os.dup2(fd, place, inheritable=False)
    return moved[:others]


def _enter_and_clone(
    inside: InitContext, plan: Plan, bootstrap: dict[str, Any], fds: list[int]
) -> None:
    seal_imports()
    forget_caller()
    channel, request = inside.channel, inside.request
    keep_only([*request.kept_fds, channel.fileno(), *fds])
    with doing(f"changing to the root {request.rootfs}"):
        os.chdir(request.rootfs)
    cgroup_fd = fds.pop() if bootstrap["into_cgroup"] else None
    flags = request.namespaces.clone_flags
    with _TimeOffsets(inside.config, wanted="time" in request.namespaces.new) as offsets:
        if bootstrap["join"]:
            # Security: CVE-2016-9962. A process of the namespaces we enter must not trace us or
            # follow our descriptors; init inherits that until execve.
            set_dumpable(False)
            join_namespaces(dict(zip(bootstrap["join"], fds, strict=True)))
        if offsets.wanted:
            # Order: the user namespace first, so that the time namespace belongs to it.
            unshare_user = flags & CLONE_NEWUSER
            flags &= ~CLONE_NEWUSER
            with doing("creating the time namespace"):
                unshare(CLONE_NEWTIME | unshare_user)
            offsets.set()
    pid, pidfd, born_in_cgroup = clone_init(flags | CLONE_PARENT, cgroup_fd)
    if pid == 0:
        run_init(channel, (inside, plan))
    channel.send(PROC_CLONED, born_in_cgroup, [pidfd])


class _TimeOffsets:
    """The clocks of a new time namespace, to be set before its first process enters.

    The file is opened on entering the block, while /proc is surely the host's, and means the
    namespace that our children will be in when it is written. Kernel: the rights of the
    process that opened it count, which are more than a mapped user's.

    Source: time_namespaces(7).
    """

    __slots__ = ("_fd", "_text", "wanted")

    def __init__(self, config: Config, *, wanted: bool) -> None:
        offsets = config["linux"].get("timeOffsets") or {} if wanted else {}
        self.wanted = wanted
        self._fd = -1
        self._text = "".join(
            f"{clock} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}\n"
            for clock, offset in offsets.items()
        )

    def __enter__(self) -> _TimeOffsets:
        if self._text:
            with doing(f"opening {TIMENS_OFFSETS}"):
                self._fd = os.open(TIMENS_OFFSETS, os.O_WRONLY | os.O_CLOEXEC)
        return self

    def set(self) -> None:
        """Write them, all in one write as the kernel wants it."""
        if self._text:
            with doing("setting the offsets of the time namespace"):
                os.write(self._fd, self._text.encode())

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
