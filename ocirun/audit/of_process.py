"""Build a World from what the kernel reports about a running container's init.

Source: proc(5), proc_pid_status(5), proc_pid_mountinfo(5), namespaces(7), cgroups(7), ptrace(2);
docs/audit.md.
"""

from __future__ import annotations

import os
import stat

from ocirun.audit.facts import (
    INSIDE,
    Programs,
    filters_of,
    host_path,
    id_map,
    inside_of,
    nodes_of,
)
from ocirun.audit.of_cgroup import directories, limits_of, rules_of
from ocirun.audit.world import HIDDEN, HOST, KINDS, OWN, SETS, Look, Place, World
from ocirun.errors import kernel_words
from ocirun.kernel.mount import fstatfs
from ocirun.kernel.mountinfo import read_mountinfo
from ocirun.kernel.paths import openat2
from ocirun.spec.capabilities import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.audit.of_config import ConfigWorld
    from ocirun.container.record import Record
    from ocirun.kernel.mountinfo import MountRow

CAP_LINES: Final = dict(zip(SETS, ("CapBnd", "CapEff", "CapInh", "CapPrm", "CapAmb"), strict=True))
NAMES: Final = {"mount": "mnt", "network": "net"}
# Magic numbers of kernel file systems: procfs, sysfs, tracefs, debugfs, efivarfs, securityfs,
# selinuxfs.
KERNELS: Final = {
    0x9FA0, 0x62656572, 0x74726163, 0x64626720, 0xDE5E81E4, 0x73636673, 0xF97CFF8C,
}  # fmt: skip
RDONLY: Final = 1  # ST_RDONLY
# File systems without files of the host: other rules are about them.
OF_THE_KERNEL: Final = (
    "proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "tracefs", "debugfs", "securityfs",
    "efivarfs", "selinuxfs", "bpf", "pstore", "configfs", "fusectl",
)  # fmt: skip


