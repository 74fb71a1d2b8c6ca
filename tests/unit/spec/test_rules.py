"""Rules a schema cannot say: contract §3.6. One small config, one change, one sentence."""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from ocirun.errors import Problem
from ocirun.spec import linux_rules, process_rules, rules
from ocirun.spec.jsontext import quoted
from ocirun.spec.rules import check_process_rules, check_rules

if TYPE_CHECKING:
    from pathlib import Path

UTS = "unable to set hostname without a private UTS namespace"
MNT = "unable to restrict sys entries without a private MNT namespace"
NO_USERNS = "user namespace mappings specified, but user namespace isn't enabled in the config"
MAPS = [{"containerID": 0, "hostID": 1000, "size": 1}]


def test_real_documents_break_no_rule(
    document_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_rules, "SELINUX", "/proc/self/stat")
    monkeypatch.setattr(process_rules, "APPARMOR", str(_written(tmp_path, "Y")))
    monkeypatch.setattr(linux_rules, "is_own_network", lambda _: False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert check_rules(json.loads(document_path.read_bytes())) == []


def _written(folder: Path, text: str) -> Path:
    path = folder / "enabled"
    path.write_text(text)
    return path


def test_the_small_config_breaks_no_rule(config: Any) -> None:
    assert check_rules(config) == []


def test_a_version_begins_with_a_number(config: Any) -> None:
    for version in ("1.0.2-dev", "1.3.0", "1.2.1+dev", "1.0", ""):
        assert check_rules({**config, "ociVersion": version}) == []
    for version in ("invalid", "v1.0.0", "²"):
        message = f'"{version}" is not a version of the specification'
        assert check_rules({**config, "ociVersion": version}) == [Problem("/ociVersion", message)]


def test_root_must_be_given(config: Any) -> None:
    del config["root"]
    assert check_rules(config) == [Problem("/root", "root must be specified")]
    config["root"] = {"path": ""}
    assert check_rules(config) == [Problem("/root/path", "path must not be empty")]


PROCESS_CASES = [
    ({"cwd": ""}, "/cwd", "Cwd property must not be empty"),
    ({"cwd": "work"}, "/cwd", "Cwd must be an absolute path"),
    ({"args": []}, "/args", "args must not be empty"),
    ({"env": ["A=1", "B"]}, "/env/1", "invalid environment variable: missing '='"),
    ({"env": ["=x"]}, "/env/0", "invalid environment variable: name cannot be empty"),
    (
        {"rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2},
        "/rlimits/1/type",
        "RLIMIT_CPU is given twice",
    ),
    (
        {"rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]},
        "/rlimits/0/soft",
        "soft limit 2 is above the hard limit 1",
    ),
    (
        {"execCPUAffinity": {"initial": "0-3", "final": "99999"}},
        "/execCPUAffinity/final",
        'invalid list of CPUs: "99999" is beyond 32767',
    ),
    (
        {"scheduler": {"policy": "SCHED_OTHER", "nice": -21}},
        "/scheduler/nice",
        "invalid nice value -21: it must be from -20 to 19",
    ),
    (
        {"scheduler": {"policy": "SCHED_FIFO", "nice": 5, "priority": 1}},
        "/scheduler/nice",
        "nice has no meaning for SCHED_FIFO",
    ),
    (
        {"scheduler": {"policy": "SCHED_BATCH", "priority": 1}},
        "/scheduler/priority",
        "priority can only be specified for SCHED_FIFO or SCHED_RR policy",
    ),
    (
        {"scheduler": {"policy": "SCHED_RR"}},
        "/scheduler/priority",
        "SCHED_RR needs a priority from 1 to 99, not 0",
    ),
    (
        {"scheduler": {"policy": "SCHED_IDLE", "runtime": 5}},
        "/scheduler/runtime",
        "runtime can only be specified for SCHED_DEADLINE policy",
    ),
    (
        {"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 5000, "deadline": 4000}},
        "/scheduler",
        "SCHED_DEADLINE needs 1024 ≤ runtime ≤ deadline ≤ period nanoseconds",
    ),
]


@pytest.mark.parametrize(("change", "pointer", "message"), PROCESS_CASES)
def test_process_rule(config: Any, change: Any, pointer: str, message: str) -> None:
    config["process"].update(change)
    assert check_rules(config) == [Problem(f"/process{pointer}", message)]
    assert check_process_rules(config["process"]) == [Problem(pointer, message)]


@pytest.mark.parametrize(
    "scheduler",
    [
        {"policy": "SCHED_OTHER", "nice": 19},
        {"policy": "SCHED_RR", "priority": 99},
        {"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1024},
        {"policy": "SCHED_IDLE"},
    ],
)
def test_scheduler_that_fits(config: Any, scheduler: Any) -> None:
    config["process"]["scheduler"] = scheduler
    assert check_rules(config) == []


def test_selinux_label_needs_selinux(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config["process"]["selinuxLabel"] = "a:b:c:d"
    monkeypatch.setattr(process_rules, "SELINUX", "/nonexistent")
    message = "selinux label is specified in config, but selinux is disabled or not supported"
    assert check_rules(config) == [Problem("/process/selinuxLabel", message)]
    monkeypatch.setattr(process_rules, "SELINUX", "/proc/self/stat")
    assert check_rules(config) == []


def test_a_mount_label_needs_selinux(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config["linux"]["mountLabel"] = "a:b:c:d"
    monkeypatch.setattr(process_rules, "SELINUX", "/nonexistent")
    assert check_rules(config) == [Problem("/linux/mountLabel", process_rules.NO_SELINUX)]
    monkeypatch.setattr(process_rules, "SELINUX", "/proc/self/stat")
    assert check_rules(config) == []


def test_a_personality_has_no_flags(config: Any) -> None:
    config["linux"]["personality"] = {"domain": "LINUX", "flags": ["A"]}
    message = 'personality flag "A" is not supported: the specification has none'
    assert check_rules(config) == [Problem("/linux/personality/flags/0", message, "remove it")]
    config["linux"]["personality"]["flags"] = []
    assert check_rules(config) == []


@pytest.mark.parametrize("text", ["Y\n", "N\n", ""])
def test_an_apparmor_profile_needs_apparmor(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    config["process"]["apparmorProfile"] = "profile"
    monkeypatch.setattr(process_rules, "APPARMOR", str(_written(tmp_path, text)))
    message = "apparmor profile is specified in config, but apparmor is disabled or not supported"
    problems = [] if text == "Y\n" else [Problem("/process/apparmorProfile", message)]
    assert check_rules(config) == problems
    monkeypatch.setattr(process_rules, "APPARMOR", "/nonexistent")
    assert check_rules(config) == [Problem("/process/apparmorProfile", message)]


@pytest.mark.parametrize("member", ["apparmorProfile", "selinuxLabel"])
def test_an_empty_label_is_none(config: Any, member: str) -> None:
    config["process"][member] = ""
    config["linux"]["mountLabel"] = ""
    assert check_rules(config) == []


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
        "MPOL_LOCAL takes no nodes",
    ),
    (
        {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "3-1"}},
        "/memoryPolicy/nodes",
        'invalid list of nodes: "3-1" ends before it begins',
    ),
    (
        {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": " "}},
        "/memoryPolicy/nodes",
        "MPOL_BIND needs at least one node",
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
        "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other",
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
def test_linux_rule(config: Any, change: Any, pointer: str, message: str) -> None:
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
    assert check_rules(config) == [Problem("/linux/gidMappings", message)]
    config["linux"]["namespaces"][-1]["path"] = "/proc/self/ns/user"
    assert check_rules(config) == []


@pytest.mark.parametrize(
    ("mount", "messages"),
    [
        ({"destination": ""}, ["destination must not be empty"]),
        ({"destination": "relative"}, []),
        (
            {"destination": "/a", "options": ["rbind"]},
            ["source of a bind mount must not be empty"],
        ),
        ({"destination": "/a", "source": "b", "type": "tmpfs", "options": ["bind", "ro"]}, []),
        (
            {
                "destination": "/a",
                "source": "b",
                "options": ["bind", "noexce", "ro", "size=1k", "x"],
            },
            ["bind mounts cannot have any filesystem-specific options applied: noexce,x"],
        ),
        ({"destination": "/a", "source": "b", "options": ["bind", "size=1k", "mode=0"]}, []),
        ({"destination": "/a", "type": "tmpfs", "options": ["size=1k"]}, []),
        (
            {"destination": "/a", "type": "tmpfs", "uidMappings": MAPS, "gidMappings": MAPS},
            ["id-mapped mounts are only supported for bind mounts"],
        ),
        (
            {"destination": "/a", "source": "b", "options": ["bind"], "uidMappings": MAPS},
            ["id-mapped mounts need both uidMappings and gidMappings"],
        ),
        (
            {"destination": "/a", "source": "b", "options": ["bind", "ridmap"]},
            ["ridmap without mappings needs a user namespace"],
        ),
    ],
)
def test_mount_rules(
    config: Any, mount: Any, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    config["mounts"] = [mount]
    assert [problem.message for problem in check_rules(config)] == messages


def test_id_mapped_mounts_take_the_containers_maps_and_need_root(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config["mounts"] = [{"destination": "/a", "source": "b", "options": ["bind", "idmap"]}]
    config["linux"].update(uidMappings=MAPS, gidMappings=MAPS)
    config["linux"]["namespaces"].append({"type": "user"})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert check_rules(config) == []
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    message = "id-mapped mounts are not supported for rootless containers"
    assert check_rules(config) == [Problem("/mounts/0", message)]


def test_hooks_are_absolute(config: Any) -> None:
    config["hooks"] = {"poststop": [{"path": "/a"}, {"path": "b"}], "x-other": [{"path": "c"}]}
    assert check_rules(config) == [
        Problem("/hooks/poststop/1/path", 'hook path "b" must be absolute')
    ]


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


def test_no_document_writes_to_a_terminal_through_a_sentence(config: Any) -> None:
    config["linux"].update(maskedPaths=["\x1b[2J"], sysctl={"a\x07.b": "1"})
    problems = check_rules(config)
    assert len(problems) == 2
    assert all(str(problem).isprintable() for problem in problems)


def test_every_rule_is_in_a_table() -> None:
    """A rule that nobody calls is no rule."""
    for module, tables in (
        (rules, (rules.RULES, rules.PROCESS_RULES)),
        (process_rules, (process_rules.SCHEDULER_RULES, process_rules.OTHER_RULES)),
        (linux_rules, ([rule for _, rule in linux_rules.LINUX_RULES],)),
    ):
        listed = {rule.__name__ for table in tables for rule in table}
        written = {
            name
            for name, value in vars(module).items()
            if getattr(value, "__annotations__", {}).get("return") == "Found"
        }
        assert written == listed
    asked = {member for member, _ in linux_rules.LINUX_RULES}
    assert asked == rules.LINUX_ASKED
