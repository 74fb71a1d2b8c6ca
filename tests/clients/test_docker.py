"""The Docker engine, which drives containerd's shim, with ocirun added by --add-runtime."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path

import pytest
from harness.limits import main_limits
from harness.machine import MARK, capability_bounding

from clients.calls import call_on_terminal, wait_until
from clients.docker import Docker, Engine
from clients.needs import skip_without

SHOW = "grep -E '^(Seccomp|CapEff):' /proc/self/status"


def test_default_runtime(engine: Engine) -> None:
    assert engine.docker("info", "-f", "{{.DefaultRuntime}}").expect().out == "ocirun\n"
    name = f"{MARK}-default"
    words = ("run", "--name", name, "--network", "none", "busybox", "sh", "-c", "exit 7")
    engine.docker(*words).expect(7)
    done = engine.docker("inspect", "-f", "{{.HostConfig.Runtime}}", name).expect()
    engine.docker("rm", name).expect()
    assert done.out == "ocirun\n"


def test_exit_code(docker: Docker) -> None:
    docker.run("sh", "-c", "exit 7").expect(7)


def test_stdout_and_stderr_apart(docker: Docker) -> None:
    done = docker.run("sh", "-c", "echo one; echo two >&2").expect()
    assert (done.out, done.err) == ("one\n", "two\n")


def test_shell_on_terminal(docker: Docker) -> None:
    done = docker.run_on_terminal("sh", given=b"echo $((6*7))\ntty\nexit 3\n").expect(3)
    assert "42" in done.out.split()
    assert "/dev/pts/0" in done.out


def test_exec(docker: Docker) -> None:
    name = docker.start()
    done = docker("exec", name, "sh", "-c", "echo one; echo two >&2; exit 5").expect(5)
    assert (done.out, done.err) == ("one\n", "two\n")


def test_exec_on_terminal(docker: Docker) -> None:
    name = docker.start()
    words = docker.engine.words("exec", "-it", name, "sh", "-c", "tty; exit 6")
    assert "/dev/pts/" in call_on_terminal(*words).expect(6).out


def test_exec_as_user_in_folder(docker: Docker) -> None:
    name = docker.start()
    show = "id -u; pwd; echo $A"
    done = docker("exec", "-u", "2", "-w", "/tmp", "-e", "A=b", name, "sh", "-c", show)
    assert done.expect().out == "2\n/tmp\nb\n"


def test_exec_detached(docker: Docker) -> None:
    name = docker.start()
    docker("exec", "-d", name, "sleep", "500").expect()
    wait_until(lambda: "sleep 500" in docker("top", name).out, "the detached process")


def test_10_execs_at_once(docker: Docker) -> None:
    name = docker.start()

    def one(number: int) -> int:
        return docker("exec", name, "sh", "-c", f"exit {number}").code

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert list(pool.map(one, range(10))) == list(range(10))


def test_exec_in_a_paused_container(docker: Docker) -> None:
    name = docker.start()
    docker("pause", name).expect()
    assert docker.state(name) == "paused"
    assert "is paused" in docker("exec", name, "true").expect(1).err
    docker("unpause", name).expect()
    docker("exec", name, "true").expect()


def test_stop(docker: Docker) -> None:
    name = docker.start("sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done")
    docker("exec", name, "true").expect()
    docker("stop", "-t", "5", name).expect()
    assert docker.state(name, "ExitCode") == "9"


def test_stop_of_the_unwilling(docker: Docker) -> None:
    name = docker.start()
    docker("stop", "-t", "1", name).expect()
    assert docker.state(name, "ExitCode") == "137"


def test_kill_and_start_again(docker: Docker) -> None:
    name = docker.start()
    docker("kill", name).expect()
    assert docker("wait", name).expect().out == "137\n"
    docker("start", name).expect()
    assert docker.state(name) == "running"


def test_restart_policy(docker: Docker) -> None:
    name = docker.start("sh", "-c", "exit 4", options=("--restart", "on-failure:2"))
    count = ("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", name)
    wait_until(lambda: docker(*count).out == "2 exited\n", "two restarts")


def test_logs_and_attach(docker: Docker) -> None:
    name = docker.start("sh", "-c", "echo one; sleep 1; echo two >&2; exit 3")
    docker("attach", name).expect(3)
    done = docker("logs", name).expect()
    assert (done.out, done.err) == ("one\n", "two\n")


def test_stats_and_top(docker: Docker) -> None:
    name = docker.start()
    assert name in docker("stats", "--no-stream", name).expect().out
    assert "sleep 1000" in docker("top", name).expect().out


def test_copy_and_diff(docker: Docker, tmp_path: Path) -> None:
    name = docker.start()
    (tmp_path / "file").write_text("hello\n")
    docker("cp", tmp_path / "file", f"{name}:/tmp/file").expect()
    assert docker("exec", name, "cat", "/tmp/file").expect().out == "hello\n"
    assert "A /tmp/file" in docker("diff", name).expect().out


def test_health(docker: Docker) -> None:
    name = docker.start(options=("--health-cmd", "true", "--health-interval", "1s"))
    wait_until(lambda: docker.state(name, "Health.Status") == "healthy", "health")


def test_init(docker: Docker) -> None:
    done = docker.run("sh", "-c", "cat /proc/1/comm; exit 3", options=("--init",)).expect(3)
    assert "docker-init" in done.out


def test_out_of_memory(docker: Docker) -> None:
    # containerd tells of the kill and of the end apart, and Docker may hear of the end first: seen
    # with runc on a busy machine, once. Three that are not told of are a fault.
    told = []
    while not told or (told[-1] != "true" and len(told) < 3):
        name = docker.start(
            "dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1", options=("--memory", "20m")
        )
        assert docker("wait", name).expect().out == "137\n"
        told.append(docker.state(name, "OOMKilled"))
    assert told[-1] == "true"


def test_limits(docker: Docker) -> None:
    show = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max"
    v2 = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"
    options = ("--memory", "64m", "--pids-limit", "50", "--cpus", "0.5")
    done = docker.run("sh", "-c", f"{show} 2>/dev/null || {v2}", options=options)
    assert done.expect().out == "67108864\n50\n"


def test_read_only_with_tmpfs(docker: Docker) -> None:
    options = ("--read-only", "--tmpfs", "/x:size=1m")
    done = docker.run("sh", "-c", "touch /x/file; touch /file", options=options).expect(1)
    assert "/file: Read-only file system" in done.err
    assert "/x/file" not in done.err


def test_default_profile_and_capabilities(docker: Docker) -> None:
    shown = docker.run("sh", "-c", SHOW).expect().out.split()
    assert shown == ["CapEff:", "00000000a80425fb", "Seccomp:", "2"]


def test_seccomp_profile_in_a_file(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": '
        '[{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    options = ("--security-opt", f"seccomp={tmp_path / 'p.json'}")
    done = docker.run("mkdir", "/x", options=options).expect(1)
    assert "Operation not permitted" in done.err


def test_seccomp_unconfined(docker: Docker) -> None:
    done = docker.run("sh", "-c", SHOW, options=("--security-opt", "seccomp=unconfined"))
    assert done.expect().out.split()[3] == "0"


def test_no_capabilities(docker: Docker) -> None:
    done = docker.run("sh", "-c", SHOW, options=("--cap-drop=all",)).expect()
    assert int(done.out.split()[1], 16) == 0


def test_privileged(docker: Docker) -> None:
    """Docker 20.10 asks for all capabilities the kernel knows, 28 for those it has itself.

    Spec: those that cannot be granted are left out with a warning; runc 1.1 fails.
    """
    if capability_bounding() >> 24 & 1:
        docker.run("mount", "-t", "tmpfs", "t", "/tmp", options=("--privileged",)).expect()
        return
    done = docker.run("sh", "-c", SHOW, options=("--privileged",))
    if docker.runtime == "runc" and done.code:
        assert "operation not permitted" in done.expect(125).err
        return
    given = int(done.expect().out.split()[1], 16)  # those that this dockerd knows, and we have
    assert given
    assert not given & ~capability_bounding()


def test_users(docker: Docker) -> None:
    done = docker.run("id", options=("--user", "2:2", "--group-add", "9")).expect()
    assert done.out.startswith("uid=2(daemon) gid=2(daemon) groups=")
    assert "9" in done.out


def test_no_new_privileges(docker: Docker) -> None:
    done = docker.run(
        "grep", "NoNewPrivs", "/proc/self/status", options=("--security-opt", "no-new-privileges")
    )
    assert done.expect().out.split()[1] == "1"


def test_volume(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello\n")
    options = ("-v", f"{tmp_path}:/mnt:ro,rslave")
    done = docker.run("sh", "-c", "cat /mnt/file; touch /mnt/x", options=options)
    assert done.expect(1).out == "hello\n"


def test_sysctl_shm_device_ulimit(docker: Docker) -> None:
    options = ("--sysctl", "net.ipv4.ip_forward=1", "--shm-size", "2m",
               "--device", "/dev/full:/dev/f", "--ulimit", "nofile=100:200")  # fmt: skip
    show = "cat /proc/sys/net/ipv4/ip_forward; test -c /dev/f && ulimit -n; ulimit -Hn"
    assert docker.run("sh", "-c", show, options=options).expect().out == "1\n100\n200\n"


@pytest.mark.parametrize("kind", ["pid", "ipc", "uts"])
def test_host_namespace(docker: Docker, kind: str) -> None:
    own = Path("/proc/self/ns", kind).readlink()
    done = docker.run("ls", "-l", "/proc/self/ns", options=(f"--{kind}=host",)).expect()
    assert str(own) in done.out


def test_joined_namespaces(docker: Docker) -> None:
    name = docker.start(options=("--ipc=shareable",))
    options = (f"--pid=container:{name}", f"--ipc=container:{name}")
    assert "sleep 1000" in docker.run("ps", options=options).expect().out


def test_private_cgroup_namespace(docker: Docker) -> None:
    own = Path("/proc/self/ns/cgroup").readlink()
    done = docker.run("ls", "-l", "/proc/self/ns/cgroup", options=("--cgroupns=private",))
    assert str(own) not in done.expect().out


def test_commit(docker: Docker) -> None:
    name = docker.start()
    docker("commit", name, f"{docker.prefix}:latest").expect()
    docker("rmi", f"{docker.prefix}:latest").expect()


def test_update(docker: Docker) -> None:
    skip_without("update", docker.path)
    name = docker.start()
    asked = ["--memory=64m", "--memory-swap=128m", "--cpu-quota=50000", "--cpu-period=100000"]
    docker("update", *asked, "--cpuset-cpus=0", "--pids-limit=50", name).expect()
    limits = {"memory": str(64 << 20), "quota": "50000 100000", "cpus": "0", "pids": "50"}
    assert main_limits(int(docker.state(name, "Pid"))) == limits
    docker("update", "--memory=96m", name).expect()
    assert main_limits(int(docker.state(name, "Pid"))) == {**limits, "memory": str(96 << 20)}
    docker("exec", name, "true").expect()


def test_sequence_of_10(docker: Docker) -> None:
    for number in range(10):
        docker.run("sh", "-c", f"exit {number}").expect(number)


def test_5_at_once(docker: Docker) -> None:
    def one(number: int) -> int:
        return docker.run("sh", "-c", f"exit {number}").code

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        assert list(pool.map(one, range(5))) == list(range(5))


def test_error_at_start_leaves_nothing(docker: Docker) -> None:
    """dockerd deletes the container as soon as it hears of the failure."""
    for _ in range(10):
        assert docker.run("/bin/garbage").code not in (0, 255)
    wait_until(lambda: not docker.engine.cgroups(), "the end of the cgroups")
