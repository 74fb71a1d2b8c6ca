"""The user of the command, and the id mappings of its user namespace.

Source: passwd(5), subuid(5); docs/try.md#rootless.
"""

from __future__ import annotations

import os

from ocirun.errors import UsageError, doing
from ocirun.kernel.which import find_in_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import IDMapping, User

MAX_ID: Final = 2**32 - 2
NAME_UID_GID: Final = (0, 2, 3)  # fields of a line of passwd(5)
MAX_SUBORDINATE: Final = 65536


def user_of(text: str, *, may_name: bool) -> User:
    """Return the user for UID[:GID] or, if `may_name`, a user name of this machine; "" is root.

    Security: a name is never looked up in a file of an image (CVE-2016-3697).

    Raises:
        UsageError: it is neither, or no such user is in /etc/passwd.
    """
    if not text:
        return {"uid": 0, "gid": 0}
    uid, colon, gid = text.partition(":")
    if not uid[:1].isdecimal() and not colon:
        return _named(text, may_name=may_name)
    number = _number(uid, text)
    return {"uid": number, "gid": _number(gid, text) if colon else 0}


def _named(name: str, *, may_name: bool) -> User:
    if not may_name:
        raise UsageError(f"with --root, --user must be numbers, UID[:GID], and not {name!r}")
    for line in _lines("/etc/passwd"):
        fields = line.split(":")
        if len(fields) > max(NAME_UID_GID) and fields[0] == name:
            return {"uid": _number(fields[2], name), "gid": _number(fields[3], name)}
    raise UsageError(f"--user: /etc/passwd has no user {name!r}; give numbers, UID[:GID]")


def _number(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 11 and int(text) <= MAX_ID):
        raise UsageError(f"--user: {whole!r} is not UID[:GID]")
    return int(text)


def mappings_of_caller() -> tuple[list[IDMapping], list[IDMapping]]:
    """Return the uid and gid mappings for a user namespace of a caller who is not root.

    The caller is mapped to root. With subordinate ids and newuidmap/newgidmap, those are mapped
    from 1 on; without them no other id is.
    """
    uid, gid = os.geteuid(), os.getegid()
    uids: list[IDMapping] = [{"containerID": 0, "hostID": uid, "size": 1}]
    gids: list[IDMapping] = [{"containerID": 0, "hostID": gid, "size": 1}]
    names = {str(uid)}
    for line in _lines("/etc/passwd"):
        fields = line.split(":")
        if len(fields) > max(NAME_UID_GID) and fields[2] == str(uid):
            names.add(fields[0])
    more_uids, more_gids = _subordinate("/etc/subuid", names), _subordinate("/etc/subgid", names)
    helpers = find_in_path("newuidmap") and find_in_path("newgidmap")
    if more_uids and more_gids and helpers:
        uids.append(more_uids)
        gids.append(more_gids)
    return uids, gids


def _subordinate(file: str, names: set[str]) -> IDMapping | None:
    """Return the first range in `file` for one of `names`, mapped from 1 on."""
    for line in _lines(file):
        fields = line.split(":")
        if len(fields) == 3 and fields[0] in names and fields[1].isdecimal():
            size = int(fields[2]) if fields[2].isdecimal() else 0
            if size > 0:
                size = min(size, MAX_SUBORDINATE)
                return {"containerID": 1, "hostID": int(fields[1]), "size": size}
    return None


def _lines(path: str) -> list[str]:
    with doing(f"reading {path}"):
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []
