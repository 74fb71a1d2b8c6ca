"""Rules of `linux` that a schema cannot say, and of what its namespaces are for.

Source: docs/runc-compat/init.md#validation.
"""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from ocirun.errors import Problem
from ocirun.spec import linux_rules
from ocirun.spec.jsontext import quoted
from ocirun.spec.rules import check_rules

if TYPE_CHECKING:
    pass

UTS = "unable to set hostname without a private UTS namespace"
MNT = "unable to restrict sys entries without a private MNT namespace"
NO_USERNS = "user namespace mappings specified, but user namespace isn't enabled in the config"
MAPS = [{"containerID": 0, "hostID": 1000, "size": 1}]


LINUX_CASES = [
    ({"maskedPaths": ["proc/kcore"]}, "/maskedPaths/0", '"proc/kcore" must be an absolute path'),
    ({"readonlyPaths": ["/a", "b"]}, "/readonlyPaths/1", '"b" must be an absolute path'),
    (
        {"devices": [{"type": "c", "path": "dev/x", "major": 1, "minor": 1}]},
        "/devices/0/path",
        'device path "dev/x" must be absolute',
    ),
    (
        {"devices": [{"type": "b", "path": "/dev/x", "major": 1}]},
        "/devices/0",
        "a device of type b needs minor",
    ),
    (
        {"resources": {"unified": {"../memory.max": "1"}}},
        "/resources/unified/..~1memory.max",
        'unified resource "../memory.max" must be a file name (no slashes)',
    ),
    (
        {"intelRdt": {"closID": ".."}},
        "/intelRdt/closID",
        'invalid intelRdt.ClosID ".."',
    ),
    ({"intelRdt": {"closID": "a/b"}}, "/intelRdt/closID", 'invalid intelRdt.ClosID "a/b"'),
    (
        {"intelRdt": {"schemata": ["L3:0=f", "a\nb"]}},
        "/intelRdt/schemata/1",
        "schemata must be single lines",
    ),
    (
        {"memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0"}},
        "/memoryPolicy/nodes",
        "invalid memory policy: MPOL_LOCAL takes no nodes",
    ),
    (
        {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "3-1"}},
        "/memoryPolicy/nodes",
        'invalid memory policy nodes: "3-1" ends before it begins',
    ),
    (
        {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": " "}},
        "/memoryPolicy/nodes",
        "invalid memory policy: MPOL_BIND needs at least one node",
    ),
    (
        {
            "memoryPolicy": {
                "mode": "MPOL_BIND",
                "nodes": "0",
                "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"],
            }
        },
        "/memoryPolicy/flags",
        (
            "invalid memory policy flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude "
            "each other"
        ),
    ),
    (
        {"seccomp": {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"}},
        "/seccomp/defaultAction",
        "SCMP_ACT_NOTIFY cannot be used as default action",
    ),
    (
        {
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "listenerPath": "/x",
                "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}],
            }
        },
        "/seccomp/syscalls/0",
        "SCMP_ACT_NOTIFY cannot be used for the write syscall",
    ),
    (
        {
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
            }
        },
        "/seccomp/listenerPath",
        "listenerPath must be set to use SCMP_ACT_NOTIFY",
    ),
    (
        {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}},
        "/seccomp/defaultErrnoRet",
        "SCMP_ACT_ALLOW takes no errno",
    ),
    (
        {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4095}},
        "/seccomp/defaultErrnoRet",
        "4095 is no errno: 0 to 4094",
    ),
    (
        {
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG", "errnoRet": 0}],
            }
        },
        "/seccomp/syscalls/0/errnoRet",
        "SCMP_ACT_LOG takes no errno",
    ),
    (
        {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}},
        "/seccomp/listenerMetadata",
        "listenerMetadata has no meaning without listenerPath",
    ),
    (
        {
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {
                        "names": ["mkdir"],
                        "action": "SCMP_ACT_ERRNO",
                        "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}],
                    }
                ],
            }
        },
        "/seccomp/syscalls/0/args/0/index",
        "a system call has no argument 6: 0 to 5",
    ),
]


