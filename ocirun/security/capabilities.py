"""The five capability sets.

Order of the three acts: the bounding set while we still may (before the uid changes), the uid
under PR_SET_KEEPCAPS, then the other sets at once, ambient last because it is a subset.

Source: runtime-spec config.md#linux-process; capabilities(7).
"""

from __future__ import annotations

import errno

from ocirun.errors import doing
from ocirun.kernel.capability import capset
from ocirun.kernel.prctl import (
    clear_ambient,
    drop_from_bounding_set,
    in_bounding_set,
    raise_ambient,
)
from ocirun.spec.capabilities import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.spec.types import Capabilities

MAX_CAPABILITIES = 64


class CapabilitySets:
    """The sets of config.json as bit masks, without what this kernel does not know.

    A name that is unknown, or a number this kernel lacks, is left out, as runc does; `ignored`
    names them for a warning.
    """

    __slots__ = ("ambient", "bounding", "effective", "ignored", "inheritable", "permitted")

    def __init__(self, capabilities: Capabilities) -> None:
        self.ignored: set[str] = set()
        last = last_capability()
        self.bounding = self._mask(capabilities.get("bounding"), last)
        self.effective = self._mask(capabilities.get("effective"), last)
        self.permitted = self._mask(capabilities.get("permitted"), last)
        self.inheritable = self._mask(capabilities.get("inheritable"), last)
        self.ambient = self._mask(capabilities.get("ambient"), last)

    def _mask(self, names: list[str] | None, last: int) -> int:
        mask = 0
        for name in names or ():
            number = CAPABILITIES.get(name)
            if number is None or number > last:
                self.ignored.add(name)
            else:
                mask |= 1 << number
        return mask


def last_capability() -> int:
    """The highest capability number of this kernel.

    Asked of prctl and not of /proc/sys/kernel/cap_last_cap, which may be masked or forged.
    """
    low, high = 0, MAX_CAPABILITIES
    while high - low > 1:
        middle = (low + high) // 2
        try:
            in_bounding_set(middle)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            high = middle
        else:
            low = middle
    return low


def drop_bounding_set(sets: CapabilitySets) -> None:
    """Take from the bounding set what config.json does not name. Needs CAP_SETPCAP."""
    with doing("dropping capabilities from the bounding set"):
        for number in range(last_capability() + 1):
            if not sets.bounding >> number & 1 and in_bounding_set(number):
                drop_from_bounding_set(number)


def apply_sets(sets: CapabilitySets) -> list[int]:
    """Set effective, permitted and inheritable, then ambient.

    Returns:
        The ambient capabilities that the kernel refused, because they are not both permitted and
        inheritable: the specification lets that be a warning.
    """
    with doing("setting capabilities"):
        capset(sets.effective, sets.permitted, sets.inheritable)
        clear_ambient()
    refused = []
    for number in range(MAX_CAPABILITIES):
        if sets.ambient >> number & 1:
            try:
                raise_ambient(number)
            except PermissionError:
                refused.append(number)
    return refused
