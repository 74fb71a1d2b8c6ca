"""`update` that is refused, that is felt inside, and that is not alone.

Source: docs/runc-compat/cli.md#update, docs/runc-compat/state.md#locking; runtime-spec
config-linux.md#control-groups.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time

import pytest
from harness.box import Box, Container
from harness.cgroups import MB
from harness.limits import limits_of
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import finish, wait_until
from harness.updating import (
    BEFORE,
    LIMIT,
    ON_V2,
    PIDS,
    SHARES,
    by_flags,
    held,
    limited,
    remembered,
    update,
)  # fmt: skip

from ocirun.kernel.locks import lock

pytestmark = [pytest.mark.integration, needs("cgroup pids")]


@peer_deviates("runc", "1.1 writes back what it has just been refused")
@peer_deviates("crun", "takes nothing back")
def test_what_is_refused_is_taken_back(box: Box) -> None:
    """Memory is written by the time that the quota is refused."""
    container = box.running(limited(box, BEFORE))
    before = limits_of(container.pid)
    asked = {
        "memory": {"limit": 32 * MB, "swap": 48 * MB},
        "pids": {"limit": 9},
        "cpu": {"quota": 50000, "period": 2_000_000},  # Kernel: a period has 1 s at most
    }
    update(container, asked).failed("invalid argument")
    assert limits_of(container.pid) == before
    after = {name: value for name, value in remembered(container).items() if name != "devices"}
    assert after == BEFORE


@needs("ours")
def test_limits_that_there_were_not_are_taken_back_too(box: Box) -> None:
    container = box.running(limited(box, {}))
    before = limits_of(container.pid)
    asked = {
        "memory": {"limit": 32 * MB, "swap": 48 * MB},
        "pids": {"limit": 9},
        "cpu": {"shares": 512, "quota": 50000, "period": 2_000_000},
    }
    update(container, asked).failed("to '50000 2000000'" if ON_V2 else "to '2000000'")
    assert limits_of(container.pid) == before


@needs("cgroup v1")
@peer_deviates("crun", "says only what the kernel says")
def test_a_limit_below_the_usage_says_both(box: Box) -> None:
    """Kernel: v1 pushes out what it can and refuses then; the usage tells how much is left."""
    container = box.running(limited(box, {"memory": {"limit": 64 * MB}}))
    refused = by_flags(container, "--memory=4k")
    refused.failed("unable to set memory limit to 4096 (current usage: ")
    assert held(container, *LIMIT) == str(64 * MB)


@needs("cgroup v2")
@peer_deviates("runc", "1.1 says it otherwise", sometimes=True)
def test_a_limit_below_the_usage_is_refused_when_asked(box: Box) -> None:
    container = box.running(limited(box, {"memory": {"limit": 64 * MB}}))
    limits = {"limit": 4096, "checkBeforeUpdate": True}
    update(container, {"memory": limits}).failed("rejecting memory limit 4096 <= usage ")
    assert held(container, *LIMIT) == str(64 * MB)


@needs("cgroup v1")
@peer_deviates("runc", "1.1 says it and leaves the clamped value")
@peer_deviates("crun", "does not look")
def test_clamped_shares_are_told(box: Box) -> None:
    container = box.running(limited(box, BEFORE))
    refused = by_flags(container, "--cpu-share=262145")
    refused.failed("the maximum allowed cpu-shares is 262144")
    assert held(container, *SHARES) == "512"


# Felt inside


@peer_deviates("crun", "takes no -1")
def test_fewer_processes_are_felt(box: Box) -> None:
    reaper = "sleep 1000 & wait"  # takes up orphans too, and forks no more
    container = box.running(limited(box, {"pids": {"limit": 100}}, "sh", "-c", reaper))
    loop = "i=0; while [ $i -lt 40 ]; do sleep 60 >&- 2>&- & i=$((i+1)); done"
    fork = f"{loop}; echo all; kill $(jobs -p)"
    assert container.exec("sh", "-c", fork).ok().stdout == "all\n"
    count = ("pids pids.current", "pids.current")
    wait_until(lambda: int(held(container, *count)) <= 2, "the end of the others", 30)
    by_flags(container, "--pids-limit=25").ok()
    refused = container.exec("sh", "-c", fork)
    assert "can't fork: Resource temporarily unavailable" in refused.stderr
    by_flags(container, "--pids-limit=-1").ok()
    wait_until(lambda: container.exec("sh", "-c", fork).status == 0, "room for more processes", 30)


def test_less_memory_kills(box: Box) -> None:
    limits = {"memory": {"limit": 128 * MB, "swap": 128 * MB}}
    container = box.running(limited(box, limits, "sleep", "60"))
    eat = "x=0123456789abcdef; i=0; while [ $i -lt 21 ]; do x=$x$x; i=$((i+1)); done"
    container.exec("sh", "-c", eat).ok()
    update(container, {"memory": {"limit": 16 * MB, "swap": 16 * MB}}).ok()
    assert container.exec("sh", "-c", eat).status == 128 + signal.SIGKILL
    update(container, {"memory": {"limit": 128 * MB, "swap": 128 * MB}}).ok()
    container.exec("sh", "-c", eat).ok()


def test_a_quota_is_felt(box: Box) -> None:
    container = box.running(limited(box, {}, "sh", "-c", "while :; do :; done"))
    for quota, share in ((10000, 0.1), (5000, 0.05)):
        by_flags(container, "--cpu-period=100000", f"--cpu-quota={quota}").ok()
        # A busy machine gives less than the quota at times; never does anybody get more.
        most, tries = 0.0, 0
        while most < share * 0.85 and tries < 20:
            most, tries = max(most, share_of_cpu(container, 1.0)), tries + 1
        assert most == pytest.approx(share, rel=0.15)


def share_of_cpu(container: Container, seconds: float) -> float:
    """Measure what part of one CPU the container has, by the counter of its cgroup."""
    before, began = cpu_time_us(container), time.monotonic()
    time.sleep(seconds)
    return (cpu_time_us(container) - before) / 1e6 / (time.monotonic() - began)


def cpu_time_us(container: Container) -> int:
    if ON_V2:
        return int(held(container, "", "cpu.stat").split()[1])
    return int(held(container, "cpuacct cpuacct.usage", "")) // 1000


@peer_deviates("crun", "1.8 writes the rules")
def test_devices_stay_as_they_were(box: Box) -> None:
    """Security: whoever may update limits could otherwise open the devices of the host."""
    bundle = limited(box, {})
    bundle.linux["devices"] = [
        {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}
    ]
    container = box.running(bundle)
    update(container, {"devices": [{"allow": True, "access": "rwm"}], "pids": {"limit": 50}}).ok()
    result = container.exec("/probe", "try", "open:/dev/null", "open:/dev/kmsg").ok()
    assert [entry["errno"] for entry in result.json()] == [0, errno.EPERM]
    if not ON_V2:
        rules = held(container, "devices devices.list", "").splitlines()
        assert "a *:* rwm" not in rules


# With others at the same time


@needs("ours")
def test_updates_wait_for_each_other_and_nobody_else_does(box: Box) -> None:
    container = box.running(limited(box, BEFORE))
    record = os.open(box.runtime.root / container.id / "state.json", os.O_RDWR)
    lock(record)
    waiting, result = box.runtime.spawn("update", "--pids-limit=9", container.id)
    assert container.status == "running"
    container.exec("true").ok()
    container.kill("0").ok()
    assert waiting.poll() is None
    assert held(container, *PIDS) == "20"
    os.close(record)
    finish(waiting, result).ok()
    assert held(container, *PIDS) == "9"


@needs("ours")
def test_many_at_once_leave_what_is_remembered(box: Box) -> None:
    container = box.running(limited(box, BEFORE))
    spawned = [
        box.runtime.spawn(
            "update", f"--pids-limit={30 + n}", f"--cpu-share={100 + n}", container.id
        )
        for n in range(8)
    ]
    executed = [box.runtime.spawn("exec", container.id, "true") for _ in range(4)]
    for process, result in spawned + executed:
        finish(process, result).ok()
    after = remembered(container)
    assert held(container, *PIDS) == str(after["pids"]["limit"])
    assert after["cpu"]["shares"] == after["pids"]["limit"] + 70
    assert not list((box.runtime.root / container.id).glob(".config*"))


@needs("ours")
def test_a_delete_in_between_leaves_nothing(box: Box) -> None:
    for delay_s in (0, 0.005, 0.01, 0.02, 0.03, 0.04):
        container = box.running(limited(box, BEFORE))
        updating, said = box.runtime.spawn("update", "--pids-limit=9", container.id)
        time.sleep(delay_s)
        container.delete("--force").ok()
        finish(updating, said)
        if said.status:
            said.failed()
            assert "container not running" in said.said or "does not exist" in said.said, said.said
        assert not (box.runtime.root / container.id).exists()


@needs("ours")
def test_threads_of_a_program_update_one_after_the_other(box: Box) -> None:
    import ocirun

    container = box.running(limited(box, BEFORE))
    handle = ocirun.Container(container.id, root=str(box.runtime.root))
    errors: list[BaseException] = []

    def change(number: int) -> None:
        try:
            for step in range(5):
                handle.update({"pids": {"limit": 100 + number * 10 + step}})
        except BaseException as error:  # noqa: BLE001  # told below
            errors.append(error)

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert held(container, *PIDS) == str(remembered(container)["pids"]["limit"])


@needs("ours")
def test_schemas_need_intel_rdt(box: Box) -> None:
    container = box.running(limited(box, BEFORE))
    for flag in ("--l3-cache-schema=L3:0=f", "--mem-bw-schema=MB:0=10"):
        by_flags(container, flag, "--pids-limit=9").failed("the container has no intelRdt")
    assert held(container, *PIDS) == "20"
