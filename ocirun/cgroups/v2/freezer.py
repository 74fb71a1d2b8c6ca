"""Pause and resume a v2 cgroup.

Source: kernel admin-guide/cgroup-v2.rst, cgroup.freeze and cgroup.events.
"""

from __future__ import annotations

import time
from errno import ENODEV, ENOENT

from ocirun.cgroups.files import read_counter, read_value, set_value
from ocirun.errors import SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PAUSE_S: Final = 0.000_05
LONGEST_PAUSE_S: Final = 0.01
LIMIT_S: Final = 10.0


def freeze(directory: str) -> None:
    """Freeze and wait until every process stands still.

    Raises:
        SetupError: refused, or a process did not stop within ten seconds; then they run again.
    """
    frozen = False
    try:
        set_value(directory, "cgroup.freeze", 1)
        frozen = _wait(directory)
    finally:
        if not frozen:
            thaw(directory)
    if not frozen:
        raise SetupError(f"freezing cgroup {directory}: its processes do not stand still")


def _wait(directory: str) -> bool:
    end = time.monotonic() + LIMIT_S
    pause_s = PAUSE_S
    while not read_counter(directory, "cgroup.events", "frozen"):
        if time.monotonic() > end:
            return False
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
    return True


def thaw(directory: str) -> None:
    """Thaw the processes; a cgroup that is gone is no error.

    Raises:
        SetupError: the kernel refused.
    """
    try:
        set_value(directory, "cgroup.freeze", 0)
    except SetupError as error:
        if error.errno not in (ENOENT, ENODEV):
            raise


def is_frozen(directory: str) -> bool:
    """Return whether this cgroup itself was set to freeze; what its parents do does not count.

    Raises:
        SetupError: the file cannot be read.
    """
    try:
        return read_value(directory, "cgroup.freeze") == "1"
    except FileNotFoundError:
        return False
    except OSError as error:
        what = f"reading {directory}/cgroup.freeze: {kernel_words(error)}"
        raise SetupError(what, error.errno or 0) from error
