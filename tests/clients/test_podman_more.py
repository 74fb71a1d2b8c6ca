"""podman as root: networks, pods, Kubernetes' YAML, user namespaces, checkpoints."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from harness.machine import has_tool

from clients.calls import Outcome, call, wait_until
from clients.needs import skip_without
from clients.podman import IMAGE, PARENT, Podman

SERVE = ("sh", "-c", "while :; do echo hello | nc -l -p 8080; done")
BRIDGE = ("--network", "podman")
MANIFEST = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  containers:
  - name: web
    image: {image}
    command: [sh, -c, "while :; do echo hello | nc -l -p 8080; done"]
    env: [{{name: A, value: b c}}]
    securityContext: {{readOnlyRootFilesystem: true}}
  - name: client
    image: {image}
    command: [sh, -c, "until sleep 1 | nc 127.0.0.1 8080 | grep hello; do :; done; sleep 1000"]
"""


def test_bridge(podman: Podman) -> None:
    name = podman.start(*SERVE, options=(*BRIDGE, "-p", "127.0.0.1::8080"))
    assert podman("exec", name, "ls", "/sys/class/net").expect().out.split() == ["eth0", "lo"]
    address = podman("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name).expect().out.strip()
    # busybox 1.37's nc stays after the server has closed.
    ask = f"nc {address} 8080 >/said & until read line </said; do sleep 0.1; done; echo $line"
    assert podman.run("sh", "-c", ask, options=BRIDGE).expect().out == "hello\n"
    port = int(podman("port", name, "8080").expect().out.strip().rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        assert connection.recv(100) == b"hello\n"


def test_pod_with_a_network(podman: Podman) -> None:
    pod = f"{podman.prefix}-pod"
    podman("pod", "create", "--name", pod, *BRIDGE, "--cgroup-parent", PARENT).expect()
    podman("run", "-d", "--pod", pod, "--name", f"{pod}-a", IMAGE, *SERVE).expect()
    done = podman("run", "--rm", "--pod", pod, IMAGE, "nc", "127.0.0.1", "8080").expect()
    assert done.out == "hello\n"
    podman("pod", "pause", pod).expect()
    assert podman.state(f"{pod}-a") == "paused"
    podman("pod", "unpause", pod).expect()
    podman("pod", "stop", "-t", "0", pod).expect()
    podman("pod", "start", pod).expect()
    assert podman.state(f"{pod}-a") == "running"
    podman("pod", "rm", "-f", "-t", "0", pod).expect()


def test_kube(podman: Podman, tmp_path: Path) -> None:
    """`play kube` of a manifest, `generate kube` of what came of it, and that played again."""
    name = f"{podman.prefix}-kube"
    first = tmp_path / "first.yaml"
    first.write_text(MANIFEST.format(name=name, image=IMAGE))
    _play(podman, first, name)
    again = tmp_path / "again.yaml"
    again.write_text(podman("generate", "kube", name).expect().out)
    podman("pod", "rm", "-f", "-t", "0", name).expect()
    _play(podman, again, name)
    podman("pod", "rm", "-f", "-t", "0", name).expect()


def _play(podman: Podman, manifest: Path, pod: str) -> None:
    podman("play", "kube", *BRIDGE, manifest).expect()
    # The names of what was generated have the pod's name in front, and get it once more.
    words = ("ps", "-a", "--filter", f"pod={pod}", "--format", "{{.Names}}")
    names = {name.rpartition("-")[2]: name for name in podman(*words).expect().out.split()}
    wait_until(lambda: podman("logs", names["client"]).out == "hello\n", "the client's line")
    assert podman("exec", names["web"], "sh", "-c", "echo $A").expect().out == "b c\n"
    podman("exec", names["web"], "touch", "/file").expect(1)


def test_user_namespace_chosen_by_podman(podman: Podman) -> None:
    mappings = ("--userns", "auto:size=1000,uidmapping=0:200000:1000,gidmapping=0:200000:1000")
    done = podman.run("cat", "/proc/self/uid_map", options=mappings)
    if "find" in done.err and "range" in done.err:
        pytest.skip("this host has no subordinate ids for containers")
    assert done.expect().out.split() == ["0", "200000", "1000"]


def test_failing_healthcheck(podman: Podman) -> None:
    options = ("--health-cmd", "test -e /no/such", "--health-interval", "disable")
    name = podman.start(options=(*options, "--health-retries", "1"))
    assert "unhealthy" in podman("healthcheck", "run", name).expect(1).said
    assert podman.state(name, "Health.Status") == "unhealthy"


def test_systemd_always(podman: Podman) -> None:
    """What a systemd in a container finds: its mounts, its name for the manager, its signal."""
    show = "echo $container; grep -cE ' /(run|run/lock|tmp|var/log/journal) ' /proc/mounts"
    name = podman.start("sh", "-c", f"{show}; sleep 1000", options=("--systemd=always",))
    wait_until(lambda: len(podman("logs", name).out.split()) == 2, "the lines")
    word, count = podman("logs", name).out.split()
    assert word in ("podman", "oci")
    assert int(count) >= 3
    done = podman("inspect", "-f", "{{.Config.StopSignal}}", name).expect()
    assert done.out.strip() in ("37", "SIGRTMIN+3")


def test_attach(podman: Podman) -> None:
    name = podman.start("sh", "-c", "sleep 1; echo one; exit 3")
    assert podman("attach", name).expect().out.split() == ["one"]
    assert podman("wait", name).expect().out == "3\n"


def test_copy_and_commit(podman: Podman, tmp_path: Path) -> None:
    name = podman.start()
    (tmp_path / "file").write_text("hello\n")
    podman("cp", tmp_path / "file", f"{name}:/tmp/file").expect()
    assert podman("exec", name, "cat", "/tmp/file").expect().out == "hello\n"
    tag = f"localhost/{podman.prefix}"
    podman("commit", "-q", name, tag).expect()
    assert podman.run("cat", "/tmp/file", image=tag).expect().out == "hello\n"
    podman("rmi", tag).expect()


def test_restart_policy(podman: Podman) -> None:
    name = podman.start("sh", "-c", "exit 4", options=("--restart", "on-failure:2"))
    count = ("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", name)
    wait_until(lambda: podman(*count).out == "2 exited\n", "two restarts")


def test_kill_with_each_signal(podman: Podman) -> None:
    script = "trap 'echo got' HUP USR1 USR2; echo up; while :; do sleep 0.05; done"
    name = podman.start("sh", "-c", script)
    wait_until(lambda: podman("logs", name).out == "up\n", "the shell")
    for number, signal in enumerate(("HUP", "USR1", "12"), 1):
        podman("kill", "-s", signal, name).expect()
        wait_until(lambda n=number: podman("logs", name).out.count("got") == n, "its answer")


def test_build_with_stages(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text(
        f"FROM {IMAGE} AS first\nRUN echo built >/made\n"
        f"FROM {IMAGE}\nCOPY --from=first /made /made\nUSER 2\nRUN test $(id -u) = 2\n"
    )
    tag = f"localhost/{podman.prefix}"
    words = ("build", "--isolation", "oci", "--network", "none", "--no-cache")
    podman(*words, "-t", tag, tmp_path).expect()
    assert podman.run("cat", "/made", image=tag).expect().out == "built\n"
    (tmp_path / "Containerfile").write_text(f"FROM {IMAGE}\nRUN exit 7\n")
    assert "exit status 7" in podman(*words, tmp_path).said
    podman("rmi", "-f", tag).expect()


def test_checkpoint_and_restore(podman: Podman) -> None:
    skip_without("checkpoint", podman.runtime)
    if not has_tool("criu") or call("criu", "check").code:
        pytest.skip("no working criu on this machine")
    name = podman.start("sh", "-c", "n=0; while :; do n=$((n+1)); echo $n >/n; sleep 0.1; done")

    def count() -> Outcome:
        return podman("exec", name, "cat", "/n")

    wait_until(lambda: count().out.strip() > "3", "some counting")
    podman("container", "checkpoint", name).expect()
    assert podman.state(name) == "exited"
    podman("container", "restore", name).expect()
    before = int(count().expect().out)
    wait_until(lambda: int(count().expect().out) > before, "more counting")
