"""The last steps of init and of a process of exec: from open descriptors to execve."""

from __future__ import annotations

import os
from _signal import SIG_IGN, SIGPIPE, signal

from ocirun.errors import kernel_words
from ocirun.kernel.process import CLOSE_RANGE_CLOEXEC, close_range
from ocirun.process.program import why_refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, NoReturn

    from ocirun.process.context import InitContext

NOT_RUN: Final = 1  # runc's status of a container whose program the kernel refuses


def leave_descriptors(init: InitContext) -> None:
    """Decide which descriptors the program gets: stdio and those its caller preserved.

    Security: whatever a library may have opened behind our back ends at execve.
    """
    close_range(3, flags=CLOSE_RANGE_CLOEXEC)
    for fd in init.request.kept_fds:
        os.set_inheritable(fd, True)


def start_container_hooks(init: InitContext) -> None:
    """Run startContainer hooks, inside and with the program's rights and environment."""
    from ocirun.process.hooks import run_hooks

    hooks = init.config["hooks"]["startContainer"]
    state = init.state("created")
    run_hooks("startContainer", hooks, state, init.environment, outputs=init.hook_outputs)


def exec_program(init: InitContext) -> NoReturn:
    """Become the program, or end as a program that cannot run: its words on stderr, status 1.

    The container has been started by then, as with runc and crun: whoever asks finds the words in
    its log and the status where a program's own would be. `start` has nothing to say.
    """
    args = init.config["process"]["args"]
    try:
        os.execve(init.program, args, init.environment)
    except OSError as error:
        why = why_refused(init.program, error.errno)
        _say(f"exec {os.fsdecode(init.program)}: {kernel_words(error)}{why}\n")
    os._exit(NOT_RUN)


def _say(words: str) -> None:
    """Write to the program's stderr, which nobody may be reading."""
    try:
        signal(SIGPIPE, SIG_IGN)
        os.write(2, os.fsencode(words))
    except OSError:  # closed: only the status is left to report it
        return
