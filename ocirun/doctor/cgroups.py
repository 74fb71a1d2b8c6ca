"""Checks of cgroups: layout, controllers, permissions and files.

Source: cgroups(7), clone3(2), bpf(2); kernel admin-guide/cgroup-v2.rst, filesystems/resctrl.rst.
"""

from __future__ import annotations

import os

from ocirun.cgroups.choose import layout
from ocirun.cgroups.paths import own_directory, read_table, v1_paths, v2_path
from ocirun.doctor.probe import DEGRADED, Lacks, Probe, kernel_is_at_least, read
from ocirun.errors import kernel_words
from ocirun.kernel.bpf import BPF_PROG_TYPE_CGROUP_DEVICE, prog_load
from ocirun.kernel.process import clone3
from ocirun.kernel.procstat import is_in_user_namespace
from ocirun.resctrl.group import find_resctrl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

USUAL: Final = ("cpu", "cpuset", "memory", "pids")
NAME: Final = "ocirun-doctor"  # name of a cgroup whose path is computed; it is never created
# r0 = 1; exit: a program that allows every device.
ALLOW: Final = bytes((0xB7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0))
# For root, who cannot run containers without it.
ROOT_IS_REFUSED: Final = (
    "No container can be created, except with --rootless=true or --cgroup-manager=disabled.",
    "Mount the cgroup file system writable.",
)
DEVICES_ARE_REFUSED: Final = (
    "No container can be created with a cgroup, because it always has device rules.",
    "Use a kernel with CONFIG_CGROUP_BPF, and CAP_SYS_ADMIN or CAP_BPF.",
)
USE_V2: Final = "Use cgroup v2."
HUGEPAGES: Final = "/sys/kernel/mm/hugepages"


def is_root() -> bool:
    """Return whether the effective uid is 0."""
    return os.geteuid() == 0


def which() -> str:
    """Return the layout: v1, v2 or hybrid.

    Raises:
        Lacks: no hierarchy is mounted.
    """
    found = layout()
    if found == "none":
        raise Lacks("no cgroup hierarchy is mounted")
    return found


def controllers() -> str:
    """Return the names of the controllers.

    Raises:
        Lacks: one that callers usually need is missing.
    """
    table = read_table()
    if layout(table) == "v2":
        mount = table.v2_mount()
        names = read(f"{mount.point}/cgroup.controllers").split() if mount else []
        usual = [*USUAL, "io"]
    else:
        names = [name for name in table.own if name and table.v1_mount(name)]
        usual = [*USUAL, "blkio", "devices", "freezer"]
    missing = [name for name in usual if name not in names]
    if missing:
        raise Lacks(f"without {', '.join(missing)}; there are {', '.join(names) or 'none'}")
    return ", ".join(sorted(names))


def writable() -> str:
    """Check that the cgroup of a new container could be created.

    Raises:
        Lacks: its parent is not writable.
    """
    table = read_table()
    if layout(table) == "v2":
        paths = [v2_path(table, "", NAME)]
    else:
        paths = [path for name, path in v1_paths(table, "", NAME).items() if name]
    parents = sorted({_nearest(path) for path in paths})
    closed = [path for path in parents if not os.access(path, os.W_OK | os.X_OK)]
    if not parents:
        raise Lacks("there is no hierarchy")
    if closed:
        raise Lacks(f"{closed[0]} is not writable", *(ROOT_IS_REFUSED if is_root() else ()))
    return f"below {parents[0]}" + (f" and {len(parents) - 1} more" if parents[1:] else "")


