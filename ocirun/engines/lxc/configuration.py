"""The LXC configuration of one container: what `ocirun convert` writes, and what native adds.

Native makes devices, masks paths, mounts cgroups and waits at a gate by itself. Here each of these
is a line for LXC.

Source: docs/engines.md#lxc; lxc.container.conf(5).
"""

from __future__ import annotations

import os
import shlex
from copy import deepcopy

from ocirun.cgroups.choose import layout
from ocirun.cgroups.paths import clean, read_table, v1_paths
from ocirun.convert.lxc_write import mount_entry, write_lxc
from ocirun.convert.networks import lines_of
from ocirun.errors import Problem, UnsupportedError
from ocirun.spec import NETWORKS
from ocirun.spec.devices import implied_rules
from ocirun.spec.networks import read_networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.cgroups.paths import Table
    from ocirun.spec.types import Config

    Document = dict[str, Any]

GATE: Final = "gate"
LOG: Final = "lxc.log"
LOG_LEVEL: Final = "INFO"  # has the exit status
# Hooks that run in the container: LXC has them as well, but without the state on standard input.
INSIDE_HOOKS: Final = ("createContainer", "startContainer")
MADE_BY_LXC: Final = {"/dev": "tmpfs", "/dev/pts": "devpts"}
PTYS: Final = 1024
# Members that the runtime acts on, before and after LXC.
OURS: Final = (
    ("annotations",),
    ("linux", "cgroupsPath"),
    ("linux", "maskedPaths"),
    ("linux", "readonlyPaths"),
    ("process", "args"),  # on lxc-start's command line, where they may have any letter
    ("process", "consoleSize"),
)


def make_configuration(config: Config, container_id: str, rootfs: str, folder: str) -> str:
    """Return the text of the configuration; in `folder` are the log, and the script at the gate.

    Raises:
        UnsupportedError: members of `config` have no counterpart in LXC; all of them.
    """
    document: Document = deepcopy(dict(config))
    linux: Document = document.setdefault("linux", {})
    document["root"] = {**document["root"], "path": rootfs}
    has_terminal = document["process"].pop("terminal", False)
    # LXC keeps every capability where none is named; config.json means none.
    document["process"].setdefault("capabilities", {"bounding": []})
    hooks = document.pop("hooks", None) or {}
    left = [f"hooks.{moment}" for moment in INSIDE_HOOKS if hooks.get(moment)]
    masked, read_only = linux.get("maskedPaths") or [], linux.get("readonlyPaths") or []
    networks, unknown_networks = _of_annotations(config)
    left += unknown_networks
    _take_ours(document)
    mounts: list[Document] = document.get("mounts") or []
    document["mounts"] = [mount for mount in mounts if not _is_made_otherwise(mount)]
    autodev = any(mount["destination"] == "/dev" for mount in mounts if _is_made_by_lxc(mount))
    resources = linux.setdefault("resources", {})
    resources["devices"] = [*(resources.get("devices") or []), *implied_rules(config)]
    table = read_table()
    cgroup_v2 = layout(table) == "v2"
    text, unknown = write_lxc(document, cgroup_v2=cgroup_v2, old_keys=False, autodev=autodev)
    if left := [*left, *unknown]:
        raise UnsupportedError([Problem("", f"LXC has no counterpart for {', '.join(left)}")])
    lines = [
        *networks,
        *_terminal_lines(has_terminal=has_terminal),
        *_cgroup_lines(config, container_id),
    ]
    for mount in mounts:
        if mount.get("type") == "cgroup":
            lines += _cgroup_mounts(mount, _directory(config, container_id), table, cgroup_v2)
    lines += [line for path in masked for line in _mask(path, rootfs)]
    lines += [_entry(path, "none", path, "bind,ro,relative,optional") for path in read_only]
    # Order: LXC runs this hook when everything is set up, and executes the program after it.
    lines.append(f"lxc.hook.start-host = /bin/sh {shlex.quote(f'{folder}/{GATE}')}")
    # For LXC 5; LXC 6 needs options (tools.py).
    lines += [f"lxc.log.file = {folder}/{LOG}", f"lxc.log.level = {LOG_LEVEL}"]
    # Security: what comes after a newline would be a line of its own, a hook for example.
    if any("\n" in line for line in lines):
        raise UnsupportedError([Problem("", "LXC has no counterpart for a newline in a path")])
    return text + "".join(f"{line}\n" for line in lines)


