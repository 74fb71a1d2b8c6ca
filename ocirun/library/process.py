"""A process in a container, with the interface of subprocess.Popen.

Source: https://docs.python.org/3.11/library/subprocess.html.
"""

from __future__ import annotations

import time
from math import isnan

from ocirun.errors import ExitStatusUnknown
from ocirun.library import children
from ocirun.library.streams import expired

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import FileIO
    from typing import IO, Any, Self

    from ocirun.library.child import Child
    from ocirun.library.streams import Streams


class Process:
    """One process: the program of a container, or a process started by `Container.exec`.

    `args` is its program and arguments. With PIPE `stdin`, `stdout` and `stderr` are files,
    otherwise None; with `terminal=True` `terminal` is the master of its terminal. `communicate`,
    leaving a `with` block, and `close` close them. `timeout` is the default of `wait` and
    `communicate`, in seconds; None waits forever.
    """

    args: Any = None
    timeout: float | None = None
    _container_id = ""
    _child: Child | None = None
    _streams: Streams | None = None

    def __del__(self) -> None:
        if self._child is not None:
            children.leave(self._child)

    @property
    def stdin(self) -> IO[Any] | None:
        """The pipe that the process reads."""
        return self._streams.files[0] if self._streams else None

    @property
    def stdout(self) -> IO[Any] | None:
        """The pipe that the process writes to."""
        return self._streams.files[1] if self._streams else None

    @property
    def stderr(self) -> IO[Any] | None:
        """The pipe for its errors."""
        return self._streams.files[2] if self._streams else None

    @property
    def terminal(self) -> FileIO | None:
        """The master of its terminal; reading fails with EIO when no process has the slave open."""
        return self._streams.terminal if self._streams else None

    @property
    def pid(self) -> int:
        """Its host pid."""
        return self._find_child().pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, -N if it was killed by signal N; None until known."""
        return self._child.returncode if self._child else None

    def poll(self) -> int | None:
        """Return the exit status, -N for signal N; None while the process runs.

        Raises:
            ExitStatusUnknown: it has ended, with an unknown status.
        """
        child = self._find_child()
        child.poll()
        return self._result(child)

    def wait(self, timeout: float | None = None) -> int:
        """Wait at most `timeout` seconds for the process to end; return the exit status.

        Any number of threads may wait; each gets the status.

        Raises:
            TimeoutExpired: it still runs. ExitStatusUnknown: as for `poll`.
        """
        child = self._find_child()
        seconds = self._seconds(timeout)
        if not child.wait(seconds):
            raise expired(self.args, seconds or 0.0, None)
        return self._result(child) or 0

    def communicate(
        self,
        input: str | bytes | None = None,  # noqa: A002  # subprocess's name
        timeout: float | None = None,
    ) -> tuple[Any, Any]:
        """Write `input` to stdin, read stdout and stderr to end of file, wait for the process.

        Returns:
            The contents of stdout and stderr, each None without a pipe: bytes, or str in text mode.

        Raises:
            TimeoutExpired: it still runs after `timeout` seconds. It is not killed, no output is
                lost, and `communicate` may be called again.
            ExitStatusUnknown: as for `poll`; the pipes have been read.
        """
        seconds = self._seconds(timeout)
        deadline = None if seconds is None else time.monotonic() + seconds
        if self._streams and not self._streams.exchange(input, deadline):
            raise expired(self.args, seconds or 0.0, self._streams)
        if not self._streams and input is not None:
            raise ValueError("input needs stdin=PIPE")
        child = self._find_child()
        if not child.wait(None if deadline is None else max(0.0, deadline - time.monotonic())):
            raise expired(self.args, seconds or 0.0, self._streams)
        self._result(child)
        out, errors = self._streams.outputs() if self._streams else (None, None)
        return out, errors

    def send_signal(self, signal: int | str) -> None:
        """Send a signal, by number or name with or without SIG; does nothing if it has ended.

        Raises:
            ValueError: no signal has this name.
        """
        number = signal_of(signal)
        child = self._find_child()
        child.poll()
        child.signal(number)

    def terminate(self) -> None:
        """Send SIGTERM; does nothing if the process has ended."""
        self.send_signal(15)

    def kill(self) -> None:
        """Send SIGKILL; does nothing if the process has ended."""
        self.send_signal(9)

    def close(self) -> None:
        """Close the files. The process keeps running and can still be waited for."""
        if self._streams:
            self._streams.close()

    def _seconds(self, timeout: float | None) -> float | None:
        return self.timeout if timeout is None else check_number(timeout, "timeout")

    def _find_child(self) -> Child:
        raise NotImplementedError

    def _result(self, child: Child) -> int | None:
        """Return the exit status of `child` as `poll` does."""
        if child.has_ended:
            children.settle(child)
        if child.returncode is None and child.lost:
            raise ExitStatusUnknown(
                self._container_id,
                f"the exit status of process {child.pid} of container {self._container_id} "
                f"cannot be known: {child.lost}",
            )
        return child.returncode


class ExecProcess(Process):
    """A process started in a running container; a child of this program.

    Leaving a `with` block closes the files and waits for the process; if an exception ends the
    block, the process is killed first.
    """

    def __init__(
        self,
        container_id: str,
        args: object,
        child: Child,
        streams: Streams,
        timeout: float | None,
    ) -> None:
        self._container_id = container_id
        self.args = args
        self.timeout = timeout
        self._child = self._own = child
        self._streams = streams
        children.add(child)

    def _find_child(self) -> Child:
        return self._own

    def __repr__(self) -> str:
        return f"ExecProcess({self.args!r}, pid={self.pid}, container={self._container_id!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.kill()
        self.close()
        self._own.wait(None)


def check_number(value: object, name: str) -> float:
    """Return the number `value`.

    Raises:
        TypeError: it is not a number; the message has `name`. ValueError: it is NaN.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if isnan(value):
        raise ValueError(f"{name} must be a number of seconds, not nan")
    return value


