"""The child's half of create: it makes its plan, runs it, and becomes the program.

Whatever fails is reported to the parent as procError (what was being done, the errno), or, once the
gate is open, to `start`; then init exits. When the parent dies, so does init.

Source: ARCHITECTURE.md#the-story; ocirun/process/messages.py.
"""

from __future__ import annotations

import os

from ocirun.cgroups.enter import enter as enter_cgroups
from ocirun.errors import OcirunError, SetupError, doing, send_warnings_to, what_failed
from ocirun.kernel.prctl import set_dumpable, set_pdeathsig
from ocirun.kernel.process import reset_affinity
from ocirun.process import user
from ocirun.process.channel import PeerGone
from ocirun.process.context import InitContext
from ocirun.process.gate import wait_at_gate
from ocirun.process.messages import (
    BOOTSTRAP_DATA,
    PROC_ERROR,
    PROC_GATE,
    PROC_HOOKS,
    PROC_READY,
    PROC_RESUME,
    PROC_RUN,
    SEND_CONFIG,
)
from ocirun.process.namespaces import join_namespaces
from ocirun.process.plan import plan_create, plan_join
from ocirun.process.request import Request
from ocirun.process.seal import forget_caller, keep_only, seal_imports
from ocirun.security.executable import own_executable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, NoReturn

    from ocirun.process.channel import Channel
    from ocirun.process.plan import Plan
    from ocirun.spec.types import Config

    Inherited = tuple[Config, Request, Plan]  # of a parent that has forked us

SIGKILL: Final = 9
# Python gives 1 to an uncaught exception; this is the status of a shell that could not exec.
MAX_SENTENCE: Final = 16 << 10  # characters; a path alone may have 4 KiB
MAX_NOTE: Final = 1 << 10
MAX_NOTES: Final = 32
CANNOT_START: Final = 255


def run_init(
    channel: Channel,
    understood: tuple[InitContext, Plan] | None = None,
    inherited: Inherited | None = None,
) -> NoReturn:
    """Run init, from the first message to execve. Never returns, whatever happens.

    `understood`: a stage has taken bootstrapData, entered the namespaces there are to join, and
    knows the config. `inherited`: our parent has forked us, and its memory is ours.
    """
    try:
        init, plan, gate_fds = _set_up(channel, understood, inherited)
        _start(init, plan, *gate_fds)
    finally:
        # Security: a forked init must never return into what its parent was about to do: that
        # would take back the container's state, from inside the container.
        os._exit(CANNOT_START)


def _set_up(
    channel: Channel,
    understood: tuple[InitContext, Plan] | None,
    inherited: Inherited | None,
) -> tuple[InitContext, Plan, tuple[int, int]]:
    """Go through the conversation with the parent, up to the gate."""
    try:
        set_pdeathsig(SIGKILL)
        send_warnings_to(channel.warn)
        init, plan, gate_fds = _prepare(channel, understood, inherited)
        channel.receive(PROC_RUN)
        for step in plan.assemble:
            step.act(init)
        if not init.unattended:
            channel.send(PROC_HOOKS)
            channel.receive(PROC_RESUME)
        for step in plan.enter:
            step.act(init)
        init.close()
        channel.send(PROC_GATE)
        send_warnings_to(_drop)  # nobody logs them any more
        channel.close()
    except PeerGone:  # the parent died: nobody waits for us, there is nothing to report
        os._exit(1)
    except BaseException as error:  # noqa: BLE001  # reported to the parent
        tell_error(channel, error)
        os._exit(1)
    return init, plan, gate_fds


def _drop(_: str) -> None:
    return


def understand(
    channel: Channel, body: dict[str, Any], inherited: Inherited | None
) -> tuple[InitContext, Plan]:
    """Make the plan for what `body` says, load all it needs, and do what needs the host's /proc.

    `body` is that of sendConfig, or of the stage's bootstrapData. What is `inherited` is used
    instead, and has all loaded.
    """
    if inherited:
        config, request, plan = inherited
    else:
        config = body["config"]
        request = Request.from_body(config, body["request"])
        plan = (plan_join if request.joins else plan_create)(config, request)
    init = InitContext(channel, config, request)
    init.own_executable = own_executable()
    if "oomScoreAdj" in config["process"]:
        from ocirun.process.rlimits import set_oom_score_adj

        set_oom_score_adj(config["process"]["oomScoreAdj"])
    return init, plan