def _of_annotations(config: Config) -> tuple[list[str], list[str]]:
    """Return the lines for annotations that a runtime acts on, and the names of the others.

    Security: one that confines the program (Landlock) must not be ignored.
    """
    annotations = config.get("annotations") or {}
    acted_on = [name for name in annotations if name.startswith(("org.ocirun.", "run.oci."))]
    others = [n for n in acted_on if n != NETWORKS and not n.startswith("run.oci.hooks.")]
    left = [f"annotations.{name}" for name in others]
    if NETWORKS not in annotations:
        return [], left
    lines, unknown = lines_of(read_networks(config))
    return [f"{key} = {value}" for key, value in lines], [*left, *unknown]


def _take_ours(document: Document) -> None:
    for *parents, last in OURS:
        place = document
        for name in parents:
            place = place.get(name, {})
        place.pop(last, None)


def _is_made_by_lxc(mount: Document) -> bool:
    return MADE_BY_LXC.get(mount["destination"]) == mount.get("type")


def _is_made_otherwise(mount: Document) -> bool:
    return _is_made_by_lxc(mount) or mount.get("type") == "cgroup"


def _terminal_lines(*, has_terminal: bool) -> list[str]:
    """Return the lines for terminals; without one, the program inherits lxc-start's stdio."""
    console = [] if has_terminal else ["lxc.console.path = none"]
    return [*console, "lxc.tty.max = 0", f"lxc.pty.max = {PTYS}"]


def cgroup_paths(config: Config, container_id: str) -> dict[str, str]:
    """Return the directory of each hierarchy that the configuration puts the container into."""
    return v1_paths(read_table(), _directory(config, container_id), container_id)


def _directory(config: Config, container_id: str) -> str:
    """Return the container's cgroup: absolute, or relative to ours."""
    return clean(config.get("linux", {}).get("cgroupsPath") or "") or container_id


def _cgroup_lines(config: Config, container_id: str) -> list[str]:
    """Return the lines that put the container's cgroup where native has it."""
    path = _directory(config, container_id)
    inner = path.lstrip("/")
    return [
        f"lxc.cgroup.relative = {int(not path.startswith('/'))}",
        f"lxc.cgroup.dir.container = {inner}",
        f"lxc.cgroup.dir.monitor = {inner}.monitor",
        f"lxc.cgroup.dir.monitor.pivot = {inner}.pivot",
    ]


def _cgroup_mounts(mount: Document, path: str, table: Table, cgroup_v2: bool) -> list[str]:
    """Return the entries for a mount of type cgroup, which LXC does not know.

    On v1 it is what native makes: a directory in memory with each hierarchy bound in it.
    """
    at = mount["destination"]
    read_only = "ro" in (mount.get("options") or [])
    if cgroup_v2:
        return [f"lxc.mount.entry = {mount_entry({**mount, 'type': 'cgroup2'})}"]
    words = ["bind", "nosuid", "noexec", "nodev", "ro" if read_only else "rw", "optional"]
    lines = [_entry("tmpfs", "tmpfs", at, "nosuid,noexec,nodev,mode=755,create=dir")]
    for name, host_path in v1_paths(table, path, path).items():
        kept = name.removeprefix("name=")
        if kept:
            bind = {"source": host_path, "destination": f"{at}/{kept}", "options": words}
            lines.append(f"lxc.mount.entry = {mount_entry(bind)}")
    return lines


def _mask(path: str, rootfs: str) -> list[str]:
    """Return the entry that masks a directory or a file.

    What it is is seen on the host, where /proc and /sys have the same names. If it is in neither
    place, there are two entries: the kernel refuses the one for the other kind.
    """
    found = [place for place in (rootfs + path, path) if os.path.lexists(place)]
    directory = _entry("tmpfs", "tmpfs", path, "ro,optional")
    file = _entry("/dev/null", "none", path, "bind,optional")
    if not found:
        return [file, directory]
    return [directory if os.path.isdir(found[0]) else file]


def _entry(source: str, kind: str, path: str, options: str) -> str:
    fields = [source.lstrip("/") if "relative" in options else source, path.lstrip("/"), kind]
    words = [
        field.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")
        for field in fields
    ]
    return f"lxc.mount.entry = {' '.join(words)} {options} 0 0"