def _nearest(path: str) -> str:
    """Return the nearest existing directory above `path`."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _own_v2() -> str | None:
    table = read_table()
    mount = table.v2_mount()
    return own_directory(mount, table.own.get("", "/")) if mount else None


def born_inside() -> str:
    """Clone a child into our own cgroup with CLONE_INTO_CGROUP.

    Raises:
        Lacks: there is no v2 hierarchy.
    """
    own = _own_v2()
    if own is None:
        raise Lacks("no v2 hierarchy", remedy=USE_V2)
    fd = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        pid, pidfd = clone3(0, fd)
        if pid == 0:
            os._exit(0)
        os.close(pidfd)
        os.waitpid(pid, 0)
    finally:
        os.close(fd)
    return "clone3 with CLONE_INTO_CGROUP"


def freezer() -> str:
    """Return what freezes a cgroup.

    Raises:
        Lacks: there is no freezer.
    """
    table = read_table()
    if layout(table) != "v2":
        if table.v1_mount("freezer"):
            return "the v1 freezer"
        raise Lacks("no freezer hierarchy is mounted")
    return _file_of_a_cgroup("cgroup.freeze", (5, 2))


def kill_file() -> str:
    """Return the name of the file that kills a whole cgroup.

    Raises:
        Lacks: there is none.
    """
    return _file_of_a_cgroup("cgroup.kill", (5, 14))


def _file_of_a_cgroup(name: str, since: tuple[int, int]) -> str:
    """Find `name`, which kernels have from `since` on, in our own cgroup or in one below."""
    own = _own_v2()
    if own is None:
        raise Lacks("no v2 hierarchy", remedy=USE_V2)
    for folder in [own, *(entry.path for entry in os.scandir(own) if entry.is_dir())]:
        if os.path.exists(f"{folder}/{name}"):
            return name
    # The root cgroup has none of these files, and there may be no other to look at.
    raise Lacks(
        f"no file {name} in {own} or below", remedy="" if kernel_is_at_least(*since) else None
    )


def device_rules() -> str:
    """Load a device program, or find the v1 devices hierarchy.

    Raises:
        Lacks: neither is there.
    """
    table = read_table()
    if layout(table) != "v2":
        if table.v1_mount("devices"):
            return "the v1 devices hierarchy"
        raise Lacks("no devices hierarchy is mounted")
    try:
        os.close(prog_load(BPF_PROG_TYPE_CGROUP_DEVICE, ALLOW, "Apache-2.0", "ocirun_doctor"))
    except OSError as error:
        if is_root() and not is_in_user_namespace():
            raise Lacks(kernel_words(error), *DEVICES_ARE_REFUSED) from error
        raise
    return "BPF device programs"


def hugepages() -> str:
    """Return the sizes of huge pages.

    Raises:
        Lacks: there is no hugetlb controller.
    """
    sizes = sorted(name.removeprefix("hugepages-") for name in os.listdir(HUGEPAGES))
    table = read_table()
    v2 = table.v2_mount()
    known = table.v1_mount("hugetlb") or (
        v2 and "hugetlb" in read(f"{v2.point}/cgroup.controllers").split()
    )
    if not known:
        raise Lacks("no hugetlb controller")
    return ", ".join(sizes) or "no sizes"


def resctrl() -> str:
    """Return the mount point of resctrl.

    Raises:
        Lacks: it is not mounted.
    """
    point = find_resctrl()
    if point is None:
        raise Lacks("resctrl is not mounted")
    return point


PROBES: Final = (
    Probe(
        "layout",
        which,
        "Containers run without limits, and a configuration with limits is refused.",
        "Mount cgroup2 on /sys/fs/cgroup.",
        without=DEGRADED,
        did="read /proc/self/mountinfo",
    ),
    Probe(
        "controllers",
        controllers,
        "Limits of a controller that is missing are refused.",
        "Enable it in the kernel (cgroup_disable= on its command line disables it), or delegate "
        "it to this user.",
        without=DEGRADED,
        did="read which controllers are mounted or enabled",
    ),
    Probe(
        "delegation",
        writable,
        "Containers share this process's cgroup, and a configuration with limits is refused.",
        "Let systemd delegate a cgroup: systemd-run --user --scope -p Delegate=yes.",
        without=DEGRADED,
        did="asked access(2) about the directory that a new cgroup would be made in",
    ),
    Probe(
        "born in the cgroup",
        born_inside,
        "Init moves into its cgroup itself, which costs some milliseconds on v2.",
        "Run Linux 5.7 or newer with cgroup v2.",
        without=DEGRADED,
        did="cloned a child into this process's own cgroup with CLONE_INTO_CGROUP",
    ),
    Probe(
        "freezer",
        freezer,
        "pause and resume do not work.",
        "Mount the freezer hierarchy, or use cgroup v2.",
        did="looked for the freezer hierarchy, or for the file cgroup.freeze",
    ),
    Probe(
        "cgroup.kill",
        kill_file,
        "The processes of a container are frozen and killed one by one.",
        "Run Linux 5.14 or newer with cgroup v2.",
        without=DEGRADED,
        did="looked for the file cgroup.kill in this process's cgroup and below",
    ),
    Probe(
        "device rules",
        device_rules,
        "Rules in linux.resources.devices have no effect; device nodes cannot be created in a "
        "user namespace anyway.",
        "Run as root outside of every user namespace.",
        without=DEGRADED,
        did="loaded a BPF program for devices, or looked for the devices hierarchy",
    ),
    Probe(
        "huge pages",
        hugepages,
        "Limits of huge pages are refused.",
        "Use a kernel with CONFIG_CGROUP_HUGETLB, and enable the controller.",
        without=DEGRADED,
        did="read /sys/kernel/mm/hugepages, and looked for the hugetlb controller",
    ),
    Probe(
        "resctrl",
        resctrl,
        "A configuration with linux.intelRdt is refused.",
        "On a processor that supports it: mount -t resctrl resctrl /sys/fs/resctrl.",
        did="looked for a mount of resctrl",
    ),
)
