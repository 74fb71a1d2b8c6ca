"""A containerd with its CRI plugin, and a client as the kubelet is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

# Order: before grpc is imported. Its handlers of fork(2) abort the child that subprocess makes for
# a preexec_fn.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import grpc
import websocket
from harness.machine import MARK, cgroup_hierarchies

from clients.calls import TIMEOUT_S, Outcome, call, wait_for_daemon, wait_until
from clients.cri_messages import CLASSES, PACKAGE
from clients.images import IMAGE, PAUSE_IMAGE

PARENT = f"/{MARK}-cri"
CONTAINER_EXITED = 2  # of a status' `state`
DEFAULT = "ocirun"  # of an empty handler

# Two runtimes in one containerd. The rest is what a development machine lacks.
CONFIG = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{folder}/c.sock"
[ttrpc]
  address = "{folder}/c.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{folder}/registries"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "{default}"
"""
RUNTIME = """\
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{name}.options]
        BinaryName = "{path}"
"""
# In the place of every registry.
HOSTS = """\
[host."http://{registry}"]
  capabilities = ["pull", "resolve"]
"""


def _network(folder: Path) -> dict[str, Any]:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(folder / "ipam"),
            "ranges": [[{"subnet": "10.85.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {
        "cniVersion": "0.4.0",
        "name": MARK,
        "plugins": [bridge, ports, {"type": "loopback"}],
    }


class Kubelet:
    """containerd on private paths, asked through the CRI; its handlers are runc and ocirun.

    A pod without a handler is `default`'s. Images are pulled from `registry`, whatever their names.
    """

    server = "containerd"
    named_by = "CONTAINERD"
    capabilities = 0xA80425FB  # of a container that asks for nothing

    def __init__(
        self, folder: Path, runtimes: dict[str, str], registry: str, default: str = DEFAULT
    ) -> None:
        self.folder = folder
        self.registry = registry
        self.runtimes = runtimes
        self.default = default
        (folder / "cni").mkdir(parents=True)
        (folder / "cni/10-test.conflist").write_text(json.dumps(_network(folder)))
        words = self._write_config()
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.socket = f"unix://{folder}/c.sock"
        self._channel = grpc.insecure_channel(self.socket)
        wait_for_daemon(
            self._process,
            self._answers,
            folder / "log",
            f"{self.server}'s CRI",
            named=bool(os.environ.get(self.named_by)),
        )

    def _write_config(self) -> list[str]:
        """Write the configuration; return the words that start the server with it."""
        (self.folder / "registries/_default").mkdir(parents=True)
        (self.folder / "registries/_default/hosts.toml").write_text(
            HOSTS.format(registry=self.registry)
        )
        config = CONFIG.format(folder=self.folder, pause=PAUSE_IMAGE, default=self.default)
        for name, path in self.runtimes.items():
            config += RUNTIME.format(name=name, path=path)
        (self.folder / "config.toml").write_text(config)
        return ["containerd", "-c", f"{self.folder}/config.toml"]

    def _answers(self) -> bool:
        try:
            conditions = self.call("Status").status.conditions
        except grpc.RpcError:
            return False
        # containerd 2.3 has others too: one says whether its configuration is of an old version.
        ready = {condition.type for condition in conditions if condition.status}
        return {"RuntimeReady", "NetworkReady"} <= ready

    def load(self, archive: Path) -> None:
        words = ("ctr", "-a", self.folder / "c.sock", "-n", "k8s.io", "image", "import", archive)
        call(*words).expect()

    def call(self, method: str, **fields: Any) -> Any:
        """Call a method of the RuntimeService; `fields` are those of its request.

        Raises:
            grpc.RpcError: containerd refuses; its details() has the runtime's words.
        """
        request = CLASSES[f"{method}Request"](**fields)
        ask = self._channel.unary_unary(
            f"/{PACKAGE}.RuntimeService/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=CLASSES[f"{method}Response"].FromString,
        )
        return ask(request, timeout=TIMEOUT_S)

    def pods(self) -> list[str]:
        return [item.id for item in self.call("ListPodSandbox").items]

    def forget(self, pod: str) -> None:
        """Remove a pod with its containers, whatever their state."""
        self.call("StopPodSandbox", pod_sandbox_id=pod)
        self.call("RemovePodSandbox", pod_sandbox_id=pod)

    def stop(self) -> None:
        """Stop everything; nothing of the runtimes may be left but caches."""
        for pod in self.pods():
            self.forget(pod)
        self._channel.close()
        self._process.terminate()
        self._process.wait(TIMEOUT_S)
        for hierarchy in set(cgroup_hierarchies().values()):
            if (hierarchy / PARENT[1:]).exists():
                (hierarchy / PARENT[1:]).rmdir()
        root = Path("/run/containerd/runc/k8s.io")
        if root.exists() and not [path for path in root.iterdir() if path.name[0] != "@"]:
            shutil.rmtree(root)


class Pod:
    """A pod sandbox of one runtime."""

    def __init__(self, kubelet: Kubelet, handler: str, name: str, **settings: Any) -> None:
        self.kubelet = kubelet
        self.runtime = kubelet.runtimes[handler or kubelet.default]
        self.logs = kubelet.folder / "logs" / name
        self.logs.mkdir(parents=True)
        self.config = {
            "metadata": {"name": name, "uid": name, "namespace": "tests"},
            "hostname": "pod",
            "log_directory": str(self.logs),
            "linux": {"cgroup_parent": PARENT, **settings.pop("linux", {})},
            **settings,
        }
        answer = kubelet.call("RunPodSandbox", config=self.config, runtime_handler=handler)
        self.id: str = answer.pod_sandbox_id

    def status(self) -> Any:
        return self.kubelet.call("PodSandboxStatus", pod_sandbox_id=self.id).status

    def create(self, *command: str, name: str = "c", **settings: Any) -> Container:
        """Create a container of busybox; `settings` are fields of its ContainerConfig."""
        config = {
            "metadata": {"name": name},
            "image": {"image": IMAGE, "user_specified_image": IMAGE},
            "command": command or ("sleep", "1000"),
            "log_path": f"{name}.log",
            **settings,
        }
        answer = self.kubelet.call(
            "CreateContainer", pod_sandbox_id=self.id, config=config, sandbox_config=self.config
        )
        return Container(self.kubelet, answer.container_id, self.logs / f"{name}.log")

    def start(self, *command: str, name: str = "c", **settings: Any) -> Container:
        container = self.create(*command, name=name, **settings)
        container.call("StartContainer")
        return container


class Container:
    """A container of a pod."""

    def __init__(self, kubelet: Kubelet, identity: str, log: Path) -> None:
        self._kubelet = kubelet
        self.id = identity
        self._log = log

    def call(self, method: str, **fields: Any) -> Any:
        return self._kubelet.call(method, container_id=self.id, **fields)

    def status(self) -> Any:
        return self.call("ContainerStatus").status

    def wait(self) -> int:
        """Wait for the end of the container and give its status."""
        wait_until(lambda: self.status().state == CONTAINER_EXITED, "the container's end", 30)
        return int(self.status().exit_code)

    def exec(self, *command: str, timeout: int = 30) -> Outcome:
        done = self.call("ExecSync", cmd=command, timeout=timeout)
        return Outcome(done.exit_code, done.stdout.decode(), done.stderr.decode())

    def log(self, stream: str = "stdout") -> str:
        """The lines of one stream in the log, "TIME STREAM F|P WORDS" each."""
        lines = (line.split(" ", 3) for line in self._log.read_text().splitlines())
        return "".join(f"{words}\n" for _, name, _, words in lines if name == stream)


class Stream:
    """The websocket behind the URL of Exec and Attach.

    A frame begins with the number of its channel: 0 stdin, 1 stdout, 2 stderr, 3 the end as JSON,
    4 the size of the terminal as JSON. Source: kubernetes/kubernetes
    staging/src/k8s.io/apimachinery/pkg/util/remotecommand/constants.go.
    """

    def __init__(self, url: str) -> None:
        self._socket = websocket.create_connection(
            url.replace("http:", "ws:"), subprotocols=["v4.channel.k8s.io"], timeout=TIMEOUT_S
        )

    def type(self, words: bytes) -> None:
        self._socket.send_binary(b"\0" + words)

    def resize(self, width: int, height: int) -> None:
        self._socket.send_binary(b"\4" + json.dumps({"Width": width, "Height": height}).encode())

    def read_until(self, words: str) -> str:
        """Read stdout until it has `words`; fails when the stream ends before."""
        said = ""
        while words not in said:
            frame = self._socket.recv()
            assert frame, f"the stream ended with {said!r}"
            said += frame[1:].decode() if frame[0] == 1 else ""
        return said

    def read_all(self) -> Outcome:
        """Read to the end; the status is in a sentence of channel 3."""
        said = {1: b"", 2: b"", 3: b""}
        while frame := self._receive():
            said[frame[0]] += frame[1:]
        end = json.loads(said[3] or b"{}")
        code = 0
        for cause in end.get("details", {}).get("causes", []):
            code = int(cause["message"]) if cause["reason"] == "ExitCode" else code
        if end.get("status") == "Failure" and code == 0:
            code = -1  # no process ended: the message says why
            said[2] += end["message"].encode()
        self._socket.close()
        return Outcome(code, said[1].decode(), said[2].decode())

    def _receive(self) -> bytes:
        try:
            frame = self._socket.recv()
        except websocket.WebSocketConnectionClosedException:
            return b""
        return frame if isinstance(frame, bytes) else frame.encode()
