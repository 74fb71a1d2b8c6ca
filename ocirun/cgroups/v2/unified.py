"""Any other v2 file, written as the config says.

Source: runtime-spec config-linux.md#unified.
"""

from __future__ import annotations

from errno import EACCES, ENOENT, EPERM

from ocirun.cgroups.files import read_value, set_lines
from ocirun.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.spec.types import Resources


def wants(resources: Resources) -> bool:
    """Return whether there are any."""
    return bool(resources.get("unified"))


def apply(directory: str, resources: Resources) -> None:
    """Write each file, one write(2) for each line of its value.

    Raises:
        SetupError: a name is not one of a file here, its controller is missing, or the kernel
            refused the value.
    """
    for name, value in (resources.get("unified") or {}).items():
        if "/" in name:
            raise SetupError(f"unified resource {name!r} must be a file name (no slashes)")
        try:
            set_lines(directory, name, value.splitlines())
        except SetupError as error:
            if error.errno in (ENOENT, EACCES, EPERM):
                _explain(directory, name, error)
            raise


def _explain(directory: str, name: str, error: SetupError) -> None:
    """Raise what is behind a missing file, when that is known."""
    controller, dot, _ = name.partition(".")
    if not dot:
        message = "must be in the form CONTROLLER.PARAMETER"
        raise SetupError(f"unified resource {name!r} {message}", error.errno) from error
    available = read_value(directory, "cgroup.controllers").split()
    if controller not in ("cgroup", *available):
        message = f"can't be set: controller {controller!r} not available"
        raise SetupError(f"unified resource {name!r} {message}", error.errno) from error
