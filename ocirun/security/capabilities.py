"""The five capability sets.

Order: the bounding set while we still may (before the uid changes), the uid under PR_SET_KEEPCAPS,
then the other sets at once, ambient last because it is a subset.

Spec: what cannot be granted is left out and warned about, and never an error.
Source: runtime-spec config.md#linux-process; capabilities(7).
"""

from __future__ import annotations

import errno

from ocirun.errors import SetupError, doing, warn
from ocirun.kernel.capability import capget, capset
from ocirun.kernel.prctl import (
    clear_ambient,
    drop_from_bounding_set,
    in_bounding_set,
    raise_ambient,
)
from ocirun.spec.capabilities import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Capabilities

MAX_CAPABILITIES: Final = 64
CHOWN: Final = 1 << 0
DAC_OVERRIDE: Final = 1 << 1
SETGID: Final = 1 << 6
SETUID: Final = 1 << 7
SYS_ADMIN: Final = 1 << 21
SYS_NICE: Final = 1 << 23


class CapabilitySets:
    """The sets of config.json as bit masks, without what this kernel does not know.

    A name that is unknown, or a number this kernel lacks, is left out; `ignored` has these names.
    `last` is the highest number of this kernel. `available` is what we may grant ourselves.
    """

    __slots__ = (
        "ambient",
        "available",
        "bounding",
        "effective",
        "ignored",
        "inheritable",
        "last",
        "permitted",
    )

    def __init__(self, capabilities: Capabilities) -> None:
        self.ignored: set[str] = set()
        self.last = last = last_capability()
        self.bounding = self._mask(capabilities.get("bounding"), last)
        self.effective = self._mask(capabilities.get("effective"), last)
        self.permitted = self._mask(capabilities.get("permitted"), last)
        self.inheritable = self._mask(capabilities.get("inheritable"), last)
        self.ambient = self._mask(capabilities.get("ambient"), last)
        self.available = (1 << MAX_CAPABILITIES) - 1

    @property
    def all(self) -> int:
        """Every capability of any set."""
        return self.effective | self.permitted | self.inheritable | self.ambient

    def leave_out(self, available: int) -> list[str]:
        """Leave out what cannot be granted, `available` being our own permitted set.

        Returns:
            A sentence for each, to be logged as a warning.
        """
        self.available = available
        lacking = (self.all | self.bounding) & ~available
        self.bounding &= available
        self.permitted &= available
        self.inheritable &= available
        unpermitted = self.effective & available & ~self.permitted
        self.effective &= self.permitted
        unfounded = self.ambient & available & ~(self.permitted & self.inheritable)
        self.ambient &= self.permitted & self.inheritable
        return [
            *(f"capability {name} is unknown to this kernel" for name in sorted(self.ignored)),
            *_sentences(lacking, "cannot be granted: the runtime does not have it"),
            *_sentences(unpermitted, "cannot be effective: it is not permitted"),
            *_sentences(unfounded, "cannot be ambient: it is not permitted and inheritable"),
        ]

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


def _sentences(mask: int, why: str) -> list[str]:
    if not mask:
        return []
    return [
        f"capability {name} {why}" for name, number in CAPABILITIES.items() if mask >> number & 1
    ]


def drop_bounding_set(sets: CapabilitySets) -> None:
    """Take from the bounding set what config.json does not name. Needs CAP_SETPCAP."""
    with doing("dropping capabilities from the bounding set"):
        drop_from_bounding_set(sets.bounding, sets.last)


def limit_sets(wanted: int) -> None:
    """Drop every capability that is not in `wanted`."""
    with doing("giving up capabilities"):
        kept = capget()[1] & wanted
        capset(kept, kept, 0)


def apply_sets(sets: CapabilitySets, keep: int = 0) -> None:
    """Set effective, permitted and inheritable, then ambient; `keep` stays effective beside them.

    An ambient capability that secure bits forbid is warned about.

    Raises:
        SetupError: the kernel refused, or a seccomp filter has answered in its place.
    """
    keep &= sets.available
    wanted = sets.effective | keep, sets.permitted | keep, sets.inheritable
    refused = 0
    with doing("setting capabilities"):
        capset(*wanted)
        clear_ambient()
        for number in range(sets.last + 1):
            if sets.ambient >> number & 1:
                try:
                    raise_ambient(number)
                except PermissionError:
                    refused |= 1 << number
    _check(wanted)
    for sentence in _sentences(refused, "cannot be ambient: the secure bits forbid it"):
        warn(sentence)


def give_up_kept(sets: CapabilitySets) -> None:
    """Drop what apply_sets kept, with only the two calls that this takes."""
    wanted = sets.effective, sets.permitted, sets.inheritable
    with doing("setting capabilities"):
        capset(*wanted)
    _check(wanted)


def _check(wanted: tuple[int, int, int]) -> None:
    """Security: a seccomp filter may have answered capset itself, and have nothing done."""
    with doing("checking capabilities"):
        found = capget()
    if found != wanted:
        raise SetupError(
            "setting capabilities had no effect: a seccomp filter seems to answer capset"
        )
