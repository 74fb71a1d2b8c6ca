"""Run one CNI plugin: configuration on stdin, result on stdout, parameters in variables.

Source: https://www.cni.dev/docs/spec/, sections 2 and 5.
"""

from __future__ import annotations

import os
import select
import time

from ocirun.errors import SetupError, SpecError, doing
from ocirun.kernel.process import posix_spawn
from ocirun.spec.jsontext import compact, parse, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

TIMEOUT_S: Final = 60.0
MOST_RESULT_BYTES: Final = 1 << 20
MOST_WORDS: Final = 2000
LOCK_FD: Final = 3
SIGKILL: Final = 9
ALL_SIGNALS: Final = [number for number in range(1, 65) if number not in (9, 19, 32, 33)]


def run_plugin(
    path: str, body: dict[str, Any], variables: dict[str, str], lock_fd: int
) -> dict[str, Any] | None:
    """Run the plugin at `path`; return its result, None without output.

    `variables` are the CNI_* variables. The plugin and its children inherit `lock_fd` (borrowed).

    Raises:
        SetupError: it could not be started, failed, timed out, or wrote too much.
    """
    what = f"CNI plugin {os.path.basename(path)}, {variables['CNI_COMMAND']} of network "
    what += quoted(body["name"])
    with doing(f"running {what}"):
        pid, out, err = _start(path, body, variables, lock_fd)
    fault = "interrupted"
    try:
        output, said, fault = _listen(pid, out, err)
    finally:
        if fault:
            os.killpg(pid, SIGKILL)  # and what it has started
        os.close(out)
        os.close(err)
        status = os.waitpid(pid, 0)[1]
    if fault:
        raise SetupError(f"{what}: {fault}")
    return _result(what, output, said, os.waitstatus_to_exitcode(status))


def _start(
    path: str, body: dict[str, Any], variables: dict[str, str], lock_fd: int
) -> tuple[int, int, int]:
    """Start the plugin; return its pid, and its stdout and stderr for the caller to close."""
    theirs: list[int] = []
    ours: list[int] = []
    try:
        theirs.append(os.memfd_create("cni", os.MFD_CLOEXEC))
        with open(theirs[0], "wb", closefd=False) as file:
            file.write(os.fsencode(compact(body)))
        os.lseek(theirs[0], 0, os.SEEK_SET)
        for _ in ("stdout", "stderr"):
            reading, writing = os.pipe2(os.O_CLOEXEC)
            ours.append(reading)
            theirs.append(writing)
        actions = [(os.POSIX_SPAWN_DUP2, fd, place) for place, fd in enumerate(theirs)]
        actions.append((os.POSIX_SPAWN_DUP2, lock_fd, LOCK_FD))
        pid = posix_spawn(
            path,
            [path],
            {"PATH": os.environ.get("PATH", ""), **variables},
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=ALL_SIGNALS,
        )
    except BaseException:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    return pid, ours[0], ours[1]


def _listen(pid: int, out: int, err: int) -> tuple[bytes, bytes, str]:
    """Read the plugin's output until it ends; return stdout, stderr and an error, "" if none.

    It is not reaped, so its pid cannot be reused.
    """
    output, said = bytearray(), bytearray()
    deadline = time.monotonic() + TIMEOUT_S
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    for fd in (pidfd, out, err):
        poll.register(fd, select.POLLIN)
    for fd in (out, err):
        os.set_blocking(fd, False)
    try:
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return b"", b"", f"it has not finished after {TIMEOUT_S:.0f} s"
            ready = [fd for fd, _ in poll.poll(left_s * 1000)]
            has_ended = pidfd in ready
            for fd, found in ((out, output), (err, said)):
                if not _drain(fd, found) and fd in ready:
                    poll.unregister(fd)
            del said[:-MOST_WORDS]
            if len(output) > MOST_RESULT_BYTES:
                return b"", b"", f"its result is longer than {MOST_RESULT_BYTES} bytes"
            if has_ended:
                return bytes(output), bytes(said), ""
    finally:
        os.close(pidfd)


def _drain(fd: int, found: bytearray) -> bool:
    """Read the available data, up to a limit; return False at end of file."""
    while len(found) <= MOST_RESULT_BYTES:
        try:
            piece = os.read(fd, 1 << 16)
        except BlockingIOError:
            return True
        if not piece:
            return False
        found += piece
    return True


def _result(what: str, output: bytes, said: bytes, code: int) -> dict[str, Any] | None:
    """Return the plugin's result.

    Raises:
        SetupError: it failed, in its own words; or it is no JSON object.
    """
    try:
        found: Any = parse(output, "result") if output.strip() else None
    except SpecError:
        found = output
    if code:
        raise SetupError(f"{what}: {_words_of(found, said, code)}")
    if found is not None and not isinstance(found, dict):
        raise SetupError(f"{what}: its result is no JSON object")
    return found


def _words_of(found: Any, said: bytes, code: int) -> str:  # noqa: ANN401  # JSON
    """Return why a plugin failed: its message, details and code, else what it has written."""
    if isinstance(found, dict) and "code" in found:
        words = [str(found[name]) for name in ("msg", "details") if found.get(name)]
        text = "; ".join(words) or "no message"
        return f"{_line(os.fsencode(text))} (code {found['code']})"
    how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
    rest = found if isinstance(found, bytes) else b""
    words = [_line(each) for each in (rest, said) if each.strip()]
    return ": ".join([how, *words])


def _line(text: bytes) -> str:
    lines = [line.strip() for line in text[-MOST_WORDS:].splitlines()]
    return os.fsdecode(b"; ".join(line for line in lines if line))
