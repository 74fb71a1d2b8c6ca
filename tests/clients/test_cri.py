"""Kubernetes' way to containers: containerd's CRI plugin, asked as the kubelet asks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from harness import machine

from clients import critest
from clients.calls import wait_until
from clients.conftest import NewPod
from clients.cri import Kubelet, Pod, Stream
from clients.needs import skip_without

SHOW = "grep -E '^(Seccomp|CapEff|NoNewPrivs):' /proc/self/status"
NODE = {"network": 2, "pid": 2, "ipc": 2}  # NamespaceMode NODE


def _linux(**security: Any) -> dict[str, Any]:
    return {"security_context": security}


def test_two_runtimes(kubelet: Kubelet, pod: Pod) -> None:
    assert kubelet.call("Version").runtime_name in kubelet.server
    if kubelet.server == "containerd":  # CRI-O does not say
        assert kubelet.runtimes[pod.status().runtime_handler] == pod.runtime
    assert pod.status().state == 0  # SANDBOX_READY


def test_default_runtime(kubelet: Kubelet) -> None:
    """A pod without a RuntimeClass: its handler has no name."""
    pod = Pod(kubelet, "", f"default-{machine.MARK}")
    container = pod.start("sh", "-c", "exit 7")
    assert container.wait() == 7
    with pytest.raises(grpc.RpcError) as failed:
        pod.start("nosuch", name="d")
    assert "ocirun create failed" in failed.value.details()
    kubelet.forget(pod.id)


def test_exit_code_and_log(pod: Pod) -> None:
    container = pod.start("sh", "-c", "echo one; echo two >&2; exit 7")
    assert container.wait() == 7
    assert (container.log(), container.log("stderr")) == ("one\n", "two\n")


def test_log_reopened(pod: Pod) -> None:
    """A rotated log: the file has another name, and the runtime is asked to make a new one."""
    container = pod.start(
        "sh", "-c", "echo one; while ! test -e /go; do sleep 0.05; done; echo two"
    )
    wait_until(lambda: container.log() == "one\n", "the first line")
    (pod.logs / "c.log").rename(pod.logs / "c.log.1")
    container.call("ReopenContainerLog")
    container.exec("touch", "/go").expect()
    assert container.wait() == 0
    assert container.log() == "two\n"


def test_exec(pod: Pod) -> None:
    container = pod.start()
    done = container.exec("sh", "-c", "echo one; echo two >&2; exit 5").expect(5)
    assert (done.out, done.err) == ("one\n", "two\n")


def test_exec_that_takes_too_long(kubelet: Kubelet, pod: Pod) -> None:
    container = pod.start()
    if kubelet.server == "cri-o":
        done = container.exec("sleep", "500", timeout=1)
        assert (done.code, done.err) == (-1, "command timed out")
    else:
        with pytest.raises(grpc.RpcError) as failed:
            container.exec("sleep", "500", timeout=1)
        assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until(lambda: "sleep 500" not in container.exec("ps").expect().out, "the process' end")


def test_exec_streamed(pod: Pod) -> None:
    container = pod.start()
    command = ("sh", "-c", "echo one; echo two >&2; exit 5")
    answer = container.call("Exec", cmd=command, stdout=True, stderr=True)
    done = Stream(answer.url).read_all().expect(5)
    assert (done.out, done.err) == ("one\n", "two\n")


def test_exec_streamed_with_input(pod: Pod) -> None:
    container = pod.start()
    answer = container.call("Exec", cmd=("head", "-n", "1"), stdin=True, stdout=True, stderr=True)
    stream = Stream(answer.url)
    stream.type(b"hello\n")
    assert stream.read_all().expect().out == "hello\n"


def test_exec_on_terminal(pod: Pod) -> None:
    container = pod.start()
    answer = container.call("Exec", cmd=("sh",), tty=True, stdin=True, stdout=True)
    stream = Stream(answer.url)
    stream.resize(77, 33)
    stream.type(b"until test \"$(stty size)\" = '33 77'; do sleep 0.05; done; echo siz''ed\n")
    stream.read_until("sized")
    stream.type(b"tty; exit 3\n")
    assert "/dev/pts/" in stream.read_all().expect(3).out


def test_attach(pod: Pod) -> None:
    container = pod.start("sh", "-c", "read word; echo got $word; read end; exit 4", stdin=True)
    answer = container.call("Attach", stdin=True, stdout=True, stderr=True)
    stream = Stream(answer.url)
    stream.type(b"hello\n")
    assert stream.read_until("\n") == "got hello\n"
    stream.type(b"bye\n")
    assert container.wait() == 4


def test_attach_to_a_terminal(pod: Pod) -> None:
    container = pod.start("sh", stdin=True, tty=True)
    answer = container.call("Attach", stdin=True, stdout=True, tty=True)
    stream = Stream(answer.url)
    stream.type(b"echo $((6*7)); tty; exit 4\n")
    said = stream.read_all().out
    assert "42" in said.split()
    assert "/dev/pts/0" in said
    assert container.wait() == 4


def test_stop(pod: Pod) -> None:
    container = pod.start("sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done")
    wait_until(lambda: container.log() == "up\n", "the shell")
    container.call("StopContainer", timeout=10)
    assert container.wait() == 9


def test_stop_of_the_unwilling(pod: Pod) -> None:
    container = pod.start("sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done")
    wait_until(lambda: container.log() == "up\n", "the shell")
    container.call("StopContainer", timeout=1)
    assert container.wait() == 137
    container.call("StopContainer", timeout=1)  # again: no error


def test_remove_and_start_again(pod: Pod) -> None:
    for attempt in range(3):
        container = pod.start("sh", "-c", f"exit {attempt}")
        assert container.wait() == attempt
        container.call("RemoveContainer")


def test_removal_of_a_running_one(pod: Pod) -> None:
    container = pod.start()
    container.call("RemoveContainer")
    with pytest.raises(grpc.RpcError) as failed:
        container.status()
    assert failed.value.code() == grpc.StatusCode.NOT_FOUND


def test_stats(pod: Pod) -> None:
    container = pod.start("sh", "-c", "while :; do :; done")
    stats = container.call("ContainerStats").stats
    assert stats.attributes.id == container.id
    assert stats.memory.working_set_bytes.value > 0
    wait_until(
        lambda: container.call("ContainerStats").stats.cpu.usage_core_nano_seconds.value > 10**7,
        "some time of the processor",
    )


def test_update_resources(pod: Pod) -> None:
    skip_without("update", pod.runtime)
    resources = {"memory_limit_in_bytes": 64 << 20, "cpu_period": 100000, "cpu_quota": 50000}
    container = pod.start(linux={"resources": resources})
    container.call(
        "UpdateContainerResources", linux={**resources, "memory_limit_in_bytes": 48 << 20}
    )
    assert _memory_limit(container) == 48 << 20


def test_limits(pod: Pod) -> None:
    container = pod.start(linux={"resources": {"memory_limit_in_bytes": 64 << 20}})
    assert _memory_limit(container) == 64 << 20


def test_out_of_memory(pod: Pod) -> None:
    container = pod.start(
        *("dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"),
        linux={"resources": {"memory_limit_in_bytes": 32 << 20}},
    )
    assert container.wait() == 137
    assert container.status().reason == "OOMKilled"


def test_default_profile_and_capabilities(pod: Pod) -> None:
    container = pod.start("sh", "-c", SHOW, linux=_linux(seccomp={"profile_type": 0}))
    container.wait()
    assert container.log().split() == [
        *("CapEff:", f"{pod.kubelet.capabilities:016x}", "NoNewPrivs:", "0", "Seccomp:", "2"),
    ]


def test_added_and_dropped_capabilities(pod: Pod) -> None:
    changes = {"add_capabilities": ["NET_ADMIN"], "drop_capabilities": ["CHOWN"]}
    container = pod.start("sh", "-c", SHOW, linux=_linux(capabilities=changes, no_new_privs=True))
    container.wait()
    shown = container.log().split()
    assert int(shown[1], 16) == pod.kubelet.capabilities & ~1 | 1 << 12
    assert shown[3] == "1"


def test_privileged(new_pod: NewPod) -> None:
    pod = new_pod(linux=_linux(privileged=True))
    _skip_where_refused(pod)
    container = pod.start("mount", "-t", "tmpfs", "t", "/tmp", linux=_linux(privileged=True))
    assert container.wait() == 0


def test_user_and_groups(pod: Pod) -> None:
    who = _linux(run_as_user={"value": 5}, run_as_group={"value": 6}, supplemental_groups=[7, 8])
    container = pod.start("sh", "-c", "id -u; id -G", linux=who)
    container.wait()
    assert container.log() == "5\n6 7 8\n"


def test_read_only_root(pod: Pod) -> None:
    container = pod.start("touch", "/file", linux=_linux(readonly_rootfs=True))
    assert container.wait() == 1
    assert "Read-only file system" in container.log("stderr")


def test_masked_and_read_only_paths(pod: Pod) -> None:
    hidden = _linux(masked_paths=["/proc/version"], readonly_paths=["/proc/sys"])
    show = "wc -c </proc/version; echo 1 >/proc/sys/kernel/hostname"
    container = pod.start("sh", "-c", show, linux=hidden)
    assert container.wait() == 1
    assert container.log() == "0\n"
    assert "Read-only file system" in container.log("stderr")


def test_volume_environment_folder(pod: Pod, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello\n")
    mount = {"container_path": "/mnt", "host_path": str(tmp_path), "readonly": True}
    container = pod.start(
        *("sh", "-c", "cat file; echo $A; touch x"),
        mounts=[mount],
        envs=[{"key": "A", "value": "b c"}],
        working_dir="/mnt",
    )
    assert container.wait() == 1
    assert container.log() == "hello\nb c\n"


def test_propagated_volume(new_pod: NewPod, tmp_path: Path) -> None:
    """A mount made in the container shows up outside: PROPAGATION_BIDIRECTIONAL."""
    subprocess.run(["mount", "-t", "tmpfs", "t", tmp_path], check=True)
    try:
        subprocess.run(["mount", "--make-shared", tmp_path], check=True)
        (tmp_path / "inner").mkdir()
        volume = {"container_path": "/mnt", "host_path": str(tmp_path), "propagation": 2}
        pod = new_pod(linux=_linux(privileged=True))
        _skip_where_refused(pod)
        container = pod.start(
            *("sh", "-c", "mount -t tmpfs t /mnt/inner && touch /mnt/inner/made"),
            mounts=[volume],
            linux=_linux(privileged=True),
        )
        assert container.wait() == 0
        assert (tmp_path / "inner/made").exists()
    finally:
        subprocess.run(["umount", "-R", tmp_path], check=True)


def test_device(pod: Pod) -> None:
    device = {"container_path": "/dev/f", "host_path": "/dev/full", "permissions": "rw"}
    container = pod.start("sh", "-c", "test -c /dev/f && echo x >/dev/f", devices=[device])
    assert container.wait() == 1
    assert "No space left" in container.log("stderr")


def test_shared_pid_namespace(pod: Pod) -> None:
    shared = _linux(namespace_options={"pid": 0})
    pod.start("sleep", "777", name="a", linux=shared)
    other = pod.start("ps", name="b", linux=shared)
    other.wait()
    assert "sleep 777" in other.log()
    assert "sleep 100000" in other.log()  # the pause program


def test_pid_namespace_of_another_container(pod: Pod) -> None:
    own = pod.start("sleep", "777", name="a", linux=_linux(namespace_options={"pid": 1}))
    target = _linux(namespace_options={"pid": 3, "target_id": own.id})
    debugger = pod.start("ps", name="debugger", linux=target)
    debugger.wait()
    assert "sleep 777" in debugger.log()


def test_namespaces_of_the_node(new_pod: NewPod) -> None:
    pod = new_pod(hostname="", linux=_linux(namespace_options=NODE))
    show = "for kind in net pid ipc; do ls -l /proc/self/ns/$kind; done"
    container = pod.start("sh", "-c", show, linux=_linux(namespace_options=NODE))
    container.wait()
    for kind in ("net", "pid", "ipc"):
        assert str(Path("/proc/self/ns", kind).readlink()) in container.log()


def test_containers_share_the_network(pod: Pod) -> None:
    show = ("ls", "-l", "/proc/self/ns/net", "/proc/self/ns/ipc", "/proc/self/ns/uts")
    shown = []
    for name in ("a", "b"):
        container = pod.start(*show, name=name)
        container.wait()
        shown.append([line.split()[-1] for line in container.log().splitlines()])
    assert shown[0] == shown[1]


def test_reached_by_its_address(pod: Pod) -> None:
    pod.start("sh", "-c", "echo hello | nc -l -p 8080; sleep 1000")
    assert _read_from((pod.status().network.ip, 8080)) == b"hello\n"


def test_host_port(new_pod: NewPod) -> None:
    pod = new_pod(port_mappings=[{"container_port": 8080, "host_port": 18080}])
    pod.start("sh", "-c", "echo hello | nc -l -p 8080; sleep 1000")
    own = _own_address(pod.status().network.ip)
    assert _read_from((own, 18080)) == b"hello\n"


def test_stopped_pod(kubelet: Kubelet, new_pod: NewPod) -> None:
    """StopPodSandbox ends every container and gives the address back."""
    pod = new_pod()
    pod.start()
    kubelet.call("StopPodSandbox", pod_sandbox_id=pod.id)
    assert pod.status().state == 1  # SANDBOX_NOTREADY
    kubelet.call("StopPodSandbox", pod_sandbox_id=pod.id)
    kubelet.call("RemovePodSandbox", pod_sandbox_id=pod.id)
    assert pod.id not in kubelet.pods()
    assert not Path("/run/containerd/runc/k8s.io", pod.id).exists()


def test_10_containers_in_a_pod(pod: Pod) -> None:
    all_of_them = [pod.start("sh", "-c", f"exit {n}", name=f"c{n}") for n in range(10)]
    assert [container.wait() for container in all_of_them] == list(range(10))


def test_critest(kubelet: Kubelet, runtime: str, tmp_path: Path) -> None:
    """The validation suite of cri-tools, where CRITEST has its path."""
    program = os.environ.get("CRITEST")
    if program is None:
        pytest.skip("CRITEST is not set")
    report = critest.run(program, kubelet.socket, Path(runtime).name, tmp_path)
    sys.stdout.write(f"critest: {report.passed} passed, {report.skipped} skipped\n")
    assert report.passed
    assert not report.failed


def _skip_where_refused(pod: Pod) -> None:
    """CRI-O asks for every capability that the kernel knows; runc 1.1 refuses one it lacks."""
    lacks = not machine.capability_bounding() >> 24 & 1
    if lacks and pod.kubelet.server == "cri-o" and Path(pod.runtime).name == "runc":
        pytest.skip("no CAP_SYS_RESOURCE: runc refuses what CRI-O asks for")


def _memory_limit(container: Any) -> int:
    show = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max"
    return int(container.exec("sh", "-c", f"({show}) 2>/dev/null").expect().out)


def _read_from(address: tuple[str, int]) -> bytes:
    found: list[bytes] = []

    def answers() -> bool:
        try:
            with socket.create_connection(address, 5) as connection:
                found.append(connection.recv(100))
        except ConnectionRefusedError:
            return False
        return True

    wait_until(answers, f"the port {address}")
    return found[0]


def _own_address(peer: str) -> str:
    """Our address towards a peer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((peer, 9))
        return str(probe.getsockname()[0])
