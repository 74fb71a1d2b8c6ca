"""Start a created container: open its gate, then run the poststart hooks.

Source: runtime-spec runtime.md#start, runtime.md#lifecycle steps 7 to 10.
"""

from __future__ import annotations

import os

from ocirun.container.kill import kill_and_wait
from ocirun.container.record import read_config
from ocirun.container.status import (
    CREATED,
    CREATING,
    PAUSED,
    RUNNING,
    STOPPED,
    goes_away,
    status_of,
)
from ocirun.errors import HookError, SetupError, WrongStatus, doing, kernel_words
from ocirun.process.gate import open_gate, remove_gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.record import Record
    from ocirun.container.store import Store

_REFUSALS = {
    STOPPED: "cannot start a container that has stopped",
    RUNNING: "cannot start an already running container",
    PAUSED: "cannot start a container in the paused state",
    CREATING: "cannot start a container in the creating state",
}


def start(store: Store, container_id: str, notify_socket: str | None = None) -> None:
    """Let the container's program run; return once it does.

    With `notify_socket`, the host's, return once it is ready or has ended: that socket has been
    told by then (sd_notify.py).

    Raises:
        WrongStatus: the container is not created, or another start was first.
        SetupError: a startContainer hook or the last settings failed; the container has stopped.
        HookError: a poststart hook failed; the container was killed.
    """
    record = store.load(container_id)
    status = status_of(store, record)
    if status != CREATED:
        raise WrongStatus(container_id, status, _REFUSALS[status])
    if notify_socket:
        _start_and_tell(store, record, notify_socket)
    else:
        pass_gate(store, record)


def _start_and_tell(store: Store, record: Record, notify_socket: str) -> None:
    """Start it with its socket open, and relay what it says there."""
    from ocirun.container.sd_notify import open_notify  # cold: a service manager waits

    notify = open_notify(store.directory(record.id), notify_socket)
    if notify is None:  # create gave it no socket, so it has nothing to say
        pass_gate(store, record)
        return
    try:
        with doing("looking for the container's init"):
            pidfd = os.pidfd_open(record.init_process_pid)
        try:
            pass_gate(store, record)
            notify.relay(pidfd, record.init_process_pid)
        finally:
            os.close(pidfd)
    finally:
        notify.close()


def pass_gate(store: Store, record: Record) -> None:
    """Open the gate of a container that is known to wait at it, and run the poststart hooks."""
    directory = store.directory(record.id)
    try:
        failure = open_gate(directory)
    except ConnectionResetError as error:
        if not goes_away(record):
            raise WrongStatus(record.id, RUNNING, _REFUSALS[RUNNING]) from None
        raise SetupError(f"unable to start container process: {error}") from error
    except (FileNotFoundError, ConnectionError):
        status = status_of(store, record)
        if status == CREATED:  # a start that died in between has left the file
            remove_gate(directory)
            status = RUNNING
        raise WrongStatus(record.id, status, _REFUSALS[status]) from None
    except OSError as error:
        words = f"opening the start gate: {kernel_words(error)}"
        raise SetupError(words, error.errno or 0) from error
    if failure:
        # Kernel: a dying init lets go of its descriptors before it counts as dead. A client that
        # heard of the failure in between would find a container it may not delete (containerd).
        kill_and_wait(record)
        raise SetupError(f"unable to start container process: {failure}")
    if "poststart" in record.hooks:
        _run_poststart(store, record)


def _run_poststart(store: Store, record: Record) -> None:
    from ocirun.process.hooks import run_hooks

    config = read_config(store.directory(record.id))
    try:
        run_hooks("poststart", config["hooks"]["poststart"], record.state(RUNNING), os.environ)
    except HookError:
        kill_and_wait(record)
        raise
