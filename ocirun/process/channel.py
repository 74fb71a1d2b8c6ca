"""Frames and descriptors over a socket pair.

A frame is four bytes of length and four that count the descriptors, then a JSON array [name, body].
The descriptors are sent with those numbers; those that do not fit into one message follow, each
time with one byte. JSON and not marshal or pickle, because the other end may share a namespace with
untrusted processes: the worst that can arrive is a wrong message.
"""

from __future__ import annotations

import _socket
import os
import sys

from ocirun.errors import InitError, ProtocolError, SetupError, doing, kernel_words, warn
from ocirun.process.messages import PROC_ERROR, PROC_WARNING, WITH_DESCRIPTORS
from ocirun.spec.jsontext import compact, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    Tell = Callable[[str], None]

LENGTH_BYTES: Final = 4
HEADER_BYTES: Final = 8  # the length, and how many descriptors there are
FD_BYTES: Final = 4
MAX_WARNING: Final = 1000  # characters
MAX_WARNINGS: Final = 1000  # they are kept until the verb has ended
MAX_FDS: Final = 250  # in one message: SCM_MAX_FD is 253
MAX_FRAME_BYTES: Final = 64 << 20  # a config.json of 10 MB grows when its text is escaped
# Security: a message that claims to be init's may come from the container. Genuine ones are short,
# and parsing JSON takes 30 times its length in memory.
MAX_ANSWER_BYTES: Final = 256 << 10
MAX_TRUSTED_FDS: Final = 1 << 20  # as many as fs.nr_open allows one process
MAX_ANSWER_FDS: Final = 8  # it sends one, the pidfd of procCloned


class PeerGone(Exception):
    """The other side closed its end: it died, and sent no procError before."""