@pytest.mark.parametrize(("change", "pointer", "message"), LINUX_CASES)
def test_each_broken_rule_is_named_with_its_pointer(
    config: Any, change: Any, pointer: str, message: str
) -> None:
    config["linux"].update(change)
    assert check_rules(config) == [Problem(f"/linux{pointer}", message)]


def test_names_need_a_uts_namespace(config: Any) -> None:
    config.update(hostname="a", domainname="b")
    assert [problem.pointer for problem in check_rules(config)] == ["/hostname", "/domainname"]
    assert check_rules(config)[0].message == UTS
    config["linux"]["namespaces"].append({"type": "uts", "path": "/proc/self/ns/uts"})
    assert check_rules(config) == []


def test_hidden_paths_need_a_mount_namespace(config: Any) -> None:
    config["linux"].update(namespaces=[], maskedPaths=["/a"], readonlyPaths=["/b"])
    assert check_rules(config) == [
        Problem("/linux/maskedPaths", MNT),
        Problem("/linux/readonlyPaths", MNT),
    ]


def test_a_namespace_type_appears_once(config: Any) -> None:
    config["linux"]["namespaces"].append({"type": "pid"})
    assert check_rules(config) == [Problem("/linux/namespaces/2", 'duplicated ns "pid"')]


def test_a_namespace_to_join_is_there(config: Any) -> None:
    config["linux"]["namespaces"] += [
        {"type": "ipc", "path": "/nonexistent/ns"},
        {"type": "uts", "path": "proc/self/ns/uts"},
        {"type": "network", "path": "/proc/self/ns/net"},
        {"type": "cgroup", "path": ""},
    ]
    assert check_rules(config) == [
        Problem(
            "/linux/namespaces/2/path",
            "namespace path: lstat /nonexistent/ns: no such file or directory",
        ),
        Problem("/linux/namespaces/3/path", 'namespace path "proc/self/ns/uts" must be absolute'),
    ]


def test_maps_and_user_namespace_need_each_other(config: Any) -> None:
    config["linux"].update(uidMappings=MAPS, gidMappings=MAPS)
    remedy = 'add {"type": "user"} to /linux/namespaces'
    assert check_rules(config) == [
        Problem("/linux/uidMappings", NO_USERNS, remedy),
        Problem("/linux/gidMappings", NO_USERNS, remedy),
    ]
    config["linux"]["namespaces"].append({"type": "user"})
    assert check_rules(config) == []
    del config["linux"]["gidMappings"]
    message = "user namespaces enabled, but no gid mappings found"
    remedy = 'add for example [{"containerID": 0, "hostID": 100000, "size": 65536}]'
    assert check_rules(config) == [Problem("/linux/gidMappings", message, remedy)]
    config["linux"]["namespaces"][-1]["path"] = "/proc/self/ns/user"
    assert check_rules(config) == []


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("kernel.shmmax", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("net.ipv4.ip_forward", "network"),
        ("net/ipv4/conf/eth0.1/rp_filter", "network"),
        ("kernel.domainname", "uts"),
        ("user.max_user_namespaces", "user"),
    ],
)
def test_a_sysctl_needs_its_namespace(config: Any, name: str, namespace: str) -> None:
    config["linux"]["sysctl"] = {name: "1"}
    (problem,) = check_rules(config)
    assert problem.message == f'sysctl "{name}" is not in a separate kernel namespace'
    assert problem.remedy == f'add {{"type": "{namespace}"}} to /linux/namespaces'
    entry = {"type": namespace}
    if namespace == "user":
        config["linux"].update(uidMappings=MAPS, gidMappings=MAPS)
    config["linux"]["namespaces"].append(entry)
    assert check_rules(config) == []


