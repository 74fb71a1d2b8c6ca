"""podman as an ordinary user, with subordinate ids."""

from __future__ import annotations

import os
import socket

import pytest
from harness.needs import needs
from harness.user import User

from clients.calls import wait_until
from clients.podman import IMAGE, RootlessPodman

SHOW = "grep -E '^(Seccomp|CapEff):' /proc/self/status"
SERVE = ("sh", "-c", "while :; do echo hello | nc -l -p 8080; done")


def test_exit_code_and_streams(rootless: RootlessPodman) -> None:
    done = rootless.run("sh", "-c", "echo one; echo two >&2; exit 7").expect(7)
    assert (done.out, done.err.splitlines()[-1]) == ("one\n", "two")


def test_ids(rootless: RootlessPodman, rootless_user: User) -> None:
    show = "id -u; cat /proc/self/uid_map"
    done = rootless.run("sh", "-c", show).expect()
    first, count = rootless_user.subordinate
    assert done.out.split() == [
        *("0", "0", str(rootless_user.uid), "1", "1", str(first), str(count)),
    ]


def test_own_ids_kept(rootless: RootlessPodman, rootless_user: User) -> None:
    done = rootless.run("id", "-u", options=("--userns", "keep-id"))
    assert done.expect().out == f"{rootless_user.uid}\n"


def test_mapped_ids(rootless: RootlessPodman) -> None:
    options = ("--uidmap", "0:1:1000", "--gidmap", "0:1:1000")
    done = rootless.run("cat", "/proc/self/uid_map", options=options)
    assert done.expect().out.split()[::2] == ["0", "1000"]


def test_shell_on_terminal(rootless: RootlessPodman) -> None:
    done = rootless.run_on_terminal("sh", given=b"echo $((6*7))\ntty\nexit 3\n").expect(3)
    assert "42" in done.out.split()
    assert "/dev/pts/0" in done.out


def test_exec(rootless: RootlessPodman) -> None:
    name = rootless.start()
    done = rootless("exec", "-e", "A=b", "-w", "/tmp", name, "sh", "-c", "echo $A; pwd; exit 5")
    assert done.expect(5).out == "b\n/tmp\n"


def test_exec_on_terminal(rootless: RootlessPodman) -> None:
    name = rootless.start()
    done = rootless.on_terminal("exec", "-it", name, "sh", "-c", "tty; exit 6").expect(6)
    assert "/dev/pts/" in done.out


def test_stop_and_start_again(rootless: RootlessPodman) -> None:
    name = rootless.start("sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done")
    rootless("exec", name, "true").expect()
    rootless("stop", "-t", "5", name).expect()
    assert rootless.state(name, "ExitCode") == "9"
    rootless("start", name).expect()
    rootless("kill", "-s", "KILL", name).expect()
    assert rootless("wait", name).expect().out == "137\n"


def test_logs_and_top(rootless: RootlessPodman) -> None:
    name = rootless.start("sh", "-c", "echo one; sleep 500")
    wait_until(lambda: rootless("logs", name).out == "one\n", "the line")
    assert "sleep 500" in rootless("top", name).expect().out


def test_healthcheck(rootless: RootlessPodman) -> None:
    options = ("--health-cmd", "test -e /bin/sh", "--health-interval", "disable")
    rootless("healthcheck", "run", rootless.start(options=options)).expect()


def test_read_only(rootless: RootlessPodman) -> None:
    done = rootless.run("touch", "/file", options=("--read-only",)).expect(1)
    assert "Read-only file system" in done.err


def test_default_profile_and_capabilities(rootless: RootlessPodman) -> None:
    shown = rootless.run("sh", "-c", SHOW).expect().out.split()
    assert shown == ["CapEff:", rootless.default_capabilities(), "Seccomp:", "2"]


def test_privileged_within_ones_own(rootless: RootlessPodman) -> None:
    done = rootless.run("mount", "-t", "tmpfs", "t", "/tmp", options=("--privileged",))
    done.expect()
    done = rootless.run("sh", "-c", "echo 1 >/proc/sys/vm/drop_caches", options=("--privileged",))
    assert done.expect(1)


