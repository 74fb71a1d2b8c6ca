"""Device rules, boiled down: what is allowed to begin with, and the exceptions from it.

config.json has a list in which the last match wins. The kernel's v1 device cgroup keeps a default
and a set of exceptions: `Verdicts`. A v2 program looks the device up in a table: `table_of`.

Source: runtime-spec config-linux.md#allowed-device-list; kernel admin-guide/cgroup-v1/devices.rst.
"""

from __future__ import annotations

from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Final

    # type "b" or "c", major, minor; ANY for every number
    Key = tuple[str, int, int]
    # place in the list, allow or deny, which access bits
    Ruling = tuple[int, bool, int]
    # access bits that are allowed, by major, by minor; both have ANY for all that are not there
    Table = dict[int, dict[int, int]]

ANY: Final = -1
READ, WRITE, MKNOD = 1, 2, 4
EVERYTHING: Final = READ | WRITE | MKNOD
OPENING: Final = READ | WRITE  # what one open can request
LETTERS: Final = (("r", READ), ("w", WRITE), ("m", MKNOD))
WORDS: Final = ("", "r", "w", "rw", "m", "rm", "wm", "rwm")  # the letters of access bits
_BITS: Final = {word: bits for bits, word in enumerate(WORDS)}


class Verdicts:
    """A default, and where it does not hold.

    `allows` is the default. `exceptions` has the access bits that are decided the other way,
    never 0, by device.
    """

    __slots__ = ("allows", "exceptions")

    def __init__(self, *, allows: bool = False) -> None:
        self.allows = allows
        self.exceptions: dict[Key, int] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Verdicts):
            return NotImplemented
        return (self.allows, self.exceptions) == (other.allows, other.exceptions)

    __hash__ = None  # type: ignore[assignment]  # mutable, never a key

    def decide(self, allow: bool, key: Key, access: int) -> None:
        """Apply one more rule about one device, or all of one type, major or minor.

        Raises:
            SetupError: a part would have to be cut out of a wider exception; the kernel cannot.
        """
        if allow != self.allows:
            if access:
                self.exceptions[key] = self.exceptions.get(key, 0) | access
            return
        for other, bits in list(self.exceptions.items()):
            if not (bits & access and _overlap(key, other)):
                continue
            if not _covers(key, other):
                message = "cannot punch a hole into the wider rule"
                rule, wider = text(key, access), text(other, bits)
                raise SetupError(f"device rule {rule!r}: {message} {wider!r}")
            if left := bits & ~access:
                self.exceptions[other] = left
            else:
                del self.exceptions[other]

    def decide_all(self, allow: bool) -> None:
        """Apply a rule of type `a`: everything before it is forgotten."""
        self.allows = allow
        self.exceptions.clear()

    def join_overlapping(self) -> None:
        """Merge overlapping permissions, so that one has all that is allowed for a device.

        Kernel: v1 looks for a single exception that permits the whole request. Where one rule
        permits reading and another writing, opening for both needs one that has both.
        """
        if self.allows:
            return
        wide = {key: bits & OPENING for key, bits in self.exceptions.items() if ANY in key}
        places = {*self.exceptions}
        places |= {place for one in wide for other in wide if (place := _common(one, other))}
        for place in places:
            own = self.exceptions.get(place, 0)
            covering = [bits for key, bits in wide.items() if bits and _covers(key, place)]
            joint = own
            for bits in covering:
                joint |= bits
            # Covered by one of them, or not restricted at all: then it needs no entry of its own.
            if joint & OPENING and joint & OPENING not in covering:
                self.exceptions[place] = joint


def verdicts_of(rules: Iterable[Mapping[str, object]]) -> Verdicts:
    """Boil down rules of the form of linux.resources.devices, starting from "nothing is allowed".

    A missing type is `a`; a missing or negative number is every number. A missing access denies
    all or allows nothing.

    Raises:
        SetupError: a rule is about something that is not a device, or cannot be kept.
    """
    verdicts = Verdicts()
    for allow, key, bits in _readings(rules):
        if key is None:
            verdicts.decide_all(allow)
        else:
            verdicts.decide(allow, key, bits)
    verdicts.join_overlapping()
    return verdicts


