"""Rules for members of `linux` that only some containers have; see `rules`.

Source: runtime-spec 1.3 config-linux.md; docs/runc-compat/init.md#validation.
"""

from __future__ import annotations

import os

from ocirun.errors import Problem
from ocirun.spec.jsontext import escaped, quoted
from ocirun.spec.rules import namespace_paths
from ocirun.spec.seccomp import MAX_ERRNO, WITH_ERRNO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ocirun.spec.types import Config

    Found = Iterator[Problem]

CLOCKS: Final = ("monotonic", "boottime")
INTERFACE_NAME_LENGTH: Final = 15  # IFNAMSIZ without its NUL

# How many nodes a mode takes: none, at least one; the others take any number.
NODELESS_MODES: Final = ("MPOL_DEFAULT", "MPOL_LOCAL")
NODE_MODES: Final = (
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_WEIGHTED_INTERLEAVE",
    "MPOL_PREFERRED_MANY",
)


def check_linux_rules(config: Config) -> list[Problem]:
    """Return the broken rules of those members of `linux` that `config` has."""
    linux = config["linux"]
    return [problem for member, rule in LINUX_RULES if member in linux for problem in rule(config)]


def sysctl_is_the_containers_own(config: Config) -> Found:
    """A parameter that no namespace of the container holds is the host's."""
    from ocirun.spec.sysctls import dotted, namespace_of

    paths = namespace_paths(config)
    for spelled in config["linux"]["sysctl"]:
        where = f"/linux/sysctl/{escaped(spelled)}"
        name = dotted(spelled)
        kind = namespace_of(name)
        if name == "kernel.hostname":
            message = f"sysctl {quoted(spelled)} conflicts with the hostname property"
            yield Problem(where, message, "use hostname")
        elif not kind or kind not in paths:
            message = f"sysctl {quoted(spelled)} is not in a separate kernel namespace"
            remedy = f'add {{"type": "{kind}"}} to /linux/namespaces' if kind else ""
            yield Problem(where, message, remedy)
        elif kind == "network" and is_own_network(paths["network"]):
            message = f"sysctl {quoted(spelled)} not allowed in host network namespace"
            yield Problem(where, message)


def is_own_network(path: str) -> bool:
    """Return whether `path` is the network namespace this process is in."""
    if not path:
        return False
    try:
        there, here = os.stat(path), os.stat("/proc/self/ns/net")
    except OSError:
        return False  # namespace_to_join_exists reports it
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def offsets_need_a_new_time_namespace(config: Config) -> Found:
    """Kernel: offsets are fixed once the first process is in, so they are for a new one only."""
    if not config["linux"]["timeOffsets"]:
        return
    path = namespace_paths(config).get("time")
    if path is None:
        message = "time namespace offsets specified, but time namespace isn't enabled in the config"
        yield Problem("/linux/timeOffsets", message, 'add {"type": "time"} to /linux/namespaces')
    elif path:
        message = "time offsets cannot be set in a time namespace that is joined"
        yield Problem("/linux/timeOffsets", message)
    for clock in config["linux"]["timeOffsets"]:
        if clock not in CLOCKS:
            message = f"{quoted(clock)} is not a clock with an offset: monotonic or boottime"
            yield Problem(f"/linux/timeOffsets/{escaped(clock)}", message)


def net_devices_need_a_network(config: Config) -> Found:
    """A device is moved into a network namespace, by root, under a name the kernel takes."""
    devices = config["linux"]["netDevices"]
    if not devices:
        return
    if "network" not in namespace_paths(config):
        message = "unable to move network devices without a private NET namespace"
        yield Problem("/linux/netDevices", message)
    if os.geteuid() != 0:
        message = "network devices are not supported for rootless containers"
        yield Problem("/linux/netDevices", message)
    names: set[str] = set()
    for name, device in devices.items():
        where = f"/linux/netDevices/{escaped(name)}"
        if not is_interface_name(name):
            yield Problem(where, f"invalid network device name {quoted(name)}")
        inside = device.get("name") or name
        if not is_interface_name(inside):
            if inside != name:
                message = f"invalid network device name {quoted(inside)}"
                yield Problem(f"{where}/name", message)
        elif "%" in inside and (inside.count("%") > 1 or "%d" not in inside):
            message = f"{quoted(inside)} is no template of a name"
            yield Problem(f"{where}/name", message, "%d, once, is for the number")
        elif "%" not in inside and inside in names:
            message = f"two network devices are to be called {quoted(inside)}"
            yield Problem(f"{where}/name", message)
        names.add(inside)


def is_interface_name(name: str) -> bool:
    """Return whether the kernel takes `name` for an interface.

    Source: kernel net/core/dev.c, dev_valid_name.
    """
    size = len(os.fsencode(name))
    plain = not any(letter in "/:" or letter.isspace() for letter in name)
    return 0 < size <= INTERFACE_NAME_LENGTH and plain and name not in {".", ".."}