def test_volume(rootless: RootlessPodman, rootless_user: User) -> None:
    place = rootless_user.folder / rootless.prefix
    place.mkdir()
    os.chown(place, rootless_user.uid, rootless_user.uid)
    rootless.run("sh", "-c", "echo x >/mnt/file", options=("-v", f"{place}:/mnt")).expect()
    assert (place / "file").stat().st_uid == rootless_user.uid
    rootless.run("touch", "/mnt/x", options=("-v", f"{place}:/mnt:ro")).expect(1)


def test_network(rootless: RootlessPodman) -> None:
    """slirp4netns, and a port that is published."""
    name = rootless.start(*SERVE, options=("--network", "slirp4netns", "-p", "127.0.0.1::8080"))
    assert rootless("exec", name, "ls", "/sys/class/net").expect().out.split() == ["lo", "tap0"]
    port = int(rootless("port", name, "8080").expect().out.strip().rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        assert connection.recv(100) == b"hello\n"


def test_pod(rootless: RootlessPodman) -> None:
    pod = f"{rootless.prefix}-pod"
    rootless("pod", "create", "--name", pod, "--network", "slirp4netns").expect()
    rootless("run", "-d", "--pod", pod, IMAGE, *SERVE).expect()
    done = rootless("run", "--rm", "--pod", pod, IMAGE, "nc", "127.0.0.1", "8080").expect()
    rootless("pod", "rm", "-f", "-t", "0", pod).expect()
    assert done.out == "hello\n"


def test_build(rootless: RootlessPodman, rootless_user: User) -> None:
    place = rootless_user.folder / f"{rootless.prefix}-build"
    place.mkdir()
    (place / "Containerfile").write_text(f"FROM {IMAGE}\nRUN echo built >/made\n")
    tag = f"localhost/{rootless.prefix}"
    rootless("build", "--isolation", "oci", "--network", "none", "-t", tag, place).expect()
    assert rootless.run("cat", "/made", image=tag).expect().out == "built\n"
    rootless("rmi", tag).expect()


def test_systemd_mode(rootless: RootlessPodman) -> None:
    done = rootless.run("grep", "-E", " /(run|tmp) ", "/proc/mounts", options=("--systemd=always",))
    assert "tmpfs /run " in done.expect().out


@needs("cgroup v2")
def test_limits_pause_and_stats(rootless: RootlessPodman) -> None:
    """An ordinary user has cgroups of its own on v2 only."""
    options = ("--memory", "64m", "--pids-limit", "50")
    name = rootless.start(options=options)
    shown = rootless("exec", name, "cat", "/sys/fs/cgroup/memory.max").expect().out
    assert shown == "67108864\n"
    rootless("pause", name).expect()
    assert rootless.state(name) == "paused"
    rootless("unpause", name).expect()
    assert name in rootless("stats", "--no-stream", name).expect().out


@needs("cgroup v1")
def test_pause_is_refused(rootless: RootlessPodman) -> None:
    """podman's own refusal, the same with any runtime."""
    done = rootless("pause", rootless.start())
    assert "cgroup" in done.expect(125).err


def test_10_in_sequence(rootless: RootlessPodman) -> None:
    for number in range(10):
        rootless.run("sh", "-c", f"exit {number}").expect(number)


@pytest.mark.parametrize(
    ("program", "code"), [("nosuch", 127), ("/bin/noexec", 126), ("/bin/garbage", 1)]
)
def test_error(rootless: RootlessPodman, program: str, code: int) -> None:
    rootless.run(program).expect(code)


def test_nothing_left(rootless: RootlessPodman, rootless_user: User) -> None:
    name = rootless.start()
    identity = rootless("inspect", "-f", "{{.Id}}", name).expect().out.strip()
    places = [rootless_user.folder / word / identity for word in ("runc", "ocirun")]
    assert any(place.exists() for place in places)
    rootless("rm", "-f", "-t", "0", name).expect()
    assert not any(place.exists() for place in places)
