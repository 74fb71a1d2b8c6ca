"""CRI-O in containerd's place, where CRIO names it.

Source: crio.conf(5), crio(8), containers-policy.json(5), containers-registries.conf(5).
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.machine import capability_bounding

from clients.calls import call
from clients.cri import Kubelet
from clients.images import PAUSE_IMAGE

CONFIG = """\
[crio]
root = "{folder}/root"
runroot = "{folder}/runroot"
storage_driver = "vfs"
log_dir = "{folder}/pods"
version_file = "{folder}/version"
version_file_persist = ""
clean_shutdown_file = "{folder}/clean"
[crio.api]
listen = "{folder}/c.sock"
stream_address = "127.0.0.1"
stream_port = "0"
[crio.runtime]
default_runtime = "{default}"
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
apparmor_profile = "unconfined"
namespaces_dir = "{folder}/ns"
container_exits_dir = "{folder}/exits"
container_attach_socket_dir = "{sockets}"
[crio.image]
pause_image = "{pause}"
pause_command = ""
signature_policy = "{folder}/policy.json"
[crio.network]
network_dir = "{folder}/cni"
plugin_dirs = ["/usr/lib/cni"]
"""
RUNTIME = """\
[crio.runtime.runtimes.{name}]
runtime_path = "{path}"
runtime_type = "oci"
runtime_root = "{folder}/state-{name}"
monitor_cgroup = "pod"
"""
# Those that critest pulls from are the tests' own.
REGISTRIES = ("registry.k8s.io", "k8s.gcr.io", "gcr.io")
REGISTRY = """\
[[registry]]
prefix = "{name}"
location = "{place}"
insecure = true
"""
# CRI-O wants a lower score of a pod's first process than one can have without CAP_SYS_RESOURCE.
WITHOUT_SCORE = """\
#!/bin/sh
last= bundle=
for word; do
    [ "$last" != --bundle ] || bundle=$word
    last=$word
done
[ -z "$bundle" ] || sed -i 's/\\("oomScoreAdj":\\) *-[0-9]*/\\1 {score}/' "$bundle/config.json"
exec {path} "$@"
"""

# What loses its conmon becomes a child of this session, which waits for nothing; as long as nobody
# has waited for a process, the first one of its pid namespace does not end, and no pod stops.
REAPER = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
crio = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
signal.signal(signal.SIGTERM, lambda *_: os.kill(crio, signal.SIGTERM))
while os.wait()[0] != crio:
    pass
"""


class Crio(Kubelet):
    """CRI-O on private paths, asked through the CRI; its handlers are runc and ocirun."""

    server = "cri-o"
    named_by = "CRIO"
    capabilities = 0x5FB

    def _write_config(self) -> list[str]:
        keys = {"folder": self.folder, "default": self.default, "pause": PAUSE_IMAGE}
        keys["sockets"] = self.folder.parent / "a"  # short: 71 characters follow, and 107 may be
        config = CONFIG.format(**keys)
        for name, path in self.runtimes.items():
            program = path if capability_bounding() >> 24 & 1 else self._wrap(name, path)
            config += RUNTIME.format(name=name, path=program, folder=self.folder)
        (self.folder / "crio.conf").write_text(config)
        (self.folder / "policy.json").write_text(
            '{"default": [{"type": "insecureAcceptAnything"}]}'
        )
        registries = self.folder / "registries.conf"
        registries.write_text(
            "".join(REGISTRY.format(name=name, place=self.registry) for name in REGISTRIES)
        )
        crio = ("crio", "--config", f"{self.folder}/crio.conf", "--config-dir", "")
        return [sys.executable, "-c", REAPER, *crio, "--registries-conf", str(registries)]

    def _wrap(self, name: str, path: str) -> str:
        wrapper = self.folder / name
        score = Path("/proc/self/oom_score_adj").read_text().strip()
        wrapper.write_text(WITHOUT_SCORE.format(score=score, path=path))
        wrapper.chmod(0o755)
        return str(wrapper)

    def load(self, archive: Path) -> None:
        """Load an image by podman, which works on the same storage."""
        places = ("--root", self.folder / "root", "--runroot", self.folder / "runroot")
        call("podman", *places, "--storage-driver", "vfs", "load", "-i", archive).expect()
