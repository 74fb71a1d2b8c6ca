"""The machine's network: each device of its network namespace, by a tap.

    veth, macvlan …  ◄── packets ──►  tap ── QEMU ── the guest's device

The guest's device has the name, hardware address, MTU, addresses and routes of the namespace's own,
which then hands every packet on (network/redirect.py). A tap ends with QEMU. In a namespace that
stays, the qdiscs have to be removed: FILE in the container's folder names their devices.

Cold: only for a namespace with devices.

Source: docs/vm.md#networks; kernel Documentation/networking/tuntap.rst.
"""

from __future__ import annotations

import _socket
import os
import struct
from fcntl import ioctl

from ocirun.engines.vm import frames
from ocirun.errors import SetupError, SpecError, doing
from ocirun.kernel.process import CLONE_NEWNET, setns, unshare
from ocirun.network.namespace import is_own_namespace
from ocirun.spec.jsontext import compact, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from ocirun.container.folder import Folder
    from ocirun.network.links import Link
    from ocirun.network.netlink import Netlink
    from ocirun.spec.types import Config

    Devices = dict[int, Link]  # by index

FILE: Final = "vm.links"
LOOPBACK: Final = "lo"
TUN: Final = "/dev/net/tun"
TUNSETIFF: Final = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x2, 0x1000, 0x4000
IFREQ: Final = struct.Struct("16sH22x")
TAP_NAME: Final = b"ocirun-tap%d"  # the kernel chooses the number
ARPHRD_ETHER: Final = 1
MOST_DEVICES: Final = 8
MOST_ROUTES: Final = 1024
AF_INET, AF_INET6 = 2, 10
RTM_GETADDR, RTM_GETROUTE = 22, 26
RT_TABLE_MAIN: Final = 254
RTN_UNICAST: Final = 1
RT_SCOPE_LINK: Final = 253
RTNH_F_ONLINK: Final = 4
# What the guest's kernel makes by itself: RTPROT_REDIRECT, RTPROT_KERNEL, RTPROT_RA.
MADE_BY_KERNEL: Final = frozenset((1, 2, 9))
ANYWHERE: Final = {AF_INET: "0.0.0.0", AF_INET6: "::"}  # noqa: S104  # a route's destination


def open_namespace(config: Config) -> tuple[int, str]:
    """Return the network namespace that the machine joins (the caller's) and its path.

    -1 and "" where it gets a new one.

    Raises:
        SetupError: it does not open, or is the host's.
    """
    for namespace in config.get("linux", {}).get("namespaces") or ():
        path = namespace.get("path", "")
        if namespace["type"] != "network" or not path:
            continue
        with doing(f"opening the network namespace {path}"):
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        # Danger: the host would hear nothing any more.
        if is_own_namespace(fd):
            os.close(fd)
            raise SetupError(f"the network namespace {path} is the host's, which has no machines")
        return fd, path
    return -1, ""


def _identity(of: int | str) -> tuple[int, int]:
    found = os.stat(of)
    return found.st_dev, found.st_ino


def enter_namespace(fd: int) -> None:
    """Join the network namespace `fd` (used up), or a new one if it is -1.

    Raises:
        SetupError: the kernel refuses.
    """
    if fd < 0:
        with doing("making a network namespace"):
            unshare(CLONE_NEWNET)
        return
    try:
        with doing("joining the network namespace"):
            setns(fd, CLONE_NEWNET)
    finally:
        os.close(fd)


class Taps:
    """The taps of a machine: `fds` with their devices' hardware addresses; owns them.

    `setup` are the frames that configure the guest's devices.
    """

    __slots__ = ("fds", "setup")

    def __init__(self) -> None:
        self.fds: list[tuple[int, str]] = []
        self.setup: list[bytes] = []

    def close(self) -> None:
        """Close the taps; they stay as long as QEMU has them."""
        while self.fds:
            os.close(self.fds.pop()[0])


def make_taps(folder: Folder, path: str) -> Taps:
    """Join a tap to each device of our network namespace, which is that of `path`, "" if new.

    Raises:
        SetupError: there is no tap here; a device is none that a machine can have, or is another
            machine's; the kernel refuses.
    """
    taps = Taps()
    if [name for _, name in _socket.if_nameindex()] in ([], [LOOPBACK]):
        return taps
    from ocirun.network.netlink import Netlink
    from ocirun.network.redirect import claim_device

    try:
        with doing("reading the devices of the network namespace"), Netlink() as netlink:
            devices = _devices(netlink)
            taps.setup = [*_setup(netlink, devices)]
        with Netlink() as netlink:
            claimed: list[int] = []
            for device in devices.values():
                # Order: remembered before it is made, in case we die; and not as ours if it is not.
                _remember(folder, path, [*claimed, device.index])
                try:
                    claim_device(netlink, device)
                except SetupError:
                    _remember(folder, path, claimed)
                    raise
                claimed.append(device.index)
                taps.fds.append((_join_tap(netlink, device), device.hardware))
    except BaseException:
        taps.close()
        raise
    return taps


