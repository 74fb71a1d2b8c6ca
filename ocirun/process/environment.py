"""The environment of the container's process, and what its /etc/passwd says of its home.

Source: runtime-spec config.md#process; docs/runc-compat/init.md#environment-of-the-process.
"""

from __future__ import annotations

import os

from ocirun.errors import SetupError
from ocirun.kernel.regular_files import check_regular, read_open
from ocirun.rootfs.resolve import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

PASSWD: Final = "/etc/passwd"  # noqa: S105  # a path
MAX_PASSWD_BYTES: Final = 4 << 20
UID: Final = 2  # which field of a line, from 0; passwd(5)
HOME: Final = 5


def environment(entries: list[str], root_fd: int, uid: int) -> dict[bytes, bytes]:
    """Return `process.env` as a mapping in its own order.

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
    """Return the home of `uid` in the root's /etc/passwd, by number and never by name; else "/".

    Security: read by our own code through a safe open. The C library would load NSS modules from
    inside the container (CVE-2019-14271), and a name that looks like a number would be taken for
    a user (CVE-2016-3697).
    """
    try:
        text = _read_passwd(root_fd)
    except (OSError, SetupError):  # missing, not a regular file, too large: it has no home
        return b"/"
    wanted = b":%d:" % uid
    at = 0
    # Only lines with the number are split, each once: the file may have millions of others.
    while (hit := text.find(wanted, at)) >= 0:
        start = max(at, text.rfind(b"\n", at, hit) + 1)
        end = text.find(b"\n", hit)
        end = len(text) if end < 0 else end
        fields = text[start:end].split(b":", HOME + 1)
        if len(fields) > HOME and fields[UID] == b"%d" % uid:
            home = fields[HOME]
            return b"/" if not home or b"\0" in home else home
        at = end
    return b"/"


def _read_passwd(root_fd: int) -> bytes:
    # Order: looked at with O_PATH first, for opening a FIFO waits and opening a device may act.
    path_fd = open_in_root(root_fd, PASSWD)
    try:
        check_regular(path_fd, PASSWD)
    finally:
        os.close(path_fd)
    fd = open_in_root(root_fd, PASSWD, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        return read_open(fd, MAX_PASSWD_BYTES, PASSWD)
    finally:
        os.close(fd)