class ProcessWorld(World):
    """The world of the init of `record`, which must be alive.

    What the kernel does not report is taken from `config`, the world of the container's
    config.json: annotations and hooks, JSON pointers.

    Raises:
        ProcessLookupError: init has ended meanwhile.
    """

    def __init__(self, record: Record, config: ConfigWorld, *, frozen: bool) -> None:
        super().__init__()
        self._pid = record.init_process_pid
        self._config = config
        self.annotations = config.annotations
        self.hook_paths = config.hook_paths
        self.root = config.root
        self.root_fd = os.open(f"/proc/{self._pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        status = self._read_status()
        self._read_namespaces()
        self._read_mounts()
        self._read_cgroups()
        self._read_labels()
        self._read_filters(status, frozen=frozen)
        self.nodes = nodes_of(self.root_fd, {node.path: node.pointer for node in config.nodes})
        if not self.no_new_privs:
            self._find_programs()

    def close(self) -> None:
        """Close the container's root."""
        os.close(self.root_fd)

    def _read(self, name: str) -> str:
        with open(f"/proc/{self._pid}/{name}", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()

    def _read_status(self) -> dict[str, str]:
        lines = (line.partition(":") for line in self._read("status").splitlines())
        status = {name: value.strip() for name, _, value in lines}
        for kind, line in CAP_LINES.items():
            bits = int(status[line], 16)
            self.capabilities[kind] = frozenset(
                name for name, number in CAPABILITIES.items() if bits >> number & 1
            )
        self.no_new_privs = status.get("NoNewPrivs") == "1"
        self.oom_score_adj = int(self._read("oom_score_adj"))
        # Kernel: status shows ids in our namespace; the mappings translate them.
        self.uid_map, self.gid_map = id_map(self._read("uid_map")), id_map(self._read("gid_map"))
        self.uid = inside_of(int(status["Uid"].split()[1]), self.uid_map)
        groups = [int(status["Gid"].split()[1]), *map(int, status["Groups"].split())]
        self.gids = {inside_of(gid, self.gid_map) for gid in groups}
        return status

    def _read_namespaces(self) -> None:
        for kind in KINDS:
            name = NAMES.get(kind, kind)
            try:
                ours, theirs = (
                    os.stat(f"/proc/self/ns/{name}"),
                    os.stat(f"/proc/{self._pid}/ns/{name}"),
                )
            except FileNotFoundError:  # a kernel without this namespace
                continue
            asked = self._config.namespaces[kind]
            own = asked if asked != HOST else OWN
            self.namespaces[kind] = HOST if ours.st_ino == theirs.st_ino else own

    def _read_mounts(self) -> None:
        pointers = {place.destination: place for place in self._config.mounts}
        host = read_mountinfo()
        rows = read_mountinfo(f"/proc/{self._pid}/mountinfo")
        # What is mounted on the same point later covers what was there.
        rows = list({row.point: row for row in rows}.values())
        shared_here = {tag for row in host for tag in row.tags if tag.startswith("shared:")}
        for row in rows:
            asked = pointers.get(row.point)
            if row.point == "/":
                self.readonly_root = "ro" in row.options
                self.shared_root = not shared_here.isdisjoint(row.tags)
                continue
            if row.fs_name in OF_THE_KERNEL or self._covers(row):
                source = ""
            else:
                source = host_path(row, host)
                if asked and asked.source and not source:
                    source = asked.source
            place = Place(row.point, row.fs_name, source, asked.pointer if asked else "")
            place.readonly, place.nosuid = "ro" in row.options, "nosuid" in row.options
            place.nodev, place.noexec = "nodev" in row.options, "noexec" in row.options
            place.shared = not shared_here.isdisjoint(row.tags)
            self.mounts.append(place)

    def _covers(self, row: MountRow) -> bool:
        """Return whether `row` only hides a path: /dev/null or an empty tmpfs over it."""
        return row.point in self._config.masked or row.point in self._config.covered

    def _read_cgroups(self) -> None:
        paths = directories(self._read("cgroup"))
        self.pids_limit, self.memory_limit = limits_of(paths)
        self.rules, unknown = rules_of(paths, self._config.rules)
        self.unknown += [f"device rules: {reason}" for reason in unknown]

    def _read_labels(self) -> None:
        # Kernel: "unconfined" is AppArmor's name for a process without a profile. It is a choice
        # where the config names a profile, that one or another.
        no_label = ("", "kernel") if self._config.apparmor else ("", "kernel", "unconfined")
        for name in ("attr/apparmor/current", "attr/current"):
            try:
                label = self._read(name).rstrip("\0\n")
            except OSError:  # the module is not loaded
                continue
            if ":" in label and "(" not in label:
                self.selinux = "" if label == "kernel" else label
            elif label not in no_label:
                self.apparmor = label
            return

    def _read_filters(self, status: dict[str, str], *, frozen: bool) -> None:
        if status.get("Seccomp", "0") == "0":
            return
        self.has_agent = self._config.has_agent
        why = "the container is paused"
        if not frozen:
            try:
                self.filters = filters_of(self._pid)
            except OSError as error:
                why = kernel_words(error)
            else:
                return
        self.filters = self._config.filters or None
        self.unknown.append(f"the filter in the kernel: {why}; that of config.json is looked at")

    def _find_programs(self) -> None:
        """Search the root file system, and what is mounted with setuid bits in force."""
        trees = [
            one.destination
            for one in self.mounts
            if not one.nosuid and (one.source or one.fs_name in ("tmpfs", "overlay"))
        ]
        for path in ["/", *trees]:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            try:
                fd = openat2(self.root_fd, path.lstrip("/") or ".", flags, 0, INSIDE)
            except OSError:  # a file, or covered or removed by now
                continue
            try:
                programs = Programs(fd, self.own_roots())
            finally:
                os.close(fd)
            top = path.rstrip("/")
            self.setuid_files += [top + name for name in programs.setuid]
            self.capable_files |= {top + name: got for name, got in programs.capable.items()}
            if not programs.whole:
                self.unknown.append(f"setuid files in {path}: there are too many to look at all")

    def look(self, path: str) -> Look:
        """Return the access to `path` in the container; opens it only with O_PATH."""
        try:
            fd = openat2(
                self.root_fd, path.lstrip("/"), os.O_PATH | os.O_CLOEXEC, 0,
                INSIDE,
            )  # fmt: skip
        except OSError:
            return HIDDEN
        try:
            magic, flags = fstatfs(fd)
            status = os.fstat(fd)
        finally:
            os.close(fd)
        if magic not in KERNELS:
            return HIDDEN
        mode = stat.S_IMODE(status.st_mode)
        return Look(
            readable=self.permits(status.st_uid, mode, 4),
            writable=not flags & RDONLY and self.permits(status.st_uid, mode, 2),
        )
