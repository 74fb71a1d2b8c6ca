"""containerd's shim, driven by ctr; what ctr cannot ask for, update, test_cri.py does."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
from pathlib import Path

import pytest
from harness.machine import cgroup_hierarchies, has_tool

from clients.calls import call, call_on_terminal, wait_until
from clients.containerd import Ctr
from clients.needs import skip_without


def test_exit_code(ctr: Ctr) -> None:
    ctr.run("sh", "-c", "exit 7").expect(7)


def test_stdout_and_stderr_apart(ctr: Ctr) -> None:
    done = ctr.run("sh", "-c", "echo one; echo two >&2").expect()
    assert (done.out, done.err) == ("one\n", "two\n")


def test_death_by_signal(ctr: Ctr) -> None:
    ctr.run("sh", "-c", "kill -9 $$", options=("--rm",)).expect(0)  # init ignores its own signals
    ctr.run("sh", "-c", "sh -c 'kill -9 $$'; exit $?").expect(137)


def test_terminal(ctr: Ctr) -> None:
    done = ctr.run_on_terminal("sh", "-c", "tty; stty size; exit 5").expect(5)
    assert "/dev/pts/0" in done.out or "/dev/console" in done.out


def test_shell_on_terminal(ctr: Ctr) -> None:
    done = ctr.run_on_terminal("sh", given=b"echo $((6*7))\nexit 3\n").expect(3)
    assert "42" in done.out.split()


def test_detached_with_pid_file(ctr: Ctr, tmp_path: Path) -> None:
    name = ctr.start(options=("--pid-file", tmp_path / "pid"))
    comm = Path(f"/proc/{int((tmp_path / 'pid').read_text())}/comm")
    # runc is done before its init has executed the program.
    wait_until(lambda: comm.read_text() in ("sleep\n", "busybox\n"), "the program")
    assert ctr.status(name) == "RUNNING"
    ctr.task("kill", "-s", "SIGKILL", name).expect()
    wait_until(lambda: ctr.status(name) == "STOPPED", "the task's end")
    assert ctr.remove(name) == 137


def test_kill_with_a_handled_signal(ctr: Ctr) -> None:
    name = ctr.start("sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done")
    wait_until(lambda: "TERM" not in ctr.exec(name, "true").said, "the shell")
    ctr.task("kill", name).expect()
    wait_until(lambda: ctr.status(name) == "STOPPED", "the task's end")
    assert ctr.remove(name) == 9


def test_kill_of_a_stopped_task(ctr: Ctr) -> None:
    name = ctr.start("true")
    wait_until(lambda: ctr.status(name) == "STOPPED", "the task's end")
    done = ctr.task("kill", name).expect(1)
    assert "not found" in done.err


def test_exec(ctr: Ctr) -> None:
    name = ctr.start()
    done = ctr.exec(name, "sh", "-c", "echo one; echo two >&2; exit 11").expect(11)
    assert (done.out, done.err) == ("one\n", "two\n")


def test_exec_on_terminal(ctr: Ctr) -> None:
    name = ctr.start()
    words = ctr.daemon.words("task", "exec", "-t", "--exec-id", "t", name)
    done = call_on_terminal(*words, "sh", "-c", "tty; exit 6").expect(6)
    assert "/dev/pts/" in done.out


def test_exec_detached(ctr: Ctr, tmp_path: Path) -> None:
    mount = f"type=bind,src={tmp_path},dst=/mnt,options=rbind:rw"
    name = ctr.start(options=("--mount", mount))
    ctr.exec(name, "sh", "-c", "echo done >/mnt/file", options=("-d",)).expect()
    wait_until((tmp_path / "file").exists, "the file of the detached process")


def test_exec_killed_by_its_id(ctr: Ctr) -> None:
    name = ctr.start()
    ctr.daemon.ctr("task", "exec", "-d", "--exec-id", "sleeper", name, "sleep", "500").expect()
    assert len(ctr.task("ps", name).expect().out.splitlines()) == 3
    ctr.task("kill", "-s", "SIGKILL", "--exec-id", "sleeper", name).expect()
    wait_until(lambda: len(ctr.task("ps", name).out.splitlines()) == 2, "the sleeper's end")
    assert ctr.status(name) == "RUNNING"


def test_exec_as_user_in_folder(ctr: Ctr) -> None:
    name = ctr.start()
    done = ctr.exec(name, "sh", "-c", "id -u; pwd", options=("--user", "daemon", "--cwd", "/tmp"))
    assert done.expect().out == "2\n/tmp\n"


def test_processes(ctr: Ctr, tmp_path: Path) -> None:
    name = ctr.start(options=("--pid-file", tmp_path / "pid"))
    done = ctr.task("ps", name).expect()
    assert [line.split()[0] for line in done.out.splitlines()] == [
        "PID",
        (tmp_path / "pid").read_text(),
    ]


def test_pause_and_resume(ctr: Ctr) -> None:
    name = ctr.start()
    ctr.task("pause", name).expect()
    assert ctr.status(name) == "PAUSED"
    ctr.task("resume", name).expect()
    assert ctr.status(name) == "RUNNING"
    ctr.exec(name, "true").expect()


def test_metrics(ctr: Ctr) -> None:
    name = ctr.start()
    done = ctr.task("metrics", name).expect()
    assert "memory.usage_in_bytes" in done.out or "memory.usage" in done.out


def test_forced_removal(ctr: Ctr) -> None:
    name = ctr.start("sh", "-c", "sleep 1000 & sleep 1000")
    ctr.task("rm", "-f", name).expect()
    assert ctr.status(name) == ""


def test_memory_limit(ctr: Ctr, tmp_path: Path) -> None:
    name = ctr.start(options=("--memory-limit", "67108864", "--pid-file", tmp_path / "pid"))
    assert name
    pid = (tmp_path / "pid").read_text()
    assert _limit(pid, "memory", "memory.limit_in_bytes", "memory.max") == "67108864"


def test_cpu_limit(ctr: Ctr, tmp_path: Path) -> None:
    ctr.start(options=("--cpus", "0.5", "--pid-file", tmp_path / "pid"))
    pid = (tmp_path / "pid").read_text()
    assert _limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"


def test_out_of_memory(ctr: Ctr) -> None:
    eat = "dd if=/dev/zero of=/dev/null bs=200M count=1"
    ctr.run("sh", "-c", eat, options=("--rm", "--memory-limit", "33554432")).expect(137)


def test_default_seccomp_profile(ctr: Ctr) -> None:
    done = ctr.run(
        "sh",
        "-c",
        "grep Seccomp: /proc/self/status; mount -t tmpfs t /tmp",
        options=("--rm", "--seccomp", "--cap-add", "CAP_SYS_ADMIN"),
    ).expect(0)
    assert "Seccomp:\t2" in done.out


def test_read_only_root(ctr: Ctr) -> None:
    done = ctr.run("touch", "/file", options=("--rm", "--read-only")).expect(1)
    assert "Read-only file system" in done.err


def test_dropped_capability(ctr: Ctr) -> None:
    show = ("grep", "CapBnd", "/proc/self/status")
    all_of_them = ctr.run(*show).expect().out
    fewer = ctr.run(*show, options=("--rm", "--cap-drop", "CAP_CHOWN")).expect().out
    assert int(all_of_them.split()[1], 16) ^ int(fewer.split()[1], 16) == 1


def test_environment_and_folder(ctr: Ctr) -> None:
    done = ctr.run("sh", "-c", "echo $A; pwd", options=("--rm", "--env", "A=b c", "--cwd", "/etc"))
    assert done.expect().out == "b c\n/etc\n"


def test_bind_mount(ctr: Ctr, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello\n")
    mount = f"type=bind,src={tmp_path},dst=/mnt,options=rbind:ro"
    done = ctr.run(
        "sh", "-c", "cat /mnt/file; touch /mnt/other", options=("--rm", "--mount", mount)
    )
    assert done.expect(1).out == "hello\n"
    assert "Read-only" in done.err


def test_host_network(ctr: Ctr) -> None:
    own = Path("/proc/self/ns/net").readlink()
    done = ctr.run("ls", "-l", "/proc/self/ns/net", options=("--rm", "--net-host")).expect()
    assert str(own) in done.out


def test_joined_network_namespace(ctr: Ctr, tmp_path: Path) -> None:
    ctr.start(options=("--pid-file", tmp_path / "pid"))
    path = f"/proc/{(tmp_path / 'pid').read_text()}/ns/net"
    done = ctr.run(
        "ls", "-l", "/proc/self/ns/net", name="d", options=("--rm", "--with-ns", f"network:{path}")
    ).expect()
    assert str(Path(path).readlink()) in done.out


def test_user_namespace(ctr: Ctr) -> None:
    options = ("--rm", "--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000")
    done = ctr.run("cat", "/proc/self/uid_map", options=options).expect()
    assert done.out.split() == ["0", "100000", "1000"]


def test_privileged(ctr: Ctr) -> None:
    done = ctr.run(
        "sh",
        "-c",
        "mount -t tmpfs t /tmp && grep ' /tmp ' /proc/mounts",
        options=("--rm", "--privileged"),
    ).expect()
    assert "tmpfs" in done.out


def test_root_folder(ctr: Ctr, tree: Path) -> None:
    words = ctr.daemon.words("run", "--rm", "--runc-binary", ctr.runtime, "--rootfs", tree)
    assert call(*words, ctr.name(), "/bin/echo", "hi").expect().out == "hi\n"


def test_checkpoint_and_restore(ctr: Ctr) -> None:
    skip_without("checkpoint", ctr.runtime)
    if not has_tool("criu") or call("criu", "check").code:
        pytest.skip("no working criu on this machine")
    name = ctr.start()
    image = f"localhost/{name}:checkpoint"
    ctr.daemon.ctr("container", "checkpoint", "--task", name, image).expect()
    ctr.daemon.forget(name)
    usage = ctr.daemon.ctr("container", "restore", "--help").out
    detach = [word for word in ["--detach"] if word in usage]  # containerd 1.7 has none, and waits
    words = ctr.daemon.words("container", "restore", "--live", *detach, name, image)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL) as restore:
        try:
            wait_until(lambda: ctr.status(name) == "RUNNING", "the restored container")
        finally:
            restore.kill()
    ctr.daemon.ctr("image", "rm", image).expect()


def test_sequence_of_50(ctr: Ctr) -> None:
    for number in range(50):
        ctr.run("sh", "-c", f"exit {number}").expect(number)


def test_20_at_once(ctr: Ctr) -> None:
    def one(number: int) -> int:
        return ctr.run("sh", "-c", f"exit {number}", name=f"p{number}").code

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert list(pool.map(one, range(20))) == list(range(20))


def test_20_execs_at_once(ctr: Ctr) -> None:
    name = ctr.start()

    def one(number: int) -> int:
        words = ("task", "exec", "--exec-id", f"e{number}", name, "sh", "-c", f"exit {number}")
        return ctr.daemon.ctr(*words).code

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert list(pool.map(one, range(20))) == list(range(20))


def test_restarted_daemon_finds_the_task(ctr: Ctr) -> None:
    name = ctr.start()
    ctr.daemon.restart()
    assert ctr.status(name) == "RUNNING"
    ctr.exec(name, "true").expect()


def test_killed_shim(ctr: Ctr, tmp_path: Path) -> None:
    """containerd cleans up after a lost shim with the runtime's forced delete."""
    name = ctr.start(options=("--pid-file", tmp_path / "pid"))
    pid = int((tmp_path / "pid").read_text())
    os.kill(_parent(pid), signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}/cwd").exists(), "the container's end")
    wait_until(lambda: ctr.status(name) in ("", "STOPPED"), "the task's end")
    gone = ctr.daemon.runtime_root / name
    wait_until(lambda: not gone.exists(), "the end of the runtime's record")
    ctr.daemon.forget(name)
    ctr.run("sh", "-c", "exit 5").expect(5)  # the name is free, and a new shim starts


