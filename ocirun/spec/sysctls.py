"""Kernel parameters a container may set: those that one of its own namespaces holds.

Source: runtime-spec config-linux.md#sysctl; docs/runc-compat/init.md#validation; sysctl.d(5) for
the two spellings.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

IPC_NAMES: Final = frozenset(
    f"kernel.{name}"
    for name in (
        "msgmax", "msgmnb", "msgmni", "sem",
        "shmall", "shmmax", "shmmni", "shm_rmid_forced",
    )
)  # fmt: skip


def path_of(name: str) -> str:
    """Return where below /proc/sys the parameter `name` is, or "" when it is nowhere.

    The first separator of a name decides which of "." and "/" separates; the other is then part
    of a component: net.ipv4.conf.eth0/100.rp_filter and net/ipv4/conf/eth0.100/rp_filter are one.
    Security: no component is empty, "." or "..", so that net./../kernel stays what it looks like.
    """
    dot, slash = name.find("."), name.find("/")
    swap = dot >= 0 and (slash < 0 or dot < slash)
    path = name.translate({46: "/", 47: "."}) if swap else name
    return "" if {"", ".", ".."} & {*path.split("/")} else path


def dotted(name: str) -> str:
    """Return `name` spelled with dots between its components, or "" when it is nowhere."""
    return path_of(name).translate({46: "/", 47: "."})


def namespace_of(name: str) -> str:
    """Return the type of the namespace that holds `name`, in the dotted spelling; "" for none."""
    if name in IPC_NAMES or name.startswith("fs.mqueue."):
        return "ipc"
    if name.startswith("net."):
        return "network"
    if name.startswith("user."):
        return "user"
    return "uts" if name in {"kernel.domainname", "kernel.hostname"} else ""
