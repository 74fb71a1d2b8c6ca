"""Each step of a clean-up is tried, whatever became of the one before; nobody else is hit.

A failing poststop hook, a foreign process in the cgroup, a state root that turned read-only: the
rest goes all the same, and the program's exit status is not lost.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness.box import Box
from harness.machine import MNT_DETACH, cgroup_hierarchies, libc_call
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import finish, wait_until

MS_RDONLY, MS_REMOUNT, MS_BIND = 1, 32, 4096
CLONE_NEWPID = 0x20000000


def _hook(*args: str, **members: object) -> dict[str, object]:
    return {"path": args[0], "args": list(args), **members}


FAILING = {
    "status": _hook("/bin/false"),
    "missing": _hook("/no/such/program"),
    "a folder": _hook("/tmp"),
    "killed": _hook("/bin/sh", "-c", "kill -9 $$"),
    "too slow": _hook("/bin/sleep", "20", timeout=1),
    "a NUL in its path": {"path": "/bin/true\0"},
    "a NUL in an argument": _hook("/bin/true", "\0"),
    "env without =": _hook("/bin/true", env=["NOTHING"]),
    "env of a NUL": _hook("/bin/true", env=["A=\0"]),
    "a long argument": _hook("/bin/true", "x" * (1 << 18)),
}


@needs("ours")
@pytest.mark.parametrize("fault", FAILING)
def test_a_poststop_hook_that_fails_stops_nothing(box: Box, fault: str) -> None:
    bundle = box.bundle("true")
    ran = box.folder / "ran"
    container = box.container(bundle)
    bundle.config["hooks"] = {"poststop": [_hook("/bin/touch", str(ran))]}
    container.create().ok()
    config = box.runtime.root / container.id / "config.json"
    kept = json.loads(config.read_text())
    kept["hooks"]["poststop"].insert(0, FAILING[fault])
    config.write_text(json.dumps(kept))
    container.start().ok()
    container.wait_status("stopped")
    done = container.delete().ok()
    assert "internal error" not in done.said
    assert not (box.runtime.root / container.id).exists()
    if "config.json" not in done.log:  # what breaks a rule of the document runs nothing
        assert ran.exists(), done.story()
        assert "poststop hook #0" in done.log or fault == "env without =", done.story()


@needs("ours", "cgroup v1")
def test_a_foreign_process_in_the_cgroup_does_not_lose_the_status(box: Box) -> None:
    bundle = box.bundle("sh", "-c", "echo ready; read x; exit 7")
    container = box.container(bundle)
    reader, writer = os.pipe()
    bundle.save()
    runner, result = box.runtime.spawn("run", "--bundle", bundle.path, container.id, stdin=reader)
    os.close(reader)
    wait_until(lambda: "ready" in result.stdout, "the program")
    stranger = subprocess.Popen(["sleep", "100"])
    (cgroup := _cgroup(container.id)) and (cgroup / "cgroup.procs").write_text(str(stranger.pid))
    os.close(writer)
    assert finish(runner, result).status == 7
    assert "removing cgroup" in result.log
    assert stranger.poll() is None
    assert not (box.runtime.root / container.id).exists()
    stranger.kill()
    stranger.wait()
    wait_until(lambda: _rmdir(cgroup), "an empty cgroup")


@needs("ours")
def test_a_root_that_turned_read_only_does_not_lose_the_status(box: Box) -> None:
    bundle = box.bundle("sh", "-c", "echo ready; read x; exit 7")
    container = box.container(bundle)
    root = bytes(box.runtime.root)
    box.runtime.root.mkdir(mode=0o700)
    libc_call("mount", root, root, None, MS_BIND, None)
    try:
        reader, writer = os.pipe()
        bundle.save()
        words = ("run", "--bundle", bundle.path, container.id)
        runner, result = box.runtime.spawn(*words, stdin=reader)
        os.close(reader)
        wait_until(lambda: "ready" in result.stdout, "the program")
        # `run` removes the gate when the program runs, and fails where it cannot.
        gate = box.runtime.root / container.id / "started.fifo"
        wait_until(lambda: not gate.exists(), "a program that was started")
        libc_call("mount", None, root, None, MS_REMOUNT | MS_BIND | MS_RDONLY, None)
        os.close(writer)
        assert finish(runner, result).status == 7
        assert "read-only file system" in result.log
    finally:
        libc_call("umount2", root, MNT_DETACH)
    container.delete("--force").ok()


@needs("ours")
def test_run_needs_no_pidfd_open(box: Box) -> None:
    """Where it is refused nothing is left behind, and what runs is waited for."""
    container = box.container(None, "sh", "-c", "exit 7")
    container.bundle.save()
    argv = box.runtime.prepare("run", "--bundle", container.bundle.path, container.id).argv
    done = subprocess.run(
        ["strace", "-qq", "-o", "/dev/null", "-e", "trace=pidfd_open",
         "-e", "inject=pidfd_open:error=EPERM", *argv],
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert not (box.runtime.root / container.id).exists()


@peer_deviates("runc", "1.1 refuses: container not running")
@peer_deviates("crun", "signals init alone")
def test_kill_reaches_what_init_left_in_a_shared_pid_namespace(box: Box) -> None:
    bundle = box.bundle("sh", "-c", "sleep 1000 & echo ready")
    bundle.drop_namespace("pid")
    container = box.container(bundle)
    container.create().ok()
    container.start().ok()
    container.wait_output("ready")
    container.wait_status("stopped")
    container.kill("TERM").failed("container not running")
    container.kill("KILL").ok()
    wait_until(lambda: not _members(container.id), "all have ended")
    container.kill("KILL").failed("container not running")
    container.delete().ok()


@needs("ours")
def test_exec_that_races_a_kill_says_that_it_stopped(box: Box) -> None:
    """Not "cannot allocate memory", which is what the kernel says of a dying pid namespace."""
    said = set()
    for _ in range(30):
        container = box.running(None, "sh", "-c", "sleep 1000 & sleep 1000 & wait")
        calls = [box.runtime.spawn("exec", container.id, "true") for _ in range(3)]
        time.sleep(0.012)
        container.kill("KILL").ok()
        for call in calls:
            done = finish(*call)
            if done.status and done.log_lines:  # else the program ran, and was killed
                said.add(done.log_lines[-1]["msg"])
        container.delete("--force").ok()
    for words in said:
        assert "stopped container" in words, said


@needs("ours", "root")
def test_processes_of_a_foreign_pid_namespace_are_not_signalled(box: Box) -> None:
    """Kernel: cgroup.procs of v2 has 0 for them, which is our own process group to kill(2)."""
    top = cgroup_hierarchies().get("")
    if top is None:
        pytest.skip("no cgroup v2 controllers")
    folder = top / f"{box.folder.name}-{os.getpid()}"
    folder.mkdir()
    stranger = subprocess.Popen(["sleep", "100"])
    try:
        (folder / "cgroup.procs").write_text(str(stranger.pid))
        script = (
            "from ocirun.cgroups.directories import members_below, processes_below\n"
            "from ocirun.cgroups.kill import kill_one\n"
            f"print(members_below('{folder}'), processes_below('{folder}'))\n"
            "kill_one(0); kill_one(-1); print('alive')"
        )
        done = subprocess.run(
            ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", script],
            capture_output=True, text=True, check=True, start_new_session=True,
        )  # fmt: skip
        assert done.stdout.split("\n")[:2] == ["[0] []", "alive"]
        assert stranger.poll() is None
    finally:
        stranger.send_signal(signal.SIGKILL)
        stranger.wait()
        wait_until(lambda: _rmdir(folder), "an empty cgroup")


@needs("ours")
def test_a_poststart_hook_that_fails_ends_in_deletion(box: Box) -> None:
    """runtime.md#lifecycle, step 9: an error, stop, and on to step 12: destroy, poststop hooks."""
    bundle = box.bundle("/probe", "wait")
    ran = box.folder / "ran"
    bundle.config["hooks"] = {
        "poststart": [_hook("/bin/false")],
        "poststop": [_hook("/bin/touch", str(ran))],
    }
    container = box.created(bundle)
    pid = container.pid
    container.start().failed("error running poststart hook #0")
    assert ran.exists()
    box.runtime.call("state", container.id).failed("does not exist")
    container.delete("--force").ok()
    assert not Path(f"/proc/{pid}/exe").exists()


def _cgroup(container_id: str) -> Path:
    for top in cgroup_hierarchies().values():
        for folder, _, _ in os.walk(top):
            if os.path.basename(folder) == container_id and "devices" in folder:
                return Path(folder)
    raise AssertionError("no cgroup")


def _members(container_id: str) -> list[str]:
    return (_cgroup(container_id) / "cgroup.procs").read_text().split()


def _rmdir(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return False
    return True
