"""`exec`: which cgroups, namespaces and CPUs the process is brought to, and when it is not.

Source: docs/runc-compat/cli.md#exec, docs/runc-compat/init.md#exec; runtime-spec config.md#process
(execCPUAffinity).
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import machine
from harness.box import Box, Container
from harness.bundle import PATH
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import finish, wait_until

pytestmark = needs("root")

KINDS = ("pid", "net", "ipc", "uts", "mnt", "user", "cgroup", "time")


def namespaces_of(pid: int) -> dict[str, int]:
    return {kind: os.stat(f"/proc/{pid}/ns/{kind}").st_ino for kind in KINDS}


def cgroups_seen(container: Container, *flags: str) -> dict[str, str]:
    """Controller → path, as the process itself reads it."""
    lines = container.exec("/probe", flags=flags).ok().json()["cgroup"]
    return {line.split(":")[1]: line.split(":", 2)[2] for line in lines}


def folders_of(container: Container) -> dict[str, Path]:
    """Controller → directory on the host of the container's cgroup."""
    found: dict[str, Path] = {}
    trees = machine.cgroup_hierarchies()
    for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            top = trees.get(name) or trees.get(name.removeprefix("name="))
            if top:
                found[name] = Path(f"{top}{path}")
    return found


def make_below(container: Container, name: str, *controllers: str) -> None:
    """Make a cgroup `name` below the container's, of all or of some controllers."""
    folders = folders_of(container)
    for folder in {folders[controller] for controller in controllers or folders}:
        (folder / name).mkdir()
    if not controllers and "cpuset" in folders:  # v1: a new one has none, and lets nobody in
        for file in ("cpuset.cpus", "cpuset.mems"):
            (folders["cpuset"] / name / file).write_text((folders["cpuset"] / file).read_text())


