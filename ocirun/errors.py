"""Every failure ocirun raises on purpose, drawn as a tree.

    Exception
    ├─ OSError                      from kernel/ and os; a note holds the call
    └─ OcirunError                  exit_status = 1
       ├─ UsageError                the command line is wrong
       │  └─ UnknownVerb            exit_status = 3
       ├─ SpecError                 config.json breaks a rule; carries every problem found
       │  └─ UnsupportedError       valid, but not on this host or not in this build
       ├─ ContainerError            about one container; carries its id
       │  ├─ ContainerExists
       │  ├─ ContainerNotFound
       │  ├─ NotAContainer          its name in the state root is a link, or somebody else's
       │  ├─ DamagedRecord          its files in the state root cannot be what we wrote
       │  ├─ WrongStatus            this verb may not act in this status
       │  └─ ExitStatusUnknown      it has ended, and its status was lost
       ├─ SetupError                the kernel refused a step; its cause is the OSError
       │  ├─ InitError              the same, reported by init over the channel
       │  └─ InitDied               init died without a message
       ├─ TimeoutExpired            the library: a process runs on after its time
       ├─ CalledProcessError        the library: a process has failed, with check=True
       ├─ HookError                 a program of the bundle's hooks failed
       └─ ProtocolError             parent and init disagree: always our bug

Beside failures there are warnings (`warn`): something that was asked for is left out, and the work
goes on. This module imports nothing of ocirun, so that every layer may import it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Final

    Sink = Callable[[str], object]
    Write = Callable[[], object]


class OcirunError(Exception):
    """The caller, the bundle or the host is at fault, and the message says which."""

    exit_status = 1


class UsageError(OcirunError):
    """The command line is wrong."""


class UnknownVerb(UsageError):
    """No verb has this name: status 3, as with runc's command line library."""

    exit_status = 3


class Problem:
    """One broken rule of a document.

    `pointer` is a JSON pointer into the document ("" is the whole of it), `message` the rule in
    one clause, `remedy` what would be right when that is certain, else "".
    """

    __slots__ = ("message", "pointer", "remedy")

    def __init__(self, pointer: str, message: str, remedy: str = "") -> None:
        self.pointer = pointer
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        where = f"{self.pointer}: " if self.pointer else ""
        return f"{where}{self.message}" + (f" ({self.remedy})" if self.remedy else "")

    def __repr__(self) -> str:
        return f"Problem({self.pointer!r}, {self.message!r}, {self.remedy!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Problem):
            return NotImplemented
        return (self.pointer, self.message, self.remedy) == (
            other.pointer,
            other.message,
            other.remedy,
        )

    __hash__ = None  # type: ignore[assignment]  # mutable, never a key


class SpecError(OcirunError):
    """The bundle's author is at fault: `document` breaks the rules named in `problems`.

    `lead` goes before all of them in the message.
    """

    def __init__(
        self, problems: list[Problem], document: str = "config.json", *, lead: str = ""
    ) -> None:
        self.problems = problems
        self.document = document
        super().__init__(lead + "; ".join(f"{document}: {problem}" for problem in problems))


class UnsupportedError(SpecError):
    """The document is right, but this host or this build cannot do what it asks."""


class ContainerError(OcirunError):
    """About the container `container_id`."""

    def __init__(self, container_id: str, message: str) -> None:
        self.container_id = container_id
        super().__init__(message)


class ContainerExists(ContainerError):
    """The id is taken."""

    def __init__(self, container_id: str) -> None:
        super().__init__(container_id, "container with given ID already exists")


class ContainerNotFound(ContainerError):
    """No container has this id."""

    def __init__(self, container_id: str) -> None:
        super().__init__(container_id, "container does not exist")


class NotAContainer(ContainerError):
    """What has the container's name in the state root is not a folder of ours: `fault` says why."""

    def __init__(self, container_id: str, path: str, fault: str) -> None:
        super().__init__(container_id, f"container does not exist: {path} {fault}")


class DamagedRecord(ContainerError):
    """A file of the container's record is not what we wrote; the message names the file."""


class WrongStatus(ContainerError):
    """The container's status forbids the verb; `status` is what it was."""

    def __init__(self, container_id: str, status: str, message: str) -> None:
        self.status = status
        super().__init__(container_id, message)


class ExitStatusUnknown(ContainerError):
    """The container, or a process in it, has ended, and its exit status cannot be known.

    The message says why.
    """


