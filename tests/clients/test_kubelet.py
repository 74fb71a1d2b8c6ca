"""A kubelet without a cluster, with static pods; where KUBELET names one.

It takes each pod to the CRI's default runtime, so there is a containerd for each of the two.

Source: kubernetes.io/docs/tasks/configure-pod-container/static-pod;
kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from harness.machine import MARK, has_tool

from clients.calls import TIMEOUT_S, wait_for_daemon, wait_until
from clients.conftest import handlers
from clients.cri import CONTAINER_EXITED, Kubelet
from clients.images import IMAGE
from clients.registry import Registry

HEALTH_PORT = 10248
RUNNING = 1  # of a container's `state`
LIMIT = 64 << 20
# Nothing but static pods: no API server, no cgroups of its own, no eviction where a disk is full.
CONFIG: dict[str, Any] = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
    "authorization": {"mode": "AlwaysAllow"},
    "cgroupDriver": "cgroupfs",
    "cgroupsPerQOS": False,
    "enforceNodeAllocatable": [],
    "enableServer": False,
    "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
    "failCgroupV1": False,
    "failSwapOn": False,
    "fileCheckFrequency": "1s",
    "healthzPort": HEALTH_PORT,
    "localStorageCapacityIsolation": False,
    "syncFrequency": "1s",
}


class StaticPods:
    """$KUBELET and a containerd whose default is one runtime."""

    def __init__(self, folder: Path, cri: Kubelet) -> None:
        self.cri = cri
        self._pods = folder / "manifests"
        self._pods.mkdir(parents=True)
        config = CONFIG | {
            "containerRuntimeEndpoint": cri.socket,
            "imageServiceEndpoint": cri.socket,
            "podLogsDir": str(folder / "logs"),
            "staticPodPath": str(self._pods),
        }
        (folder / "config.json").write_text(json.dumps(config))
        words = ["kubelet", "--config", folder / "config.json", "--root-dir", folder / "root"]
        words += ["--cert-dir", folder / "certificates", "--hostname-override", MARK]
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_for_daemon(self._process, _is_healthy, folder / "log", "the kubelet", named=True)

    def add(self, name: str, policy: str, *command: str) -> None:
        """Have it run a pod with one container, which may use LIMIT bytes of memory."""
        container = {
            "name": "c",
            "image": IMAGE,
            "imagePullPolicy": "Never",
            "command": command,
            "resources": {"limits": {"memory": str(LIMIT)}},
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"restartPolicy": policy, "containers": [container]},
        }
        scratch = self._pods.parent / f"{name}.json"
        scratch.write_text(json.dumps(pod))
        scratch.rename(self._pods / f"{name}.json")

    def remove(self, name: str) -> None:
        (self._pods / f"{name}.json").unlink()

    def containers(self, name: str) -> list[Any]:
        """Return the containers of a pod, as the CRI lists them; the newest first."""
        pods = self.cri.call("ListPodSandbox").items
        ids = [pod.id for pod in pods if pod.metadata.name == f"{name}-{MARK}"]
        found = [c for c in self.cri.call("ListContainers").containers if c.pod_sandbox_id in ids]
        return sorted(found, key=lambda container: -container.created_at)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT_S)


def _is_healthy() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{HEALTH_PORT}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


@pytest.fixture
def node(
    folder: Path, runtime: str, archive: Path, pause: Path, registry: Registry
) -> Generator[Kubelet, None, None]:
    """A containerd whose default is the runtime."""
    if not os.environ.get("KUBELET"):
        pytest.skip("KUBELET is not set")
    if not has_tool("containerd"):
        pytest.skip("no tool containerd")
    name = Path(runtime).name
    cri = Kubelet(folder / f"kubelet-{name}", handlers(), registry.address, name)
    try:
        cri.load(archive)
        cri.load(pause)
        yield cri
    finally:
        cri.stop()


@pytest.fixture
def static(node: Kubelet, tmp_path: Path) -> Generator[StaticPods, None, None]:
    static = StaticPods(tmp_path, node)
    yield static
    static.stop()


def test_static_pods(static: StaticPods) -> None:
    """One ends, one fails and is started again, one runs until its manifest goes away."""
    static.add("ends", "Never", "sh", "-c", "exit 7")
    static.add("fails", "OnFailure", "sh", "-c", "exit 3")
    static.add("runs", "Always", "sleep", "1000")
    wait_until(
        lambda: [c.state for c in static.containers("ends")] == [CONTAINER_EXITED], "the end", 90
    )
    (ended,) = static.containers("ends")
    status = static.cri.call("ContainerStatus", container_id=ended.id).status
    assert status.exit_code == 7
    wait_until(lambda: len(static.containers("fails")) > 1, "the second start", 90)
    wait_until(lambda: [c.state for c in static.containers("runs")] == [RUNNING], "a pod", 90)
    (running,) = static.containers("runs")
    show = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max"
    done = static.cri.call(
        "ExecSync", container_id=running.id, cmd=["sh", "-c", f"({show}) 2>/dev/null"], timeout=30
    )
    assert int(done.stdout) == LIMIT
    for name in ("ends", "fails", "runs"):
        static.remove(name)
    wait_until(lambda: not static.cri.pods(), "the end of all pods", 120)
