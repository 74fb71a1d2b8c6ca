"""What users ask for by mistake, and the words of runc that clients and users know it by.

Docker and podman turn these words into exit statuses (126, 127), so they must be there to the
letter. Newer runc says "is a directory" where 1.1 said "permission denied"; both give 126 in
Docker of the same age.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

_EXEC = "unable to start container process: exec: "

# What is found out before `start`: `create` and `exec` fail.
PROGRAMS = [
    pytest.param(program, _EXEC + words, id=name)
    for name, program, words in (
        ("not in PATH", "nosuch", '"nosuch": executable file not found in $PATH'),
        ("no such path", "/no/such", '"/no/such": stat /no/such: no such file or directory'),
        ("not executable", "/bin/noexec", '"/bin/noexec": permission denied'),
        ("not executable in PATH", "noexec", '"noexec": executable file not found in $PATH'),
        ("a directory", "/etc", '"/etc": '),
        ("below a file", "/etc/passwd/x", '"/etc/passwd/x": stat /etc/passwd/x: not a directory'),
    )
]

# What only execve refuses: the container, or the process of exec, ends with status 1.
KERNEL_REFUSES = [
    pytest.param(
        "/bin/noshell", "exec /bin/noshell: no such file or directory", id="no interpreter"
    ),
    pytest.param("/bin/garbage", "exec /bin/garbage: exec format error", id="no program"),
]

# What a client makes of a program that cannot be run: its usual status, and the others.
# The CRI has no status for it, but an error of the call.
NO_CONTAINER = -1
RUN_STATUSES: dict[str, tuple[int, dict[str, int]]] = {
    "ctr": (1, {}),
    "podman": (127, {"/bin/noexec": 126, "/etc": 126, "/etc/passwd/x": 126}),
    "docker": (127, {"/bin/noexec": 126, "/etc": 126, "/etc/passwd/x": 125}),
    "cri": (NO_CONTAINER, {}),
}
EXEC_STATUSES: dict[str, tuple[int, dict[str, int]]] = {
    "ctr": (1, {}),
    "podman": (127, {"/bin/noexec": 126, "/etc": 126, "/etc/passwd/x": 255}),
    "docker": (126, {}),
    "cri": (NO_CONTAINER, {}),
}
SETTING_STATUSES: dict[str, tuple[int, dict[str, int]]] = {
    "ctr": (1, {}),
    "podman": (126, {"unknown sysctl": 127}),
    "docker": (125, {"unknown sysctl": 127}),
    "cri": (NO_CONTAINER, {}),
}


def status(table: dict[str, tuple[int, dict[str, int]]], client: str, case: str) -> int:
    """The status that a client has for a case."""
    usual, others = table[client]
    return others.get(case, usual)


class Setting(NamedTuple):
    """Something that cannot be, in the words of those clients that let it pass."""

    words: tuple[str, ...]  # of the error
    asked: dict[str, Any]  # client → its options, or fields of a ContainerConfig


def _bind(source: str, target: str) -> dict[str, Any]:
    return {
        "ctr": ("--mount", f"type=bind,src={source},dst={target},options=rbind:ro"),
        "podman": ("-v", f"{source}:{target}"),
        "docker": ("-v", f"{source}:{target}"),
        "cri": {"mounts": [{"host_path": source, "container_path": target}]},
    }


def _memory(limit: int) -> dict[str, Any]:
    return {
        "ctr": ("--memory-limit", str(limit)),
        "podman": ("--memory", f"{limit}b"),
        "cri": {"linux": {"resources": {"memory_limit_in_bytes": limit}}},
    }


SETTINGS = {
    "file mounted on a directory": Setting(
        ('mounting "/etc/passwd" to rootfs at "/etc": ', "not a directory"),
        _bind("/etc/passwd", "/etc"),
    ),
    "directory mounted on a file": Setting(
        ('mounting "/etc" to rootfs at "/bin/cat": ', "not a directory"),
        _bind("/etc", "/bin/cat"),
    ),
    "no mount source": Setting(
        ('mounting "/no/such" to rootfs at "/mnt": ', "no such file or directory"),
        {"ctr": _bind("/no/such", "/mnt")["ctr"]},
    ),
    "no such file system": Setting(
        ("no such device",), {"ctr": ("--mount", "type=nofs,src=x,dst=/mnt,options=ro")}
    ),
    "bad mount option": Setting(
        ('to rootfs at "/x": ', "invalid argument"),
        {
            "ctr": ("--mount", "type=tmpfs,src=tmpfs,dst=/x,options=size=huge"),
            "docker": ("--tmpfs", "/x:size=huge"),
            "podman": ("--tmpfs", "/x:size=huge"),
        },
    ),
    "no memory to start": Setting(
        ("unable to set memory limit to 1024 (current usage: ",), _memory(1024)
    ),
    "rlimit beyond what is allowed": Setting(
        ("operation not permitted",),
        {
            "docker": ("--ulimit", "nofile=100000000:100000000"),
            "podman": ("--ulimit", "nofile=100000000:100000000"),
        },
    ),
    "unknown sysctl": Setting(
        ("no such file or directory",),
        {"docker": ("--sysctl", "net.foo=1"), "podman": ("--sysctl", "net.foo=1")},
    ),
    "no such namespace": Setting(
        ("namespace path: lstat /proc/1/ns/nope: no such file or directory",),
        {"ctr": ("--with-ns", "network:/proc/1/ns/nope")},
    ),
    "working folder is a file": Setting(
        ("not a directory",),
        {
            "ctr": ("--cwd", "/etc/passwd"),
            "cri": {"working_dir": "/etc/passwd"},
        },
    ),
}

ASKED = [(client, case) for case, setting in SETTINGS.items() for client in setting.asked]
