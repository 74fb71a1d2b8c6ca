"""Which controllers a config limits, imported only then.

Each module of `v1/` and `v2/` that `CONTROLLERS` of its `cgroup.py` names is a `Controller`.

Source: runtime-spec config-linux.md#control-groups; ARCHITECTURE.md#imports-inside-functions.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Protocol

    from ocirun.spec.types import Resources

    class Controller(Protocol):
        """What each module of a controller defines."""

        def wants(self, resources: Resources) -> bool:
            """Return whether the config limits something here."""

        def apply(self, directory: str, resources: Resources) -> None:
            """Write the limits."""


def wanted(
    version: str, controllers: Sequence[tuple[str, str]], resources: Resources
) -> Iterator[tuple[str, Controller]]:
    """Yield the name and the module of each controller that the config limits, in their order.

    `version` is the package, "v1" or "v2". The member of `resources` is looked for first, so that
    a config without limits imports nothing.
    """
    for name, member in controllers:
        if member and not resources.get(member):
            continue
        module = f"ocirun.cgroups.{version}.{name}"
        __import__(module)
        controller: Controller = sys.modules[module]
        if controller.wants(resources):
            yield name, controller
