"""Clients that are named by path, such as CONTAINERD=/opt/containerd-2/bin."""

from __future__ import annotations

import os
from pathlib import Path

NAMES = {
    "CONTAINERD": "containerd",
    "CRIO": "crio",
    "DOCKER": "dockerd",
    "KUBELET": "kubelet",
    "PODMAN": "podman",
}


def directories(environment: dict[str, str]) -> list[str]:
    """Return the directories that the environment names, itself or by the client in it.

    Raises:
        FileNotFoundError: the client is not there.
    """
    found = []
    for name, program in NAMES.items():
        if path := environment.get(name):
            directory = Path(path).parent if Path(path).is_file() else Path(path)
            if not os.access(directory / program, os.X_OK):
                raise FileNotFoundError(f"{name}={path}: no program {program} in there")
            found.append(str(directory.absolute()))
    return found


def put_first() -> bool:
    """Put them first in PATH, for all that is started; return whether there are any."""
    found = directories(dict(os.environ))
    os.environ["PATH"] = os.pathsep.join([*found, os.environ["PATH"]])
    return bool(found)
