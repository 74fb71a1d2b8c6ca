"""Bundles that give too much away, one for each rule of the audit, as small changes of a good one.

The good one is what `spec --profile hardened` writes, which has nothing above "note".
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from harness.machine import REPO
from ocirun.spec.hardened import hardened_config

Config = dict[str, Any]

SPECIAL = "special"  # a folder of the test: what a row needs of the host is made there


def good() -> Config:
    """The config.json with nothing above "note": of root, without a terminal."""
    config: Config = json.loads(json.dumps(hardened_config(cgroup_v2=True)))
    config["process"]["terminal"] = False
    return config


def on_the_host(config: Config) -> Config:
    """Take the user namespace away, so that root inside is root of the host."""
    share(config, "user")
    del config["linux"]["uidMappings"], config["linux"]["gidMappings"]
    return config


def grant(config: Config, *capabilities: str) -> Config:
    """Grant capabilities to the program."""
    for kind in ("bounding", "effective", "permitted"):
        config["process"]["capabilities"][kind] += capabilities
    return config


def share(config: Config, kind: str) -> Config:
    """Leave a namespace out."""
    linux = config["linux"]
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != kind]
    return config


def join(config: Config, kind: str, path: str) -> Config:
    """Join a namespace by its path."""
    share(config, kind)
    config["linux"]["namespaces"].append({"type": kind, "path": path})
    return config


def mount(config: Config, source: object, destination: str, *options: str) -> Config:
    """Add a bind mount."""
    words = ["rbind", "rprivate", *options]
    config["mounts"].append(
        {"destination": destination, "type": "bind", "source": str(source), "options": words}
    )
    return config


def remount(config: Config, destination: str, *, without: str) -> Config:
    """Take an option from a mount."""
    for one in config["mounts"]:
        if one["destination"] == destination:
            one["options"] = [word for word in one.get("options", []) if word != without]
    return config


def allow(config: Config, *names: str) -> Config:
    """Add calls to those that the seccomp profile allows."""
    rules = config["linux"]["seccomp"]["syscalls"]
    rules[:] = [rule for rule in rules if set(rule["names"]) != set(names)]
    rules.append({"names": list(names), "action": "SCMP_ACT_ALLOW"})
    return config


def device(config: Config, path: str, kind: str, major: int, minor: int) -> Config:
    """Add a device, with the rule that lets it be opened."""
    entry = {"path": path, "type": kind, "major": major, "minor": minor}
    config["linux"].setdefault("devices", []).append(entry)
    rule = {"allow": True, "type": kind, "major": major, "minor": minor, "access": "rw"}
    config["linux"]["resources"]["devices"].append(rule)
    return config


class Bad(NamedTuple):
    """One bundle: what is changed in the good one, and the finding that this makes."""

    rule: str
    grade: str
    edit: Callable[[Config, Path], object]
    pointer: str


def _named(name: str, *, root: bool = True) -> Callable[[Config, Path], object]:
    def edit(config: Config, _: Path) -> None:
        if root:
            on_the_host(config)
        grant(config, name)

    return edit


def _both(*edits: Callable[[Config], object]) -> Callable[[Config, Path], object]:
    def edit(config: Config, _: Path) -> None:
        for one in edits:
            one(config)

    return edit


def _on_host(change: Callable[[Config], object]) -> Callable[[Config, Path], object]:
    return _both(on_the_host, change)


def _set(pointer: str, value: object) -> Callable[[Config], object]:
    def change(config: Config) -> None:
        *steps, last = pointer.strip("/").split("/")
        node: Any = config
        for step in steps:
            node = node.setdefault(step, {})
        node[last] = value

    return change


def make_special(folder: Path) -> Path:
    """Make the decoys that rows mount: sockets, a directory, a program with the setuid bit."""
    special = folder / SPECIAL
    (special / "data").mkdir(parents=True)
    (special / "data" / "su").write_text("#!/bin/true\n")
    (special / "data" / "su").chmod(0o4755)
    for name in ("docker.sock", "other.sock"):
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.relpath(special / name))
    return special


BINDING = "/process/capabilities/bounding"
TABLE = [
    # what the process may do
    Bad("cap-sys-admin", "critical", _named("CAP_SYS_ADMIN"), BINDING),
    Bad("cap-sys-module", "critical", _named("CAP_SYS_MODULE"), BINDING),
    Bad("cap-sys-rawio", "critical", _named("CAP_SYS_RAWIO"), BINDING),
    Bad("cap-dac-read-search", "high", _named("CAP_DAC_READ_SEARCH"), BINDING),
    Bad("cap-bpf", "high", _named("CAP_BPF"), BINDING),
    Bad("cap-sys-time", "high", _named("CAP_SYS_TIME"), BINDING),
    Bad("cap-net-admin", "medium", _named("CAP_NET_ADMIN"), BINDING),
    Bad("cap-net-raw", "medium", _named("CAP_NET_RAW"), BINDING),
    Bad("cap-sys-admin", "low", _named("CAP_SYS_ADMIN", root=False), BINDING),
    Bad(
        "cap-sys-ptrace", "critical",
        _on_host(lambda c: (share(c, "pid"), grant(c, "CAP_SYS_PTRACE"))), BINDING,
    ),
    Bad(
        "cap-net-admin", "high",
        _on_host(lambda c: (share(c, "network"), grant(c, "CAP_NET_ADMIN"))), BINDING,
    ),
    Bad(
        "no-new-privs-off", "medium", _on_host(_set("/process/noNewPrivileges", False)),
        "/process/noNewPrivileges",
    ),
    Bad(
        "setuid-files", "low",
        lambda c, s: (c["process"].update(noNewPrivileges=False), mount(c, s / "data", "/d", "ro")),
        "/process/noNewPrivileges",
    ),
    # who it is
    Bad("root-is-host-root", "medium", _both(on_the_host), "/linux/namespaces"),
    Bad(
        "mapping-includes-host-root", "high",
        _both(_set("/linux/uidMappings", [{"containerID": 0, "hostID": 0, "size": 65536}])),
        "/linux/uidMappings",
    ),
    Bad(
        "host-groups", "medium",
        _on_host(_set("/process/user", {"uid": 1000, "gid": 1000, "additionalGids": [6]})),
        "/process/user/additionalGids",
    ),
    # namespaces
    Bad("host-pid", "high", _both(lambda c: share(c, "pid")), "/linux/namespaces"),
    Bad("host-network", "high", _both(lambda c: share(c, "network")), "/linux/namespaces"),
    Bad("host-network", "high", _both(lambda c: join(c, "network", "/proc/self/ns/net")),
        "/linux/namespaces"),
    Bad("host-ipc", "medium", _both(lambda c: share(c, "ipc")), "/linux/namespaces"),
    Bad("host-uts", "low", _both(lambda c: (share(c, "uts"), c.pop("hostname"))),
        "/linux/namespaces"),
    Bad("host-cgroup", "low", _both(lambda c: share(c, "cgroup")), "/linux/namespaces"),
    Bad("host-mount", "critical", _both(lambda c: share(c, "mount")), "/linux/namespaces"),
    Bad("joined-namespace", "note", _both(lambda c: join(c, "ipc", "/nonexistent/ns")),
        "/linux/namespaces"),
    # mounts
    Bad("host-root", "critical", _on_host(lambda c: mount(c, "/", "/host")), "/mounts/7"),
    Bad("host-root", "high", _both(lambda c: mount(c, "/", "/host", "ro")), "/mounts/7"),
    Bad("host-socket", "critical", lambda c, s: mount(c, s / "docker.sock", "/d.sock"),
        "/mounts/7"),
    Bad("host-socket", "medium", lambda c, s: mount(c, s / "other.sock", "/o.sock"), "/mounts/7"),
    Bad("host-path", "critical", _on_host(lambda c: mount(c, "/etc", "/e", "nosuid")),
        "/mounts/7"),
    Bad("host-path", "medium", _on_host(lambda c: mount(c, "/etc", "/e", "ro")), "/mounts/7"),
    Bad("host-path", "low", lambda c, s: mount(c, s / "data", "/d", "nosuid"), "/mounts/7"),
    Bad("setuid-for-the-host", "medium",
        lambda c, s: (on_the_host(c), mount(c, s / "data", "/d")), "/mounts/7"),
    Bad("mounted-device", "medium", _both(lambda c: mount(c, "/dev/ptmx", "/p")), "/mounts/7"),
    Bad("shared-propagation", "medium", _both(_set("/linux/rootfsPropagation", "shared")),
        "/linux/rootfsPropagation"),
    Bad("shared-propagation", "medium",
        lambda c, s: (_set("/linux/rootfsPropagation", "shared")(c),
                      mount(c, s / "data", "/d", "rshared", "ro")),
        "/mounts/7"),
    Bad("cgroup-writable", "medium",
        _on_host(lambda c: remount(c, "/sys/fs/cgroup", without="ro")), "/mounts/6"),
    Bad("cgroup-writable", "critical",
        _on_host(lambda c: (remount(c, "/sys/fs/cgroup", without="ro"),
                            grant(c, "CAP_SYS_ADMIN"))), "/mounts/6"),
    Bad("writable-root", "low", _both(_set("/root/readonly", False)), "/root/readonly"),
    Bad("writable-executable", "note", _both(lambda _: None), "/mounts/1"),
    # paths of the kernel
    Bad("writable-kernel-path", "critical", _on_host(_set("/linux/readonlyPaths", [])),
        "/linux/readonlyPaths"),
    Bad("writable-kernel-path", "high",
        _on_host(_set("/linux/readonlyPaths", ["/proc/sys/kernel"])),
        "/linux/readonlyPaths"),
    Bad("unmasked-path", "low",
        _on_host(lambda c: c["linux"]["maskedPaths"].remove("/proc/keys")), "/linux/maskedPaths"),
    # devices
    Bad("device-node", "critical", _on_host(lambda c: device(c, "/dev/d", "b", 7, 0)),
        "/linux/devices/0"),
    Bad("device-node", "critical", _on_host(lambda c: device(c, "/dev/mem", "c", 1, 1)),
        "/linux/devices/0"),
    Bad("device-node", "high", _on_host(lambda c: device(c, "/dev/loop-control", "c", 10, 237)),
        "/linux/devices/0"),
    Bad("device-rules", "high", _on_host(_set("/linux/resources/devices", [{"allow": True}])),
        "/linux/resources/devices"),
    Bad("device-rules", "critical",
        _on_host(lambda c: (_set("/linux/resources/devices", [{"allow": True}])(c),
                            grant(c, "CAP_MKNOD"))), "/linux/resources/devices"),
    Bad("device-rules", "critical",
        _on_host(lambda c: (c["linux"]["resources"]["devices"].append(
            {"allow": True, "type": "b", "major": 7, "access": "rw"}), grant(c, "CAP_MKNOD"))),
        "/linux/resources/devices"),
    # seccomp
    Bad("seccomp-absent", "high", _on_host(lambda c: c["linux"].pop("seccomp")), "/linux/seccomp"),
    Bad("seccomp-absent", "medium", _both(lambda c: c["linux"].pop("seccomp")), "/linux/seccomp"),
    Bad("seccomp-default-allow", "medium",
        _on_host(lambda c: (_set("/linux/seccomp/defaultAction", "SCMP_ACT_ALLOW")(c),
                            c["linux"]["seccomp"].pop("defaultErrnoRet"),
                            _set("/linux/seccomp/syscalls",
                                 [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}])(c))),
        "/linux/seccomp/defaultAction"),
    Bad("seccomp-kernel-code", "high",
        _on_host(lambda c: (allow(c, "init_module"), grant(c, "CAP_SYS_MODULE"))),
        "/linux/seccomp/syscalls"),
    Bad("seccomp-kernel-code", "note", _both(lambda c: allow(c, "init_module")),
        "/linux/seccomp/syscalls"),
    Bad("seccomp-machine", "high", _on_host(lambda c: (allow(c, "clock_settime"),
                                                       grant(c, "CAP_SYS_TIME"))),
        "/linux/seccomp/syscalls"),
    Bad("seccomp-mounts", "high", _on_host(lambda c: (allow(c, "mount"),
                                                      grant(c, "CAP_SYS_ADMIN"))),
        "/linux/seccomp/syscalls"),
    Bad("seccomp-namespaces", "medium", _both(lambda c: allow(c, "unshare")),
        "/linux/seccomp/syscalls"),
    Bad("seccomp-namespaces", "medium", _both(lambda c: allow(c, "clone3")),
        "/linux/seccomp/syscalls"),
    Bad("seccomp-handles", "high", _on_host(lambda c: (allow(c, "open_by_handle_at"),
                                                       grant(c, "CAP_DAC_READ_SEARCH"))),
        "/linux/seccomp/syscalls"),
    Bad("seccomp-processes", "low", _both(lambda c: allow(c, "ptrace")),
        "/linux/seccomp/syscalls"),
    Bad("seccomp-keyrings", "medium", _both(lambda c: allow(c, "keyctl")),
        "/linux/seccomp/syscalls"),
    Bad("seccomp-attack-surface", "medium", _both(lambda c: allow(c, "io_uring_setup")),
        "/linux/seccomp/syscalls"),
    Bad("seccomp-sockets", "low", _both(lambda c: allow(c, "socket")), "/linux/seccomp/syscalls"),
    Bad("seccomp-agent", "note",
        _both(lambda c: (_set("/linux/seccomp/listenerPath", "/run/agent.sock")(c),
                         c["linux"]["seccomp"]["syscalls"].append(
                             {"names": ["ptrace"], "action": "SCMP_ACT_NOTIFY"}))),
        "/linux/seccomp"),
    # the rest
    Bad("lsm-absent", "note", _both(lambda _: None), "/process"),
    Bad("lsm-unconfined", "medium", _both(_set("/process/apparmorProfile", "unconfined")),
        "/process/apparmorProfile"),
    Bad("lsm-unconfined", "medium",
        _both(_set("/process/selinuxLabel", "system_u:system_r:spc_t:s0")),
        "/process/selinuxLabel"),
    Bad("pids-unlimited", "medium", _both(lambda c: c["linux"]["resources"].pop("pids")),
        "/linux/resources/pids/limit"),
    Bad("memory-unlimited", "medium", _both(lambda c: c["linux"]["resources"].pop("memory")),
        "/linux/resources/memory/limit"),
    Bad("oom-protected", "low", _both(_set("/process/oomScoreAdj", -500)),
        "/process/oomScoreAdj"),
    Bad("unsafe-annotation", "high",
        _both(lambda c: c.update(annotations={"org.criu.config": "/etc/criu/x.conf"})),
        "/annotations/org.criu.config"),
    Bad("hook-on-the-host", "note",
        _both(lambda c: c.update(hooks={"poststop": [{"path": "/bin/true"}]})),
        "/hooks/poststop/0"),
    Bad("hook-in-the-container", "critical",
        lambda c, s: (mount(c, s / "data", "/d", "nosuid"),
                      c.update(hooks={"poststart": [{"path": str(s / "data/su")}]})),
        "/hooks/poststart/0"),
]  # fmt: skip


def write(bad: Bad, bundle: Path, special: Path) -> Config:
    """Write the config.json of `bad` into `bundle`, with an empty root file system."""
    config = good()
    bad.edit(config, special)
    (bundle / "rootfs").mkdir(exist_ok=True)
    (bundle / "config.json").write_text(json.dumps(config))
    return config


def shape(name: str) -> Config:
    """Return one of the configurations in tests/data/configs, with its words filled in."""
    text = (REPO / "tests/data/configs" / f"{name}.json").read_text()
    config: Config = json.loads(text.replace("BUNDLE", "/nonexistent").replace("CGROUP", "/c"))
    return config
