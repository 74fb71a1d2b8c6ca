"""What of config.json holds in the guest, as frames; what of it is refused.

The host has: root.path and the sources of bind mounts (share.py), hooks, cgroupsPath and the limits
of HOST_RESOURCES, vm. The guest has the rest of what is accepted. What neither can have is refused
by name.

Source: docs/vm.md#configuration; runtime-spec config.md, config-linux.md.
"""

from __future__ import annotations

from ocirun.engines.vm import frames
from ocirun.engines.vm.section import wrong_section
from ocirun.errors import Problem, UnsupportedError, UsageError
from ocirun.rootfs.context import read_entries
from ocirun.spec import LANDLOCK, OVERLAY
from ocirun.spec.seccomp import NOTIFY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from ocirun.rootfs.context import Entry
    from ocirun.spec.types import Config

    Document = dict[str, Any]

# Members that are refused where they are not empty, by the object that has them.
REFUSED: Final = {
    "hooks": ("createContainer", "startContainer"),
    "linux": (
        "devices",
        "gidMappings",
        "intelRdt",
        "memoryPolicy",
        "mountLabel",
        "timeOffsets",
        "uidMappings",
    ),
    "process": ("apparmorProfile", "execCPUAffinity", "selinuxLabel"),
    "resources": ("hugepageLimits", "network", "rdma", "unified"),
    "memory": (
        "checkBeforeUpdate",
        "disableOOMKiller",
        "kernel",
        "kernelTCP",
        "reservation",
        "swappiness",
        "useHierarchy",
    ),
    "cpu": ("burst", "idle", "realtimePeriod", "realtimeRuntime"),
    "hwConfig": ("deviceTree", "dtdevs", "iomems", "irqs"),
    "seccomp": ("listenerMetadata", "listenerPath"),
}
ANNOTATIONS: Final = (OVERLAY, LANDLOCK)
NAMESPACES: Final = ("cgroup", "ipc", "mount", "network", "pid", "uts")
# The members of linux.resources that hold for the machine's processes on this host.
HOST_RESOURCES: Final = ("blockIO", "cpu")
FILE_SYSTEMS: Final = {
    "cgroup": "cgroup2",
    "cgroup2": "cgroup2",
    "devpts": "devpts",
    "mqueue": "mqueue",
    "proc": "proc",
    "sysfs": "sysfs",
    "tmpfs": "tmpfs",
}
# MOUNT_ATTR_* to MS_*, where they differ.
ATTRIBUTES: Final = {0x10: 1 << 10, 0x20: 1 << 24, 0x80: 1 << 11, 0x200000: 1 << 8}
SAME_ATTRIBUTES: Final = 0xF
MIB: Final = 1 << 20
BOOT_SECONDS: Final = "org.ocirun.vm.boot-seconds"
DEFAULT_BOOT_S: Final = 180
MOST_BOOT_S: Final = 3600
DEFAULT_MEMORY: Final = 256 * MIB
LEAST_MEMORY: Final = 128 * MIB


def refuse(config: Config) -> None:
    """Raise for what a machine cannot have.

    Raises:
        UnsupportedError: with each such member.
    """
    if problems := [*wrong_section(dict(config).get("vm", {}))]:
        raise UnsupportedError(problems)
    message = "the vm engine has no counterpart for this"
    problems = [Problem(pointer, message) for pointer in _refused(config)]
    problems += _wrong_mounts(config)
    if 0 < memory_of(config) < LEAST_MEMORY:
        problems.append(
            Problem("/linux/resources/memory/limit", f"is less than {LEAST_MEMORY >> 20} MiB")
        )
    if problems:
        raise UnsupportedError(problems)
    boot_seconds(config)


def _refused(config: Config) -> Iterator[str]:
    document: Document = dict(config)
    linux: Document = document.get("linux") or {}
    resources: Document = linux.get("resources") or {}
    machine: Document = document.get("vm") or {}
    places = {
        "hooks": ("/hooks", document.get("hooks")),
        "linux": ("/linux", linux),
        "process": ("/process", document.get("process")),
        "resources": ("/linux/resources", resources),
        "memory": ("/linux/resources/memory", resources.get("memory")),
        "cpu": ("/linux/resources/cpu", resources.get("cpu")),
        "hwConfig": ("/vm/hwConfig", machine.get("hwConfig")),
        "seccomp": ("/linux/seccomp", linux.get("seccomp")),
    }
    for name, (pointer, found) in places.items():
        yield from (f"{pointer}/{member}" for member in REFUSED[name] if (found or {}).get(member))
    for index, namespace in enumerate(linux.get("namespaces") or ()):
        is_joined = namespace.get("path") and namespace["type"] != "network"
        if namespace["type"] not in NAMESPACES or is_joined:
            yield f"/linux/namespaces/{index}"
    yield from _agents(linux.get("seccomp") or {})
    if "shared" in (linux.get("rootfsPropagation") or ""):
        yield "/linux/rootfsPropagation"
    for name in document.get("annotations") or ():
        if name.startswith(ANNOTATIONS):
            yield f"/annotations/{name}"


def _agents(profile: Document) -> Iterator[str]:
    """Yield what has calls decided by an agent, which is on the host."""
    if profile.get("defaultAction") == NOTIFY:
        yield "/linux/seccomp/defaultAction"
    for index, rule in enumerate(profile.get("syscalls") or ()):
        if rule.get("action") == NOTIFY:
            yield f"/linux/seccomp/syscalls/{index}/action"


