"""Properties that this build does not implement: refused with a message, never ignored.

The change that implements a property removes its row.
"""

from __future__ import annotations

from ocirun.errors import Problem, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.spec.types import Config

NOT_YET: Final[tuple[tuple[str, str], ...]] = ()


def refuse_unsupported(config: Config) -> None:
    """Raise if a configuration has properties that would be silently ignored.

    Raises:
        UnsupportedError: lists each such property.
    """
    sections: Any = config
    problems = [
        Problem(f"/{section}/{name}", "is not supported by this version of ocirun")
        for section, name in NOT_YET
        if (sections.get(section) or {}).get(name)
    ]
    if problems:
        raise UnsupportedError(problems)