@pytest.mark.parametrize(
    "name",
    ["vm.swappiness", "kernel.core_pattern", "net./../kernel.core_pattern", "net..x", "net.", ""],
)
def test_the_hosts_sysctls_are_refused(config: Any, name: str) -> None:
    every = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]
    config["linux"].update(sysctl={name: "1"}, namespaces=every)
    (problem,) = check_rules(config)
    assert problem.message == f'sysctl "{name}" is not in a separate kernel namespace'


def test_hostname_is_not_set_by_sysctl(config: Any) -> None:
    config["linux"]["namespaces"].append({"type": "uts"})
    config["linux"]["sysctl"] = {"kernel/hostname": "x"}
    (problem,) = check_rules(config)
    assert (problem.pointer, problem.remedy) == ("/linux/sysctl/kernel~1hostname", "use hostname")


def test_net_sysctls_are_refused_in_the_hosts_network(config: Any) -> None:
    config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1"}
    config["linux"]["namespaces"].append({"type": "network", "path": "/proc/self/ns/net"})
    (problem,) = check_rules(config)
    assert problem.message == 'sysctl "net.ipv4.ip_forward" not allowed in host network namespace'


def test_time_offsets_need_a_new_time_namespace(config: Any) -> None:
    config["linux"]["timeOffsets"] = {"monotonic": {"secs": 1}}
    assert [problem.pointer for problem in check_rules(config)] == ["/linux/timeOffsets"]
    config["linux"]["namespaces"].append({"type": "time"})
    assert check_rules(config) == []
    config["linux"]["timeOffsets"]["realtime"] = {}
    assert [problem.pointer for problem in check_rules(config)] == ["/linux/timeOffsets/realtime"]
    del config["linux"]["timeOffsets"]["realtime"]
    config["linux"]["namespaces"][-1]["path"] = "/proc/self/ns/time"
    (problem,) = check_rules(config)
    assert problem.message == "time offsets cannot be set in a time namespace that is joined"


def test_net_devices_need_a_network_namespace_and_root(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config["linux"]["netDevices"] = {"eth0": {"name": "ct0"}}
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert [problem.message for problem in check_rules(config)] == [
        "unable to move network devices without a private NET namespace",
        "network devices are not supported for rootless containers",
    ]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    config["linux"]["namespaces"].append({"type": "network"})
    assert check_rules(config) == []


@pytest.mark.parametrize("name", ["", "a" * 16, "a/b", "a:b", "a b", ".", "..", "a\n", "é" * 8])
def test_network_device_names_are_the_kernels(
    config: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    config["linux"]["namespaces"].append({"type": "network"})
    config["linux"]["netDevices"] = {name: {}}
    (problem,) = check_rules(config)
    assert problem.message == f"invalid network device name {quoted(name)}"
    assert linux_rules.is_interface_name("a" * 15)


@pytest.mark.parametrize(
    ("devices", "faults"),
    [
        ({"a": {"name": "eth%d"}, "b": {"name": "eth%d"}}, []),
        ({"a": {"name": "b"}, "b": {"name": "a"}}, []),
        ({"a": {"name": ""}, "b": {}}, []),
        ({"a": {"name": "x%s"}}, ['/a/name: "x%s" is no template of a name']),
        ({"a": {"name": "%d%d"}}, ['/a/name: "%d%d" is no template of a name']),
        ({"a": {"name": "b"}, "b": {}}, ['/b/name: two network devices are to be called "b"']),
        ({"a": {"name": "x/y"}}, ['/a/name: invalid network device name "x/y"']),
    ],
)
def test_network_devices_get_names_of_their_own(
    config: Any,
    devices: dict[str, dict[str, str]],
    faults: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    config["linux"]["namespaces"].append({"type": "network"})
    config["linux"]["netDevices"] = devices
    found = [f"{problem.pointer}: {problem.message}" for problem in check_rules(config)]
    assert found == [f"/linux/netDevices{fault}" for fault in faults]
