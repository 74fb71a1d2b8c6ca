"""A network of its own for a test: devices, addresses, sysctls and nftables of nobody else.

The test's process goes into a new network namespace, which the runtime then takes for the host's,
and comes back. Nothing may be left in it but what the test itself has made.
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from pyroute2.nftables.main import NFTables

from ocirun.kernel.process import CLONE_NEWNET, setns, unshare

JSON = Any
NODAD = {4: (), 6: ("nodad",)}
FORWARDING = [
    Path("/proc/sys/net/ipv4/ip_forward"),
    Path("/proc/sys/net/ipv6/conf/all/forwarding"),
]


class Net:
    """The private network namespace: `ip` works in it, and `devices` looks into any."""

    def __init__(self) -> None:
        self._own_fd = os.open("/proc/self/ns/net", os.O_RDONLY)
        unshare(CLONE_NEWNET)
        self.ip("link", "set", "lo", "up")
        self._names: list[str] = []

    def leave(self) -> None:
        setns(self._own_fd, CLONE_NEWNET)
        os.close(self._own_fd)
        for name in self._names:
            subprocess.run(["ip", "netns", "delete", name], check=True)

    def ip(self, *words: str) -> str:
        """Call ip(8) here; return what it prints."""
        return call("ip", *words)

    def namespace(self, name: str) -> Path:
        """Make a second network namespace, as ip-netns(8) does; return its path."""
        self.ip("netns", "add", name)
        self._names.append(name)
        return Path("/run/netns", name)

    def add(self, kind: str, name: str = "d0") -> None:
        """Make a device of a kind that can be moved; a veth's other end is `name` and "p"."""
        if kind == "veth":
            self.ip("link", "add", "name", name, "type", "veth", "peer", "name", f"{name}p")
        elif kind == "macvlan":
            self.ip("link", "add", "name", f"{name}p", "type", "ifb")
            self.ip("link", "add", "link", f"{name}p", "name", name, "type", "macvlan")
        else:
            try:
                self.ip("link", "add", "name", name, "type", kind)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"this kernel has no {kind}: {error.stderr.strip()}")

    def devices(self, where: int | Path | None = None) -> dict[str, JSON]:
        """Return what `ip -j address` says of each device, by name.

        `where` is the pid of a container's init or the path of a namespace, None for here.
        """
        if where is None:
            text = self.ip("-j", "-d", "address")
        else:
            path = f"/proc/{where}/ns/net" if isinstance(where, int) else where
            text = call("nsenter", f"--net={path}", "ip", "-j", "-d", "address")
        return {entry["ifname"]: entry for entry in json.loads(text)}

    def state(self) -> JSON:
        """Return what must be as before: devices with their addresses, and sysctls."""
        kept = ("ifname", "ifindex", "address", "mtu", "master", "ifalias")
        devices = {
            name: [
                {key: device.get(key) for key in kept},
                "UP" in device["flags"],
                [a["local"] for a in device["addr_info"] if a["scope"] == "global"],
            ]
            for name, device in self.devices().items()
        }
        return devices, {path: path.read_text() for path in FORWARDING}, tables()

    def outside(self, *addresses: str) -> Path:
        """Make a namespace that stands for the world: it knows no way back to a container.

        `addresses` are its own, on a device called out0; the host has the next ones.
        """
        there = self.namespace("ocirun-outside")
        peer = ("name", "out0", "netns", there.name)
        self.ip("link", "add", "name", "up0", "type", "veth", "peer", *peer)
        for text in addresses:
            address = ipaddress.ip_interface(text)
            near = f"{address.ip + 1}/{address.network.prefixlen}"
            self.ip("address", "add", near, "dev", "up0", *NODAD[address.version])
            self.ip(
                "-n", there.name, "address", "add", text, "dev", "out0", *NODAD[address.version]
            )
        self.ip("link", "set", "up0", "up")
        for name in ("lo", "out0"):
            self.ip("-n", there.name, "link", "set", name, "up")
        return there

    def addresses(self, name: str, where: int | Path | None = None) -> list[str]:
        """Return the global addresses of a device, sorted."""
        return sorted(
            f"{address['local']}/{address['prefixlen']}"
            for address in self.devices(where)[name]["addr_info"]
            if address["scope"] == "global"
        )


def tables() -> list[str]:
    """Return the names of the nftables tables of this namespace, with how much is in each."""
    with NFTables(nfgen_family=0) as nft:
        return sorted(
            f"{each.get_attr('NFTA_TABLE_NAME')} {each.get_attr('NFTA_TABLE_USE')}"
            for each in nft.get_tables()
        )


def call(*argv: str) -> str:
    """Run a program of the host; return what it prints. A failure's message is its stderr."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        error = subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr)
        error.add_note(done.stderr)
        raise error
    return done.stdout


@pytest.fixture
def net() -> Generator[Net]:
    """A network namespace of the test's own; that of the machine is the same afterwards."""
    before = sorted(os.listdir("/sys/class/net"))
    made = Net()
    try:
        yield made
    finally:
        made.leave()
    assert sorted(os.listdir("/sys/class/net")) == before
