"""The filter of system calls of a container's processes: compiled here, loaded by them.

Source: runtime-spec config-linux.md#seccomp, #the-container-process-state.
"""

from __future__ import annotations

import os

from ocirun.errors import SetupError, UsageError, doing, kernel_words
from ocirun.process.sockets import connect_unix, send_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.container.store import Store
    from ocirun.process.channel import Tell
    from ocirun.spec.types import Config

# crun's annotations.
FAIL_UNKNOWN: Final = "run.oci.seccomp_fail_unknown_syscall"
RECEIVER: Final = "run.oci.seccomp.receiver"
AGENT_WAIT_S: Final = 10  # it may serve many containers that start at once


def compile_filter(config: Config, store: Store, tell: Tell | None) -> dict[str, Any] | None:
    """Compile linux.seccomp for Request.seccomp; None where there is none.

    Raises:
        UnsupportedError: the library is missing, or too old for the profile.
    """
    profile = config.get("linux", {}).get("seccomp")
    if not profile:
        return None
    from ocirun.security.seccomp.program import prepare_filter

    annotations = config.get("annotations") or {}
    if annotations.get(FAIL_UNKNOWN) == "1":
        from ocirun.security.seccomp.program import refuse_unknown_calls

        refuse_unknown_calls(profile)
    return prepare_filter(profile, store.root, tell)


def send_listener(config: Config, state: dict[str, Any], host_pid: int, fd: int) -> None:
    """Send the filter's descriptor `fd` (borrowed) to the agent that decides about its calls.

    `state` is the container's, `host_pid` the process that the filter holds for.
    """
    from ocirun.security.seccomp.agent import process_state

    profile = config["linux"]["seccomp"]
    path = receiver_of(config)
    message = process_state(profile, state, host_pid)
    try:
        socket_fd = connect_unix(path, wait_s=AGENT_WAIT_S)
    except (OSError, SetupError) as error:
        why = kernel_words(error) if isinstance(error, OSError) else str(error)
        # runc's sentence, which tools look for.
        sentence = f"failed to connect with seccomp agent specified in the seccomp profile: {why}"
        raise SetupError(sentence, error.errno or 0) from error
    try:
        with doing(f"sending the seccomp listener to {path}"):
            send_fd(socket_fd, fd, message)
    finally:
        os.close(socket_fd)


def receiver_of(config: Config) -> str:
    """Return the path of the agent's socket: crun's annotation, else listenerPath.

    Raises:
        UsageError: the annotation is no absolute path.
    """
    path = (config.get("annotations") or {}).get(RECEIVER)
    if path is None:
        return config["linux"]["seccomp"]["listenerPath"]
    if not path.startswith("/"):
        raise UsageError(f"the annotation {RECEIVER} is not an absolute path: {path!r}")
    return path
