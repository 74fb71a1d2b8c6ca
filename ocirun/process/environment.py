"""The environment of the container's process, and what its /etc/passwd says of its home.

Source: runtime-spec config.md#process; docs/runc-compat/init.md#environment-of-the-process.
"""

from __future__ import annotations

import os

from ocirun.rootfs.resolve import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAX_PASSWD_BYTES: Final = 16 << 20


def environment(entries: list[str], root_fd: int, uid: int) -> dict[bytes, bytes]:
    """Turn `process.env` into a mapping in its own order.

    Of entries with the same name the last one counts, at its own place. HOME, when missing or
    empty, comes last: from the container's passwd, else "/".
    """
    result: dict[bytes, bytes] = {}
    for entry in entries:
        name, _, value = os.fsencode(entry).partition(b"=")
        result.pop(name, None)
        result[name] = value
    if not result.get(b"HOME"):
        result.pop(b"HOME", None)
        result[b"HOME"] = home_of(root_fd, uid)
    return result


def home_of(root_fd: int, uid: int) -> bytes:
    """Find the home of `uid` in the root's /etc/passwd, by number and never by name; else "/".

    Security: read by our own code through a safe open. The C library would load NSS modules from
    inside the container (CVE-2019-14271), and a name that looks like a number would be taken for
    a user (CVE-2016-3697).
    """
    try:
        # O_NONBLOCK: a FIFO in place of the file must not hold us up.
        fd = open_in_root(root_fd, "/etc/passwd", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:  # missing, a directory, a loop of links: whatever it is, it names no home
        return b"/"
    try:
        text = _read_all(fd)
    except OSError:
        return b"/"
    finally:
        os.close(fd)
    for line in text.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2].isdigit() and int(fields[2][:20]) == uid:
            return fields[5] or b"/"
    return b"/"


def _read_all(fd: int) -> bytes:
    data = bytearray()
    while len(data) < MAX_PASSWD_BYTES and (piece := os.read(fd, 64 << 10)):
        data += piece
    return bytes(data)
