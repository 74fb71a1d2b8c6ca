"""`update`: the limits of a container that is there, changed; on cgroup v1 and on v2.

Source: docs/runc-compat/cli.md#update, docs/runc-compat/cgroups.md#conversion-of-resources;
runtime-spec config-linux.md#control-groups.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness.box import Box
from harness.cgroups import MB
from harness.limits import block_device, limits_of
from harness.needs import needs
from harness.peers import peer_deviates
from harness.updating import (
    BEFORE,
    ENDLESS,
    LIMIT,
    ON_V2,
    PERIOD,
    PIDS,
    QUOTA,
    SHARES,
    SUM,
    by_flags,
    held,
    limited,
    remembered,
    update,
)  # fmt: skip

pytestmark = needs("cgroup pids")

KNOWN_TO_CRUN = (["--cpu-share", "1024"], ["--cpu-quota", "20000"], ["--pids-limit", "7"],
                 ["--cpuset-cpus", "0"], ["--cpuset-mems", "0"])  # fmt: skip


@pytest.mark.lab
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
def test_each_flag_writes_its_limit(
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


@pytest.mark.lab
@pytest.mark.parametrize(
    ("flag", "file", "value"),
    [
        ("--cpu-burst=10000", ("cpu cpu.cfs_burst_us", "cpu.max.burst"), "10000"),
        ("--cpu-idle=1", ("cpu cpu.idle", "cpu.idle"), "1"),
        ("--blkio-weight=300", ("blkio blkio.bfq.weight", "io.bfq.weight"), "300"),
    ],
)
@peer_deviates("runc", "1.1 has neither burst nor idle", sometimes=True)
@peer_deviates("crun", "1.8 has neither, and cannot set a BFQ weight", sometimes=True)
def test_flags_that_came_later(box: Box, flag: str, file: tuple[str, str], value: str) -> None:
    container = box.running(limited(box, BEFORE))
    held(container, *file)
    by_flags(container, flag).ok()
    assert held(container, *file).removeprefix("default ") == value


@pytest.mark.lab
@needs("ours")
def test_idle_and_back(box: Box) -> None:
    """An idle cgroup has the least shares; it takes others once it is not idle any more."""
    container = box.running(limited(box, BEFORE))
    held(container, "cpu cpu.idle", "cpu.idle")
    by_flags(container, "--cpu-idle=1").ok()
    # Kernel: on v2 such a weight reads as 0 or as 1, by the age of the kernel.
    assert held(container, *SHARES) in ("01" if ON_V2 else "3")
    by_flags(container, "--memory=32m").ok()
    by_flags(container, "--cpu-idle=0", "--cpu-share=1024").ok()
    assert held(container, *SHARES) == ("100" if ON_V2 else "1024")
    assert remembered(container)["cpu"]["shares"] == 1024


@pytest.mark.lab
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


@pytest.mark.lab
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


@pytest.mark.lab
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


@pytest.mark.lab
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