def table_of(rules: Iterable[Mapping[str, object]]) -> dict[str, Table]:
    """Work out from the same rules what is allowed: one table for "b" and one for "c".

    There is an entry only where it says something else than ANY does.

    Raises:
        SetupError: a rule is about something that is not a device.
    """
    to_begin_with = 0
    rulings: dict[Key, list[Ruling]] = {}
    for place, (allow, key, bits) in enumerate(_readings(rules)):
        if key is None:
            to_begin_with = EVERYTHING if allow else 0
            rulings.clear()
        else:
            rulings.setdefault(key, []).append((place, allow, bits))
    return {kind: _table(kind, rulings, to_begin_with) for kind in ("b", "c")}


def _table(kind: str, rulings: dict[Key, list[Ruling]], to_begin_with: int) -> Table:
    minors: dict[int, set[int]] = {ANY: {ANY}}
    for _, major, minor in (key for key in rulings if key[0] == kind):
        minors.setdefault(major, set()).add(minor)
    table: Table = {}
    for major, own in minors.items():
        row: dict[int, int] = {}
        for minor in sorted(own | minors[ANY]):  # ANY is the least, so its entry is there first
            bits = _allowed((kind, major, minor), rulings, to_begin_with)
            if minor == ANY or bits != row[ANY]:
                row[minor] = bits
        if major == ANY or row != table[ANY]:
            table[major] = row
    return table


def _allowed(key: Key, rulings: dict[Key, list[Ruling]], bits: int) -> int:
    """Apply all rules for these devices, in their order."""
    kind, major, minor = key
    about = {key, (kind, major, ANY), (kind, ANY, minor), (kind, ANY, ANY)}
    for _, allow, named in sorted(ruling for other in about for ruling in rulings.get(other, ())):
        bits = bits | named if allow else bits & ~named
    return bits


def _readings(
    rules: Iterable[Mapping[str, object]],
) -> Iterator[tuple[bool, Key | None, int]]:
    """Read each rule: allow or deny, which devices (None: all there are), which access bits."""
    for rule in rules:
        allow = bool(rule.get("allow"))
        kind = rule.get("type") or "a"
        if kind == "a":
            # Kernel: v1 takes `a` for everything whatever stands behind it, and so does runc.
            yield allow, None, EVERYTHING
            continue
        if kind not in ("b", "c", "u"):
            raise SetupError(f"device rule of type {kind!r}: only a, b and c can be limited")
        key = ("b" if kind == "b" else "c", _number(rule.get("major")), _number(rule.get("minor")))
        yield allow, key, bits_of(rule.get("access"), 0 if allow else EVERYTHING)


def _number(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else ANY


def bits_of(access: object, missing: int = 0) -> int:
    """Read `rwm` letters; `missing` is what an empty or absent text means."""
    if not isinstance(access, str) or not access:
        return missing
    usual = _BITS.get(access)
    return sum(bit for letter, bit in LETTERS if letter in access) if usual is None else usual


def text(key: Key, access: int) -> str:
    """Write a rule as the kernel reads it: `c 1:3 rwm`, `b 8:* r`."""
    kind, major, minor = key
    return f"{kind} {_star(major)}:{_star(minor)} {WORDS[access & EVERYTHING]}"


def _star(number: int) -> str:
    return "*" if number == ANY else str(number)


def _overlap(one: Key, other: Key) -> bool:
    return one[0] == other[0] and all(
        mine == theirs or ANY in (mine, theirs)
        for mine, theirs in zip(one[1:], other[1:], strict=True)
    )


def _common(one: Key, other: Key) -> Key | None:
    """Return the devices that both rules match."""
    if not _overlap(one, other):
        return None
    return one[0], max(one[1], other[1]), max(one[2], other[2])  # ANY is the least


def _covers(wide: Key, narrow: Key) -> bool:
    return wide[0] == narrow[0] and all(
        mine in (ANY, theirs) for mine, theirs in zip(wide[1:], narrow[1:], strict=True)
    )
