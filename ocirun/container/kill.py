"""Send a signal to a container.

Source: runtime-spec runtime.md#kill; docs/runc-compat/cli.md#kill.
"""

from __future__ import annotations

import time

from ocirun.container.init_process import is_there, signal_init
from ocirun.container.status import PAUSED, RUNNING, STOPPED, cgroup_of, status_of
from ocirun.errors import ContainerError, UsageError, WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.cgroup import Cgroup
    from ocirun.container.record import Record
    from ocirun.container.store import Store

SIGKILL: Final = 9
MAX_SIGNAL: Final = 64
POLL_INTERVAL_S: Final = 0.1
POLLS: Final = 100
STUBBORN: Final = 9  # after a third of a second something may be keeping it alive


def kill(store: Store, container_id: str, signal: int, everyone: bool) -> None:
    """Send `signal` to the container's init; with `everyone` to each of its processes.

    SIGKILL for a container without a pid namespace of its own goes to every process of its
    cgroup, because nothing else would end them; also when its init has gone already.

    Raises:
        WrongStatus: the container has stopped (no error with `everyone`, which then ends what is
            left of it).
        SetupError: the signal could not be sent.
    """
    with store.load(container_id) as record:
        status = status_of(record)
        cgroup = cgroup_of(record)
        kills_all = signal == SIGKILL and (everyone or not record.private_pid)
        if status == STOPPED and not everyone and not (kills_all and cgroup.processes()):
            raise WrongStatus(container_id, status, "container not running")
        if everyone and record.engine and not kills_all:
            everyone = not _has_own_processes(record)
        if kills_all:
            cgroup.kill_all()
        elif everyone:
            from ocirun.cgroups.kill import signal_each  # cold

            signal_each(cgroup.processes, signal)
        if record.engine and status in (RUNNING, PAUSED) and not everyone:
            from ocirun.engines.engine import engine_of  # cold

            engine_of(record).kill(record, signal)
        elif status != STOPPED:
            signal_init(record, signal, tolerate_gone=everyone or signal == SIGKILL)
            if signal == SIGKILL:
                _let_die(cgroup)


def _has_own_processes(record: Record) -> bool:
    """Return whether what is in the container's cgroup is the engine's."""
    from ocirun.engines.engine import engine_of  # cold

    return engine_of(record).has_own_processes


def _let_die(cgroup: Cgroup) -> None:
    """Thaw what was killed: a frozen task of cgroup v1 does not even die.

    Security: a container that froze itself below its own cgroup has a process left that may do so
    again before init wakes up; it goes with all others then.
    """
    if cgroup.is_frozen():
        cgroup.thaw()
    if cgroup.thaw_below():
        cgroup.kill_all()


def kill_and_wait(record: Record) -> None:
    """Kill everything of a container and wait, ten seconds at most, until its init is gone.

    Raises:
        ContainerError: it is still there.
    """
    if not record.init_process_pid:
        return
    cgroup = cgroup_of(record)
    if not record.private_pid:
        cgroup.kill_all()
    signal_init(record, SIGKILL, tolerate_gone=True)
    _let_die(cgroup)
    for attempt in range(POLLS):
        if not is_there(record):
            return
        if attempt >= STUBBORN:
            _let_die(cgroup)
        # Most are gone in a millisecond: the pauses grow.
        time.sleep(min(POLL_INTERVAL_S, 0.001 * 2**attempt))
    raise ContainerError(record.id, "container init still running")


def signal_number(word: str) -> int:
    """Read a signal as people write it: a number, or a name with or without SIG, in any case.

    0 sends nothing, and only asks whether a signal could be sent (kill(2)).

    Raises:
        UsageError: it is not a signal.
    """
    if word.isascii() and word.isdecimal() and len(word) < 10 and int(word) <= MAX_SIGNAL:
        return int(word)
    import _signal  # cold: most callers give the number

    name = word.upper().removeprefix("SIG")
    number = getattr(_signal, f"SIG{name}", None) if name.isalnum() else None
    if not isinstance(number, int):
        raise UsageError(f'unknown signal "{word}"')
    return int(number)
