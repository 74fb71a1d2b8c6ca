"""uid and gid maps of user namespaces, written and read from outside by the parent.

Source: user_namespaces(7), newuidmap(1); runtime-spec config-linux.md#user-namespace-mappings.
"""

from __future__ import annotations

import os

from ocirun.errors import Problem, SetupError, SpecError, doing
from ocirun.kernel.process import posix_spawn
from ocirun.kernel.which import find_in_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal

    from ocirun.spec.types import Config, IDMapping

    Map = list[tuple[int, ...]]

_HELPERS: Final = {"uid": "newuidmap", "gid": "newgidmap"}


def write_id_maps(
    host_pid: int, uid_mappings: list[IDMapping], gid_mappings: list[IDMapping]
) -> None:
    """Write the maps of the user namespace that `host_pid` has just been cloned into.

    With privilege the files are written directly. Without it a single entry that maps the caller
    itself is written directly too, everything else goes through newuidmap and newgidmap, which
    check /etc/subuid and /etc/subgid.

    Raises:
        SetupError: the kernel or the helper refused the map.
    """
    privileged = os.geteuid() == 0
    if not privileged and maps_only(gid_mappings, os.getegid()):
        # Security: CVE-2014-8989; the kernel demands it too: without setgroups denied, dropping a
        # group could grant what the group was denied.
        _write(host_pid, "setgroups", "deny")
    _write_map(host_pid, "gid", gid_mappings, privileged or maps_only(gid_mappings, os.getegid()))
    _write_map(host_pid, "uid", uid_mappings, privileged or maps_only(uid_mappings, os.geteuid()))


def make_user_namespace(uid_mappings: list[IDMapping], gid_mappings: list[IDMapping]) -> int:
    """Make a user namespace with these maps and no process in it.

    Returns:
        A descriptor the caller closes, which keeps it.

    Raises:
        SetupError: the kernel refused it or its maps.
    """
    from ocirun.kernel.userns import UserNamespaceHolder  # cold: for id-mapped mounts

    with doing("making a user namespace for its id maps"), UserNamespaceHolder() as holder:
        write_id_maps(holder.pid, uid_mappings, gid_mappings)
        return os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def check_joined_maps(config: Config, userns_fd: int) -> None:
    """Refuse maps that are not those of the user namespace to be joined (`userns_fd`, borrowed).

    Spec: maps are for a new namespace; they stand beside a path only where they say the same.
    """
    linux = config.get("linux", {})
    uid_mappings, gid_mappings = linux.get("uidMappings"), linux.get("gidMappings")
    if not uid_mappings and not gid_mappings:
        return
    if not has_maps(userns_fd, uid_mappings or [], gid_mappings or []):
        message = (
            "user namespaces enabled, but both namespace path and non-matching mapping specified"
        )
        raise SpecError([Problem("/linux/uidMappings", message, "give only one of both")])


def has_maps(userns_fd: int, uid_mappings: list[IDMapping], gid_mappings: list[IDMapping]) -> bool:
    """Return whether the user namespace that `userns_fd` (borrowed) is open on has these maps.

    Ids outside are as we see them from our own user namespace.
    """
    from ocirun.kernel.userns import UserNamespaceHolder  # cold: for a namespace that is joined

    with doing("reading the maps of the user namespace"), UserNamespaceHolder(userns_fd) as holder:
        return all(
            sorted(_read_map(holder.pid, kind)) == sorted(_rows(mappings))
            for kind, mappings in (("uid", uid_mappings), ("gid", gid_mappings))
        )


def read_maps(config: Config, userns_fd: int) -> tuple[Map, Map]:
    """Return the maps of uids and of gids of the container's user namespace.

    `userns_fd` (borrowed) is open on the one that is joined; -1: the maps are those of the config.
    Each row is the first id inside, the first outside as we see it, and how many follow.

    Raises:
        SetupError: the namespace cannot be inspected.
    """
    if userns_fd < 0:
        linux = config.get("linux", {})
        return _rows(linux.get("uidMappings") or []), _rows(linux.get("gidMappings") or [])
    from ocirun.kernel.userns import UserNamespaceHolder  # cold: for a namespace that is joined

    with doing("reading the maps of the user namespace"), UserNamespaceHolder(userns_fd) as holder:
        return _read_map(holder.pid, "uid"), _read_map(holder.pid, "gid")


def id_on_host(rows: Map, inside: int) -> int:
    """Return the id outside of `inside`, an id of a user namespace whose map has these rows.

    -1: the map does not have it.
    """
    for first, outside, size in rows:
        if first <= inside < first + size:
            return outside + inside - first
    return -1


def _read_map(host_pid: int, kind: str) -> Map:
    with open(f"/proc/{host_pid}/{kind}_map", encoding="ascii") as file:
        return [tuple(map(int, line.split())) for line in file]


def _rows(mappings: list[IDMapping]) -> Map:
    return [(m["containerID"], m["hostID"], m["size"]) for m in mappings]


def maps_only(mappings: list[IDMapping], own_id: int) -> bool:
    """Return whether these mappings map one id, the caller's own: that needs no privilege."""
    return len(mappings) == 1 and mappings[0]["size"] == 1 and mappings[0]["hostID"] == own_id


def _write_map(
    host_pid: int, kind: Literal["uid", "gid"], mappings: list[IDMapping], direct: bool
) -> None:
    rows = _rows(mappings)
    if direct:
        lines = [" ".join(map(str, row)) for row in rows]
        _write(host_pid, f"{kind}_map", "\n".join(lines))
    else:
        _run_helper(_HELPERS[kind], host_pid, [str(number) for row in rows for number in row])


def _write(host_pid: int, name: str, text: str) -> None:
    with doing(f"writing /proc/{host_pid}/{name}"):
        fd = os.open(f"/proc/{host_pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            # Kernel: a map is written in one write or not at all.
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def _run_helper(name: str, host_pid: int, numbers: list[str]) -> None:
    path = find_in_path(name)
    if path is None:
        raise SetupError(
            f"mapping several ids without being root needs {name}, which is not in $PATH "
            "(Debian: the package uidmap)"
        )
    with doing(f"running {path}"):
        pid = posix_spawn(path, [name, str(host_pid), *numbers], os.environ)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        raise SetupError(
            f"{name} refused the map {' '.join(numbers)} (exit status {status}); "
            f"/etc/sub{name[3:6]} must allow it"
        )