def _prepare(
    channel: Channel,
    understood: tuple[InitContext, Plan] | None,
    inherited: Inherited | None,
) -> tuple[InitContext, Plan, tuple[int, int]]:
    """Take sendConfig and its descriptors, load all that will be needed, enter the namespaces."""
    join: dict[str, int] = {}
    if understood is None:
        _, bootstrap, join_fds = channel.receive(BOOTSTRAP_DATA)
        join = dict(zip(bootstrap["join"], join_fds, strict=True))
    _, body, fds = channel.receive(SEND_CONFIG)
    init, plan = understood or understand(channel, body, inherited)
    init.unattended = bool(body and body.get("unattended"))
    request = init.request
    # What is made on the way has the mode it is given, whatever the caller's umask.
    os.umask(user.DEFAULT_UMASK)
    keep_only([*request.kept_fds, channel.fileno(), *join.values(), *fds])
    gate_fds = fds.pop(0), fds.pop(0)
    take_stdio(init, fds)
    join_fds, fds = fds[: request.cgroup_join_fds], fds[request.cgroup_join_fds :]
    if request.made_nodes:
        init.nodes_fd = fds.pop(0)
    count = len(request.bind_sources)
    fds, output_fds = fds[:count], fds[count:]
    if output_fds:
        from ocirun.process.hook_outputs import HookOutputs  # cold: crun's annotations

        named = dict(zip(request.hook_outputs, output_fds, strict=True))
        init.hook_outputs = HookOutputs(**named)
    init.context.source_fds.update(zip(request.bind_sources, fds, strict=True))
    init.context.late_sources = request.late_sources
    seal_imports()
    forget_caller()
    with doing("joining the cgroup"):
        enter_cgroups(join_fds)
    with doing("resetting the CPU affinity"):
        # The caller's may be narrower (a service pinned by systemd): the cpuset governs.
        reset_affinity()
    _enter_namespaces(join, init)
    if not init.unattended:
        channel.send(PROC_READY)
    return init, plan, gate_fds


def take_stdio(init: InitContext, fds: list[int]) -> None:
    """Take what `fds` begins with: the console socket, or new fds 0 to 2, or neither."""
    if init.request.terminal:
        init.console_fd = fds.pop(0)
        return
    if not init.request.stdio_sent:
        return
    for fd in (0, 1, 2):
        given = fds.pop(0)
        os.dup2(given, fd, inheritable=True)
        os.close(given)


def _enter_namespaces(join: dict[str, int], init: InitContext) -> None:
    """Join what is joined without a stage, and become root where ids are mapped anew."""
    with doing("making a new session"):
        os.setsid()
    # Security: CVE-2016-9962. A process of another container, which may see us, must not trace
    # us or follow our descriptors; least of all while we wait at the gate with no more rights than
    # its own.
    set_dumpable(False)
    if join:
        join_namespaces(join)
    if init.request.namespaces.has("user"):
        user.become_root_of_namespace(keep_groups=init.keeps_groups)
        set_pdeathsig(SIGKILL)  # a change of uid has cleared it


def _start(init: InitContext, plan: Plan, gate_fd: int, answer_fd: int) -> NoReturn:
    """Wait for `start`, then run the rest of the plan, which ends with execve."""
    try:
        wait_at_gate(gate_fd, answer_fd)
    except BaseException:  # noqa: BLE001  # nobody would read it
        os._exit(CANNOT_START)
    try:
        for step in plan.start:
            step.act(init)
    except BaseException as error:  # noqa: BLE001  # reported to `start`
        message = os.fsencode(_sentence(error))
        os.write(answer_fd, message)
    os._exit(CANNOT_START)


def tell_error(channel: Channel, error: BaseException) -> None:
    """Send the parent procError, the last message of a failing stage or init."""
    body = {
        # The parent takes no message longer than MAX_ANSWER_BYTES.
        "message": _sentence(error)[:MAX_SENTENCE],
        "errno": getattr(error, "errno", None) or 0,
        "notes": [note[:MAX_NOTE] for note in (*getattr(error, "__notes__", ()), *_frames(error))][
            :MAX_NOTES
        ],
    }
    try:
        channel.send(PROC_ERROR, body)
    except (PeerGone, SetupError):  # nobody is left to read it
        return


def _frames(error: BaseException) -> list[str]:
    """Return where in our code `error` came from, for --debug.

    Security: by numbers only. The traceback module would open the files it names, which from here
    on are the container's.
    """
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"at {code.co_filename}:{trace.tb_lineno}, {code.co_name}")
        trace = trace.tb_next
    return frames


def _sentence(error: BaseException) -> str:
    """Return the message of any error. No traceback: it would read files."""
    if isinstance(error, OcirunError):
        return str(error)
    if isinstance(error, OSError):
        return what_failed(error)
    if isinstance(error, MemoryError):
        return "out of memory"
    return f"internal error: {type(error).__name__}: {error}"
