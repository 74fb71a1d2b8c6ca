"""`org.systemd.property.NAME` annotations: further properties of the container's unit.

Security: their author decides what systemd does for the container, which is why
`features` lists them among the annotations that callers must not take from strangers.

Source: docs/runc-compat/cgroups.md#systemd; systemd.scope(5).
"""

from __future__ import annotations

from ocirun.cgroups.systemd.gvariant import RANGES, parse_text
from ocirun.errors import Problem, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from ocirun.cgroups.systemd.gvariant import Typed
    from ocirun.cgroups.systemd.manager import Property

PREFIX: Final = "org.systemd.property."
LEAST_LETTERS: Final = 3
SECONDS: Final = "Sec"
MICROSECONDS: Final = "USec"
DIGITS_OF_A_SECOND: Final = 6


def annotated_properties(annotations: Mapping[str, str]) -> list[Property]:
    """Read the properties that annotations ask for.

    Raises:
        SpecError: a name or a value is malformed.
    """
    found: list[Property] = []
    for key, text in annotations.items():
        if not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX)
        if len(name) < LEAST_LETTERS or not (name.isascii() and name.isalpha()):
            message = f"{name!r} is no name of a systemd property (three ASCII letters or more)"
            raise _refusal(key, message)
        try:
            found.append(_property(name, parse_text(text)))
        except ValueError as error:
            raise _refusal(key, f"not a value in GVariant text: {error}") from error
    return found


def _property(name: str, typed: Typed) -> Property:
    """Rename and convert `XSec`: on the bus times are microseconds, `XUSec`."""
    signature, value = typed
    stem = name.removesuffix(SECONDS)
    if stem != name and stem[-1:].islower():
        return stem + MICROSECONDS, ("t", _microseconds(signature, value))
    if signature == "d":
        return name, (signature, float(str(value)))
    return name, typed


def _microseconds(signature: str, value: object) -> int:
    """Turn seconds into microseconds, whole or with a fraction, which passes through no float."""
    if signature not in RANGES and signature != "d":
        raise ValueError(f"{value!r} is no number of seconds")
    whole, _, part = str(value).partition(".")
    digits = part[:DIGITS_OF_A_SECOND].ljust(DIGITS_OF_A_SECOND, "0")
    result = int(whole + digits)
    least, most = RANGES["t"]
    if not least <= result <= most:
        raise ValueError(f"{value} seconds are out of range")
    return result


def _refusal(key: str, words: str) -> SpecError:
    pointer = "/annotations/" + key.replace("~", "~0").replace("/", "~1")
    return SpecError([Problem(pointer, words)])
