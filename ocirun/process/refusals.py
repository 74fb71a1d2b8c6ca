"""Properties that this build does not act on, refused with a sentence and never ignored.

A row goes away with the change that brings its code.
"""

from __future__ import annotations

from ocirun.errors import Problem, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.spec.types import Config

NOT_YET: Final[tuple[tuple[str, str], ...]] = ()


def refuse_unsupported(config: Config) -> None:
    """Refuse a configuration that asks for what would silently not happen.

    Raises:
        UnsupportedError: with each such property.
    """
    sections: Any = config
    problems = [
        Problem(f"/{section}/{name}", "is not supported by this version of ocirun")
        for section, name in NOT_YET
        if (sections.get(section) or {}).get(name)
    ]
    if problems:
        raise UnsupportedError(problems)
