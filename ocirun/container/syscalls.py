"""The filter of system calls of a container's processes: compiled here, loaded by them.

Source: runtime-spec config-linux.md#seccomp, #the-container-process-state.
"""

from __future__ import annotations

import os

from ocirun.errors import doing
from ocirun.process.sockets import connect_unix, send_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirun.container.store import Store
    from ocirun.process.channel import Tell
    from ocirun.spec.types import Config


def compile_filter(config: Config, store: Store, tell: Tell | None) -> dict[str, Any] | None:
    """Compile linux.seccomp for Request.seccomp; None where there is none.

    Raises:
        UnsupportedError: the library is missing, or too old for the profile.
    """
    profile = config.get("linux", {}).get("seccomp")
    if not profile:
        return None
    from ocirun.security.seccomp.program import prepare_filter

    return prepare_filter(profile, store.root, tell)


def send_listener(config: Config, state: dict[str, Any], host_pid: int, fd: int) -> None:
    """Bring the filter's descriptor `fd` (borrowed) to the agent that decides about its calls.

    `state` is the container's, `host_pid` the process that the filter holds for.
    """
    from ocirun.security.seccomp.agent import process_state

    profile = config["linux"]["seccomp"]
    path = profile["listenerPath"]
    message = process_state(profile, state, host_pid)
    with doing(f"sending the seccomp listener to {path}"):
        socket_fd = connect_unix(path)
        try:
            send_fd(socket_fd, fd, message)
        finally:
            os.close(socket_fd)
