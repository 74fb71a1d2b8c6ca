"""The plan: which steps a configuration makes, in which order, and what it loads."""
# ruff: noqa: ANN401  # configurations are JSON

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ocirun.process.plan import plan_create, plan_join
from ocirun.process.request import Request

NAMESPACES = [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]


def steps_of(change: Any, **options: Any) -> list[str]:
    config: Any = {
        "ociVersion": "1.3.0",
        "process": {"args": ["/x"], "cwd": "/", "env": []},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": NAMESPACES},
    }
    for section, members in change.items():
        config.setdefault(section, {}).update(members)
    request = Request(config)
    for name, value in options.items():
        setattr(request, name, value)
    plan = (plan_join if request.joins else plan_create)(config, request)
    return [line.partition(": ")[2] for line in plan.describe()]


def in_order(steps: list[str], *names: str) -> bool:
    places = [steps.index(name) for name in names]
    return places == sorted(places)


def test_labels_frame_the_keyring_and_end_before_the_user_changes() -> None:
    steps = steps_of({"process": {"selinuxLabel": "a:b:c", "rlimits": []}})
    assert in_order(
        steps,
        "open a private procfs",
        "label keys",
        "join a new session keyring",
        "label no more keys",
        "enter the root by pivot_root",
        "set the SELinux label a:b:c",
        "close the private procfs",
        "set the umask",
        "become the user",
    )


def test_keys_are_not_labelled_when_no_keyring_is_made() -> None:
    steps = steps_of({"process": {"selinuxLabel": "a:b:c"}}, no_new_keyring=True)
    assert "label keys" not in steps
    assert "label no more keys" not in steps
    assert "set the SELinux label a:b:c" in steps


def test_the_profile_comes_before_sysctls_and_no_new_privs() -> None:
    change = {
        "process": {"apparmorProfile": "p", "noNewPrivileges": True},
        "linux": {"sysctl": {"kernel.msgmax": "1"}, "readonlyPaths": ["/proc/sys"]},
    }
    assert in_order(
        steps_of(change),
        "enter the root by pivot_root",
        "set the AppArmor profile p",
        "write sysctls",
        "cover read-only paths",
        "set no_new_privs",
        "close the private procfs",
        "become the user",
    )


def test_who_joins_gets_labels_and_writes_no_sysctls() -> None:
    change = {"process": {"apparmorProfile": "p", "selinuxLabel": "a:b:c"}}
    sysctl = {"linux": {"sysctl": {"kernel.msgmax": "1"}}}
    steps = steps_of(change | sysctl, joins=True)
    assert in_order(
        steps,
        "open a private procfs",
        "set the AppArmor profile p",
        "set the SELinux label a:b:c",
        "close the private procfs",
        "join the session keyring",
        "become the user",
    )
    assert "write sysctls" not in steps
    # Without a label there is nothing to open and nothing to close.
    assert not [step for step in steps_of(sysctl, joins=True) if "procfs" in step]


def test_the_way_into_the_root_is_a_step() -> None:
    ways = [
        ({}, {}, "enter the root by pivot_root"),
        ({}, {"no_pivot": True}, "enter the root by moving it to /"),
        ({"linux": {"namespaces": [{"type": "pid"}]}}, {}, "enter the root by chroot"),
    ]
    for change, options, expected in ways:
        found = [step for step in steps_of(change, **options) if step.startswith("enter the root")]
        assert found == [expected]


def test_a_read_only_root_is_a_step() -> None:
    assert "make / read-only" in steps_of({"root": {"readonly": True}})
    assert "make / read-only" not in steps_of({})


@pytest.mark.parametrize("nnp", [True, False])
def test_nothing_but_what_a_filter_needs_follows_it(*, nnp: bool) -> None:
    change = {"process": {"noNewPrivileges": nnp, "rlimits": [{"type": "RLIMIT_CORE"}]}}
    steps = steps_of(change, seccomp={"flags": 0, "program": ""})
    last = ["exec the program"] if nnp else ["give up CAP_SYS_ADMIN", "exec the program"]
    assert steps[steps.index("load the seccomp filter") + 1 :] == last


def test_a_listener_is_fetched_only_where_nobody_else_may_trace() -> None:
    namespaces = {"linux": {"namespaces": [{"type": kind} for kind in ("pid", "user", "mount")]}}
    listening, silent = {"flags": 8, "program": ""}, {"flags": 0, "program": ""}
    fetch = "let the parent fetch the listener"
    assert fetch in steps_of(namespaces, seccomp=listening)
    assert fetch not in steps_of(namespaces, seccomp=silent)
    assert fetch not in steps_of({}, seccomp=listening)


def test_settings_come_after_no_new_privs_and_before_limits_and_user() -> None:
    change = {
        "process": {
            "noNewPrivileges": True,
            "scheduler": {"policy": "SCHED_OTHER"},
            "ioPriority": {"class": "IOPRIO_CLASS_BE"},
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        },
        "linux": {"personality": {"domain": "LINUX"}, "memoryPolicy": {"mode": "MPOL_LOCAL"}},
    }
    assert in_order(
        steps_of(change),
        "set no_new_privs",
        "set the scheduling policy",
        "set the I/O priority",
        "set the personality",
        "set the memory policy",
        "have hard limits raised",
        "become the user",
    )


@pytest.mark.parametrize("name", ["open a private procfs", "set the personality"])
def test_what_is_not_asked_for_is_no_step(name: str) -> None:
    assert name not in steps_of({})


def test_a_plain_configuration_loads_nothing_of_it() -> None:
    """Each module costs a container that needs none of it."""
    here = Path(__file__).parent
    code = (
        f"import sys; sys.path.insert(0, {str(here)!r});"
        "import test_plan; test_plan.steps_of({});"
        "print(*sorted(sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "ocirun.process.plan" in loaded
    assert not {
        "ocirun.process.steps.scheduling",
        "ocirun.process.steps.labels",
        "ocirun.kernel.procfs",
        "ocirun.security.apparmor",
        "ocirun.security.selinux",
        "ocirun.security.sysctl",
        "ocirun.spec.cpulist",
    } & {*loaded}
