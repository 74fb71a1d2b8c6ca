"""resolv.conf and hosts of a container: files in its directory, mounted read-only over /etc.

    create, before init is cloned    ROOT/ID/resolv.conf and ROOT/ID/hosts, two more bind mounts
    create, with the networks made   hosts gets the container's own addresses
    delete                           they are removed with the directory

The mounts work like all others: /etc/hosts of the image is resolved inside the root, may be a link,
and is created if it is missing. The image's file is not changed.

Security: read-only, because they are on a file system of the host that the container could fill.

Source: docs/network.md#names.
"""

from __future__ import annotations

import os

from ocirun.errors import doing
from ocirun.spec.network_names import FILES, hosts, resolv_conf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirun.container.folder import Folder
    from ocirun.spec.types import Config


def give_files(config: Config, entries: list[dict[str, Any]], directory: Folder) -> Config:
    """Create the files that the networks `entries` need; return the config that mounts them.

    Only init uses that config; exec finds the mounts in place.

    Raises:
        SetupError: the kernel refused.
    """
    mounts = []
    for name, place in FILES.items():
        if not any(name in entry for entry in entries):
            continue
        file = place.rpartition("/")[2]
        _write(directory, file, (name == "dns" and resolv_conf(entries)) or "")
        options = ["bind", "ro", "nosuid", "nodev", "noexec"]
        source = f"{directory.path}/{file}"
        mounts.append({"destination": place, "type": "bind", "source": source, "options": options})
    return {**config, "mounts": [*(config.get("mounts") or []), *mounts]}  # type: ignore[list-item]  # it is one


def fill_hosts(
    config: Config, entries: list[dict[str, Any]], directory: Folder, addresses: list[str]
) -> None:
    """Write hosts, if configured, with the container's own `addresses`, which are now known.

    Raises:
        SetupError: the kernel refused.
    """
    if any("hosts" in entry for entry in entries):
        text = hosts(entries, config.get("hostname", ""), addresses)
        _write(directory, "hosts", text)


def _write(directory: Folder, name: str, text: str) -> None:
    """Write a file in place: init may have its descriptor already."""
    with doing(f"writing {directory.path}/{name}"):
        fd = directory.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with open(fd, "w", encoding="ascii") as file:
            # Independent of our umask: every user of the container reads it.
            os.fchmod(fd, 0o644)
            file.write(text)
