"""`update`: the limits of a container that is there, changed; on cgroup v1 and on v2.

Source: contract 1.13, 5.4; runtime-spec config-linux.md#control-groups.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import threading
import time
from typing import Any

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.cgroups import LAYOUT, MB
from harness.limits import block_device, directories_of, limits_of
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import Result, finish, wait_until

pytestmark = [pytest.mark.lab, needs("cgroup pids")]

ON_V2 = LAYOUT == "v2"
NOT_IN_RUNC = "takes only some keys: 1.1 has neither burst nor idle, later ones not the rest"
NOT_IN_CRUN = "crun sets the rest of a section anew, or has not this key"


def update(container: Container, resources: dict[str, Any], *flags: str) -> Result:
    """As containerd does it: the resources on stdin."""
    document = json.dumps(resources).encode()
    return container.runtime.call("update", "--resources=-", *flags, container.id, stdin=document)


def by_flags(container: Container, *flags: str) -> Result:
    return container.runtime.call("update", *flags, container.id)


def limited(box: Box, resources: dict[str, Any], *args: str) -> Bundle:
    bundle = box.bundle(*(args or ("/probe", "wait")))
    bundle.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}], **resources}
    return bundle


def held(container: Container, v1: str, v2: str) -> str:
    """Read one file of the container's cgroup, of the one or of the other layout."""
    controller, _, file = v1.partition(" ")
    directories = directories_of(container.pid)
    path = directories[""] / v2 if ON_V2 else directories[controller] / file
    if not path.exists():
        pytest.skip(f"this kernel has no {path.name}")
    return path.read_text().strip()


def remembered(container: Container) -> dict[str, Any]:
    """Read the resources that ocirun takes to be in force."""
    config = json.loads((container.runtime.root / container.id / "config.json").read_text())
    resources: dict[str, Any] = config["linux"]["resources"]
    return resources


BEFORE: dict[str, Any] = {
    "memory": {"limit": 64 * MB, "swap": 128 * MB},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000},
    "pids": {"limit": 20},
}
LIMIT = ("memory memory.limit_in_bytes", "memory.max")
SUM = ("memory memory.memsw.limit_in_bytes", "memory.swap.max")
SHARES = ("cpu cpu.shares", "cpu.weight")
QUOTA = ("cpu cpu.cfs_quota_us", "cpu.max")
PERIOD = ("cpu cpu.cfs_period_us", "cpu.max")
PIDS = ("pids pids.max", "pids.max")
KNOWN_TO_CRUN = (["--cpu-share", "1024"], ["--cpu-quota", "20000"], ["--pids-limit", "7"],
                 ["--cpuset-cpus", "0"], ["--cpuset-mems", "0"])  # fmt: skip
ENDLESS = str(2**63 - 4096)


