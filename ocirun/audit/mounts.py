"""Mounts that expose the host: its root, directories, sockets, devices and users.

Source: mount(8), mount_namespaces(7), runtime-spec config.md#mounts; kernel
admin-guide/cgroup-v1/cgroups.rst; docs/audit.md.
"""

from __future__ import annotations

import os
import stat

from ocirun.audit.devices import access
from ocirun.audit.finding import CRITICAL, HIGH, LOW, MEDIUM, NOTE, Rule
from ocirun.audit.world import HOST
from ocirun.cgroups.devicerules import OPENING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ocirun.audit.finding import Found
    from ocirun.audit.world import Place, World

# Sockets of services that act as root for their clients: engines, systemd, D-Bus.
ENGINES: Final = (
    "docker.sock", "containerd.sock", "containerd.sock.ttrpc", "crio.sock", "podman.sock",
    "buildkitd.sock", "cri-dockerd.sock", "dockershim.sock", "kubelet.sock", "private",
    "system_bus_socket",
)  # fmt: skip
WHERE_ENGINES_ARE: Final = ("/run", "/var/run")
# Host directories whose files root of the host executes or trusts.
SYSTEM: Final = (
    "/bin", "/boot", "/etc", "/lib", "/lib64", "/sbin", "/usr", "/opt", "/root", "/var/lib", "/run",
    "/var/run", "/var/spool/cron", "/dev", "/proc", "/sys",
)  # fmt: skip
SECRET: Final = ("/root", "/home", "/etc", "/var", "/boot", "/run", "/srv")
# Files that engines bind for each container.
ORDINARY: Final = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
CGROUPS: Final = ("cgroup", "cgroup2")

ROOT: Final = Rule(
    "host-root",
    (CRITICAL, HIGH),
    "Mount the directory that is needed and not all of /, read-only if that is enough.",
    "The rest of the host's files is gone.",
)
SOCKET: Final = Rule(
    "host-socket",
    (CRITICAL, MEDIUM),
    "Remove the mount, or put a proxy in between that allows only what is needed.",
    "The program can no longer ask the service.",
)
PATH: Final = Rule(
    "host-path",
    (CRITICAL, HIGH, MEDIUM, LOW, NOTE),
    "Mount a directory that belongs to the container alone, read-only if that is enough.",
    "The program no longer reads or writes the host's files.",
)
PLANT: Final = Rule(
    "setuid-for-the-host",
    (MEDIUM,),
    "Add nosuid to the options of the mount, and use a user namespace.",
    "Setuid programs in the mount run without their bit, and files have other owners.",
)
DEVICE: Final = Rule(
    "mounted-device",
    (HIGH, MEDIUM),
    "Remove the mount, and list the device in linux.devices if it is needed.",
    "The program can no longer open the device.",
)
SHARED: Final = Rule(
    "shared-propagation",
    (MEDIUM,),
    "Use rslave or rprivate in the options of the mount and in linux.rootfsPropagation.",
    "Mounts made inside are no longer seen on the host.",
)
CGROUP: Final = Rule(
    "cgroup-writable",
    (CRITICAL, MEDIUM, NOTE),
    "Add ro to the options of the cgroup mount.",
    "systemd and container engines inside cannot make cgroups.",
)
WRITABLE_ROOT: Final = Rule(
    "writable-root",
    (LOW,),
    "Set root.readonly to true, and mount a tmpfs where the program writes.",
    "Writes to other places fail with EROFS.",
)
EXECUTABLE: Final = Rule(
    "writable-executable",
    (NOTE,),
    "Add noexec to the options of the mount.",
    "Programs in the mount cannot be run.",
)
RULES: Final = (
    ROOT, SOCKET, PATH, PLANT, DEVICE, SHARED, CGROUP, WRITABLE_ROOT, EXECUTABLE,
)  # fmt: skip


def find(world: World) -> Found:
    """Return findings about what the mounts let the process reach."""
    if not world.readonly_root:
        sentence = "The root file system can be written and what is written there can be run."
        yield WRITABLE_ROOT.found(LOW, sentence, "/root/readonly")
    if world.shared_root:
        sentence = "Mounts that are made below the container's root appear on the host."
        yield SHARED.found(MEDIUM, sentence, "/linux/rootfsPropagation")
    if os.path.realpath(world.root or "/nonexistent") == "/":
        sentence = "The root of the container is the root of the host."
        grade = HIGH if world.readonly_root else CRITICAL
        yield ROOT.found(grade, sentence, "/root/path")
    for place in world.mounts:
        yield from _mount(world, place)


