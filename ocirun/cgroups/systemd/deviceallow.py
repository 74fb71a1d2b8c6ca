"""Device rules as systemd knows them: a list of what is allowed, by node or by name of the driver.

systemd cannot say everything: no exceptions from what is allowed, no wildcard before a number. On
v2 it then stays out of it, and the program that ocirun attaches decides alone. On v1 it must not:
it would open every device when it writes the cgroup again; there it allows what it can express.

Source: systemd.resource-control(5), DeviceAllow=.
"""

from __future__ import annotations

from ocirun.cgroups.devicerules import ANY, LETTERS, verdicts_of
from ocirun.cgroups.files import read_text
from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Final

    from ocirun.cgroups.devicerules import Key
    from ocirun.cgroups.systemd.manager import Property

KINDS: Final = {"c": "char", "b": "block"}
HEADINGS: Final = {"Character devices:": "c", "Block devices:": "b"}


def device_properties(rules: Iterable[Mapping[str, object]], *, unified: bool) -> list[Property]:
    """Return DevicePolicy and DeviceAllow for rules of the form of linux.resources.devices.

    Raises:
        SetupError: a rule is about something that is not a device.
    """
    entries, everything, exact = _entries(list(rules))
    leaves_all = everything or (unified and not exact)
    return [
        ("DevicePolicy", ("s", "auto" if leaves_all else "strict")),
        ("DeviceAllow", ("a(ss)", [] if leaves_all else entries)),
    ]


def _entries(rules: list[Mapping[str, object]]) -> tuple[list[tuple[str, str]], bool, bool]:
    """Return what is allowed, whether that is everything, and whether nothing was left out."""
    try:
        verdicts = verdicts_of(rules)
    except SetupError:
        return [], False, False
    if verdicts.allows:
        return [], not verdicts.exceptions, not verdicts.exceptions
    drivers: dict[tuple[str, int], str] = {}
    if any(major != ANY and minor == ANY for _, major, minor in verdicts.exceptions):
        drivers = read_drivers(read_text("/proc/devices"))
    entries: list[tuple[str, str]] = []
    exact = True
    for key, bits in verdicts.exceptions.items():
        node = _node(key, drivers)
        if not node:
            exact = False
            continue
        entries.append((node, "".join(letter for letter, bit in LETTERS if bits & bit)))
    return entries, False, exact


def _node(key: Key, drivers: dict[tuple[str, int], str]) -> str:
    """Write a device the way DeviceAllow= has it; "" when it cannot be said."""
    kind, major, minor = key
    if major == ANY:
        return f"{KINDS[kind]}-*" if minor == ANY else ""
    if minor == ANY:
        driver = drivers.get((kind, major))
        return f"{KINDS[kind]}-{driver}" if driver else ""
    return f"/dev/{KINDS[kind]}/{major}:{minor}"


def read_drivers(text: str) -> dict[tuple[str, int], str]:
    """Read /proc/devices: the first name of each major number."""
    drivers: dict[tuple[str, int], str] = {}
    kind = ""
    for line in text.splitlines():
        kind = HEADINGS.get(line, kind)
        number, _, name = line.strip().partition(" ")
        if kind and number.isdecimal() and name:
            drivers.setdefault((kind, int(number)), name)
    return drivers
