"""Networks of type cni, made by the plugins of a CNI configuration list.

    create   ADD of each plugin in order, each with the result of the one before
    start    CHECK of each in order
    delete   DEL of each in reverse order, also where ADD has failed or its caller was killed

Plugins need a path of the container's network namespace: it is bind-mounted on a file in the
container's directory, which keeps it until DEL is done, also after init has ended.

Source: docs/network.md#cni; https://www.cni.dev/docs/spec/.
"""

from __future__ import annotations

import ipaddress
import os
import time
from errno import EINVAL

from ocirun.errors import OcirunError, SetupError, doing
from ocirun.kernel.locks import try_lock
from ocirun.kernel.mount import MNT_DETACH, fstatfs, mount, umount2
from ocirun.network.cni_config import (
    find_config,
    find_plugin,
    has_check,
    input_of,
    is_cni_name,
    plugin_dirs,
    takes_ports,
)
from ocirun.network.cni_plugin import TIMEOUT_S, run_plugin
from ocirun.spec.jsontext import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.network.attachment import Attachment
    from ocirun.network.sides import Sides
    from ocirun.spec.networks import Network
    from ocirun.spec.ports import Port

NAMESPACE: Final = "cni-netns"
LOCK: Final = "cni-lock"
NSFS_MAGIC: Final = 0x6E736673
MS_BIND: Final = 0x1000
PAUSE_S: Final = 0.05


def check(attachment: Attachment, network: Network) -> None:
    """Find the configuration and the plugins, and record them.

    Raises:
        SetupError: a file is missing, or no plugin takes the ports, or CNI does not allow the id.
    """
    if not is_cni_name(attachment.container):
        # Spec: plugins refuse it, at DEL too.
        raise SetupError(f"CNI allows no container ID like {quoted(attachment.container)}")
    config = find_config(network.network)
    paths = [find_plugin(plugin["type"]) for plugin in config["plugins"]]
    ports = [mapping for port in attachment.ports for mapping in _mappings(port)]
    if ports and not takes_ports(config):
        raise SetupError(f"no plugin of CNI network {network.network} takes ports")
    attachment.cni = {"config": config, "paths": paths, "dirs": plugin_dirs(), "ports": ports}


def create(attachment: Attachment, sides: Sides, _: int, folder: str) -> None:
    """Run ADD of each plugin: it adds the container to its network.

    Raises:
        SetupError: a plugin failed.
    """
    if not _is_namespace(
        f"{folder}/{NAMESPACE}"
    ):  # another network of this container may have mounted it
        _hold(sides.container_fd, f"{folder}/{NAMESPACE}")
    previous: dict[str, Any] | None = None
    version = attachment.cni["config"]["cniVersion"]
    with _Caller(attachment, folder) as caller:
        for path, plugin in zip(attachment.cni["paths"], _plugins(attachment), strict=True):
            previous = caller.run("ADD", path, plugin, previous)
            if previous is None or previous.get("cniVersion", version) != version:
                kind = plugin["type"]
                raise SetupError(f"CNI plugin {kind} gives no result of version {version}")
    attachment.cni["result"] = previous
    attachment.addresses = _addresses(previous or {})


def _mappings(port: Port) -> list[dict[str, Any]]:
    """Return a port for the capability portMappings, one entry for each number.

    Source: https://www.cni.dev/docs/conventions/.
    """
    return [
        {
            "hostPort": port.host + number,
            "containerPort": port.container + number,
            "protocol": port.protocol,
            "hostIP": str(port.address or ""),
        }
        for number in range(port.count)
    ]


def _hold(fd: int, place: str) -> None:
    with doing(f"binding the container's network namespace on {place}"):
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        mount(f"/proc/self/fd/{fd}", place, "", MS_BIND, "")


def check_again(attachment: Attachment, folder: str) -> None:
    """Run CHECK of each plugin, if the CNI version has it: is the network still as ADD made it?

    Raises:
        SetupError: it is not.
    """
    if not has_check(attachment.cni["config"]):
        return
    result = attachment.cni.get("result")
    with _Caller(attachment, folder) as caller:
        for path, plugin in zip(attachment.cni["paths"], _plugins(attachment), strict=True):
            caller.run("CHECK", path, plugin, result)


def remove(attachment: Attachment, folder: str) -> None:
    """Run DEL of each plugin in reverse order; continues after a failure.

    Raises:
        SetupError: a plugin failed.
    """
    failures: list[OcirunError] = []
    result = attachment.cni.get("result")
    pairs = list(zip(attachment.cni["paths"], _plugins(attachment), strict=True))
    with _Caller(attachment, folder) as caller:
        for path, plugin in reversed(pairs):
            try:
                caller.run("DEL", path, plugin, result)
            except OcirunError as error:
                failures.append(error)
    if failures:
        for failure in failures[1:]:
            failures[0].add_note(f"and: {failure}")
        raise failures[0]


def unmount_namespace(folder: str) -> None:
    """Unmount the container's network namespace, after all of its networks are removed.

    Raises:
        SetupError: the kernel refused.
    """
    place = f"{folder}/{NAMESPACE}"
    with doing(f"unmounting {place}"):
        try:
            umount2(place, MNT_DETACH)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != EINVAL:  # not mounted, or not in this mount namespace
                raise


class _Caller:
    """Runs the plugins of one network, under a lock against plugins of an earlier caller.

    Each plugin inherits the lock, so it outlives a caller that is killed.
    """

    __slots__ = ("_attachment", "_fd", "_folder", "_variables")

    def __init__(self, attachment: Attachment, folder: str) -> None:
        self._folder = folder
        self._fd = -1
        self._variables = {
            "CNI_CONTAINERID": os.path.basename(folder),
            "CNI_IFNAME": attachment.name,
            "CNI_PATH": attachment.cni["dirs"],
            "CNI_NETNS": "",
        }
        self._attachment = attachment

    def __enter__(self) -> _Caller:
        place = f"{self._folder}/{NAMESPACE}"
        if _is_namespace(place):
            self._variables["CNI_NETNS"] = place
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = f"{self._folder}/{LOCK}"
        with doing(f"opening {lock}"):
            self._fd = os.open(lock, flags, 0o600)
        end = time.monotonic() + TIMEOUT_S
        while True:
            try:
                try_lock(self._fd)
            except BlockingIOError:
                if time.monotonic() > end:
                    os.close(self._fd)
                    raise SetupError("a CNI plugin of an earlier call is still at work") from None
                time.sleep(PAUSE_S)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def run(
        self, command: str, path: str, plugin: dict[str, Any], previous: dict[str, Any] | None
    ) -> dict[str, Any] | None:
        """Run one plugin; return its result."""
        body = input_of(self._attachment, plugin, previous)
        return run_plugin(path, body, {**self._variables, "CNI_COMMAND": command}, self._fd)


def _plugins(attachment: Attachment) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = attachment.cni["config"]["plugins"]
    return found


def _is_namespace(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return fstatfs(fd)[0] == NSFS_MAGIC
    finally:
        os.close(fd)


def _addresses(result: dict[str, Any]) -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    """Return the addresses of a result of any version; invalid ones are left out."""
    found = []
    several = result.get("ips")
    older = [
        {"address": one.get("ip")}
        for one in map(result.get, ("ip4", "ip6"))
        if isinstance(one, dict)
    ]
    for entry in [*(several if isinstance(several, list) else ()), *older]:
        try:
            found.append(ipaddress.ip_interface(entry["address"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found
