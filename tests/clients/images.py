"""An image without a registry: a docker-archive of a busybox tree."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

from harness import machine

IMAGE = "docker.io/library/busybox:latest"
PAUSE_IMAGE = "localhost/pause:1"
# It ends at SIGTERM, which a pid 1 that does not handle it ignores: CRI-O waits a minute for that.
PAUSE = ("sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait")
APPLETS = (
    "sh", "cat", "echo", "sleep", "true", "false", "id", "ls", "ps", "mount", "stty", "env",
    "head", "touch", "mkdir", "kill", "grep", "hostname", "pwd", "tty", "dd", "chmod", "unshare",
    "tail", "wc", "sync", "test", "printf", "nc",
)  # fmt: skip
BROKEN = {  # what is run by the tests of errors
    "bin/noexec": (0o644, b"#!/bin/sh\n"),
    "bin/noshell": (0o755, b"#!/no/such/interpreter\n"),
    "bin/garbage": (0o755, b"\0\0\0\0 not a program"),
}


class Image(NamedTuple):
    """The two parts of an image, as bytes: its configuration (JSON) and its one layer (a tar)."""

    config: bytes
    layer: bytes


def write_tree(folder: Path) -> Path:
    """Make the root filesystem as a folder and return it."""
    for name in ("bin", "etc", "dev", "proc", "sys", "tmp", "run", "root", "var"):
        (folder / name).mkdir(parents=True)
    program = (Path(machine.find_busybox())).read_bytes()
    (folder / "bin/busybox").write_bytes(program)
    (folder / "bin/busybox").chmod(0o755)
    for name in APPLETS:
        (folder / "bin" / name).symlink_to("busybox")
    for path, (mode, content) in BROKEN.items():
        (folder / path).write_bytes(content)
        (folder / path).chmod(mode)
    (folder / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\ndaemon:x:2:2::/:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\ndaemon:x:2:\n")
    (folder / "tmp").chmod(0o1777)
    return folder


def layer_of(tree: Path) -> bytes:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(tree, ".", filter=_owned_by_root)
    return layer.getvalue()


def make(layer: bytes, command: tuple[str, ...] = ("sh",), **settings: Any) -> Image:
    """Return an image of one layer; `settings` are of its default configuration, such as User."""
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": list(command), **settings},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "ocirun's tests"}],
    }
    return Image(json.dumps(config).encode(), layer)


def write_archive(
    path: Path, tree: Path, name: str = IMAGE, command: tuple[str, ...] = ("sh",)
) -> Path:
    """Write `path`, a docker-archive that ctr, podman and docker load, of a tree."""
    image = make(layer_of(tree), command)
    layer_name = hashlib.sha256(image.layer).hexdigest() + "/layer.tar"
    config_name = hashlib.sha256(image.config).hexdigest() + ".json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]
    with tarfile.open(path, "w") as tar:
        for member, content in (
            (layer_name, image.layer),
            (config_name, image.config),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def _owned_by_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info