class TimeoutExpired(OcirunError):
    """The library waited `timeout` seconds for a process that runs on, as subprocess says it.

    `cmd` are its arguments; `output` (also `stdout`) and `stderr` what it had written, if that was
    captured.
    """

    def __init__(
        self,
        cmd: object,
        timeout: float,
        output: Any = None,  # noqa: ANN401  # bytes, a str or None
        stderr: Any = None,  # noqa: ANN401
    ) -> None:
        self.cmd = cmd
        self.timeout = timeout
        self.output = output
        self.stdout = output
        self.stderr = stderr
        super().__init__(f"{cmd} timed out after {timeout} seconds")


class CalledProcessError(OcirunError):
    """A process of the library has failed, with check=True, as subprocess says it.

    `returncode` is its exit status, -N for signal N; the other members as of TimeoutExpired.
    """

    def __init__(
        self,
        returncode: int,
        cmd: object,
        output: Any = None,  # noqa: ANN401  # bytes, a str or None
        stderr: Any = None,  # noqa: ANN401
    ) -> None:
        self.returncode = returncode
        self.cmd = cmd
        self.output = output
        self.stdout = output
        self.stderr = stderr
        how = f"died of signal {-returncode}" if returncode < 0 else f"has status {returncode}"
        super().__init__(f"{cmd} {how}")


class SetupError(OcirunError):
    """A step towards the container failed: what was being done, on what, what the kernel said."""

    def __init__(self, message: str, errno: int = 0) -> None:
        self.errno = errno
        super().__init__(message)


class InitError(SetupError):
    """A step failed inside init, which reported it and ended."""


class InitDied(SetupError):
    """Init died without an error message: killed, most likely because memory ran out."""


class HookError(OcirunError):
    """A hook of the bundle failed: `moment` is its list's name, `index` its place there."""

    def __init__(self, moment: str, index: int, path: str, message: str) -> None:
        self.moment = moment
        self.index = index
        self.path = path
        self.reason = message
        program = "" if path in message else f"{path}: "
        super().__init__(f"error running {moment} hook #{index}: {program}{message}")


class ProtocolError(OcirunError):
    """Parent and init disagree about their conversation: always a bug of ocirun."""


def warn(message: str) -> None:
    """Log that something asked for is left out although nothing fails for it.

    For what the specification wants logged ("MUST be logged as a warning"), and for what would
    otherwise be lost. Any layer may call it, in the parent and in init up to its gate. The command
    line holds warnings back until the verb has succeeded, or puts them into the line of its
    failure: podman reads the log as one JSON object. A program that uses the library has them from
    the logger "ocirun".
    """
    sink = _sink[0]
    if sink is None:
        import logging  # cold: only in programs that use the library

        logging.getLogger("ocirun").warning("%s", message)
    else:
        sink(message)


def write_warnings() -> None:
    """Write the warnings held back until now: what they were about has succeeded.

    Called by verbs that keep running; the others do so at their end.
    """
    _sink[1]()


def send_warnings_to(sink: Sink, write: Write = lambda: None) -> None:
    """Send the warnings of this process to `sink`; `write` is called by write_warnings."""
    _sink[:] = [sink, write]


# Where warnings go, and what has them written.
_sink: Final[list[Any]] = [None, lambda: None]


class doing:  # noqa: N801  # reads as a sentence: with doing("mounting /proc"): …
    """Turn an OSError of the block into a SetupError that says what was being done.

    The innermost `doing` writes the sentence; outer ones let a SetupError pass.
    """

    __slots__ = ("what",)

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise SetupError(f"{self.what}: {kernel_words(error)}", error.errno or 0) from error


def what_failed(error: OSError) -> str:
    """Return what an OSError outside any `doing` is about: its call or file, and why."""
    parts = [*getattr(error, "__notes__", ())[:1], kernel_words(error)]
    if error.filename is not None and len(parts) == 1:
        name = error.filename
        parts.insert(0, name.decode(errors="replace") if isinstance(name, bytes) else str(name))
    return ": ".join(parts)


def kernel_words(error: OSError) -> str:
    """Return the kernel's message as runc's callers match it: in lower case.

    Docker and podman look for "permission denied" or "no such file or directory" in the text.
    """
    words = error.strerror or str(error)
    return words[:1].lower() + words[1:]
