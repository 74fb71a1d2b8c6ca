"""Pause and resume a v1 cgroup.

Source: kernel admin-guide/cgroup-v1/freezer-subsystem.rst.
"""

from __future__ import annotations

import os
import time
from errno import ENODEV, ENOENT

from ocirun.cgroups.directories import directories_below
from ocirun.cgroups.files import read_value, set_value
from ocirun.errors import SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

STATE: Final = "freezer.state"
TRIES: Final = 500
THAW_EVERY: Final = 50
PAUSE_S: Final = 0.000_02
LONGEST_PAUSE_S: Final = 0.002
KICK_S: Final = 0.01
SETTLE_S: Final = 2.0  # longer than all tries of `freeze`


def freeze(directory: str) -> None:
    """Freeze and wait until every process stands still.

    Kernel: a cgroup in which processes keep forking, or whose parent's freezing is in progress,
    stays FREEZING; asking again helps, and now and then a thaw does.

    Raises:
        SetupError: refused, or still not frozen after all tries; it is thawed then.
    """
    frozen = False
    pause_s = PAUSE_S
    try:
        for count in range(1, TRIES + 1):
            set_value(directory, STATE, "FROZEN")
            if _state(directory) == "FROZEN":
                frozen = True
                return
            if count % THAW_EVERY == 0:
                set_value(directory, STATE, "THAWED")
                time.sleep(KICK_S)
                pause_s = PAUSE_S
            else:
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
    finally:
        if not frozen:
            thaw(directory)
    raise SetupError(f"freezing cgroup {directory}: its processes do not stand still")


def thaw(directory: str) -> None:
    """Thaw the processes; a cgroup that is gone is no error.

    Raises:
        SetupError: the kernel refused.
    """
    try:
        set_value(directory, STATE, "THAWED")
    except SetupError as error:
        if error.errno not in (ENOENT, ENODEV):
            raise


def thaw_below(directory: str) -> bool:
    """Thaw every cgroup below `directory`; return whether one was frozen.

    Security: a container that may write to its own v1 cgroups can freeze itself in one that it
    made. Neither SIGKILL nor a thaw of the cgroup above reaches it there.

    Raises:
        SetupError: the kernel refused.
    """
    try:
        # Kernel: a cgroup's directory has two links and one for each below: usually this is all.
        if os.stat(directory).st_nlink <= 2:
            return False
    except FileNotFoundError:
        return False
    frozen = False
    # Order: parents first: what is frozen above keeps what is below frozen.
    for below in directories_below(directory):
        try:
            frozen = _state(below) != "THAWED" or frozen
        except FileNotFoundError:
            continue
        except OSError as error:
            what = f"reading {below}/{STATE}: {kernel_words(error)}"
            raise SetupError(what, error.errno or 0) from error
        thaw(below)
    return frozen


def is_frozen(directory: str) -> bool:
    """Return whether this very cgroup is frozen, waiting up to two seconds while it freezes.

    A cgroup that is still FREEZING then counts as frozen.

    Kernel: `freezer.self_freezing` is 0 when only a parent was frozen. A cgroup that is gone is
    not frozen; a kernel without that file means what the state says.

    Security: a container that may write to its own v1 cgroups can make this last forever, with a
    process that waits for a FUSE file system and so cannot be frozen.

    Raises:
        SetupError: the state cannot be read.
    """
    try:
        state = _state(directory)
        pause_s = PAUSE_S
        end = time.monotonic() + SETTLE_S
        while state == "FREEZING" and time.monotonic() < end:
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            state = _state(directory)
    except FileNotFoundError:
        return False
    except OSError as error:
        what = f"reading {directory}/{STATE}: {kernel_words(error)}"
        raise SetupError(what, error.errno or 0) from error
    if state == "THAWED":
        return False
    try:
        return read_value(directory, "freezer.self_freezing") == "1"
    except FileNotFoundError:
        return True


def _state(directory: str) -> str:
    return read_value(directory, STATE)