def part_devices(folder: Folder) -> None:
    """Remove what `make_taps` has put on devices of a namespace that may still be there.

    Raises:
        SetupError: the kernel refuses.
    """
    data = folder.read(FILE)
    if data is None:
        return
    from ocirun.network.netlink import Netlink
    from ocirun.network.redirect import part_device

    try:
        body: dict[str, Any] = parse(data, FILE)  # type: ignore[assignment]
        path, identity, devices = body["path"], body["identity"], body["devices"]
    except (SpecError, KeyError, TypeError) as error:
        raise SetupError(f"{folder.path}/{FILE} is damaged: {error}") from error
    with doing(f"parting the machine from the network namespace {path}"):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            fd = -1
        try:
            if fd >= 0 and [*_identity(fd)] == identity:
                with Netlink(fd) as netlink:
                    for index in devices:
                        part_device(netlink, index)
        finally:
            if fd >= 0:
                os.close(fd)
        os.unlink(FILE, dir_fd=folder.fd)


def _remember(folder: Folder, path: str, devices: list[int]) -> None:
    if path:  # a new namespace ends with the machine
        body = {"path": path, "identity": [*_identity(path)], "devices": devices}
        folder.write(FILE, compact(body))


def _devices(netlink: Netlink) -> Devices:
    """Return the devices that the guest gets: those that are up, without lo."""
    from ocirun.network.links import all_links

    found = [link for link in all_links(netlink) if link.is_up and link.name != LOOPBACK]
    for link in found:
        if link.hardware_type != ARPHRD_ETHER:
            raise SetupError(f"network device {link.name} is no Ethernet, which machines have")
    if len(found) > MOST_DEVICES:
        raise SetupError(
            f"{len(found)} network devices are too many for a machine ({MOST_DEVICES})"
        )
    return {link.index: link for link in found}


def _join_tap(netlink: Netlink, device: Link) -> int:
    """Return a tap that sends what `device` receives, and the other way round."""
    from ocirun.network.links import require_link, set_link
    from ocirun.network.redirect import claim_device, join_devices

    with doing(f"opening {TUN} for network device {device.name}"):
        fd = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    try:
        with doing(f"making a tap for network device {device.name}"):
            request = IFREQ.pack(TAP_NAME, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
            name = IFREQ.unpack(ioctl(fd, TUNSETIFF, request))[0].rstrip(b"\0").decode()
            tap = require_link(netlink, name)
            set_link(netlink, tap.index, up=True, MTU=device.mtu)
        with doing(f"joining {name} to network device {device.name}"):
            claim_device(netlink, tap)
            join_devices(netlink, device, tap)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _setup(netlink: Netlink, devices: Devices) -> Iterator[bytes]:
    for link in devices.values():
        mac = int(link.hardware.replace(":", ""), 16)
        payload = frames.u64(mac) + frames.u32(link.mtu) + frames.text(link.name)
        yield frames.frame(frames.LINK, payload=payload)
    yield from _addresses(netlink, devices)
    routes = sorted(_routes(netlink, devices))
    if len(routes) > MOST_ROUTES:
        raise SetupError(f"{len(routes)} routes are too many for a machine ({MOST_ROUTES})")
    yield from (frame for _, frame in routes)


def _addresses(netlink: Netlink, devices: Devices) -> Iterator[bytes]:
    from ocirun.network.messages import ifaddrmsg

    for address in netlink.dump(RTM_GETADDR, ifaddrmsg()):
        link = devices.get(address["index"])
        is_own = address["family"] == AF_INET6 and address["scope"] == RT_SCOPE_LINK
        if link is None or is_own:  # the guest's kernel makes the same one
            continue
        peer = address.get_attr("IFA_ADDRESS")
        words = (
            link.name,
            address.get_attr("IFA_LOCAL") or peer,
            peer,
            address.get_attr("IFA_BROADCAST") or "",
        )
        payload = frames.u32(address["prefixlen"]) + b"".join(map(frames.text, words))
        yield frames.frame(frames.ADDRESS, payload=payload)


def _routes(netlink: Netlink, devices: Devices) -> Iterator[tuple[bool, bytes]]:
    """Yield the routes; those that need others last, as sorting has them."""
    from ocirun.network.messages import rtmsg

    for family in (AF_INET, AF_INET6):
        wanted = rtmsg()
        wanted["family"] = family
        for route in netlink.dump(RTM_GETROUTE, wanted):
            is_main = route["table"] == RT_TABLE_MAIN and route["type"] == RTN_UNICAST
            if not is_main or route["proto"] in MADE_BY_KERNEL:
                continue
            to = route.get_attr("RTA_DST") or ANYWHERE[family]
            if route.get_attr("RTA_MULTIPATH") or route.get_attr("RTA_VIA"):
                raise SetupError(f"a machine has no counterpart for the route to {to}")
            link = devices.get(route.get_attr("RTA_OIF") or 0)
            if link is None:
                continue
            gateway = route.get_attr("RTA_GATEWAY") or ""
            numbers = (
                route["dst_len"],
                route.get_attr("RTA_PRIORITY") or 0,
                route["scope"],
                route["flags"] & RTNH_F_ONLINK,
            )
            words = (link.name, to, gateway, route.get_attr("RTA_PREFSRC") or "")
            payload = b"".join(map(frames.u32, numbers)) + b"".join(map(frames.text, words))
            yield bool(gateway), frames.frame(frames.ROUTE, payload=payload)
