"""The annotation org.ocirun.overlay: writes do not go to the image, but to a tmpfs.

Its value limits what can be written, as the option `size` of tmpfs: a number, perhaps with k, m, g
or %; empty means half of the host's memory, and what linux.resources allows.

Source: docs/library.md#an-overlay; tmpfs(5).
"""

from __future__ import annotations

from ocirun.errors import Problem, SpecError
from ocirun.spec import OVERLAY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Config

POINTER: Final = f"/annotations/{OVERLAY}"
UNITS: Final = "kKmMgG%"
MOST_DIGITS: Final = 19  # more bytes than a number of 64 bits has


def check_overlay(config: Config) -> None:
    """Refuse an overlay that cannot be meant.

    Raises:
        SpecError: its size is malformed, or the container has no mount namespace of its own.
    """
    size = (config.get("annotations") or {})[OVERLAY]
    digits = size[:-1] if size[-1:] in UNITS else size
    is_number = digits.isascii() and digits.isdecimal() and len(digits) <= MOST_DIGITS
    if size and not (is_number and int(digits)):
        message = f'{size!r} is no size: a number such as "64m", or nothing'
        raise SpecError([Problem(POINTER, message)])
    namespaces = config.get("linux", {}).get("namespaces") or []
    if not any(one["type"] == "mount" and not one.get("path") for one in namespaces):
        raise SpecError([Problem(POINTER, "an overlay needs a new mount namespace")])
