"""Many of something: containers at once and in a row, execs in one, what long-gone ones left.

The `box` looks afterwards that no cgroup, mount, process or folder is left. `make bars` runs the
large numbers. Source: docs/runc-compat/state.md#start-gate, docs/runc-compat/state.md#locking.
"""

from __future__ import annotations

import json
import os
import shutil

from harness import bars, leaks
from harness.box import Box, Container
from harness.faults import Watch
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import finish, wait_until


def test_a_hundred_created_and_deleted_at_once(box: Box) -> None:
    bundle = box.bundle("/probe", "wait")
    bundle.save()
    names = [box.container(bundle).id for _ in range(100)]
    for verb in (["create", "--bundle", bundle.path], ["delete"]):
        calls = [box.runtime.spawn(*verb, name) for name in names]
        for call in calls:
            finish(*call, timeout=120).ok()
    assert leaks.cgroups() == []


def test_one_after_the_other(box: Box) -> None:
    bundle = box.bundle("/probe", "wait")
    for number in range(bars.count(100, 1000)):
        container = box.created(bundle)
        if number % 2:
            container.start().ok()
            container.stop()
        container.delete().ok()
    assert leaks.cgroups() == []
    assert leaks.mounts() == []


def test_fifty_execs_at_once(box: Box) -> None:
    container = box.running()
    calls = [box.runtime.spawn("exec", container.id, "sh", "-c", f"exit {n}") for n in range(50)]
    assert [finish(*call, timeout=60).status for call in calls] == list(range(50))
    wait_until(lambda: len(processes(container)) == 1, "only its init is left")


def test_fifty_detached_execs_at_once(box: Box) -> None:
    container = box.running()
    calls = [
        box.runtime.spawn("exec", "--detach", container.id, "sh", "-c", f"echo {n} >>/out")
        for n in range(50)
    ]
    assert [finish(*call, timeout=60).status for call in calls] == [0] * 50
    out = container.bundle.rootfs / "out"
    wait_until(lambda: len(out.read_text().split()) == 50, "all of them have run")
    leaks.reap({container.pid})


@needs("ours")
def test_what_many_stale_folders_cost(box: Box) -> None:
    """Counted in system calls, which do not depend on the machine: `list` linear, `state` not."""
    container = box.running()
    counts = [1, *(bars.count(part, part * 10) for part in (200, 1000))]
    lists, states = [], []
    with Watch() as watch:
        for number in counts:
            make_stale(container, number)
            for verb, calls in ((["list", "-q"], lists), (["state", container.id], states)):
                watch.begin()
                result = watch.run(box.runtime, *verb, timeout=300).ok()
                calls.append(
                    len([call for call in watch.calls if call.name not in ("mmap", "brk")])
                )
                assert container.id in result.stdout
    assert len(set(states)) == 1
    first, second = (
        (lists[place + 1] - lists[place]) / (counts[place + 1] - counts[place]) for place in (0, 1)
    )
    assert 1 < second < first * 1.1 + 0.1
    for number in range(counts[-1]):
        shutil.rmtree(box.runtime.root / f"{container.id}-stale{number}")


def make_stale(container: Container, count: int) -> None:
    """Let there be `count` folders of containers whose machine was rebooted since."""
    folder = container.runtime.root / container.id
    record = json.loads((folder / "state.json").read_text())
    for number in range(count):
        stale = container.runtime.root / f"{container.id}-stale{number}"
        if stale.exists():
            continue
        stale.mkdir()
        name = {"id": stale.name, "init_process_start": 1}
        (stale / "state.json").write_text(json.dumps({**record, **name}))


def processes(container: Container) -> list[int]:
    found: list[int] = container.runtime.call("ps", "--format", "json", container.id).ok().json()
    return found


@needs("ours")
def test_a_pid_that_somebody_else_has_now(box: Box) -> None:
    """The record names a process by pid and start time; one that only has the pid is let be."""
    container = box.running()
    other = box.running()
    file = box.runtime.root / container.id / "state.json"
    record = json.loads(file.read_text())
    true_pid = container.pid
    record["init_process_pid"] = other.pid
    file.write_text(json.dumps(record))
    assert container.status == "stopped"
    container.kill("KILL").failed("container not running")
    container.exec("true").failed("stopped", status=255)
    os.kill(true_pid, 9)
    leaks.reap({other.pid})
    container.delete().ok()
    assert other.status == "running"


@peer_deviates("runc", "delete logs that the folder stays, and succeeds")
@peer_deviates("crun", "makes its root directory first for every verb", sometimes=True)
def test_a_root_that_cannot_be_written(box: Box) -> None:
    container = box.running()
    root = os.fsencode(box.runtime.root)
    remount(root, read_only=True)
    try:
        assert container.status == "running"
        box.container(container.bundle).create().failed("read-only file system")
        container.kill("KILL").ok()
        wait_until(lambda: container.status == "stopped", "stopped")
        container.delete().failed("read-only file system")
        assert container.status == "stopped"
    finally:
        remount(root, read_only=False)
    container.delete().ok()


def remount(root: bytes, *, read_only: bool) -> None:
    """Make the folder a mount point of its own that is read-only, or take that away again."""
    from harness.machine import MNT_DETACH, libc_call

    if read_only:
        bind, remount_ro = 4096, 1 | 32 | 4096
        libc_call("mount", root, root, None, bind, None)
        libc_call("mount", None, root, None, remount_ro, None)
    else:
        libc_call("umount2", root, MNT_DETACH)