def waits(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Return whether the process is still there after that time."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


class TestNamespaces:
    """All those of init, and no others."""

    def test_every_namespace_is_inits(self, box: Box) -> None:
        container = box.running()
        seen = container.exec("/probe").ok().json()["namespaces"]
        assert seen == namespaces_of(container.pid)

    def test_with_a_cgroup_namespace(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.set_namespace("cgroup")
        container = box.running(bundle)
        assert set(cgroups_seen(container).values()) == {"/"}
        assert container.exec("/probe").json()["namespaces"] == namespaces_of(container.pid)

    @needs("userns")
    def test_a_user_namespace(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.use_userns((0, 100000, 65536))
        container = box.running(bundle)
        report = container.exec("/probe", flags=("--user", "1000:5")).ok().json()
        assert report["namespaces"] == namespaces_of(container.pid)
        assert (report["uids"], report["gids"]) == ([1000] * 3, [5] * 3)
        file = box.folder / "pid"
        container.exec("/bin/sleep", "100", flags=("-d", "--pid-file", file)).ok()
        status = Path(f"/proc/{file.read_text()}/status").read_text()
        assert "Uid:\t100000\t100000" in status

    @needs("userns")
    def test_an_id_the_user_namespace_does_not_map(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.use_userns((0, 100000, 100))
        call = box.running(bundle).exec("/probe", flags=("--user", "1000"))
        call.failed("unmapped", status=255)

    @needs("userns")
    def test_a_user_namespace_and_a_terminal_socket(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.use_userns((0, 100000, 65536))
        call = box.running(bundle).exec("sh", "-c", "cat; echo x > /dev/stdout", stdin=b"in ")
        assert call.ok().stdout == "in x\n"

    def test_namespaces_the_container_has_joined(self, box: Box) -> None:
        first = box.running()
        bundle = box.bundle("/probe", "wait")
        for kind, name in (("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")):
            bundle.set_namespace(kind, f"/proc/{first.pid}/ns/{name}")
        container = box.running(bundle)
        seen = container.exec("/probe").ok().json()["namespaces"]
        assert seen == namespaces_of(container.pid)
        assert seen["net"] == namespaces_of(first.pid)["net"]

    def test_namespaces_the_container_shares_with_the_host(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.drop_namespace("network")
        bundle.drop_namespace("pid")
        bundle.drop_namespace("ipc")
        bundle.set_namespace("uts", f"/proc/{os.getpid()}/ns/uts")
        container = box.running(bundle)
        assert container.exec("/probe").ok().json()["namespaces"] == namespaces_of(container.pid)
        container.kill("KILL").ok()

    def test_the_keyring_is_the_containers(self, box: Box) -> None:
        container = box.running()
        first, second = (container.exec("/probe").ok().json() for _ in range(2))
        assert first["keyring_number"] == second["keyring_number"]


class TestCgroup:
    """The container's own cgroup, or one below it."""

    def test_the_containers_own(self, box: Box) -> None:
        container = box.running()
        text = Path(f"/proc/{container.pid}/cgroup").read_text()
        own = {line.split(":")[1]: line.split(":", 2)[2] for line in text.splitlines()}
        assert cgroups_seen(container) == own
        assert cgroups_seen(container, "--cgroup", "/") == own

    def test_a_sub_cgroup_is_entered(self, box: Box) -> None:
        container = box.running()
        make_below(container, "sub")
        seen = cgroups_seen(container, "--cgroup", "sub")
        mounted = machine.cgroup_hierarchies()  # there may be others, mounted for nobody
        seen = {name: path for name, path in seen.items() if name.split(",")[0] in mounted}
        assert {path.endswith("/sub") for path in seen.values()} == {True}
        again = cgroups_seen(container, "--cgroup", "/sub/")
        assert {name: again[name] for name in seen} == seen

    @needs("cgroup v1")
    def test_of_single_controllers(self, box: Box) -> None:
        container = box.running()
        for name in ("cpu", "memory", "pids"):
            make_below(container, name, name)
        seen = cgroups_seen(container, "--cgroup", "cpu:cpu", "--cgroup", "memory:/memory")
        below = {name for name, path in seen.items() if name and path.endswith(f"/{name}")}
        assert below == {"cpu", "memory"}

    @needs("cgroup v1")
    def test_of_several_controllers(self, box: Box) -> None:
        container = box.running()
        make_below(container, "both", "cpu", "memory")
        seen = cgroups_seen(container, "--cgroup", "cpu,memory:both")
        assert {name for name, path in seen.items() if path.endswith("/both")} == {"cpu", "memory"}

    @pytest.mark.parametrize("word", ["..", "../x", "/..", "sub/../..", "/../../"])
    def test_a_path_that_leads_out_is_refused(self, box: Box, word: str) -> None:
        container = box.running()
        make_below(container, "sub")
        container.exec("true", flags=("--cgroup", word)).failed("bad sub cgroup path", status=255)

    @needs("cgroup v1")
    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (("nonesuch:x",), "unknown controller"),
            (("cpu:a", "cpu:b"), "specified multiple times"),
            (("cpu,cpu:a",), "specified multiple times"),
            (("cpu:a", "b"), "missing <controller>: prefix"),
            (("cpu:a:b",), "invalid --cgroup argument"),
            (("cpu:..",), "bad sub cgroup path"),
        ],
    )
    def test_a_malformed_cgroup_flag_is_refused(
        self, box: Box, words: tuple[str, ...], text: str
    ) -> None:
        flags = [part for word in words for part in ("--cgroup", word)]
        call = box.running().exec("true", flags=tuple(flags))
        call.failed(*([text] if box.runtime.name == "ours" else []), status=255)

    def test_one_that_is_not_there(self, box: Box) -> None:
        box.running().exec("true", flags=("--cgroup", "none")).failed(status=255)

    @needs("cgroup memory")
    def test_joining_charges_little_to_the_container(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.linux["resources"] = {"memory": {"limit": 4 << 20}}
        container = box.running(bundle)
        for _ in range(3):
            assert container.exec("/probe", "exit", "3").status == 3


class TestAffinity:
    """process.execCPUAffinity, and what a narrowed caller hands on."""

    @staticmethod
    def on_one_cpu() -> None:
        os.sched_setaffinity(0, {0})

    def cpus(self, container: Container, affinity: dict[str, str] | None) -> int:
        process: dict[str, Any] = {"args": ["/probe"], "cwd": "/", "env": [PATH]}
        if affinity is not None:
            process["execCPUAffinity"] = affinity
        call = container.exec_process(process, preexec_fn=self.on_one_cpu)
        return int(call.ok().json()["cpus"])

    @peer_deviates("runc", "1.1 hands the caller's on")
    @peer_deviates("crun", "hands the caller's on")
    @pytest.mark.skipif(os.cpu_count() == 1, reason="one CPU")
    def test_the_callers_does_not_count(self, box: Box) -> None:
        assert self.cpus(box.running(), None) == len(os.sched_getaffinity(0))

    @needs("ours")
    @pytest.mark.skipif(os.cpu_count() == 1, reason="one CPU")
    @pytest.mark.parametrize(
        ("affinity", "cpus"),
        [
            ({"final": "0-1"}, 2),
            ({"final": "1"}, 1),
            ({"initial": "0,1"}, 2),
            ({"initial": "1"}, 1),
            ({"initial": "0-1", "final": "0"}, 1),
            ({"initial": "0", "final": "0-1"}, 2),
            ({}, 1),
        ],
    )
    def test_initial_and_final(self, box: Box, affinity: dict[str, str], cpus: int) -> None:
        """What is left out changes nothing: then the caller's one CPU stays."""
        assert self.cpus(box.running(), affinity) == cpus

    @needs("ours")
    def test_it_is_inherited(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait", execCPUAffinity={"final": "0"})
        container = box.running(bundle)
        assert container.exec("/probe").ok().json()["cpus"] == 1
        assert self.cpus(container, None) == 1

    @needs("ours")
    @pytest.mark.parametrize("name", ["initial", "final"])
    def test_cpus_the_machine_has_not(self, box: Box, name: str) -> None:
        process = {"args": ["true"], "cwd": "/", "execCPUAffinity": {name: "900-910"}}
        call = box.running().exec_process(process)
        call.failed(f"setting the {name} CPU affinity", status=255)


class TestPaused:
    """A paused container is entered only when asked for, and then the process waits."""

    def test_it_is_refused(self, box: Box) -> None:
        container = box.running()
        container.runtime.call("pause", container.id).ok()
        call = container.exec("true")
        call.failed("cannot exec in a paused container", status=255)
        container.runtime.call("resume", container.id).ok()

    def test_ignore_paused_runs_the_process_after_resume(self, box: Box) -> None:
        container = box.running()
        container.runtime.call("pause", container.id).ok()
        runtime = container.runtime
        words = ("exec", "--ignore-paused", container.id, "/probe", "exit", "4")
        process, result = runtime.spawn(*words)
        assert waits(process, 0.5)
        runtime.call("resume", container.id).ok()
        assert finish(process, result).status == 4

    def test_killed_while_it_waits(self, box: Box) -> None:
        container = box.running()
        runtime = container.runtime
        runtime.call("pause", container.id).ok()
        process, result = runtime.spawn("exec", "--ignore-paused", container.id, "/bin/true")
        assert waits(process, 0.5)
        container.delete("--force").ok()
        assert finish(process, result).status != 0


class TestInitDies:
    """Init may go at any moment of an exec: then exec fails, and leaves nothing."""

    def test_while_the_process_runs(self, box: Box) -> None:
        container = box.running()
        process, result = container.runtime.spawn("exec", container.id, "/probe", "wait")
        wait_until(lambda: "ready" in result.stdout, "ready")
        container.kill("KILL").ok()
        assert finish(process, result).status == 137

    @peer_deviates("runc", "leaves a child that init waits for", sometimes=True)
    @peer_deviates("crun", "may report otherwise", sometimes=True)
    def test_at_any_moment(self, box: Box) -> None:
        for delay_ms in range(0, 40, 4):
            container = box.running()
            pid = container.pid
            process, result = container.runtime.spawn("exec", container.id, "/probe", "exit", "0")
            waits(process, delay_ms / 1000)
            os.kill(pid, signal.SIGKILL)
            assert finish(process, result, 20).status in (0, 137, 255)
            if result.status == 255 and box.runtime.name == "ours":
                assert "cannot exec in a stopped container" in result.stderr
            container.delete("--force").ok()
