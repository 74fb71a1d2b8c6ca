"""uid and gid maps of a new user namespace, written from outside by the parent.

Source: user_namespaces(7), newuidmap(1); runtime-spec config-linux.md#user-namespace-mappings.
"""

from __future__ import annotations

import os

from ocirun.errors import SetupError, doing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal

    from ocirun.spec.shapes import IDMapping

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
    if not privileged and _maps_only(gid_mappings, os.getegid()):
        # Security: CVE-2014-8989; the kernel demands it too: without setgroups denied, dropping a
        # group could grant what the group was denied.
        _write(host_pid, "setgroups", "deny")
    _write_map(host_pid, "gid", gid_mappings, privileged or _maps_only(gid_mappings, os.getegid()))
    _write_map(host_pid, "uid", uid_mappings, privileged or _maps_only(uid_mappings, os.geteuid()))


def _maps_only(mappings: list[IDMapping], own_id: int) -> bool:
    return len(mappings) == 1 and mappings[0]["size"] == 1 and mappings[0]["hostID"] == own_id


def _write_map(
    host_pid: int, kind: Literal["uid", "gid"], mappings: list[IDMapping], direct: bool
) -> None:
    rows = [(m["containerID"], m["hostID"], m["size"]) for m in mappings]
    if direct:
        _write(host_pid, f"{kind}_map", "".join(f"{a} {b} {c}\n" for a, b, c in rows))
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
    for folder in os.environ.get("PATH", "").split(":"):
        path = f"{folder}/{name}"
        if folder and os.access(path, os.X_OK):
            break
    else:
        raise SetupError(
            f"mapping several ids without being root needs {name}, which is not in $PATH "
            "(Debian: the package uidmap)"
        )
    with doing(f"running {path}"):
        pid = os.posix_spawn(path, [name, str(host_pid), *numbers], os.environ)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        raise SetupError(
            f"{name} refused the map {' '.join(numbers)} (exit status {status}); "
            f"/etc/sub{name[3:6]} must allow it"
        )