def interval_ns(interval: object) -> int:
    """Return an interval in nanoseconds; one of more than eleven days, infinity too, is as long.

    Raises:
        TypeError, ValueError: it is not a number of seconds.
    """
    seconds = check_number(interval, "interval")
    return int(max(-1.0, min(seconds, 1_000_000.0)) * 1_000_000_000)


def signal_of(signal: int | str) -> int:
    """Return the number of a signal.

    Raises:
        ValueError: no signal has this name or number. TypeError: it is neither.
    """
    if isinstance(signal, int) and not isinstance(signal, bool):
        if not 0 <= signal <= 64:
            raise ValueError(f"signal must be between 0 and 64, not {signal}")
        return int(signal)
    if not isinstance(signal, str):
        raise TypeError(f"signal must be a number or a name, not {type(signal).__name__}")
    from ocirun.container.kill import signal_number
    from ocirun.errors import UsageError

    try:
        return signal_number(signal)
    except UsageError as error:
        raise ValueError(str(error)) from None


def check_args(args: object, name: str = "args") -> list[str]:
    """Return `args` as a new list.

    Raises:
        TypeError: it is not a sequence of strings; a str does not count as one.
        ValueError: it is empty.
    """
    if isinstance(args, (str, bytes)):
        raise TypeError(
            f"{name} must be a list of strings, not {args!r}: use [{args!r}] for a program "
            "without arguments, or shlex.split"
        )
    try:
        words: list[Any] = list(args)  # type: ignore[call-overload]  # whatever it is
    except TypeError:
        raise TypeError(f"{name} must be a list of strings, not {type(args).__name__}") from None
    for word in words:
        if not isinstance(word, str):
            raise TypeError(f"{name} must be a list of strings, not of {type(word).__name__}")
    if not words:
        raise ValueError(f"{name} must not be empty")
    return words


def check_env(env: Any) -> list[str]:  # noqa: ANN401  # what has to be checked
    """Return `env` as a list of NAME=value.

    Raises:
        TypeError, ValueError: a name or a value is not valid in an environment.
    """
    if not hasattr(env, "items"):
        raise TypeError(f"env must be a mapping of names to values, not {type(env).__name__}")
    for name, value in env.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"env must map str to str, not {name!r} to {value!r}")
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"env has {name!r}, which is no name of a variable")
    return [f"{name}={value}" for name, value in env.items()]


def check_timeout(timeout: float | None) -> float | None:
    """Return `timeout`.

    Raises:
        TypeError: it is not a number. ValueError: it is negative.
    """
    if timeout is None:
        return None
    if not check_number(timeout, "timeout") >= 0:
        raise ValueError(f"timeout must not be negative: {timeout}")
    return timeout
