"""Clients that are named by directory, such as CONTAINERD=/opt/containerd-2/bin."""

from __future__ import annotations

import os
from pathlib import Path

NAMES = {"CONTAINERD": "containerd", "PODMAN": "podman", "DOCKER": "dockerd"}


def directories(environment: dict[str, str]) -> list[str]:
    """Return the directories that the environment names, each with its client in it.

    Raises:
        FileNotFoundError: the client is not there.
    """
    found = []
    for name, program in NAMES.items():
        if directory := environment.get(name):
            if not os.access(Path(directory, program), os.X_OK):
                raise FileNotFoundError(f"{name}={directory}: no program {program} in there")
            found.append(str(Path(directory).absolute()))
    return found


def put_first() -> bool:
    """Put them first in PATH, for all that is started; return whether there are any."""
    found = directories(dict(os.environ))
    os.environ["PATH"] = os.pathsep.join([*found, os.environ["PATH"]])
    return bool(found)
