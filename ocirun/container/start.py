"""Start a created container: open its gate, then run the poststart hooks.

Source: runtime-spec runtime.md#start, runtime.md#lifecycle steps 7 to 10.
"""

from __future__ import annotations

import os

from ocirun.container.hooks import open_outputs
from ocirun.container.init_process import goes_away, open_init
from ocirun.container.kill import kill_and_wait
from ocirun.container.record import read_config
from ocirun.container.status import CREATED, CREATING, PAUSED, RUNNING, STOPPED, status_of
from ocirun.errors import HookError, SetupError, WrongStatus, kernel_words, warn
from ocirun.process.gate import open_gate, remove_gate
from ocirun.spec import NETWORKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.container.record import Record
    from ocirun.container.store import Store
    from ocirun.errors import OcirunError

FAILED_HOOK: Final = "error running startContainer hook"  # init's HookError, as a sentence
_REFUSALS: Final = {
    STOPPED: "cannot start a container that has stopped",
    RUNNING: "cannot start an already running container",
    PAUSED: "cannot start a container in the paused state",
    CREATING: "cannot start a container in the creating state",
}


def start(store: Store, container_id: str, notify_socket: str | None = None) -> None:
    """Start the container's program; return once it runs.

    With `notify_socket`, the host's, return once it is ready or has ended: that socket has been
    told by then (sd_notify.py).

    Raises:
        WrongStatus: the container is not created, or another start was first.
        SetupError: the last settings failed, and the container has stopped; or a startContainer
            hook, and the container was deleted.
        HookError: a poststart hook failed; the container was stopped and deleted.
    """
    with store.load(container_id) as record:
        status = status_of(record)
        if status != CREATED:
            raise WrongStatus(container_id, status, _REFUSALS[status])
        if "cni" in record.annotations.get(NETWORKS, ""):
            from ocirun.container.networks import check_networks  # cold

            check_networks(record.directory)
        if notify_socket:
            _start_and_tell(record, notify_socket)
        else:
            pass_gate(record)


def _start_and_tell(record: Record, notify_socket: str) -> None:
    """Start it with its socket open, and relay what it says there."""
    from ocirun.container.sd_notify import open_notify  # cold: a service manager waits

    notify = open_notify(record.directory, notify_socket)
    if notify is None:  # create gave it no socket, so it has nothing to say
        pass_gate(record)
        return
    try:
        try:
            pidfd = open_init(record)
        except ProcessLookupError:
            raise WrongStatus(record.id, STOPPED, _REFUSALS[STOPPED]) from None
        pass_gate(record)
        try:
            notify.relay(pidfd, record.init_process_pid)
        except SetupError as error:  # the container runs all the same
            warn(str(error))
    finally:
        notify.close()


def pass_gate(record: Record) -> None:
    """Open the gate of a container that is known to wait at it, and run the poststart hooks."""
    dir_fd = record.directory.fd
    try:
        failure = _start_by_engine(record) if record.engine else open_gate(dir_fd)
    except ConnectionResetError as error:
        if not goes_away(record):
            raise WrongStatus(record.id, RUNNING, _REFUSALS[RUNNING]) from None
        raise SetupError(f"unable to start container process: {error}") from error
    except (FileNotFoundError, ConnectionError):
        status = status_of(record)
        if status == CREATED:  # a start that died in between has left the file
            remove_gate(dir_fd)
            status = RUNNING
        raise WrongStatus(record.id, status, _REFUSALS[status]) from None
    except OSError as error:
        message = f"opening the start gate: {kernel_words(error)}"
        raise SetupError(message, error.errno or 0) from error
    if failure:
        # Kernel: a dying init lets go of its descriptors before it counts as dead. A client that
        # heard of the failure in between would find a container it may not delete (containerd).
        kill_and_wait(record)
        refusal = SetupError(f"unable to start container process: {failure}")
        if failure.startswith(FAILED_HOOK):
            # As after a poststart hook, below (runtime.md#lifecycle, step 7).
            _destroy(record, refusal)
        raise refusal
    if "poststart" in record.hooks:
        _run_poststart(record)


def _start_by_engine(record: Record) -> str | None:
    from ocirun.engines.engine import engine_of  # cold

    return engine_of(record).start(record)


def _run_poststart(record: Record) -> None:
    """Run the poststart hooks; where one fails, stop and delete the container.

    Spec: runtime.md#lifecycle, step 9: generate an error, stop the container, and continue the
    lifecycle at step 12, which destroys it and runs the poststop hooks.
    """
    from ocirun.process.hooks import run_hooks

    config = read_config(record.directory)
    outputs = open_outputs(record.annotations)
    try:
        hooks = config["hooks"]["poststart"]
        run_hooks("poststart", hooks, record.state(RUNNING), os.environ, outputs=outputs)
    except HookError as error:
        kill_and_wait(record)
        _destroy(record, error)
        raise
    finally:
        if outputs:
            outputs.close()


def _destroy(record: Record, error: OcirunError) -> None:
    """Delete the container, whose init is gone; what fails becomes notes of `error`."""
    from ocirun.container.delete import destroy  # cold: a hook failed

    for failure in destroy(record):
        error.add_note(f"and then: {failure}")
