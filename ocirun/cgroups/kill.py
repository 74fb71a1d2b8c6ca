"""Kill every process of a cgroup: by cgroup.kill where the kernel has it, else frozen, one by one.

Source: kernel admin-guide/cgroup-v2.rst, cgroup.kill; cgroup-v1/freezer-subsystem.rst.
"""

from __future__ import annotations

import os
import time
from errno import EINVAL, ENODEV, ENOENT, EOPNOTSUPP, ESRCH

from ocirun.cgroups.directories import processes_below
from ocirun.cgroups.files import has_file, set_value
from ocirun.errors import SetupError, doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from ocirun.cgroups.cgroup import Cgroup

SIGKILL: Final = 9
KILL_ROUNDS: Final = 10
KILL_PAUSE_S: Final = 0.001
PIDFDS_AT_ONCE: Final = 128  # fewer than the usual limit of open files
NOT_A_PROCESS: Final = (EINVAL, ENOENT, ESRCH)  # of pidfd_open(2); ENOENT on Linux 6.18
PATIENCE: Final = 4  # rounds in which those killed at once may die, before each is killed again


def kill_all(cgroup: Cgroup, own: str) -> None:
    """Kill what is in the main directory, which `own` leads to whatever becomes of its path."""
    unified = cgroup.paths.get("")
    patience = 0
    if unified:
        unified = own if unified == cgroup.main_directory() else unified
        if has_file(unified, "cgroup.kill") and _kill_at_once(cgroup, unified):
            patience = PATIENCE
    pause_s = KILL_PAUSE_S
    for round_ in range(KILL_ROUNDS):
        if not processes_below(own):
            break
        if round_ >= patience:
            _kill_each(cgroup, own)
        time.sleep(pause_s)
        pause_s *= 2


def _kill_at_once(cgroup: Cgroup, unified: str) -> bool:
    """Kill through the kernel; return whether that worked.

    Kernel: cgroup.kill (from 5.14) also takes what is being forked meanwhile. A threaded
    cgroup refuses it: it holds threads of processes that are elsewhere, too.
    """
    try:
        set_value(unified, "cgroup.kill", 1)
    except SetupError as error:
        if error.errno not in (EOPNOTSUPP, ENOENT, ENODEV):
            raise
        return False
    else:
        return True
    finally:
        _thaw_after_kill(cgroup)


def _kill_each(cgroup: Cgroup, own: str) -> None:
    """Freeze so that nobody can fork away, kill, thaw."""
    try:
        if _try_to_freeze(cgroup):
            # What is frozen cannot end, so its pid cannot be reused.
            for pid in processes_below(own):
                kill_one(pid)
        else:
            signal_each(lambda: processes_below(own), SIGKILL)
    finally:
        _thaw_after_kill(cgroup)


def _try_to_freeze(cgroup: Cgroup) -> bool:
    """Freeze where that works; where the race against forks is lost, kill what can be seen."""
    try:
        if cgroup.has_freezer():
            cgroup.freeze()
            return True
    except SetupError:
        return False
    return False


def _thaw_after_kill(cgroup: Cgroup) -> None:
    """Kernel: v1 freezing holds a killed process back until it is thawed."""
    if cgroup.has_freezer():
        cgroup.thaw()
        cgroup.thaw_below()


def kill_one(host_pid: int) -> None:
    """Send SIGKILL; a process that is gone is fine.

    Security: 0 and negative numbers would be whole process groups; nothing is sent to those.

    Raises:
        SetupError: the kernel refused.
    """
    if host_pid <= 0:
        return
    with doing(f"killing process {host_pid}"):
        try:
            os.kill(host_pid, SIGKILL)
        except ProcessLookupError:
            return


def signal_each(list_pids: Callable[[], list[int]], signal: int) -> None:
    """Send `signal` to each process of a cgroup, whose host pids `list_pids` returns.

    Of a threaded cgroup only processes whose first thread is in it are signalled.

    Security: a pid may be another process's by the time it is used. So a pidfd is opened for each,
    and is signalled only if its pid is listed still.

    Raises:
        SetupError: the kernel refused.
    """
    pids = list(dict.fromkeys(list_pids()))  # Kernel: v1 may list one twice
    for first in range(0, len(pids), PIDFDS_AT_ONCE):
        pidfds: dict[int, int] = {}
        try:
            for pid in pids[first : first + PIDFDS_AT_ONCE]:
                if (pidfd := _open_pidfd(pid)) >= 0:
                    pidfds[pid] = pidfd
            listed = set(list_pids())
            for pid, pidfd in pidfds.items():
                if pid in listed:
                    _signal_pidfd(pid, pidfd, signal)
        finally:
            for pidfd in pidfds.values():
                os.close(pidfd)


def _open_pidfd(pid: int) -> int:
    """Return a pidfd that the caller closes; -1 where the process is gone or a later thread."""
    with doing(f"opening process {pid}"):
        try:
            return os.pidfd_open(pid)
        except OSError as error:
            if error.errno not in NOT_A_PROCESS:
                raise
            return -1


def _signal_pidfd(pid: int, pidfd: int, signal: int) -> None:
    from _signal import pidfd_send_signal

    with doing(f"sending signal {signal} to process {pid}"):
        try:
            pidfd_send_signal(pidfd, signal)
        except ProcessLookupError:
            return
