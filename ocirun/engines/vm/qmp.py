"""The conversation with QEMU: commands, answers, events. One JSON object in a line.

Source: qemu-qmp-ref(7).
"""

from __future__ import annotations

import os
import select

from ocirun.errors import OcirunError, SetupError
from ocirun.process.sockets import send_fd
from ocirun.spec.jsontext import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

MAX_LINE: Final = 1 << 20
MAX_EVENTS: Final = 64
ANSWER_S: Final = 30


class QmpError(SetupError):
    """QEMU refused a command, or has gone."""


class Qmp:
    """The monitor's side of one conversation, over the socket `fd` (owned)."""

    __slots__ = ("_data", "events", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._data = b""
        self.events: list[dict[str, Any]] = []

    def greet(self) -> str:
        """Read QEMU's greeting and enter command mode; return its version.

        Raises:
            QmpError: it has ended, or this is not QEMU.
        """
        greeting = self._line()
        try:
            version = greeting["QMP"]["version"]["qemu"]
            words = ".".join(str(version[name]) for name in ("major", "minor", "micro"))
        except (KeyError, TypeError) as error:
            raise QmpError(f"the hypervisor is not QEMU: it greets with {greeting}") from error
        self.command("qmp_capabilities")
        return words

    def command(self, name: str, arguments: dict[str, Any] | None = None, fd: int = -1) -> Any:  # noqa: ANN401  # what the command returns
        """Send a command, with the descriptor `fd` (borrowed) if it is one; return what it returns.

        Raises:
            QmpError: QEMU refuses, or has ended.
        """
        import json  # cold

        text = json.dumps({"execute": name, "arguments": arguments or {}}) + "\n"
        try:
            if fd >= 0:
                send_fd(self.fd, fd, text)
            else:
                os.write(self.fd, text.encode())
        except OSError as error:
            raise QmpError(f"asking QEMU for {name}: it has ended", error.errno or 0) from error
        while True:
            line = self._line()
            if "return" in line:
                return line["return"]
            if "error" in line:
                refusal = line["error"]
                words = refusal.get("desc") if isinstance(refusal, dict) else refusal
                raise QmpError(f"asking QEMU for {name}: {words}")
            self._take(line)

    def read_events(self) -> None:
        """Take the events that have come, without waiting; at the end of file nothing."""
        while True:
            line, found, rest = self._data.partition(b"\n")
            if found:
                self._data = rest
                self._take(_parse(line))
                continue
            try:
                os.set_blocking(self.fd, False)
                data = os.read(self.fd, 65536)
            except (BlockingIOError, ConnectionResetError):
                return
            finally:
                os.set_blocking(self.fd, True)
            if not data:
                return
            self._data += data

    def shutdown_reason(self) -> str:
        """Return why the machine was shut down, as QEMU calls it; "" where it was not."""
        for event in self.events:
            if event.get("event") == "SHUTDOWN":
                data = event.get("data")
                return str(data.get("reason", "")) if isinstance(data, dict) else ""
        return ""

    def _take(self, line: dict[str, Any]) -> None:
        if "event" in line and len(self.events) < MAX_EVENTS:
            self.events.append(line)

    def _line(self) -> dict[str, Any]:
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        while b"\n" not in self._data:
            if not poll.poll(ANSWER_S * 1000):
                raise QmpError(f"QEMU has not answered in {ANSWER_S} s")
            try:
                data = os.read(self.fd, 65536)
            except ConnectionResetError:
                data = b""
            if not data or len(self._data) > MAX_LINE:
                raise QmpError("QEMU has ended")
            self._data += data
        line, _, self._data = self._data.partition(b"\n")
        return _parse(line)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        found = parse(line, "QMP")
    except OcirunError as error:
        raise QmpError(f"QEMU sent what is no JSON: {line[:80]!r}") from error
    if not isinstance(found, dict):
        raise QmpError(f"QEMU sent {line[:80]!r}")
    return found
