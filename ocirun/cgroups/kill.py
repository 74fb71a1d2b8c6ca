"""Kill every process of a cgroup: by cgroup.kill where the kernel has it, else frozen, one by one.

Source: kernel admin-guide/cgroup-v2.rst, cgroup.kill; cgroup-v1/freezer-subsystem.rst.
"""

from __future__ import annotations

import os
import time
from errno import ENODEV, ENOENT, EOPNOTSUPP

from ocirun.cgroups.directories import processes_below
from ocirun.cgroups.files import has_file, set_value
from ocirun.errors import SetupError, doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.cgroup import Cgroup

SIGKILL: Final = 9
KILL_ROUNDS: Final = 10
KILL_PAUSE_S: Final = 0.001
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
        _try_to_freeze(cgroup)
        for pid in processes_below(own):
            kill_one(pid)
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
