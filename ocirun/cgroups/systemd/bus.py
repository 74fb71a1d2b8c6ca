"""A connection to a bus on which a systemd manager answers: calls, and signals that came meanwhile.

jeepney knows how messages look; the socket, its time limits and the words of errors are ours.

Source: dbus.freedesktop.org/doc/dbus-specification.html; sd_booted(3); systemd
src/shared/bus-util.c.
"""

from __future__ import annotations

import _socket
import os
import time
from errno import ETIMEDOUT

from jeepney import DBusAddress, HeaderFields, MessageType, Parser, new_method_call
from jeepney.bus import get_connectable_addresses

from ocirun.errors import SetupError, kernel_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

LIMIT_S: Final = 30  # what a call and a job may take
READ_SIZE: Final = 65536
MOST_AUTH_BYTES: Final = 4096
SYSTEM_BUS: Final = "unix:path=/run/dbus/system_bus_socket"
PRIVATE_SOCKET: Final = "/run/systemd/private"  # root talks to systemd itself where no bus runs
BUS: Final = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")

# The identity is the socket's (EXTERNAL with nothing said): in a user namespace our own number
# for us is not the one the bus knows. Everything goes out at once, as systemd's own clients do.
HELLO: Final = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"
ANSWERS: Final = (b"DATA", b"OK ")


class Refused(SetupError):
    """The other side answered with an error: `name` is D-Bus's name of it, `words` its own."""

    def __init__(self, name: str, words: str) -> None:
        self.name = name
        self.words = words
        super().__init__(words or name)


class Bus:
    """One connection; owns its socket. `signals` are those received and not yet handled.

    `is_direct`: the other side is systemd itself, with no bus between.
    """

    __slots__ = ("_parser", "_serial", "_socket", "is_direct", "signals")

    def __init__(self, path: str, *, is_direct: bool = False) -> None:
        """Connect to the socket at `path` (abstract where it begins with NUL) and log in.

        Raises:
            OSError: no one listens there, or did not answer in time. SetupError: access was denied.
        """
        self.is_direct = is_direct
        self.signals: list[tuple[str, tuple[Any, ...]]] = []
        self._parser = Parser()
        self._serial = 0
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(LIMIT_S)
            self._socket.connect(path)
            self._authenticate()
            if not is_direct:
                self.call(BUS, "Hello")
        except BaseException:
            self.close()
            raise

    def _authenticate(self) -> None:
        """Log in as who the socket says we are.

        Source: dbus.freedesktop.org/doc/dbus-specification.html#auth-protocol.
        """
        end = time.monotonic() + LIMIT_S
        self._socket.sendall(HELLO)
        received = b""
        for expected in ANSWERS:
            while b"\r\n" not in received:
                received += self._receive(end)
                if len(received) > MOST_AUTH_BYTES:
                    raise SetupError("its answer to the login has no end")
            line, _, received = received.partition(b"\r\n")
            if not line.startswith(expected):
                raise SetupError(f"login refused: {line.decode(errors='replace')!r}")
        self._parser.add_data(received)

    def _receive(self, end: float) -> bytes:
        """Wait for bytes until the moment `end`.

        Raises:
            OSError: the time is over, or the other side hung up.
        """
        left_s = end - time.monotonic()
        if left_s <= 0:  # also where something comes all the time, and never what we wait for
            raise TimeoutError(ETIMEDOUT, os.strerror(ETIMEDOUT))
        self._socket.settimeout(left_s)
        data = self._socket.recv(READ_SIZE)
        if not data:
            raise ConnectionResetError(104, "connection closed by the other side")
        return data

    def call(
        self, address: DBusAddress, method: str, signature: str = "", body: tuple[Any, ...] = ()
    ) -> tuple[Any, ...]:
        """Call a method and return its result.

        Raises:
            Refused: the answer is an error. OSError: none came in time.
        """
        end = time.monotonic() + LIMIT_S
        self._serial += 1
        serial = self._serial
        message = new_method_call(address, method, signature or None, body)
        self._socket.settimeout(LIMIT_S)
        self._socket.sendall(message.serialise(serial=serial))
        while True:
            answer = self._next(end)
            header = answer.header
            if header.fields.get(HeaderFields.reply_serial) != serial:
                self._keep(answer)
                continue
            if header.message_type is MessageType.error:
                name = str(header.fields.get(HeaderFields.error_name, ""))
                words = str(answer.body[0]) if answer.body else ""
                raise Refused(name, words)
            return tuple(answer.body)

    def wait(self, signal: str, end: float) -> tuple[Any, ...]:
        """Return the body of the next signal of this name, one that came earlier first.

        Raises:
            OSError: none came until the moment `end`.
        """
        while True:
            for place, (name, body) in enumerate(self.signals):
                if name == signal:
                    del self.signals[place]
                    return body
            self.signals.clear()
            self._keep(self._next(end))

    def _next(self, end: float) -> Any:  # noqa: ANN401  # jeepney has no types
        while True:
            message = self._parser.get_next_message()
            if message is not None:
                return message
            self._parser.add_data(self._receive(end))

    def _keep(self, message: Any) -> None:  # noqa: ANN401
        if message.header.message_type is MessageType.signal:
            name = str(message.header.fields.get(HeaderFields.member, ""))
            self.signals.append((name, tuple(message.body)))

    def close(self) -> None:
        """Hang up. May be called twice."""
        self._socket.close()


def system_bus() -> Bus:
    """Connect to the system's bus; root to systemd itself where there is no bus.

    Raises:
        SetupError: neither answers.
    """
    try:
        return _connect(os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS)
    except SetupError as error:
        if os.geteuid() != 0:
            raise
        try:
            return Bus(PRIVATE_SOCKET, is_direct=True)
        except (OSError, SetupError):
            raise error from None


def user_bus() -> Bus:
    """Connect to the bus of the user who calls.

    Raises:
        SetupError: the environment names none, or it does not answer.
    """
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
    folder = os.environ.get("XDG_RUNTIME_DIR")
    if not address and not folder:
        message = "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set"
        raise SetupError(f"connecting to the bus of the user's systemd: {message}")
    return _connect(address or f"unix:path={folder}/bus")


def _connect(address: str) -> Bus:
    """Try each address in `address`; if none answers, raise the error of the last."""
    what = f"connecting to the D-Bus at {address}"
    refusal = SetupError(f"{what}: no address of a unix socket")
    try:
        for path in list(get_connectable_addresses(address)):
            try:
                return Bus(path)
            except OSError as error:
                refusal = SetupError(f"{what}: {kernel_words(error)}", error.errno or 0)
            except SetupError as error:
                refusal = SetupError(f"{what}: {error}")
    except (ValueError, KeyError, RuntimeError) as error:  # jeepney, of a text that is no address
        raise refusal from error
    raise refusal
