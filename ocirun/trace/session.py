"""Record one command: begin before its verb is loaded, write the file when it has ended.

The first line of the file marks it as ours; `trace view` and a later `--trace` look for it. Each
event has a line of its own, so that what was written before a crash can be read.

A trace that cannot be written is a warning; the command goes on.

Source: docs/how-a-container-starts.md#recording.
"""

from __future__ import annotations

import os

from ocirun.errors import kernel_words, warn
from ocirun.spec.jsontext import compact
from ocirun.trace.files import OutputFile
from ocirun.trace.recorder import Recorder, now
from ocirun.trace.render import Renderer
from ocirun.trace.wrapping import wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

FORMAT: Final = 1  # of the members that only ocirun reads
BEGINS: Final = b'[\n{"name":"ocirun_trace"'
MAX_ARGUMENTS: Final = 8
MAX_WORD: Final = 200


class Session:
    """The recording of this command."""

    def __init__(self, path: str, verb: str, arguments: list[str]) -> None:
        """Make the file, and begin.

        Raises:
            UsageError: the file cannot be made.
        """
        self._file = OutputFile(path, BEGINS)
        self._owner = os.getpid()
        self._failure = ""
        self._recorder = Recorder()
        wrap(self._recorder, self._flush)
        began = now()
        self._renderer = Renderer(self._recorder, began, self._owner)
        self._recorder.record("p", now(), self._owner, self._recorder.namespaces())
        words = [word[:MAX_WORD] for word in arguments[:MAX_ARGUMENTS]]
        args = {"format": FORMAT, "verb": verb, "arguments": words, "epoch_ns": str(began)}
        first = {"name": "ocirun_trace", "ph": "M", "ts": 0, "pid": self._owner, "tid": self._owner}
        self._begin(b"[\n" + _line({**first, "args": args}))

    def _begin(self, data: bytes) -> None:
        self._recorder.paused = True
        try:
            self._file.append(data)
        except OSError as error:
            self._failure = kernel_words(error)
        finally:
            self._recorder.paused = False

    def finish(self, error: BaseException | None = None) -> None:
        """Write what is left; `error` is how the command failed."""
        if os.getpid() != self._owner:
            return
        end = now()
        self._recorder.paused = True
        self._write(lambda: [*self._renderer.close(end), self._last(error)], b"\n]\n")
        if self._failure:
            warn(f"the trace {self._file.path} is not complete: {self._failure}")

    def _last(self, error: BaseException | None) -> dict[str, Any]:
        args: dict[str, Any] = {"left_out": self._renderer.left_out()}
        if error is not None and not isinstance(error, SystemExit):
            args["error"] = str(error) or type(error).__name__
        common = {"pid": self._owner, "tid": self._owner, "ts": 0}
        return {"name": "ocirun_end", "ph": "M", **common, "args": args}

    def _flush(self) -> None:
        """Write what there is so far: the command waits for long now."""
        if os.getpid() == self._owner:
            self._write(self._renderer.feed)

    def _write(self, render: Callable[[], list[dict[str, Any]]], end: bytes = b"") -> None:
        """Append the events that `render` returns; remember the first failure, and write no more.

        Whatever goes wrong here, the container does not depend on it.
        """
        if self._failure:
            return
        paused, self._recorder.paused = self._recorder.paused, True
        try:
            self._file.append(b"".join(b",\n" + _line(event) for event in render()) + end)
        except OSError as error:
            self._failure = kernel_words(error)
        except Exception as error:  # noqa: BLE001  # a bug of ours, or what init wrote is stranger yet
            self._failure = f"internal error: {type(error).__name__}: {error}"
        finally:
            self._recorder.paused = paused


def _line(event: dict[str, Any]) -> bytes:
    """Return an event as a line of JSON; bytes that are not UTF-8 become U+FFFD."""
    text: str = compact(event)
    data = text.encode("utf-8", "surrogateescape")
    return data.decode("utf-8", "replace").encode()
