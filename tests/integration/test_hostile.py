"""Programs that do not want to end, and verbs that meet in one container.

Source: docs/runc-compat/cli.md#kill, docs/runc-compat/cgroups.md#freezing-and-killing; runtime-spec
runtime.md#kill, #delete.
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest
from harness import bars, leaks
from harness.box import Box, Container
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import wait_until

LIMIT = 60


def bomb(box: Box, pid_namespace: str) -> Container:
    """Start a container that forks as fast as it can, up to its limit."""
    bundle = box.bundle("/probe", "bomb")
    bundle.linux["resources"] = {"pids": {"limit": LIMIT}}
    if pid_namespace == "shared":
        bundle.drop_namespace("pid")
        bundle.mounts[0] = {
            "destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"],
        }  # fmt: skip
    container = box.created(bundle)
    container.start().ok()
    counter = next(path for path in cgroups_of(container) if (path / "pids.current").exists())
    counter /= "pids.current"
    wait_until(lambda: int(counter.read_text()) >= LIMIT // 2, "many processes", 20)
    return container


def cgroups_of(container: Container) -> list[Path]:
    return [path for path in leaks.cgroups() if path.name == container.id]


INIT_ALONE = "signals init alone, whose processes are not in a pid namespace of its own"


@needs("cgroup pids")
@pytest.mark.parametrize(
    ("pid_namespace", "how"),
    [
        ("private", "kill"),
        ("private", "delete"),
        pytest.param("private", "paused", marks=peer_deviates("crun", "leaves it frozen")),
        pytest.param(
            "shared",
            "kill",
            marks=[peer_deviates("runc", INIT_ALONE), peer_deviates("crun", INIT_ALONE)],
        ),
        ("shared", "delete"),
        pytest.param(
            "shared",
            "paused",
            marks=[peer_deviates("runc", INIT_ALONE), peer_deviates("crun", INIT_ALONE)],
        ),
    ],
)
def test_what_forks_for_ever_is_killed_whole(box: Box, pid_namespace: str, how: str) -> None:
    container = bomb(box, pid_namespace)
    tasks = [path / "cgroup.procs" for path in cgroups_of(container)]
    if how == "paused":
        container.runtime.call("pause", container.id).ok()
    if how != "delete":
        container.kill("KILL").ok()
    else:
        container.delete("--force").ok()
    wait_until(lambda: no_process(tasks), "every process is dead")
    if how != "delete":
        assert container.status == "stopped"
        container.delete().ok()


def no_process(tasks: list[Path]) -> bool:
    leaks.reap(set())
    return not any(path.read_text() for path in tasks if path.exists())


@needs("cgroup freezer")
@peer_deviates("crun", "gives up on a cgroup that is frozen meanwhile", sometimes=True)
def test_verbs_that_meet_leave_nothing_frozen(box: Box) -> None:
    """Pause, resume, exec and kill at once, again and again, and delete among them."""
    for round_ in range(bars.count(3, 30)):
        container = box.running(box.bundle("/probe", "wait"))
        end = time.monotonic() + 1.0
        threads = [
            threading.Thread(target=meddle, args=(container, f"{round_}-{number}", end))
            for number in range(5)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.8)
        deleted = container.delete("--force")
        for thread in threads:
            thread.join()
        leaks.reap(set())
        if deleted.status:
            container.delete("--force").ok()
        wait_until(lambda c=container: not cgroups_of(c), "no cgroup is left")
        container.runtime.call("state", container.id).failed("does not exist")


def meddle(container: Container, seed: str, end: float) -> None:
    """Call verbs by chance; most will be refused."""
    chance = random.Random(seed)
    while time.monotonic() < end:
        verb = chance.choice(["pause", "resume", "exec", "kill"])
        words = {"exec": ["true"], "kill": ["0"]}.get(verb, [])
        result = container.runtime.call(verb, container.id, *words, stdout=-3, stderr=-3)
        assert result.status in (0, 1, 255), result.story()
        if chance.random() < 0.5:
            container.runtime.call("resume", container.id, stdout=-3, stderr=-3)


class TestSmallLimits:
    """Init is no bigger than what it becomes: it has to live within the container's limits."""

    @needs("cgroup memory", "cgroup cpuset")
    @pytest.mark.parametrize("kib", [1024, 768])
    @peer_deviates("runc", "init needs some MiB itself")
    def test_so_much_memory(self, box: Box, kib: int) -> None:
        """With less than 1 MiB on one processor: each may have charged 256 KiB ahead.

        512 KiB are enough on an idle machine. On a busy one the kernel kills some, presumably
        because it gives back what a process had before execve after an RCU grace period.
        """
        cold = Path(box.runtime.path).with_name("ocirun-cold")
        if kib < 1024 and cold.exists():
            box.runtime.path = str(cold)  # init writes to twice the pages after a fast start
        bundle = box.bundle("/bin/true")
        bundle.linux["resources"] = {"memory": {"limit": kib << 10}}
        allowed = os.sched_getaffinity(0)
        if kib < 1024:
            bundle.linux["resources"]["cpu"] = {"cpus": str(min(allowed))}
        os.sched_setaffinity(0, {min(allowed)} if kib < 1024 else allowed)
        try:
            box.container(bundle).run().ok()
        finally:
            os.sched_setaffinity(0, allowed)

    @needs("cgroup memory", "cgroup pids")
    @peer_deviates("runc", "init needs some MiB itself")
    def test_exec_with_so_much_memory_and_one_process(self, box: Box) -> None:
        bundle = box.bundle("/probe", "wait")
        bundle.linux["resources"] = {"memory": {"limit": 1 << 20}, "pids": {"limit": 1}}
        container = box.created(bundle)
        container.start().ok()
        container.exec("/bin/true").ok()

    @needs("cgroup pids")
    def test_a_limit_of_one_process_is_enough(self, box: Box) -> None:
        bundle = box.bundle("/bin/true")
        bundle.linux["resources"] = {"pids": {"limit": 1}}
        box.container(bundle).run().ok()
