"""podman and conmon, as root."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path

import pytest
from harness.limits import main_limits

from clients.calls import wait_until
from clients.needs import skip_without
from clients.podman import IMAGE, PARENT, Podman

SHOW = "grep -E '^(Seccomp|CapEff):' /proc/self/status"


def test_exit_code(podman: Podman) -> None:
    podman.run("sh", "-c", "exit 7").expect(7)


def test_stdout_and_stderr_apart(podman: Podman) -> None:
    done = podman.run("sh", "-c", "echo one; echo two >&2").expect()
    assert (done.out, done.err) == ("one\n", "two\n")


def test_shell_on_terminal(podman: Podman) -> None:
    done = podman.run_on_terminal("sh", given=b"echo $((6*7))\ntty\nexit 3\n").expect(3)
    assert "42" in done.out.split()
    assert "/dev/pts/0" in done.out


def test_exec(podman: Podman) -> None:
    name = podman.start()
    done = podman("exec", name, "sh", "-c", "echo one; echo two >&2; exit 5").expect(5)
    assert (done.out, done.err) == ("one\n", "two\n")


def test_exec_on_terminal(podman: Podman) -> None:
    name = podman.start()
    done = podman.on_terminal("exec", "-it", name, "sh", "-c", "tty; exit 6").expect(6)
    assert "/dev/pts/" in done.out


def test_exec_as_user_in_folder(podman: Podman) -> None:
    name = podman.start()
    done = podman(
        "exec", "-u", "2", "-w", "/tmp", "-e", "A=b", name, "sh", "-c", "id -u; pwd; echo $A"
    )
    assert done.expect().out == "2\n/tmp\nb\n"


def test_exec_privileged(podman: Podman) -> None:
    name = podman.start()
    shown = podman("exec", "--privileged", name, "sh", "-c", SHOW).expect().out
    assert int(shown.split()[1], 16) > 0xA80425FB


def test_exec_detached(podman: Podman) -> None:
    name = podman.start()
    podman("exec", "-d", name, "sleep", "500").expect()
    assert "sleep 500" in podman("top", name).expect().out


def test_10_execs_at_once(podman: Podman) -> None:
    name = podman.start()

    def one(number: int) -> int:
        return podman("exec", name, "sh", "-c", f"exit {number}").code

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        assert list(pool.map(one, range(10))) == list(range(10))


def test_stop(podman: Podman) -> None:
    name = podman.start("sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done")
    podman("exec", name, "true").expect()
    podman("stop", "-t", "5", name).expect()
    assert podman.state(name, "ExitCode") == "9"


def test_stop_of_the_unwilling(podman: Podman) -> None:
    name = podman.start()
    podman("stop", "-t", "1", name).expect()
    assert podman.state(name, "ExitCode") == "137"


def test_start_again(podman: Podman) -> None:
    name = podman.start("sh", "-c", "exit 4")
    podman("wait", name).expect()
    podman("start", name).expect()
    assert podman("wait", name).expect().out == "4\n"


def test_kill(podman: Podman) -> None:
    name = podman.start()
    podman("kill", "-s", "KILL", name).expect()
    assert podman("wait", name).expect().out == "137\n"


def test_pause_and_unpause(podman: Podman) -> None:
    name = podman.start()
    podman("pause", name).expect()
    assert podman.state(name) == "paused"
    podman("unpause", name).expect()
    assert podman.state(name) == "running"
    podman("exec", name, "true").expect()


def test_logs(podman: Podman) -> None:
    name = podman.start("sh", "-c", "echo one; echo two >&2")
    podman("wait", name).expect()
    done = podman("logs", name).expect()
    assert (done.out, done.err) == ("one\n", "two\n")


def test_stats(podman: Podman) -> None:
    name = podman.start()
    assert name in podman("stats", "--no-stream", name).expect().out


def test_healthcheck(podman: Podman) -> None:
    name = podman.start(options=("--health-cmd", "test -e /bin/sh", "--health-interval", "disable"))
    podman("healthcheck", "run", name).expect()


def test_limits(podman: Podman) -> None:
    name = podman.start(options=("--memory", "64m", "--pids-limit", "50", "--cpus", "0.5"))
    pid = podman.state(name, "Pid")
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    assert any(PARENT in line for line in lines)
    podman("exec", name, "true").expect()


def test_memory_limit_in_the_container(podman: Podman) -> None:
    limit = "/sys/fs/cgroup/memory/memory.limit_in_bytes"
    show = ("sh", "-c", f"cat {limit} 2>/dev/null || cat /sys/fs/cgroup/memory.max")
    assert podman.run(*show, options=("--memory", "64m")).expect().out == "67108864\n"


def test_out_of_memory(podman: Podman) -> None:
    eat = ("dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1")
    podman.run(*eat, options=("--memory", "32m")).expect(137)


def test_read_only(podman: Podman) -> None:
    done = podman.run("touch", "/file", options=("--read-only",)).expect(1)
    assert "Read-only file system" in done.err


def test_default_profile_and_capabilities(podman: Podman) -> None:
    shown = podman.run("sh", "-c", SHOW).expect().out.split()
    assert shown == ["CapEff:", podman.default_capabilities(), "Seccomp:", "2"]


def test_seccomp_unconfined(podman: Podman) -> None:
    done = podman.run("sh", "-c", SHOW, options=("--security-opt", "seccomp=unconfined"))
    assert done.expect().out.split()[3] == "0"


def test_no_capabilities(podman: Podman) -> None:
    done = podman.run("sh", "-c", SHOW, options=("--cap-drop=all",)).expect()
    assert int(done.out.split()[1], 16) == 0


def test_privileged(podman: Podman) -> None:
    done = podman.run("mount", "-t", "tmpfs", "t", "/tmp", options=("--privileged",))
    done.expect()


def test_user(podman: Podman) -> None:
    assert podman.run("id", "-u", options=("--user", "2")).expect().out == "2\n"


def test_user_namespace(podman: Podman) -> None:
    options = ("--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000")
    done = podman.run("cat", "/proc/self/uid_map", options=options)
    assert done.expect().out.split() == ["0", "100000", "1000"]


@pytest.mark.parametrize("kind", ["pid", "ipc", "uts"])
def test_host_namespace(podman: Podman, kind: str) -> None:
    own = Path("/proc/self/ns", kind).readlink()
    done = podman.run("ls", "-l", "/proc/self/ns", options=(f"--{kind}=host",))
    assert str(own) in done.expect().out


def test_host_network(podman: Podman) -> None:
    own = Path("/proc/self/ns/net").readlink()
    options = ("--network", "host", "--cgroup-parent", PARENT)
    done = podman("run", "--rm", *options, IMAGE, "ls", "-l", "/proc/self/ns").expect()
    assert str(own) in done.out


def test_joined_pid_namespace(podman: Podman) -> None:
    name = podman.start()
    done = podman.run("ps", options=(f"--pid=container:{name}",)).expect()
    assert "sleep 1000" in done.out


def test_init(podman: Podman) -> None:
    if not Path("/usr/bin/docker-init").exists():
        pytest.skip("no tool docker-init")
    options = ("--init", "--init-path", "/usr/bin/docker-init")
    done = podman.run("sh", "-c", "cat /proc/1/comm; exit 3", options=options).expect(3)
    assert "sh" not in done.out.split()


def test_volume(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello\n")
    done = podman.run(
        "sh", "-c", "cat /mnt/file; touch /mnt/x", options=("-v", f"{tmp_path}:/mnt:ro")
    )
    assert done.expect(1).out == "hello\n"


def test_tmpfs_and_shm(podman: Podman) -> None:
    options = ("--tmpfs", "/x:size=1m", "--shm-size", "2m")
    done = podman.run("grep", "-E", " /(x|dev/shm) ", "/proc/mounts", options=options).expect()
    assert "size=1024k" in done.out
    assert "size=2048k" in done.out


def test_sysctl_hostname_device(podman: Podman) -> None:
    options = (
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--hostname",
        "h",
        "--device",
        "/dev/full:/dev/f",
    )
    show = "cat /proc/sys/net/ipv4/ip_forward; hostname; test -c /dev/f"
    assert podman.run("sh", "-c", show, options=options).expect().out == "1\nh\n"


def test_systemd_mode(podman: Podman) -> None:
    done = podman.run("grep", "-E", " /(run|tmp) ", "/proc/mounts", options=("--systemd=always",))
    assert "tmpfs /run " in done.expect().out


def test_without_cgroups(podman: Podman) -> None:
    """podman asks that only of runtimes in its list, and passes --cgroup-manager disabled."""
    done = podman("run", "--rm", "--network", "none", "--cgroups=disabled", IMAGE, "true")
    if podman.runtime.endswith("/ocirun"):
        done.expect(0)
    else:
        assert "is not compatible with NoCgroups" in done.expect(125).err


def test_pod(podman: Podman) -> None:
    pod = f"{podman.prefix}-pod"
    podman("pod", "create", "--name", pod, "--network", "none", "--cgroup-parent", PARENT).expect()
    podman("run", "-d", "--pod", pod, "--name", f"{pod}-a", IMAGE, "sleep", "500").expect()
    own = podman("exec", f"{pod}-a", "ls", "-l", "/proc/self/ns/net").expect().out.split()[-1]
    show = ("ls", "-l", "/proc/self/ns/net")
    other = podman("run", "--rm", "--pod", pod, IMAGE, *show).expect().out.split()[-1]
    assert own == other
    podman("pod", "stop", "-t", "0", pod).expect()
    podman("pod", "rm", "-f", pod).expect()


def test_build(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text(f"FROM {IMAGE}\nRUN echo built >/made\n")
    tag = f"localhost/{podman.prefix}"
    podman("build", "--isolation", "oci", "--network", "none", "-t", tag, tmp_path).expect()
    assert podman.run("cat", "/made", image=tag).expect().out == "built\n"
    podman("rmi", tag).expect()


def test_update(podman: Podman) -> None:
    skip_without("update", podman.runtime)
    name = podman.start()
    podman("update", "--memory", "64m", "--cpus", "0.5", "--cpuset-cpus", "0", name).expect()
    limits = main_limits(int(podman.state(name, "Pid")))
    assert limits == {**limits, "memory": str(64 << 20), "quota": "50000 100000", "cpus": "0"}


def test_sequence_of_10(podman: Podman) -> None:
    for number in range(10):
        podman.run("sh", "-c", f"exit {number}").expect(number)


def test_5_at_once(podman: Podman) -> None:
    def one(number: int) -> int:
        return podman.run("sh", "-c", f"exit {number}").code

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        assert list(pool.map(one, range(5))) == list(range(5))


def test_nothing_left(podman: Podman) -> None:
    name = podman.start()
    identity = podman("inspect", "-f", "{{.Id}}", name).expect().out.strip()
    podman("rm", "-f", "-t", "0", name).expect()
    for root in ("/run/ocirun", "/run/runc"):
        assert not Path(root, identity).exists()
    wait_until(lambda: not list(Path("/sys/fs/cgroup").glob(f"*{PARENT}/*{identity}")), "no cgroup")
