"""A bus and a systemd of a test's own: a thread that speaks D-Bus on a unix socket."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    Parser,
    new_error,
    new_method_return,
    new_signal,
)

SYSTEMD = "org.freedesktop.systemd1"
EMITTER = DBusAddress("/org/freedesktop/systemd1", SYSTEMD, f"{SYSTEMD}.Manager")


class Error(Exception):
    """What a method answers when it does not do what it was asked: a name and words."""


class Peer:
    """Answers one connection after another; `calls` has each method with its arguments.

    `answers` maps a method to (signature, body) or to a function of the arguments that gives that
    or raises `Error`. `login` is what it says to the client's greeting. `job_result` is how jobs
    end; None never ends them. `noise` is how many other jobs end before each one is answered, and
    `noise_after` for how many seconds others end all the time once it was.
    """

    def __init__(self, path: Path) -> None:
        self.address = f"unix:path={path}"
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.answers: dict[str, Any] = {}
        self.login = b"DATA\r\nOK 1234\r\n"
        self.job_result: str | None = "done"
        self.noise = 0
        self.noise_after = 0.0
        self.jobs = 0
        self.greeting = b""
        self._connection: socket.socket | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def called(self, method: str) -> list[tuple[Any, ...]]:
        return [body for name, body in self.calls if name == method]

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connection = connection
            with connection, contextlib.suppress(OSError):
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        self.greeting = b""
        while b"BEGIN\r\n" not in self.greeting:
            data = connection.recv(4096)
            if not data:
                return
            self.greeting += data
        connection.sendall(self.login)
        parser = Parser()
        parser.add_data(self.greeting.partition(b"BEGIN\r\n")[2])
        serial = 0
        while data := connection.recv(65536):
            for message in parser.feed(data):
                for answer in self._answer(message):
                    serial += 1
                    connection.sendall(answer.serialise(serial=serial))

    def _answer(self, call: Message) -> Iterator[Message]:
        method = call.header.fields[HeaderFields.member]
        self.calls.append((method, tuple(call.body)))
        answer = self.answers.get(method, self._usual)
        try:
            signature, body = answer(*call.body) if callable(answer) else answer
        except Error as error:
            name, words = error.args
            yield new_error(call, name, "s", (words,))
            return
        if method in ("StartTransientUnit", "StopUnit"):
            yield from self._job(call)
            return
        yield new_method_return(call, signature or None, body)

    def _job(self, call: Message) -> Iterator[Message]:
        """A job's end may be told before its beginning was answered."""
        self.jobs += 1
        path = f"/org/freedesktop/systemd1/job/{self.jobs}"
        for number in range(self.noise):
            yield removed(f"/org/freedesktop/systemd1/job/9{number}", "other.service", "failed")
        ends = [removed(path, call.body[0], self.job_result)] if self.job_result else []
        answer = new_method_return(call, "o", (path,))
        yield from [*ends, answer] if self.jobs % 2 else [answer, *ends]
        end = time.monotonic() + self.noise_after
        while time.monotonic() < end:
            yield removed("/org/freedesktop/systemd1/job/90", "other.service", "failed")

    def _usual(self, *body: Any) -> tuple[str, tuple[Any, ...]]:  # noqa: ANN401
        if len(body) == 2 and body[1] == "Version":
            return "v", (("s", "252.39-1~deb12u1"),)
        if len(body) == 2 and body[1] == "ControlGroup":
            return "v", (("s", ""),)
        return "", ()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # closed already, by the client or by our thread
            if self._connection:
                self._connection.shutdown(socket.SHUT_RDWR)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def removed(job: str, unit: str, result: str | None) -> Message:
    return new_signal(EMITTER, "JobRemoved", "uoss", (7, job, unit, result))


def refuse(name: str, words: str) -> Callable[..., Any]:
    def answer(*_: object) -> Any:  # noqa: ANN401
        raise Error(name, words)

    return answer
