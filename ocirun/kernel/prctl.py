"""prctl(2), one function for each operation we use."""

from __future__ import annotations

from ocirun.kernel._native import ffi, lib
from ocirun.kernel.oserror import oserror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_KEEPCAPS: Final = 8
PR_CAPBSET_READ: Final = 23
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_RAISE: Final = 2
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4


def _prctl(name: str, option: int, arg2: int = 0, arg3: int = 0) -> int:
    result = lib.prctl(option, arg2, arg3, 0, 0)
    if result < 0:
        raise oserror(ffi.errno, f"prctl({name}, {arg2}, {arg3})")
    return result


def set_pdeathsig(signal: int) -> None:
    """Set the signal that we get when the parent thread dies; 0 for none."""
    _prctl("PR_SET_PDEATHSIG", PR_SET_PDEATHSIG, signal)


def set_dumpable(dumpable: bool) -> None:
    """Allow or forbid other processes to ptrace us and read our /proc entries."""
    _prctl("PR_SET_DUMPABLE", PR_SET_DUMPABLE, int(dumpable))


def set_keepcaps(keep: bool) -> None:
    """Keep the permitted capabilities when the uid changes from 0."""
    _prctl("PR_SET_KEEPCAPS", PR_SET_KEEPCAPS, int(keep))


def set_child_subreaper() -> None:
    """Become the child subreaper: the parent of orphaned descendants."""
    _prctl("PR_SET_CHILD_SUBREAPER", PR_SET_CHILD_SUBREAPER, 1)


def set_no_new_privs() -> None:
    """Set no_new_privs; cannot be undone."""
    _prctl("PR_SET_NO_NEW_PRIVS", PR_SET_NO_NEW_PRIVS, 1)


def in_bounding_set(capability: int) -> bool:
    """Return whether the bounding set has `capability`.

    Raises:
        OSError: EINVAL for a number this kernel does not know.
    """
    return _prctl("PR_CAPBSET_READ", PR_CAPBSET_READ, capability) == 1


def drop_from_bounding_set(kept: int, last: int) -> None:
    """Drop the capabilities from 0 to `last` that are not in the mask `kept`; cannot be undone.

    Raises:
        OSError: EPERM without CAP_SETPCAP, if one of them is in the set.
    """
    # Speed: some forty calls.
    if lib.drop_bounding_set(kept, last) < 0:
        raise oserror(ffi.errno, f"prctl(PR_CAPBSET_DROP) of 0 to {last} without {kept:#x}")


def clear_ambient() -> None:
    """Clear the ambient set."""
    _prctl("PR_CAP_AMBIENT_CLEAR_ALL", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)


def raise_ambient(capability: int) -> None:
    """Add `capability`, which must be permitted and inheritable, to the ambient set."""
    _prctl("PR_CAP_AMBIENT_RAISE", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)