def test_shim_killed_while_the_daemon_is_away(ctr: Ctr, tmp_path: Path) -> None:
    """The daemon finds a dead shim when it starts, and cleans up after it."""
    name = ctr.start(options=("--pid-file", tmp_path / "pid"))
    pid = int((tmp_path / "pid").read_text())
    ctr.daemon.restart(lambda: os.kill(_parent(pid), signal.SIGKILL))
    wait_until(lambda: not Path(f"/proc/{pid}/cwd").exists(), "the container's end")
    wait_until(lambda: ctr.status(name) == "", "the task's end")
    assert not (ctr.daemon.runtime_root / name).exists()


def test_nothing_left(ctr: Ctr) -> None:
    ctr.run("true").expect()
    assert not (ctr.daemon.runtime_root / ctr.name()).exists()
    for hierarchy in set(cgroup_hierarchies().values()):
        assert not (hierarchy / ctr.daemon.namespace / ctr.name()).exists()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _limit(pid: str, controller: str, v1: str, v2: str) -> str:
    """Read a file of the cgroup of a process."""
    trees = cgroup_hierarchies()
    paths = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        paths.update(dict.fromkeys(names.split(","), path))
    if controller in trees:
        return (trees[controller] / paths[controller].lstrip("/") / v1).read_text().strip()
    return (trees[""] / paths[""].lstrip("/") / v2).read_text().strip()
