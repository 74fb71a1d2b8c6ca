"""The child's half of exec: into a running container's namespaces, and become a program there.

    parent                                    stage
      │ bootstrapData ───────────────────────► │  the process and init's pidfd; it makes its plan,
      │                                        │  seals itself, joins the namespaces, and clones
      │ ◄────────────────────────── procCloned │  the process that carries on
      │   (cgroup joined, if not born in it)   │
      │ sendConfig ──────────────────────────► │  stdio and the descriptors of the cgroups
      │ ◄────────────────────────── procLimits │  (when a hard limit must be raised)
      │ limitsRaised ────────────────────────► │
      │ ◄──────────────────────────── procGate │  nothing left to decide
      │ procResume ──────────────────────────► │
      │ ◄───────────────── end-of-file         │  execve, or its failure

Everything is understood and loaded before the first namespace is entered, because what is in there
is hostile: its processes must find nothing in us to trace, to follow, to import or to read. For the
same reason the stage does as much as it can (plan.py, `join`): it is in no pid namespace of the
container.

Source: setns(2) with a pidfd; docs/runc-compat/init.md#exec; CVE-2016-9962, CVE-2019-5736,
CVE-2024-21626.
"""

from __future__ import annotations

import os

from ocirun.cgroups.enter import enter as enter_cgroups
from ocirun.errors import doing
from ocirun.kernel.prctl import set_dumpable, set_pdeathsig
from ocirun.kernel.process import CLONE_NEWCGROUP, CLONE_NEWUSER, CLONE_PARENT, setns
from ocirun.process import user
from ocirun.process.channel import PeerGone
from ocirun.process.clone import clone_init
from ocirun.process.init import CANNOT_START, SIGKILL, take_stdio, tell_error
from ocirun.process.messages import PROC_CLONED, PROC_GATE, PROC_RESUME, SEND_CONFIG
from ocirun.process.seal import forget_caller, keep_only, seal_imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from ocirun.process.context import InitContext
    from ocirun.process.plan import Plan


def join_and_clone(
    init: InitContext, plan: Plan, bootstrap: dict[str, Any], fds: list[int]
) -> None:
    """Run the stage of exec: seal, enter, clone. Returns in the stage."""
    channel = init.channel
    seal_imports()
    keep_only([*init.request.kept_fds, channel.fileno(), *fds])
    cgroup_fd = fds.pop() if bootstrap["into_cgroup"] else None
    init.init_root_fd = fds.pop() if init.request.root_sent else -1
    cgroupns_fd = fds.pop() if init.request.cgroup_namespace else -1
    (init.init_pidfd,) = fds
    # Security: nobody in there may trace us or follow our descriptors (CVE-2016-9962).
    set_dumpable(False)
    forget_caller()
    for step in (*plan.assemble, *plan.join):
        step.act(init)
    os.close(init.init_pidfd)
    pid, pidfd, born_in_cgroup = clone_init(CLONE_PARENT, cgroup_fd)
    if pid == 0:
        _become(init, plan, cgroupns_fd)
    channel.send(PROC_CLONED, born_in_cgroup, [pidfd])


def _become(init: InitContext, plan: Plan, cgroupns_fd: int) -> NoReturn:
    """Run the process that joined: drop the last rights, execve.

    `cgroupns_fd` is the cgroup namespace still to be joined, -1 for none.
    """
    channel = init.channel
    try:
        set_pdeathsig(SIGKILL)
        _, _, join_fds = channel.receive(SEND_CONFIG)
        take_stdio(init, join_fds)
        with doing("joining the cgroup of the container"):
            enter_cgroups(join_fds)
        if cgroupns_fd >= 0:
            with doing("joining the cgroup namespace of the container"):
                setns(cgroupns_fd, CLONE_NEWCGROUP)
            os.close(cgroupns_fd)
        with doing("making a new session"):
            os.setsid()
        if init.request.namespaces.has("user") or init.request.join_flags & CLONE_NEWUSER:
            user.become_root_of_namespace(keep_groups=init.keeps_groups)
            set_pdeathsig(SIGKILL)  # a change of uid has cleared it
        for step in plan.enter:
            step.act(init)
        init.close()
        channel.send(PROC_GATE)
        channel.wait_unread(PROC_RESUME)
        for step in plan.start:
            step.act(init)
    except PeerGone:  # the parent died: nobody waits for us
        os._exit(1)
    except BaseException as error:  # noqa: BLE001  # reported to the parent
        tell_error(channel, error)
    os._exit(CANNOT_START)