def _wrong_mounts(config: Config) -> Iterator[Problem]:
    for entry in read_entries(config, "/"):
        options = entry.options
        if not options.bind and entry.fs_name not in FILE_SYSTEMS:
            message = f"the guest has no file system {entry.fs_name!r}"
            yield Problem(f"/mounts/{entry.index}", message)
        if options.extra or options.rec_set or options.rec_clr or entry.is_idmapped:
            message = "the vm engine has no counterpart for its options"
            yield Problem(f"/mounts/{entry.index}", message)


def memory_of(config: Config) -> int:
    """Return how many bytes the guest has: vm.hwConfig, else the limit, else a default."""
    document: Document = dict(config)
    named = ((document.get("vm") or {}).get("hwConfig") or {}).get("memory")
    resources: Document = (document.get("linux") or {}).get("resources") or {}
    limit = (resources.get("memory") or {}).get("limit") or 0
    return int(named or (limit if limit > 0 else DEFAULT_MEMORY))


def cpus_of(config: Config) -> int:
    """Return how many processors the guest has: vm.hwConfig, else the quota rounded up, else 1."""
    document: Document = dict(config)
    named = ((document.get("vm") or {}).get("hwConfig") or {}).get("vcpus")
    resources: Document = (document.get("linux") or {}).get("resources") or {}
    cpu: Document = resources.get("cpu") or {}
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 100_000
    return int(named or (-(-quota // period) if quota > 0 else 1))


def host_resources(config: Config) -> Any:  # noqa: ANN401  # part of Resources
    """Return what of linux.resources holds for the machine's processes on this host."""
    resources: Document = dict(config.get("linux", {}).get("resources") or {})
    return {name: resources[name] for name in HOST_RESOURCES if name in resources}


def boot_seconds(config: Config) -> int:
    """Return how long the guest may take to its gate.

    Raises:
        UsageError: the annotation is no number of seconds.
    """
    value = (config.get("annotations") or {}).get(BOOT_SECONDS, str(DEFAULT_BOOT_S))
    if not value.isdecimal() or not 0 < int(value) <= MOST_BOOT_S:
        raise UsageError(f"the annotation {BOOT_SECONDS} is no number of seconds: {value!r}")
    return int(value)


def bind_entries(config: Config, bundle: str) -> list[Entry]:
    """Return the bind mounts."""
    return [entry for entry in read_entries(config, bundle) if entry.options.bind]


def setup_frames(config: Config) -> list[bytes]:
    """Return what makes the container's root in the guest, in order."""
    linux: Document = dict(config.get("linux") or {})
    machine: Document = dict(config).get("vm") or {}  # type: ignore[assignment]
    made = [frames.frame(frames.ROOT), *_pids(linux.get("resources") or {})]
    if machine.get("image"):
        readonly = bool(config["root"].get("readonly"))
        made.insert(1, frames.frame(frames.IMAGE, payload=frames.u32(readonly)))
    late: list[str] = []
    entries = read_entries(config, "/")
    made += [_mount(entry, late) for entry in entries]
    if any(entry.destination == "/dev" and not entry.options.bind for entry in entries):
        made.append(frames.frame(frames.DEVICES))
    for kind, name in ((frames.HOSTNAME, "hostname"), (frames.DOMAINNAME, "domainname")):
        if value := dict(config).get(name):
            made.append(frames.frame(kind, payload=frames.text(str(value))))
    for name, value in (linux.get("sysctl") or {}).items():
        path = "/proc/sys/" + (name if "/" in name else name.replace(".", "/"))
        payload = frames.text(path) + frames.text(value)
        made.append(frames.frame(frames.SYSCTL, payload=payload))
    late += linux.get("readonlyPaths") or []
    if config["root"].get("readonly"):
        late.append("/")
    for kind, paths in ((frames.MASK, linux.get("maskedPaths") or []), (frames.READONLY, late)):
        made += [frames.frame(kind, payload=frames.text(path)) for path in paths]
    return made


def _pids(resources: Document) -> Iterator[bytes]:
    """Yield the frame of pids.limit, unless it is unlimited; 0 counts as 1, as for a container."""
    limit = (resources.get("pids") or {}).get("limit")
    if limit is not None and limit >= 0:
        yield frames.frame(frames.PIDS, payload=frames.u64(limit or 1))


def _mount(entry: Entry, late: list[str]) -> bytes:
    """Return the frame of one mount; what has to be read-only after that is added to `late`."""
    options = entry.options
    flags = options.attr_set & SAME_ATTRIBUTES | options.superblock
    flags |= sum(flag for bit, flag in ATTRIBUTES.items() if options.attr_set & bit)
    if entry.destination == "/dev" and flags & 1 and not options.bind:
        flags &= ~1
        late.append(entry.destination)
    if options.bind:
        payload = frames.u64(flags) + frames.text(str(entry.index))
        return frames.frame(frames.BIND, payload=payload + frames.text(entry.destination))
    words = [
        entry.source or entry.fs_name,
        entry.destination,
        FILE_SYSTEMS[entry.fs_name],
        ",".join(options.data),
    ]
    payload = frames.u64(flags) + b"".join(frames.text(word) for word in words)
    return frames.frame(frames.MOUNT, payload=payload)
