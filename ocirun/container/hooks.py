"""Hooks that the parent calls: the last ones, and where any of them writes.

Source: runtime-spec config.md#poststop: a failure is a warning, the remaining hooks still run.
"""

from __future__ import annotations

import os

from ocirun.errors import HookError, OcirunError, SetupError, warn, what_failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirun.process.hook_outputs import HookOutputs
    from ocirun.spec.types import Config


def open_outputs(annotations: dict[str, str] | None) -> HookOutputs | None:
    """Open the files that annotations name for the output of hooks; None where they name none.

    Raises:
        SetupError: one cannot be opened. The caller closes what is returned.
    """
    if not annotations or not any(name.startswith("run.oci.hooks.") for name in annotations):
        return None
    from ocirun.process import hook_outputs  # cold: crun's annotations

    return hook_outputs.open_outputs(annotations)


def run_poststop(
    config: Config, state: dict[str, Any], directory: str | None = None
) -> list[OcirunError]:
    """Run each poststop hook, whatever became of the one before; return what failed.

    `directory` is where they start, None where we are.
    """
    from ocirun.process.hooks import run_hooks

    try:
        outputs = open_outputs(config.get("annotations"))
    except SetupError as error:
        warn(str(error))
        outputs = None
    failures: list[OcirunError] = []
    for index, hook in enumerate((config.get("hooks") or {}).get("poststop") or []):
        try:
            run_hooks("poststop", [hook], state, os.environ, directory, outputs=outputs)
        except HookError as error:
            failures.append(HookError(error.moment, index, error.path, error.reason))
        except OcirunError as error:
            failures.append(error)
        except (OSError, ValueError) as error:  # no descriptor left, a name with a NUL, …
            reason = what_failed(error) if isinstance(error, OSError) else str(error)
            failures.append(HookError("poststop", index, str(hook.get("path")), reason))
    if outputs:
        outputs.close()
    return failures
