"""The last hooks, once everything of a container is gone.

Source: runtime-spec config.md#poststop: a failure is a warning, the remaining hooks still run.
"""

from __future__ import annotations

import os

from ocirun.errors import HookError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirun.spec.types import Config


def run_poststop(config: Config, state: dict[str, Any]) -> list[HookError]:
    """Run each poststop hook, whatever became of the one before; give what failed."""
    from ocirun.process.hooks import run_hooks

    failures = []
    for index, hook in enumerate(config["hooks"]["poststop"]):
        try:
            run_hooks("poststop", [hook], state, os.environ)
        except HookError as error:
            failures.append(HookError(error.moment, index, error.path, error.reason))
    return failures