def notify_has_a_listener(config: Config) -> Found:
    """SCMP_ACT_NOTIFY asks an agent, over a socket, and the runtime must still be able to write."""
    seccomp = config["linux"]["seccomp"]
    notify = "SCMP_ACT_NOTIFY"
    where = "/linux/seccomp"
    if seccomp["defaultAction"] == notify:
        yield Problem(f"{where}/defaultAction", f"{notify} cannot be used as default action")
    used = False
    for index, rule in enumerate(seccomp.get("syscalls", ())):
        if rule["action"] == notify:
            used = True
            if "write" in rule["names"]:
                message = f"{notify} cannot be used for the write syscall"
                yield Problem(f"{where}/syscalls/{index}", message)
    # crun's annotation stands for the path (container/syscalls.py).
    annotated = "run.oci.seccomp.receiver" in (config.get("annotations") or {})
    if used and not seccomp.get("listenerPath") and not annotated:
        yield Problem(f"{where}/listenerPath", f"listenerPath must be set to use {notify}")
    if seccomp.get("listenerMetadata") and not seccomp.get("listenerPath"):
        message = "listenerMetadata has no meaning without listenerPath"
        yield Problem(f"{where}/listenerMetadata", message)


def seccomp_argument_exists(config: Config) -> Found:
    """A system call has six arguments."""
    for number, rule in enumerate(config["linux"]["seccomp"].get("syscalls", ())):
        for index, argument in enumerate(rule.get("args", ())):
            if argument["index"] > 5:
                where = f"/linux/seccomp/syscalls/{number}/args/{index}/index"
                yield Problem(where, f"a system call has no argument {argument['index']}: 0 to 5")


def seccomp_errno_has_an_action(config: Config) -> Found:
    """Spec: "When the action doesn't support an errno, the runtime MUST print and error"."""
    seccomp = config["linux"]["seccomp"]
    found = [("defaultErrnoRet", seccomp["defaultAction"], seccomp.get("defaultErrnoRet"))]
    found += [
        (f"syscalls/{number}/errnoRet", rule["action"], rule.get("errnoRet"))
        for number, rule in enumerate(seccomp.get("syscalls", ()))
    ]
    for where, action, errno in found:
        if errno is None:
            continue
        if action not in WITH_ERRNO:
            yield Problem(f"/linux/seccomp/{where}", f"{action} takes no errno")
        elif errno > MAX_ERRNO:
            yield Problem(f"/linux/seccomp/{where}", f"{errno} is no errno: 0 to {MAX_ERRNO}")


def class_of_service_is_a_name(config: Config) -> Found:
    """The closID becomes a directory of resctrl: one component, or "/" for the root itself."""
    rdt = config["linux"]["intelRdt"]
    name = rdt.get("closID", "")
    if name in {".", ".."} or ("/" in name and name != "/"):
        yield Problem("/linux/intelRdt/closID", f"invalid intelRdt.ClosID {quoted(name)}")
    for index, line in enumerate(rdt.get("schemata", ())):
        if "\n" in line:
            yield Problem(f"/linux/intelRdt/schemata/{index}", "schemata must be single lines")


def memory_policy_has_its_nodes(config: Config) -> Found:
    """Each mode of set_mempolicy(2) wants nodes, or wants none."""
    from ocirun.spec.cpulist import bits_of

    policy = config["linux"]["memoryPolicy"]
    mode, nodes = policy["mode"], policy.get("nodes", "").strip()
    where = "/linux/memoryPolicy/nodes"
    if mode in NODELESS_MODES and nodes:
        yield Problem(where, f"invalid memory policy: {mode} takes no nodes")
    if mode in NODE_MODES and not nodes:
        yield Problem(where, f"invalid memory policy: {mode} needs at least one node")
    try:
        bits_of(nodes)
    except ValueError as error:
        yield Problem(where, f"invalid memory policy nodes: {error}")
    if {"MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"} <= {*policy.get("flags", ())}:
        both = "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other"
        yield Problem("/linux/memoryPolicy/flags", f"invalid memory policy flags: {both}")


def personality_has_no_flags(config: Config) -> Found:
    """The specification allows the member and defines no value for it."""
    for index, flag in enumerate(config["linux"]["personality"].get("flags", ())):
        message = f"personality flag {quoted(flag)} is not supported: the specification has none"
        yield Problem(f"/linux/personality/flags/{index}", message, "remove it")


LINUX_RULES: Final = (
    ("sysctl", sysctl_is_the_containers_own),
    ("timeOffsets", offsets_need_a_new_time_namespace),
    ("netDevices", net_devices_need_a_network),
    ("seccomp", notify_has_a_listener),
    ("seccomp", seccomp_argument_exists),
    ("seccomp", seccomp_errno_has_an_action),
    ("intelRdt", class_of_service_is_a_name),
    ("memoryPolicy", memory_policy_has_its_nodes),
    ("personality", personality_has_no_flags),
)
