"""The moments at which the bundle's hooks are called.

    prestart, createRuntime   parent, host namespaces         root assembled, not entered
    createContainer           init, container's namespaces    host's files still visible
    startContainer            init, container's namespaces    inside, after `start`
    poststart                 `start`                         the program runs
    poststop                  `delete`                        everything is gone

Each hook gets the container's state as compact JSON on stdin. They run one after the other, the
first failure ends the list.

Source: runtime-spec config.md#posix-platform-hooks; docs/runc-compat/init.md#hooks.
"""

from __future__ import annotations

import os
import select
import time

from ocirun.errors import HookError, kernel_words, warn, what_failed
from ocirun.kernel.process import posix_spawn
from ocirun.spec.jsontext import compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from ocirun.process.hook_outputs import HookOutputs
    from ocirun.spec.types import Hook

SIGKILL: Final = 9
MAX_OUTPUT_BYTES: Final = 4096
READS_AT_ONCE: Final = 16
LONGEST_POLL_MS: Final = 2**31 - 1
ALL_SIGNALS: Final = [number for number in range(1, 65) if number not in (9, 19, 32, 33)]


def run_hooks(
    moment: str,
    hooks: list[Hook],
    state: dict[str, Any],
    environment: Mapping[str, str] | Mapping[bytes, bytes],
    directory: str | None = None,
    *,
    outputs: HookOutputs | None = None,
    init_pidfd: int = -1,
) -> None:
    """Run the hooks of `moment` in our own namespaces.

    `state` is what each one reads, `environment` what it gets when it names no `env` itself,
    `directory` where it starts (None: where we are), `outputs` (borrowed) where it writes.
    `init_pidfd` (borrowed) is the container's init, without which a hook has nothing to do any
    more: it is killed when init ends.

    Raises:
        HookError: it could not be run, failed, was killed, or ran past its timeout.
    """
    text = os.fsencode(compact(state))
    back_fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if directory is not None:
            os.chdir(directory)
        for index, hook in enumerate(hooks):
            env = _environment(f"{moment} hook #{index}", hook) if "env" in hook else environment
            try:
                failure = _run(hook, text, env, outputs, init_pidfd)
            except OSError as error:  # no descriptor or no memory left
                failure = what_failed(error)
            if failure:
                raise HookError(moment, index, hook["path"], failure)
    finally:
        os.fchdir(back_fd)
        os.close(back_fd)


def _environment(which: str, hook: Hook) -> dict[str, str]:
    """Return the hook's own environment, without what is no NAME=VALUE: getenv(3) finds no such."""
    env = {}
    for entry in hook["env"] or ():
        name, equals, value = entry.partition("=")
        if name and equals:
            env[name] = value
        else:
            warn(f"{which}: env entry {entry!r} is left out: it is not NAME=VALUE")
    return env


def _run(
    hook: Hook,
    text: bytes,
    env: Mapping[str, str] | Mapping[bytes, bytes],
    outputs: HookOutputs | None,
    init_pidfd: int,
) -> str | None:
    """Run one hook to its end; return how it failed, if it did."""
    output_fd = write_fd = -1
    state_fd = _memory_file(text)
    try:
        output_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(write_fd, True)
        stdout, stderr = outputs.or_else(write_fd) if outputs else (write_fd, write_fd)
        try:
            pid = posix_spawn(
                hook["path"],
                hook.get("args") or [hook["path"]],
                env,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, state_fd, 0),
                    (os.POSIX_SPAWN_DUP2, stdout, 1),
                    (os.POSIX_SPAWN_DUP2, stderr, 2),
                ],
                setsigmask=(),
                setsigdef=ALL_SIGNALS,
            )
        except OSError as error:
            return f"fork/exec {hook['path']}: {kernel_words(error)}"
        os.close(write_fd)
        write_fd = -1
        return _wait(pid, output_fd, hook.get("timeout"), init_pidfd)
    finally:
        for fd in (state_fd, output_fd, write_fd):
            if fd >= 0:
                os.close(fd)


def _memory_file(text: bytes) -> int:
    """Write `text` to a file without a name: a hook that never reads it cannot block us."""
    fd = os.memfd_create("state", os.MFD_CLOEXEC)
    try:
        os.write(fd, text)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _wait(pid: int, output_fd: int, timeout: int | None, init_pidfd: int) -> str | None:
    """Wait for the hook; return how it failed, if it did. Nothing that is raised leaves it running.

    Raises:
        OSError: no descriptor is left to wait with.
    """
    output = bytearray()
    try:
        cut_short = _wait_for_end(pid, output_fd, output, timeout, init_pidfd)
    except BaseException:
        _kill(pid)
        raise
    if cut_short:
        _kill(pid)
        return cut_short
    return _verdict(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), bytes(output))


def _kill(pid: int) -> None:
    os.kill(pid, SIGKILL)
    os.waitpid(pid, 0)


def _wait_for_end(
    pid: int, output_fd: int, output: bytearray, timeout: int | None, init_pidfd: int
) -> str | None:
    """Wait for the hook's own end, not for that of what it left running with its stdout.

    The last of its output is left in `output`. Returns why it must not go on, None if it has ended.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(output_fd, select.POLLIN)
    if init_pidfd >= 0:
        poll.register(init_pidfd, select.POLLIN)
    try:
        while True:
            left_ms = None if deadline is None else max(0, (deadline - time.monotonic()) * 1000)
            # Kernel: poll(2) counts milliseconds in 31 bits, 24 days.
            wait_ms = left_ms if left_ms is None else min(left_ms, LONGEST_POLL_MS)
            ready = [fd for fd, _ in poll.poll(wait_ms)]
            if output_fd in ready and not _drain(output_fd, output):
                poll.unregister(output_fd)
            if pidfd in ready:
                _drain(output_fd, output)
                return None
            if init_pidfd in ready:
                return "the container's init has ended"
            if not ready and wait_ms == left_ms:
                return f"hook ran past specified timeout of {float(timeout or 0)}s"
    finally:
        os.close(pidfd)


def _drain(output_fd: int, output: bytearray) -> bool:
    """Read what is there, keep the last part of it; False at the end of the file.

    A hook that writes faster than this reads must not escape its timeout: read in parts.
    """
    for _ in range(READS_AT_ONCE):
        try:
            piece = os.read(output_fd, MAX_OUTPUT_BYTES)
        except BlockingIOError:
            return True
        if not piece:
            return False
        output += piece
        del output[:-MAX_OUTPUT_BYTES]
    return True


def _verdict(exit_code: int, output: bytes) -> str | None:
    if exit_code == 0:
        return None
    message = f"exit status {exit_code}" if exit_code > 0 else f"killed by signal {-exit_code}"
    said = os.fsdecode(output).strip()
    return f"{message}, output: {said}" if said else message