def _mount(world: World, place: Place) -> Found:
    where = f"The mount on {place.destination}"
    if place.shared:
        yield SHARED.found(
            MEDIUM, f"{where} is shared: what is mounted below it appears on the host.",
            place.pointer or "/mounts",
        )  # fmt: skip
    if place.fs_name in CGROUPS and not place.readonly:
        grade, words = _cgroup(world, place)
        sentence = f"{where} is a writable cgroup: {words}."
        yield CGROUP.found(grade, sentence, place.pointer or "/mounts")
    if place.source:
        yield from _bind(world, place, os.path.realpath(place.source))
    elif place.fs_name == "tmpfs" and not (place.readonly or place.noexec):
        sentence = f"{where} can be written and what is written there can be run."
        yield EXECUTABLE.found(NOTE, sentence, place.pointer or "/mounts")


def _cgroup(world: World, place: Place) -> tuple[str, str]:
    if world.has("CAP_SYS_ADMIN") and place.fs_name == "cgroup":
        why = (
            "CAP_SYS_ADMIN mounts all of it, and release_agent names a program for the host's root"
        )
        return CRITICAL, why
    if world.holds_host_root:
        return MEDIUM, "the process can change its own limits"
    return NOTE, "its files belong to ids that the container does not have"


def _bind(world: World, place: Place, source: str) -> Found:
    pointer, where = place.pointer or "/mounts", f"The mount on {place.destination}"
    writes = not place.readonly
    if source == "/":
        grade = CRITICAL if writes and world.holds_host_root else HIGH
        yield ROOT.found(grade, f"{where} is the root of the host.", pointer)
        return
    kind = _kind(source)
    if kind == "socket":
        known = os.path.basename(source) in ENGINES
        why = "whoever can write to it is root of the host" if known else "the host listens on it"
        yield SOCKET.found(
            CRITICAL if known else MEDIUM, f"{where} is the socket {source}: {why}.", pointer
        )
        return
    if kind in ("b", "c"):
        number = os.stat(source).st_rdev
        permitted = access(world, kind, os.major(number), os.minor(number)) & OPENING
        if place.nodev or not permitted or _is_standard(number):
            return
        words = "a disk" if kind == "b" else "a device"
        grade = HIGH if kind == "b" else MEDIUM
        yield DEVICE.found(grade, f"{where} is {words} of the host, {source}.", pointer)
        return
    yield from _below(world, place, source, where, pointer)
    # Kernel: the setuid bit matters on the host only for an owner that is mapped there.
    if writes and not place.nosuid and kind == "directory" and world.holds_host_root:
        sentence = f"{where} lets root leave setuid programs in {source}, for users of the host."
        yield PLANT.found(MEDIUM, sentence, pointer)


def _below(world: World, place: Place, source: str, where: str, pointer: str) -> Found:
    """Return findings about a directory or file of the host."""
    for socket in _engines_below(source):
        sentence = f"{where} has {socket} in it: whoever can write to it is root of the host."
        yield SOCKET.found(CRITICAL, sentence, pointer)
    ordinary = os.path.basename(place.destination) in {os.path.basename(one) for one in ORDINARY}
    if place.destination in ORDINARY and ordinary:
        yield PATH.found(NOTE, f"{where} is {source} of the host.", pointer)
        return
    if not place.readonly and _is_in(source, SYSTEM):
        grade = CRITICAL if world.holds_host_root else MEDIUM
        words = "what is written there, the host runs or believes"
    elif not place.readonly:
        grade, words = LOW, "the process changes it"
    elif _is_in(source, SECRET) or world.namespaces["mount"] == HOST:
        grade = MEDIUM if world.holds_host_root else LOW
        words = "the process reads what is in it"
    else:
        grade, words = NOTE, "the process reads it"
    yield PATH.found(grade, f"{where} is {source} of the host: {words}.", pointer)


def _engines_below(source: str) -> Iterator[str]:
    """Yield sockets of engines in `source`, at most three levels down."""
    for folder in WHERE_ENGINES_ARE:
        if not _is_in(source, (folder,)) and not folder.startswith(source.rstrip("/") + "/"):
            continue
        top = source if _is_in(source, (folder,)) else folder
        for path, folders, files in os.walk(top):
            yield from (
                f"{path}/{name}"
                for name in files
                if name in ENGINES and _kind(f"{path}/{name}") == "socket"
            )
            if path.removeprefix(top).count("/") >= 2:  # levels
                folders.clear()


def _is_in(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == one or path.startswith(one + "/") for one in folders)


def _is_standard(number: int) -> bool:
    """Return whether this is a device that every container has."""
    from ocirun.spec.devices import DEFAULT_DEVICES

    return any(
        (one["major"], one["minor"]) == (os.major(number), os.minor(number))
        for one in DEFAULT_DEVICES
    )


def _kind(path: str) -> str:
    """Return "socket", "b", "c", "directory" or "file"; "" if the path does not exist."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return ""
    if stat.S_ISSOCK(mode):
        return "socket"
    if stat.S_ISBLK(mode):
        return "b"
    if stat.S_ISCHR(mode):
        return "c"
    return "directory" if stat.S_ISDIR(mode) else "file"
