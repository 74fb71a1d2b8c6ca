"""Which devices may be used: v2, where an eBPF program decides. Not built yet.

Until it is, a config that forbids any device is refused: it must not pass for one that is obeyed.

Source: runtime-spec config-linux.md#allowed-device-list; kernel admin-guide/cgroup-v2.rst, device
controller.
"""

from __future__ import annotations

from ocirun.cgroups.devicerules import EVERYTHING, bits_of
from ocirun.errors import Problem, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocirun.spec.shapes import Resources


def wants(resources: Resources) -> bool:
    """Tell whether there are rules."""
    return bool(resources.get("devices"))


def apply(directory: str, resources: Resources) -> None:  # noqa: ARG001
    """Refuse rules that do more than allow everything.

    Raises:
        UnsupportedError: there is such a rule.
    """
    for index, rule in enumerate(resources.get("devices") or ()):
        if not _allows_all(rule):
            words = "device rules need an eBPF program on cgroup v2, which is not supported yet"
            remedy = 'only {"allow": true, "access": "rwm"} is'
            raise UnsupportedError([Problem(f"/linux/resources/devices/{index}", words, remedy)])


def _allows_all(rule: Mapping[str, object]) -> bool:
    return (
        bool(rule.get("allow"))
        and (rule.get("type") or "a") == "a"
        and all(rule.get(key) in (None, -1) for key in ("major", "minor"))
        and bits_of(rule.get("access"), EVERYTHING) == EVERYTHING
    )
