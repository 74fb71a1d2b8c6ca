"""The plan of exec: nothing of the root is made again, and every right is given up."""

from __future__ import annotations

from typing import Any

from ocirun.process.plan import plan_join
from ocirun.process.request import Request

SYSCTL = {"sysctl": {"kernel.msgmax": "1"}}


def steps_of(linux: dict[str, Any], **process: Any) -> list[str]:  # noqa: ANN401
    config: Any = {
        "ociVersion": "1.3.0",
        "process": {"args": ["/x"], "cwd": "/"} | process,
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "h",
        "mounts": [{"destination": "/proc", "type": "proc"}],
        "hooks": {"startContainer": [{"path": "/x"}]},
        "linux": {"namespaces": [{"type": "mount"}], "maskedPaths": ["/x"]} | linux,
    }
    request = Request(config)
    request.joins = True
    return plan_join(config, request).describe()


def test_a_plain_process() -> None:
    assert steps_of({}) == [
        "join: open the root",
        "join: enter the working directory /",
        "join: drop capabilities that are needed no more",
        "enter: reset the CPU affinity",
        "enter: join the session keyring",
        "enter: set the umask",
        "enter: settle the environment",
        "enter: mark the descriptors to be closed",
        "enter: become the user",
        "enter: set capabilities",
        "enter: find the program /x",
        "enter: outlive the parent",
        "enter: reset signals",
        "start: exec the program",
    ]


def test_sysctls_are_inits_alone() -> None:
    assert steps_of(SYSCTL) == steps_of({})


def test_labels_are_written_before_the_process_is_seen_inside() -> None:
    """The private procfs shows the processes of the host."""
    steps = steps_of(SYSCTL, apparmorProfile="p", selinuxLabel="a:b:c")
    assert steps[0] == "assemble: open a private procfs"
    assert [step for step in steps if "label" in step or "profile" in step] == [
        "join: set the AppArmor profile p",
        "join: set the SELinux label a:b:c",
    ]
    assert "join: close the private procfs" in steps
    assert "enter: write sysctls" not in steps


def test_what_joining_a_cgroup_namespace_took_is_given_up_first() -> None:
    config: Any = {
        "process": {"args": ["/x"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}]},
    }
    request = Request(config)
    request.joins = request.cgroup_namespace = True
    steps = [step for step in plan_join(config, request).describe() if step.startswith("enter: ")]
    assert steps[0] == "enter: give up what joining the cgroup namespace took"


def test_cpus_before_and_after_the_cgroup() -> None:
    steps = steps_of({}, execCPUAffinity={"initial": "0"})
    assert [step for step in steps if "affinity" in step] == [
        "assemble: set the initial CPU affinity",
        "enter: set the final CPU affinity",
    ]
