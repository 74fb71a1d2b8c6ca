"""Scheduler, I/O priority, personality and memory policy, as the kernel tells them inside.

Source: runtime-spec config.md#linux-process, config-linux.md#personality, #memory-policy;
docs/runc-compat/init.md#order-of-init.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.needs import needs
from harness.peers import peer_deviates

from ocirun.kernel.set_mempolicy import set_mempolicy

OLD_PEERS = "older than the property"
MILLISECOND = 10**6
MPOL_BIND = 2


def old_peers(test: Any) -> Any:  # noqa: ANN401  # a decorator
    for peer in ("runc", "crun"):
        test = peer_deviates(peer, OLD_PEERS)(test)
    return test


def with_realtime_budget(bundle: Bundle, microseconds: int = 50_000) -> Bundle:
    """On cgroup v1 a new cgroup has no realtime budget; v2 has no such thing."""
    budget = Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us")
    if budget.exists():
        if int(budget.read_text()) == 0:
            pytest.skip("no cgroup realtime budget to give away here")
        bundle.linux["resources"] = {
            "cpu": {"realtimePeriod": 1_000_000, "realtimeRuntime": microseconds}
        }
    return bundle


def scheduler_of(box: Box, **scheduler: object) -> dict[str, int]:
    found: dict[str, int] = box.report(box.bundle(scheduler=scheduler))["scheduler"]
    return found


class TestScheduler:
    """process.scheduler."""

    @old_peers
    def test_nice_is_set(self, box: Box) -> None:
        found = scheduler_of(box, policy="SCHED_OTHER", nice=7)
        assert (found["policy"], found["nice"]) == (0, 7)

    @old_peers
    def test_the_batch_policy_is_set_with_nice(self, box: Box) -> None:
        found = scheduler_of(box, policy="SCHED_BATCH", nice=-3)
        assert (found["policy"], found["nice"]) == (3, -3)

    @old_peers
    def test_the_idle_policy_is_set(self, box: Box) -> None:
        assert scheduler_of(box, policy="SCHED_IDLE")["policy"] == 5

    @old_peers
    def test_reset_on_fork(self, box: Box) -> None:
        flags = ["SCHED_FLAG_RESET_ON_FORK"]
        found = scheduler_of(box, policy="SCHED_BATCH", nice=5, flags=flags)
        assert found["flags"] & 1

    def test_keep_policy_and_keep_params_leave_it_as_it_is(self, box: Box) -> None:
        flags = ["SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS"]
        found = scheduler_of(box, policy="SCHED_OTHER", nice=9, flags=flags)
        assert found["nice"] == os.getpriority(os.PRIO_PROCESS, 0)

    @old_peers
    @pytest.mark.parametrize(("policy", "number"), [("SCHED_FIFO", 1), ("SCHED_RR", 2)])
    def test_realtime_policies_are_set_with_priority(
        self, box: Box, policy: str, number: int
    ) -> None:
        scheduler = {"policy": policy, "priority": 11}
        bundle = with_realtime_budget(box.bundle(scheduler=scheduler))
        found = box.report(bundle)["scheduler"]
        assert (found["policy"], found["priority"]) == (number, 11)

    @old_peers
    def test_the_deadline_policy_is_set_with_its_times(self, box: Box) -> None:
        times = {"runtime": MILLISECOND, "deadline": 10 * MILLISECOND, "period": 20 * MILLISECOND}
        found = scheduler_of(box, policy="SCHED_DEADLINE", **times)
        assert found["policy"] == 6
        assert {name: found[name] for name in times} == times

    @needs("ours")
    def test_a_deadline_the_kernel_refuses_comes_with_a_hint(self, box: Box) -> None:
        scheduler = {"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1025, "period": 1026}
        call = box.container(None, scheduler=scheduler).create()
        call.failed("SCHED_DEADLINE: invalid argument", "sched_deadline_period_{min,max}_us")

    @needs("ours")
    def test_a_policy_no_kernel_has(self, box: Box) -> None:
        call = box.container(None, scheduler={"policy": "SCHED_ISO"}).create()
        call.failed("SCHED_ISO: invalid argument (no Linux kernel has this policy)")

    @pytest.mark.parametrize(
        "scheduler",
        [
            {"policy": "SCHED_NOPE"},
            {"policy": "SCHED_OTHER", "nice": 20},
            {"policy": "SCHED_OTHER", "priority": 1},
            {"policy": "SCHED_FIFO", "priority": 100},
            {"policy": "SCHED_DEADLINE", "runtime": 2, "deadline": 1},
            {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NOPE"]},
        ],
    )
    @old_peers
    def test_values_that_fit_nothing_are_refused(
        self, box: Box, scheduler: dict[str, object]
    ) -> None:
        box.container(None, scheduler=scheduler).create().failed()

    def test_without_it_the_callers_is_inherited(self, box: Box) -> None:
        run = box.container().run(preexec_fn=lambda: os.nice(4)).ok()
        assert run.json()["scheduler"]["nice"] == os.getpriority(os.PRIO_PROCESS, 0) + 4

    @old_peers
    def test_the_program_has_it_without_any_capability(self, box: Box) -> None:
        scheduler = {"policy": "SCHED_BATCH", "nice": -7}
        bundle = box.bundle(scheduler=scheduler, capabilities={}, user={"uid": 1000, "gid": 1000})
        bundle.process["noNewPrivileges"] = True
        assert box.report(bundle)["scheduler"]["nice"] == -7

    @needs("userns")
    @old_peers
    def test_a_user_namespace_may_only_lower_itself(self, box: Box) -> None:
        bundle = box.bundle(scheduler={"policy": "SCHED_OTHER", "nice": 3})
        bundle.use_userns((0, 100000, 65536))
        assert box.report(bundle)["scheduler"]["nice"] == 3
        bundle.process["scheduler"]["nice"] = -3
        box.container(bundle).create().failed("permi")


class TestIoPriority:
    """process.ioPriority."""

    @pytest.mark.parametrize(
        ("kind", "level", "number"),
        [
            ("IOPRIO_CLASS_RT", 3, 0x2003),
            ("IOPRIO_CLASS_BE", 7, 0x4007),
            ("IOPRIO_CLASS_BE", 0, 0x4000),
            ("IOPRIO_CLASS_IDLE", 0, 0x6000),
        ],
    )
    @old_peers
    def test_class_and_level(self, box: Box, kind: str, level: int, number: int) -> None:
        bundle = box.bundle(ioPriority={"class": kind, "priority": level})
        assert box.report(bundle)["io_priority"] == number

    @old_peers
    @pytest.mark.parametrize(
        "priority",
        [
            {"class": "IOPRIO_CLASS_NOPE"},
            {"class": "IOPRIO_CLASS_BE", "priority": 8},
            {"class": "IOPRIO_CLASS_BE", "priority": -1},
            {},
        ],
    )
    def test_values_that_fit_nothing_are_refused(
        self, box: Box, priority: dict[str, object]
    ) -> None:
        box.container(None, ioPriority=priority).create().failed()

    @needs("userns")
    @old_peers
    def test_realtime_is_not_for_user_namespaces(self, box: Box) -> None:
        bundle = box.bundle(ioPriority={"class": "IOPRIO_CLASS_RT", "priority": 0})
        bundle.use_userns((0, 100000, 65536))
        box.container(bundle).create().failed("IOPRIO_CLASS_RT: operation not permitted")


class TestPersonality:
    """linux.personality."""

    @peer_deviates("runc", "1.1 has no personality")
    def test_the_domain_of_32_bits(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.linux["personality"] = {"domain": "LINUX32"}
        report = box.report(bundle)
        assert report["personality"] == 8
        assert report["machine"] in ("i686", "armv8l")

    @peer_deviates("runc", "1.1 has no personality")
    def test_the_plain_domain_clears_what_the_caller_had(self, box: Box) -> None:
        import ctypes

        bundle = box.bundle()
        bundle.linux["personality"] = {"domain": "LINUX"}
        container = box.container(bundle)
        libc = ctypes.CDLL(None)
        run = container.run(preexec_fn=lambda: libc.personality(0x0040000)).ok()
        assert json.loads(run.stdout)["personality"] == 0

    @old_peers
    def test_flags_are_refused_because_there_are_none(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.linux["personality"] = {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}
        box.container(bundle).create().failed("/linux/personality/flags/0")

    @peer_deviates("runc", "1.1 has no personality")
    def test_another_domain_is_refused(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.linux["personality"] = {"domain": "SVR4"}
        box.container(bundle).create().failed("SVR4")


class TestMemoryPolicy:
    """linux.memoryPolicy; this machine has node 0."""

    @pytest.mark.parametrize(
        ("policy", "mode", "nodes"),
        [
            ({"mode": "MPOL_PREFERRED", "nodes": "0"}, 1, 1),
            ({"mode": "MPOL_BIND", "nodes": "0"}, 2, 1),
            ({"mode": "MPOL_INTERLEAVE", "nodes": " 0 "}, 3, 1),
            ({"mode": "MPOL_LOCAL"}, 4, 0),
            ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, 0x8002, 1),
            ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, 0x4002, 1),
            ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}, 0x2002, 1),
        ],
    )
    @old_peers
    def test_mode_and_nodes(
        self, box: Box, policy: dict[str, object], mode: int, nodes: int
    ) -> None:
        bundle = box.bundle()
        bundle.linux["memoryPolicy"] = policy
        assert box.report(bundle)["memory_policy"] == {"mode": mode, "nodes": nodes}

    @old_peers
    def test_default_undoes_what_the_caller_had(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.linux["memoryPolicy"] = {"mode": "MPOL_DEFAULT"}
        run = box.container(bundle).run(preexec_fn=lambda: set_mempolicy(MPOL_BIND, 1)).ok()
        assert run.json()["memory_policy"] == {"mode": 0, "nodes": 0}

    def test_without_it_the_callers_is_inherited(self, box: Box) -> None:
        run = box.container().run(preexec_fn=lambda: set_mempolicy(MPOL_BIND, 1)).ok()
        assert run.json()["memory_policy"] == {"mode": MPOL_BIND, "nodes": 1}

    @old_peers
    @needs(kernel=(5, 15))
    def test_preferred_many_is_set(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.linux["memoryPolicy"] = {"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}
        assert box.report(bundle)["memory_policy"]["mode"] in (1, 5)

    @old_peers
    @needs(kernel=(6, 9))
    def test_weighted_interleave_is_set(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.linux["memoryPolicy"] = {"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}
        assert box.report(bundle)["memory_policy"] == {"mode": 6, "nodes": 1}

    @pytest.mark.parametrize("nodes", ["1000", "2000"])
    @old_peers
    def test_a_node_that_is_not_there_is_refused_by_the_kernel(self, box: Box, nodes: str) -> None:
        bundle = box.bundle()
        bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": nodes}
        box.container(bundle).create().failed(f"MPOL_BIND on nodes {nodes}: invalid argument")

    @pytest.mark.parametrize(
        "policy",
        [
            {"mode": "MPOL_NOPE"},
            {"mode": "MPOL_BIND"},
            {"mode": "MPOL_LOCAL", "nodes": "0"},
            {"mode": "MPOL_BIND", "nodes": "1-0"},
            {"mode": "MPOL_BIND", "nodes": "0-99999999999"},
            {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NOPE"]},
        ],
    )
    @old_peers
    def test_values_that_fit_nothing_are_refused(self, box: Box, policy: dict[str, object]) -> None:
        bundle = box.bundle()
        bundle.linux["memoryPolicy"] = policy
        box.container(bundle).create().failed("memoryPolicy")


class TestExecCpuAffinity:
    """process.execCPUAffinity is for `exec`; create checks that it means something."""

    @old_peers
    @pytest.mark.parametrize("text", ["3-1", "0-70000", "1-2-3", "two"])
    def test_a_list_that_is_none_is_refused(self, box: Box, text: str) -> None:
        affinity = {"initial": "0", "final": text}
        box.container(None, execCPUAffinity=affinity).create().failed("/execCPUAffinity/final")

    def test_it_does_not_touch_the_container(self, box: Box) -> None:
        report = box.report(box.bundle(execCPUAffinity={"initial": "0", "final": "0"}))
        assert report["cpus"] == box.report(box.bundle())["cpus"]


class TestExec:
    """What a process that is run in the container later has of all this."""

    def report(self, container: Container, *flags: str, **process: object) -> dict[str, Any]:
        """Run the probe by `exec --process`; keys of `process` are its own."""
        file = container.bundle.path / "process.json"
        file.write_text(json.dumps({"args": ["/probe"], "cwd": "/", "env": [], **process}))
        call = container.runtime.call("exec", *flags, "--process", file, container.id)
        report: dict[str, Any] = call.ok().json()
        return report

    @old_peers
    def test_the_containers_personality_and_memory_policy(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.linux["personality"] = {"domain": "LINUX32"}
        bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
        report = self.report(box.running(bundle))
        assert report["personality"] == 8
        assert report["memory_policy"] == {"mode": MPOL_BIND, "nodes": 1}

    @old_peers
    def test_the_containers_scheduler_unless_it_has_one(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait", scheduler={"policy": "SCHED_BATCH", "nice": 5})
        container = box.running(bundle)
        assert self.report(container)["scheduler"]["nice"] == 5
        own = {"policy": "SCHED_BATCH", "nice": 9}
        assert self.report(container, scheduler=own)["scheduler"]["nice"] == 9

    @old_peers
    def test_the_final_affinity(self, box: Box) -> None:
        cpu = str(min(os.sched_getaffinity(0)))
        report = self.report(box.running(), execCPUAffinity={"initial": cpu, "final": f" {cpu},"})
        assert report["cpus"] == 1

    @old_peers
    def test_an_affinity_that_is_no_list_is_refused(self, box: Box) -> None:
        container = box.running()
        file = container.bundle.path / "process.json"
        affinity = {"initial": "2-1"}
        process = {"args": ["/probe"], "cwd": "/", "env": [], "execCPUAffinity": affinity}
        file.write_text(json.dumps(process))
        call = container.runtime.call("exec", "--process", file, container.id)
        assert call.status == 255
        assert '"2-1" ends before it begins' in call.said

    def test_sysctls_are_the_containers_and_not_written_again(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.linux["sysctl"] = {"kernel.msgmax": "1234"}
        container = box.running(bundle)
        enter = ["nsenter", f"--ipc=/proc/{container.pid}/ns/ipc"]
        subprocess.run([*enter, "sh", "-c", "echo 4321 >/proc/sys/kernel/msgmax"], check=True)
        file = "/proc/sys/kernel/msgmax"
        report = self.report(container, args=["/probe", "report", f"file:{file}"])
        assert report["files"][file] == "4321\n"

    @peer_deviates("crun", "1.8 keeps the caller's")
    def test_it_is_in_the_containers_keyring(self, box: Box) -> None:
        container = box.running()
        first, second = self.report(container), self.report(container)
        assert f";_ses.{container.id}" in first["keyring"]
        assert first["keyring_number"] == second["keyring_number"]
