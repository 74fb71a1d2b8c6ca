"""A netlink socket in a given network namespace; pyroute2 encodes and decodes the messages.

pyroute2's own sockets run an event loop, which fails inside an asyncio program, and they drop the
kernel's extended error message. So we use our own socket.

Cold: only containers with networks load
this module and pyroute2, a costly import.

Source: netlink(7); kernel net/netlink/af_netlink.c; docs.pyroute2.org.
"""

from __future__ import annotations

import _socket
import os
import struct
import sys
from errno import EBADMSG

from ocirun.network.namespace import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    Message = tuple[int, int, bytes]

NETLINK_ROUTE: Final = 0
SOL_NETLINK: Final = 270
NETLINK_EXT_ACK: Final = 11
NETLINK_CAP_ACK: Final = 10

NLM_F_REQUEST: Final = 0x1
NLM_F_ACK: Final = 0x4
NLM_F_DUMP: Final = 0x300
NLM_F_CAPPED: Final = 0x100
NLM_F_ACK_TLVS: Final = 0x200
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLMSGERR_ATTR_MSG: Final = 1
HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr
LARGEST_ERRNO: Final = 4095
RECEIVE_BYTES: Final = 1 << 20
TIMEOUT_S: Final = 30.0


class Netlink:
    """A netlink socket, for one thread at a time; `close` it, or use it in a with statement.

    `namespace` (borrowed) is the network namespace it is opened in, None for the caller's.
    """

    __slots__ = ("_sequence", "_socket")

    def __init__(self, namespace: int | None = None, protocol: int = NETLINK_ROUTE) -> None:
        if namespace is None:
            self._socket = self._open(protocol)
        else:
            with inside(namespace):
                self._socket = self._open(protocol)
        self._sequence = 0

    @staticmethod
    def _open(protocol: int) -> _socket.socket:
        kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC
        opened = _socket.socket(_socket.AF_NETLINK, kind, protocol)
        try:
            opened.bind((0, 0))
            for option in (NETLINK_EXT_ACK, NETLINK_CAP_ACK):
                opened.setsockopt(SOL_NETLINK, option, 1)
            opened.settimeout(TIMEOUT_S)
        except BaseException:
            opened.close()
            raise
        return opened

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket. May be called twice."""
        self._socket.close()

    def change(self, kind: int, message: Any, flags: int = 0) -> None:  # noqa: ANN401  # pyroute2's
        """Send a message that changes something, and wait for the acknowledgement.

        Raises:
            OSError: the kernel refused; the text has its extended error message, if any.
        """
        self._send(kind, message, NLM_F_REQUEST | NLM_F_ACK | flags)
        self._receive(type(message))

    def change_raw(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Do what `change` does, with a message that is already bytes (without its header).

        Raises:
            OSError: as for `change`.
        """
        self._sequence += 1
        size, flags = HEADER.size + len(body), flags | NLM_F_REQUEST | NLM_F_ACK
        self._socket.send(HEADER.pack(size, kind, flags, self._sequence, 0) + body)
        self._answers()

    def get(self, kind: int, message: Any) -> list[Any]:  # noqa: ANN401
        """Return the kernel's replies to a message about one object.

        Raises:
            OSError: there is no such object (ENODEV and others).
        """
        self._send(kind, message, NLM_F_REQUEST | NLM_F_ACK)
        return self._receive(type(message))

    def dump(self, kind: int, message: Any) -> list[Any]:  # noqa: ANN401
        """Return all objects that match a message (NLM_F_DUMP)."""
        self._send(kind, message, NLM_F_REQUEST | NLM_F_DUMP)
        return self._receive(type(message))

    def dump_raw(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """Return all objects, each as the bytes after the header of its message.

        Raises:
            OSError: the kernel refused.
        """
        self._sequence += 1
        size, flags = HEADER.size + len(body), flags | NLM_F_REQUEST | NLM_F_DUMP
        self._socket.send(HEADER.pack(size, kind, flags, self._sequence, 0) + body)
        return [answer[HEADER.size :] for answer in self._answers()]

    def transact(self, begin: Message, messages: list[Message], end: Message) -> None:
        """Send messages that take effect together or not at all, and wait for the acknowledgement.

        Each message is (kind, flags, bytes after the header). `begin` and `end` are the family's
        messages around a transaction.

        Raises:
            OSError: the kernel refused one; nothing was changed.
        """
        data = bytearray()
        first = self._sequence + 1
        for kind, flags, body in (begin, *((k, f | NLM_F_ACK, b) for k, f, b in messages), end):
            self._sequence += 1
            data += HEADER.pack(HEADER.size + len(body), kind, flags, self._sequence, 0) + body
        last = self._sequence - 1
        self._socket.send(data)
        while True:
            for kind, flags, sequence, body in _messages(self._socket.recv(RECEIVE_BYTES)):
                if kind == NLMSG_ERROR and sequence >= first:
                    _raise_error(body, flags)
                    if sequence == last:
                        return

    def _send(self, kind: int, message: Any, flags: int) -> None:  # noqa: ANN401
        message["header"]["type"] = kind
        message["header"]["flags"] = flags
        self._sequence += 1
        message["header"]["sequence_number"] = self._sequence
        message.encode()
        self._socket.send(message.data)

    def _receive(self, form: Any) -> list[Any]:  # noqa: ANN401
        return [_decoded(form, body) for body in self._answers()]

    def _answers(self) -> list[bytes]:
        """Return the replies to the last message sent, with their headers."""
        found: list[bytes] = []
        while True:
            for kind, flags, sequence, body in _messages(self._socket.recv(RECEIVE_BYTES)):
                if sequence != self._sequence:
                    continue  # a late reply to a request that timed out
                if kind == NLMSG_ERROR:
                    _raise_error(body, flags)
                    return found
                if kind == NLMSG_DONE:
                    return found
                found.append(body)


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield (kind, flags, sequence number, bytes with the header) of each message.

    Raises:
        OSError: EBADMSG, a message is shorter than its header or longer than the data.
    """
    offset = 0
    while offset < len(data):
        header = data[offset : offset + HEADER.size].ljust(HEADER.size, b"\0")
        length, kind, flags, sequence, _ = HEADER.unpack(header)
        if not HEADER.size <= length <= len(data) - offset:
            raise OSError(EBADMSG, "an answer of the kernel is cut off")
        yield kind, flags, sequence, data[offset : offset + length]
        offset += (length + 3) & ~3


def _decoded(form: Any, body: bytes) -> Any:  # noqa: ANN401  # pyroute2's
    from ocirun.network.messages import NetlinkDecodeError  # loaded with `form`

    message = form(body)
    try:
        message.decode()
    except (NetlinkDecodeError, struct.error, ValueError) as error:
        raise OSError(EBADMSG, f"an answer of the kernel is not understood: {error}") from error
    return message


def _raise_error(body: bytes, flags: int) -> None:
    """Raise the error of an NLMSG_ERROR; 0 is an acknowledgement."""
    code = int.from_bytes(body[HEADER.size : HEADER.size + 4], sys.byteorder, signed=True)
    if code == 0:
        return
    if not -LARGEST_ERRNO <= code < 0:
        raise OSError(EBADMSG, f"the kernel answered {code}, which is no error's number")
    words = os.strerror(-code)
    if flags & NLM_F_ACK_TLVS:
        # struct nlmsgerr repeats the request's header, and the rest of the request unless capped.
        offset = HEADER.size + 4
        length = int.from_bytes(body[offset : offset + 4], sys.byteorder)
        offset += HEADER.size if flags & NLM_F_CAPPED else (length + 3) & ~3
        while offset + 4 <= len(body):
            length, kind = struct.unpack_from("=HH", body, offset)
            if kind == NLMSGERR_ATTR_MSG:
                text = body[offset + 4 : offset + length].rstrip(b"\0").decode(errors="replace")
                words = f"{words}: {text}"
            offset += max((length + 3) & ~3, 4)
    raise OSError(-code, words)