class Channel:
    """One end of the conversation; owns its socket descriptor.

    `tell`, if given, is called with the name and direction of each message. `trusted`: the other
    end is our parent, which sends configurations and any number of descriptors.
    """

    __slots__ = ("_max_bytes", "_max_fds", "_plain", "_socket", "_warnings", "tell")

    def __init__(self, fd: int, tell: Tell | None = None, *, trusted: bool = False) -> None:
        self._max_bytes = MAX_FRAME_BYTES if trusted else MAX_ANSWER_BYTES
        self._max_fds = MAX_TRUSTED_FDS if trusted else MAX_ANSWER_FDS
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
        self.tell = tell
        self._plain = False
        self._warnings = 0

    def use_plain_io(self) -> None:
        """Use only read and write from here on, and send no descriptors.

        A loaded seccomp filter also applies to init's messages, and may not allow sendmsg.
        """
        self._plain = True

    def fileno(self) -> int:
        """Return the descriptor, which stays ours."""
        return self._socket.fileno()

    def move(self, fd: int) -> None:
        """Use `fd`, another descriptor of the same socket, from now on; close the old one."""
        self._socket.close()
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)

    def close(self) -> None:
        """Close our end; the other side reads end-of-file."""
        self._socket.close()

    def send(self, name: str, body: object = None, fds: Sequence[int] = ()) -> None:
        """Send a message; `fds` are duplicated into the other process and stay ours here.

        Raises:
            PeerGone: the other side has closed its end.
        """
        if self.tell:
            self.tell(f"{name} →")
        data = os.fsencode(compact([name, body]))
        header = b"".join(
            number.to_bytes(LENGTH_BYTES, "little") for number in (len(data), len(fds))
        )
        if self._plain:
            self._write(header + data)
            return
        try:
            if len(fds) > MAX_FDS:
                self._send_with(header, fds[:MAX_FDS])
                for first in range(MAX_FDS, len(fds), MAX_FDS):
                    self._send_with(b"\0", fds[first : first + MAX_FDS])
                self._socket.sendall(data, _socket.MSG_NOSIGNAL)
            else:
                # One call: one that fails has said nothing, and procError can follow.
                self._send_with(header + data, fds)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise PeerGone from error
        except OSError as error:
            message = f"sending {name}: {kernel_words(error)}"
            raise SetupError(message, error.errno or 0) from error

    def warn(self, message: str) -> None:
        """Ask the other side to log a warning."""
        self.send(PROC_WARNING, message[:MAX_WARNING])

    def receive(self, *expected: str) -> tuple[str, Any, list[int]]:
        """Wait for one of the `expected` messages; log each procWarning that comes before it.

        Returns:
            Its name, its body, and the descriptors that came with it, if it is one that has any:
            the caller's to close.

        Raises:
            InitError: procError came instead.
            PeerGone: the other side died.
            ProtocolError: another message came, or none that can be read.
        """
        name, body, fds = self._receive_message(expected)
        while name == PROC_WARNING:
            self._warnings += 1
            if self._warnings <= MAX_WARNINGS:
                warn(str(body)[:MAX_WARNING])
            name, body, fds = self._receive_message(expected)
        if name == PROC_ERROR:
            raise _error_told(body)
        if name not in expected:
            raise ProtocolError(f"waiting for {' or '.join(expected)}: {name!r} came")
        return name, body, fds

    def wait_unread(self, expected: str) -> None:
        """Wait for the next message, and take it for `expected` where read(2) is refused.

        A profile need not allow read: runc's exec gets by without it.

        Raises:
            As `receive`.
        """
        try:
            self.receive(expected)
        except SetupError:
            from select import POLLHUP, POLLIN, poll  # loaded with the filter

            waiting = poll()
            waiting.register(self.fileno(), POLLIN)
            try:
                [(_, events)] = waiting.poll()
            except OSError as error:
                raise SetupError(
                    f"waiting for {expected}: {kernel_words(error)}", error.errno or 0
                ) from error
            if events & POLLHUP:
                raise PeerGone from None

    def _receive_message(self, expected: Sequence[str]) -> tuple[str, Any, list[int]]:
        try:
            data, fds = self._receive_frame()
        except ConnectionResetError as error:  # it died, and had not read all that we sent
            raise PeerGone from error
        except OSError as error:
            message = f"waiting for {' or '.join(expected)}: {kernel_words(error)}"
            raise SetupError(message, error.errno or 0) from error
        name = ""
        try:
            frame = parse(data, "message", "surrogateescape")
            if not (isinstance(frame, list) and len(frame) == 2 and isinstance(frame[0], str)):
                raise ProtocolError(f"waiting for {' or '.join(expected)}: not a message")
            name, body = frame
        finally:
            if fds and not (name in expected and name in WITH_DESCRIPTORS):
                _close_all(fds)
                fds = []
        if self.tell:
            self.tell(f"← {name}")
        return name, body, fds

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self.fileno(), data) :]
        except (BrokenPipeError, ConnectionResetError) as error:
            raise PeerGone from error

    def _send_with(self, data: bytes, fds: Sequence[int]) -> None:
        rights = b"".join(fd.to_bytes(FD_BYTES, sys.byteorder) for fd in fds)
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else []
        sent = self._socket.sendmsg([data], ancillary, _socket.MSG_NOSIGNAL)
        if sent < len(data):
            self._socket.sendall(data[sent:], _socket.MSG_NOSIGNAL)

    def _receive_frame(self) -> tuple[bytes, list[int]]:
        fds: list[int] = []
        if self._plain:
            header = self._receive_exactly(HEADER_BYTES)
        else:
            header, fds = self._receive_with(HEADER_BYTES)
        length = int.from_bytes(header[:LENGTH_BYTES], "little")
        count = int.from_bytes(header[LENGTH_BYTES:], "little")
        try:
            return self._receive_rest(length, count, fds), fds
        except BaseException:
            _close_all(fds)
            raise

    def _receive_rest(self, length: int, count: int, fds: list[int]) -> bytes:
        """Return the `length` bytes of a frame; what lacks of `count` descriptors goes to `fds`."""
        if len(fds) > count:
            raise ProtocolError(f"the other side sent {len(fds)} descriptors and announced {count}")
        if length > self._max_bytes or count > self._max_fds:
            what = f"a message of {length} bytes and {count} descriptors"
            raise ProtocolError(f"the other side announced {what}")
        while len(fds) < count and not self._plain:
            more = self._receive_with(1)[1]
            if not more:
                raise ProtocolError(f"{len(fds)} of {count} descriptors came: is there no room?")
            fds += more
        return self._receive_exactly(length)

    def _receive_with(self, size: int) -> tuple[bytes, list[int]]:
        """Read `size` bytes and the descriptors that ride with them."""
        space = _socket.CMSG_SPACE(MAX_FDS * FD_BYTES)
        data, ancillary, _, _ = self._socket.recvmsg(
            size, space, _socket.MSG_CMSG_CLOEXEC | _socket.MSG_WAITALL
        )
        fds: list[int] = []
        for level, kind, rights in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                fds += [
                    int.from_bytes(rights[i : i + FD_BYTES], sys.byteorder)
                    for i in range(0, len(rights) // FD_BYTES * FD_BYTES, FD_BYTES)
                ]
        if len(data) < size:
            _close_all(fds)
            raise PeerGone
        return data, fds

    def _receive_exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            left = length - len(data)
            piece = (
                os.read(self.fileno(), left)
                if self._plain
                else self._socket.recv(left, _socket.MSG_WAITALL)
            )
            if not piece:
                raise PeerGone
            data += piece
        return bytes(data)


def channel_pair(tell: Tell | None = None) -> tuple[Channel, Channel]:
    """Make both ends, close-on-exec; `tell` is for the first one, the parent's."""
    kind = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC
    with doing("making the channel to init"):
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, kind)
    return Channel(ours.detach(), tell), Channel(theirs.detach(), trusted=True)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _error_told(body: object) -> InitError:
    """Build the InitError of a procError's body, whatever that body is."""
    if not isinstance(body, dict):
        body = {}
    errno = body.get("errno")
    message = str(body.get("message"))
    # Callers know runc's words; it says "error during …" of everything but a failing lookup.
    during = "" if message.startswith('exec: "') else "error during container init: "
    error = InitError(
        f"unable to start container process: {during}{message}",
        errno if isinstance(errno, int) else 0,
    )
    notes = body.get("notes")
    for note in notes if isinstance(notes, list) else ():
        error.add_note(str(note))
    return error
