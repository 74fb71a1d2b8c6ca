"""The agent that decides SCMP_ACT_NOTIFY: it is given the filter's descriptor, and who it is of.

Source: runtime-spec config-linux.md#the-container-process-state; seccomp_unotify(2).
"""

from __future__ import annotations

from ocirun.spec.default import OCI_VERSION
from ocirun.spec.jsontext import compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.spec.types import Seccomp

FD_NAME: Final = "seccompFd"


def process_state(profile: Seccomp, state: dict[str, Any], pid: int) -> str:
    """Write the one message of a connection; the descriptor goes with it.

    `state` is the container's, `pid` the filtered process, both as this side of the container
    sees them.
    """
    message: dict[str, Any] = {"ociVersion": OCI_VERSION, "fds": [FD_NAME], "pid": pid}
    if profile.get("listenerMetadata"):
        message["metadata"] = profile["listenerMetadata"]
    message["state"] = state
    return compact(message)
