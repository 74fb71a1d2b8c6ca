"""The last hooks, once everything of a container is gone.

Source: runtime-spec config.md#poststop: a failure is a warning, the remaining hooks still run.
"""

from __future__ import annotations

import os

from ocirun.errors import HookError, OcirunError, what_failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirun.spec.types import Config


def run_poststop(config: Config, state: dict[str, Any]) -> list[OcirunError]:
    """Run each poststop hook, whatever became of the one before; return what failed."""
    from ocirun.process.hooks import run_hooks

    failures: list[OcirunError] = []
    for index, hook in enumerate((config.get("hooks") or {}).get("poststop") or []):
        try:
            run_hooks("poststop", [hook], state, os.environ)
        except HookError as error:
            failures.append(HookError(error.moment, index, error.path, error.reason))
        except OcirunError as error:
            failures.append(error)
        except (OSError, ValueError) as error:  # no descriptor left, a name with a NUL, …
            reason = what_failed(error) if isinstance(error, OSError) else str(error)
            failures.append(HookError("poststop", index, str(hook.get("path")), reason))
    return failures