@pytest.mark.parametrize(
    ("flags", "file", "on_v1", "on_v2"),
    [
        (["--memory", "32m"], LIMIT, str(32 * MB), str(32 * MB)),
        (["--memory", "32m"], SUM, str(128 * MB), str(96 * MB)),
        (["--memory", "96m", "--memory-swap", "96m"], SUM, str(96 * MB), "0"),
        (["--memory", "32m", "--memory-swap", "48m"], SUM, str(48 * MB), str(16 * MB)),
        (["--memory", "256m", "--memory-swap", "512m"], LIMIT, str(256 * MB), str(256 * MB)),
        (["--memory", "-1"], LIMIT, ENDLESS, "max"),
        (["--memory", "-1"], SUM, ENDLESS, "max"),
        (["--memory-swap", "-1"], SUM, ENDLESS, "max"),
        (["--memory-reservation", "16m"], ("memory memory.soft_limit_in_bytes", "memory.low"),
         str(16 * MB), str(16 * MB)),
        (["--cpu-share", "1024"], SHARES, "1024", "100"),
        (["--cpu-quota", "20000"], QUOTA, "20000", "20000 100000"),
        (["--cpu-period", "200000"], PERIOD, "200000", "50000 200000"),
        (["--cpu-period", "200000"], QUOTA, "50000", "50000 200000"),
        (["--cpu-quota", "4000", "--cpu-period", "5000"], QUOTA, "4000", "4000 5000"),
        (["--cpu-quota", "-1"], QUOTA, "-1", "max 100000"),
        (["--cpuset-cpus", "0"], ("cpuset cpuset.cpus", "cpuset.cpus"), "0", "0"),
        (["--cpuset-mems", "0"], ("cpuset cpuset.mems", "cpuset.mems"), "0", "0"),
        (["--pids-limit", "7"], PIDS, "7", "7"),
        (["--pids-limit", "-1"], PIDS, "max", "max"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_each_flag(
    box: Box, flags: list[str], file: tuple[str, str], on_v1: str, on_v2: str
) -> None:
    container = box.running(limited(box, BEFORE))
    if box.runtime.name == "runc" and ON_V2 and "--cpu-share" in flags:
        pytest.xfail("1.1 has the old formula for shares")
    if box.runtime.name == "crun" and not ON_V2 and flags[:2] not in KNOWN_TO_CRUN:
        pytest.xfail("takes no sizes like 32m, sets the other half anew, or takes no -1")
    words = [f"{name}={value}" for name, value in zip(flags[::2], flags[1::2], strict=True)]
    by_flags(container, *words).ok()
    assert held(container, *file) == (on_v2 if ON_V2 else on_v1)


@pytest.mark.parametrize(
    ("flag", "file", "value"),
    [
        ("--cpu-burst=10000", ("cpu cpu.cfs_burst_us", "cpu.max.burst"), "10000"),
        ("--cpu-idle=1", ("cpu cpu.idle", "cpu.idle"), "1"),
        ("--blkio-weight=300", ("blkio blkio.bfq.weight", "io.bfq.weight"), "300"),
    ],
)
@peer_deviates("runc", NOT_IN_RUNC, sometimes=True)
@peer_deviates("crun", NOT_IN_CRUN, sometimes=True)
def test_flags_that_came_later(box: Box, flag: str, file: tuple[str, str], value: str) -> None:
    container = box.running(limited(box, BEFORE))
    held(container, *file)
    by_flags(container, flag).ok()
    assert held(container, *file) == value


@needs("ours")
def test_idle_and_back(box: Box) -> None:
    """An idle cgroup has the least shares; it takes others once it is not idle any more."""
    container = box.running(limited(box, BEFORE))
    held(container, "cpu cpu.idle", "cpu.idle")
    by_flags(container, "--cpu-idle=1").ok()
    assert held(container, *SHARES) == ("0" if ON_V2 else "3")
    by_flags(container, "--memory=32m").ok()
    by_flags(container, "--cpu-idle=0", "--cpu-share=1024").ok()
    assert held(container, *SHARES) == ("100" if ON_V2 else "1024")
    assert remembered(container)["cpu"]["shares"] == 1024


@needs("ours")
def test_bursts_follow_their_quota(box: Box) -> None:
    """A burst never exceeds the quota: both grow and shrink together, and 0 takes it away."""
    file = ("cpu cpu.cfs_burst_us", "cpu.max.burst")
    container = box.running(limited(box, BEFORE))
    held(container, *file)
    for quota, burst in ((80000, 70000), (20000, 10000), (60000, 60000)):
        update(container, {"cpu": {"quota": quota, "burst": burst}}).ok()
        assert held(container, *file) == str(burst)
    update(container, {"cpu": {"burst": 0}}).ok()
    assert held(container, *file) == "0"


@needs("cgroup v1")
@peer_deviates("runc", "1.1 does not try the period again")
@peer_deviates("crun", "does not try the period again")
def test_realtime_periods_and_runtimes_fit_each_other(box: Box) -> None:
    files = ("cpu cpu.rt_period_us", ""), ("cpu cpu.rt_runtime_us", "")
    container = box.running(limited(box, BEFORE))
    held(container, *files[0])
    for period, runtime in ((500000, 1000), (900, 500), (1000000, 20000)):
        flags = f"--cpu-rt-period={period}", f"--cpu-rt-runtime={runtime}"
        by_flags(container, *flags).ok()
        assert [held(container, *file) for file in files] == [str(period), str(runtime)]


@needs("cgroup v1", "ours")
def test_swappiness_and_the_killer(box: Box) -> None:
    container = box.running(limited(box, BEFORE))
    for asked in (True, False):
        update(container, {"memory": {"swappiness": 7, "disableOOMKiller": asked}}).ok()
        assert held(container, "memory memory.swappiness", "") == "7"
        killer = held(container, "memory memory.oom_control", "")
        assert f"oom_kill_disable {int(asked)}" in killer


@needs("ours")
def test_throttles_are_one_for_each_device(box: Box) -> None:
    major, minor = block_device()
    entry = {"major": major, "minor": minor}
    container = box.running(limited(box, {}))
    file = ("blkio blkio.throttle.read_bps_device", "io.max")
    for rate in (MB, 2 * MB):
        limits = {"blockIO": {"throttleReadBpsDevice": [{**entry, "rate": rate}]}}
        update(container, limits).ok()
        on_v2 = f"{major}:{minor} rbps={rate} wbps=max riops=max wiops=max"
        assert held(container, *file) == (on_v2 if ON_V2 else f"{major}:{minor} {rate}")
        assert remembered(container)["blockIO"] == limits["blockIO"]
    update(container, {"blockIO": {"throttleReadBpsDevice": [{**entry, "rate": 0}]}}).ok()
    assert held(container, *file) == ""


@pytest.mark.parametrize("way", ["file", "stdin", "stdin as another word", "library"])
def test_each_way_to_give_resources(box: Box, way: str) -> None:
    """podman has a file, containerd and CRI-O have standard input; other flags do not count."""
    container = box.running(limited(box, BEFORE))
    resources: dict[str, Any] = {"memory": {"limit": 32 * MB}, "pids": {"limit": 9}}
    if box.runtime.name == "ours":
        resources["cpu"] = None  # runc 1.1 crashes
    text = json.dumps(resources)
    if way == "file":
        path = container.bundle.path / "new.json"
        path.write_text(text)
        by_flags(container, f"--resources={path}", "--pids-limit=3").ok()
    elif way == "stdin":
        update(container, resources, "--memory=1g").ok()
    elif way == "library":
        if box.runtime.name != "ours":
            pytest.skip(f"this is not about {box.runtime.name}")
        import ocirun

        ocirun.Container(container.id, root=str(box.runtime.root)).update(resources)  # type: ignore[arg-type]
        assert resources["cpu"] is None, "the caller's own document was changed"
    else:
        box.runtime.call("update", "-r", "-", container.id, stdin=text.encode()).ok()
    assert held(container, *PIDS) == "9"
    assert held(container, *LIMIT) == str(32 * MB)


@pytest.mark.parametrize("status", ["created", "paused"])
def test_not_only_while_it_runs(box: Box, status: str) -> None:
    container = box.created(limited(box, BEFORE))
    if status == "paused":
        container.start().ok()
        container.wait_output("ready")
        box.runtime.call("pause", container.id).ok()
    update(container, {"pids": {"limit": 9}, "memory": {"limit": 32 * MB}}).ok()
    assert held(container, *PIDS) == "9"
    assert container.status == status


@peer_deviates("crun", "asks only for the cgroup, which is still there")
def test_a_stopped_container_is_refused(box: Box) -> None:
    container = box.running(limited(box, BEFORE))
    container.stop()
    by_flags(container, "--pids-limit=9").failed("container not running")
    container.delete().ok()
    by_flags(container, "--pids-limit=9").failed("does not exist")


@peer_deviates("crun", "writes the zeros")
def test_nothing_is_changed_by_nothing(box: Box) -> None:
    container = box.running(limited(box, BEFORE))
    before = limits_of(container.pid)
    update(container, {}).ok()
    update(container, {"memory": {"limit": 0, "swap": 0}, "cpu": {"shares": 0, "quota": 0}}).ok()
    assert limits_of(container.pid) == before


def test_what_is_left_out_stays(box: Box) -> None:
    container = box.running(limited(box, {**BEFORE, "cpu": {**BEFORE["cpu"], "cpus": "0"}}))
    before = limits_of(container.pid)
    update(container, {"pids": {"limit": 9}}).ok()
    changed = {
        file for file, lines in limits_of(container.pid).items() if lines != before.get(file)
    }
    assert changed == {"/pids.max" if ON_V2 else "pids/pids.max"}


@needs("ours")
def test_the_next_update_starts_from_the_last(box: Box) -> None:
    container = box.running(limited(box, BEFORE))
    by_flags(container, "--cpu-quota=20000").ok()
    by_flags(container, "--cpu-period=40000").ok()
    by_flags(container, "--memory-swap=96m").ok()
    by_flags(container, "--memory=48m").ok()
    after = {name: value for name, value in remembered(container).items() if name != "devices"}
    assert after == {
        "memory": {"limit": 48 * MB, "swap": 96 * MB},
        "cpu": {"shares": 512, "quota": 20000, "period": 40000},
        "pids": {"limit": 20},
    }
    assert held(container, *QUOTA) == ("20000 40000" if ON_V2 else "20000")
    assert held(container, *SUM) == str((48 if ON_V2 else 96) * MB)


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"memory": {"limit": "64m"}}, "/memory/limit: must be a whole number"),
        ({"pids": {"limit": 1.5}}, "/pids/limit: must be a whole number"),
        ({"memory": {"swappiness": 101}}, "/memory/swappiness: must be from 0 to 100"),
        ({"unified": {"../x": "1"}}, "must be a file name (no slashes)"),
        ({"hugepageLimits": [{"pageSize": "2M", "limit": 1}]}, "/hugepageLimits/0/pageSize"),
        ([], "must be an object"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@needs("ours")
def test_resources_are_checked_like_those_of_config_json(
    box: Box,
    resources: Any,  # noqa: ANN401
    words: str,
) -> None:
    container = box.running(limited(box, BEFORE))
    before = limits_of(container.pid)
    update(container, resources).failed(f"standard input: {words}" if words[0] == "/" else words)
    assert limits_of(container.pid) == before


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
    container = box.running(limited(box, {"pids": {"limit": 100}}, "sleep", "60"))
    fork = "for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; echo all; kill %1 %2 %3 %4 %5 %6 %7 %8"
    assert container.exec("sh", "-c", fork).ok().stdout == "all\n"
    by_flags(container, "--pids-limit=4").ok()
    refused = container.exec("sh", "-c", fork)
    assert "can't fork: Resource temporarily unavailable" in refused.stderr
    by_flags(container, "--pids-limit=-1").ok()
    wait_until(lambda: container.exec("sh", "-c", fork).status == 0, "room for more processes")


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
    for quota, share in ((20000, 0.2), (10000, 0.1)):
        by_flags(container, "--cpu-period=100000", f"--cpu-quota={quota}").ok()
        # Less than the quota is what a busy machine gives; more would be the limit's fault.
        shares = [share_of_cpu(container, 1.0) for _ in range(3)]
        assert max(shares) == pytest.approx(share, rel=0.15), shares


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
    record = os.open(box.runtime.root / container.id / "state.json", os.O_RDONLY)
    fcntl.flock(record, fcntl.LOCK_EX)
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
