"""The members dns and hosts of a network: resolv.conf and hosts of the container's own.

Source: docs/network.md#names.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.needs import needs
from harness.networks import Net

pytestmark = [pytest.mark.integration, needs("root", "ours", "tool ip", "tool nsenter")]

NAMES = {
    "dns": {
        "nameservers": ["192.0.2.53", "2001:db8::53"],
        "search": ["example.org", "example.net"],
        "options": ["ndots:2"],
    },
    "hosts": [{"address": "10.9.0.9", "names": ["db", "db.example.org"]}],
}
VETH = {"type": "veth", "bridge": "oci0", "pools": ["10.9.0.0/24", "fd09::/64"]}
RESOLV_CONF = (
    "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch example.org example.net\n"
    "options ndots:2\n"
)
LOCALHOST = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def networked(box: Box, *networks: dict[str, Any]) -> Bundle:
    bundle = box.bundle("/probe", "wait")
    bundle.config["hostname"] = "web"
    bundle.config["annotations"] = {"org.ocirun.networks": json.dumps(networks)}
    return bundle


def read(container: Container, path: str) -> str:
    return container.exec("/bin/busybox", "cat", path).ok().stdout


def test_both_files_have_what_was_asked_for(each_way: Box, net: Net) -> None:  # noqa: ARG001
    old = os.umask(0o077)
    try:
        container = each_way.running(networked(each_way, VETH | NAMES))
    finally:
        os.umask(old)
    assert read(container, "/etc/resolv.conf") == RESOLV_CONF
    own = "10.9.0.2\tweb\nfd09::2\tweb\n"
    assert read(container, "/etc/hosts") == f"{LOCALHOST}{own}10.9.0.9\tdb db.example.org\n"
    looked_up = container.exec("/bin/busybox", "ping", "-c1", "-W2", "web", flags=("--user", "0"))
    assert "PING web (" in looked_up.stdout
    for path in ("/etc/resolv.conf", "/etc/hosts"):
        mode = container.exec("/bin/busybox", "stat", "-c", "%a", path).ok().stdout
        assert mode == "644\n"
        refused = container.exec("sh", "-c", f"echo 1 >> {path}")
        assert "Read-only file system" in refused.stderr
    folder = Path(each_way.runtime.root, container.id)
    assert (folder / "hosts").is_file()
    container.delete("--force").ok()
    assert not folder.exists()


def test_only_what_was_asked_for_is_mounted(box: Box, net: Net) -> None:  # noqa: ARG001
    lists = {"dns": {"nameservers": ["192.0.2.1"]}}, {"dns": {"search": ["a"], "nameservers": []}}
    container = box.running(networked(box, *({"type": "loopback"} | names for names in lists)))
    assert read(container, "/etc/resolv.conf") == "nameserver 192.0.2.1\nsearch a\n"
    mounted = read(container, "/proc/self/mountinfo")
    assert " /etc/resolv.conf " in mounted
    assert " /etc/hosts " not in mounted
    second = box.running(networked(box, {"type": "loopback", "hosts": []}))
    assert read(second, "/etc/hosts") == LOCALHOST


@pytest.mark.parametrize("kind", ["missing", "file", "link", "dangling", "absolute", "parents"])
def test_the_image_may_have_links_or_nothing_there(
    box: Box,
    net: Net,  # noqa: ARG001
    tmp_path: Path,
    kind: str,
) -> None:
    """The links of a hostile image end inside the root: nothing of the host is made or covered."""
    decoy = tmp_path / "decoy"
    decoy.write_text("the host's")
    bundle = networked(box, {"type": "loopback"} | NAMES)
    bundle.config["root"]["readonly"] = kind in ("missing", "file", "dangling")
    etc = bundle.rootfs / "etc"
    etc.mkdir(exist_ok=True)
    for name in ("resolv.conf", "hosts"):
        place = etc / name
        if kind == "file":
            place.write_text("the image's")
        elif kind == "link":
            (bundle.rootfs / "run").mkdir(exist_ok=True)
            (bundle.rootfs / "run" / name).write_text("the image's")
            place.symlink_to(f"../run/{name}")
        elif kind == "dangling":
            place.symlink_to(f"../run/nothing/{name}")
        elif kind == "absolute":
            place.symlink_to(decoy)
        elif kind == "parents":
            place.symlink_to("../" * 30 + str(decoy)[1:])
        if kind in ("absolute", "parents") and name == "resolv.conf":
            break  # both would be mounted on one file
    if kind in ("absolute", "parents"):
        bundle.config["annotations"]["org.ocirun.networks"] = json.dumps(
            [{"type": "loopback", "dns": NAMES["dns"]}]
        )
    container = box.running(bundle)
    assert read(container, "/etc/resolv.conf") == RESOLV_CONF
    container.delete("--force").ok()
    assert decoy.read_text() == "the host's"
    if kind == "file":
        assert (etc / "hosts").read_text() == "the image's"


def test_a_link_into_proc_is_refused(box: Box, net: Net) -> None:
    before = net.state()
    bundle = networked(box, VETH | NAMES)
    (bundle.rootfs / "etc").mkdir(exist_ok=True)
    (bundle.rootfs / "etc/resolv.conf").symlink_to("/proc/sys/kernel/core_pattern")
    box.container(bundle).create().failed("/etc/resolv.conf")
    assert net.state() == before


NO_LINES: list[tuple[dict[str, Any], str]] = [
    ({"dns": {"nameserver": ["192.0.2.1"]}}, "/0/dns/nameserver: is no member of dns"),
    ({"dns": {"nameservers": ["a"]}}, '/0/dns/nameservers/0: "a" is not an address'),
    ({"dns": {"search": ["a b"]}}, '/0/dns/search/0: "a b" is not one word'),
    ({"dns": {"options": ["a\nnameserver 192.0.2.1"]}}, "/0/dns/options/0: "),
    ({"dns": {"nameservers": ["fe80::1%a b"]}}, "/0/dns/nameservers/0: "),
    ({"hosts": [{"address": "db", "names": ["a"]}]}, "/0/hosts/0/address: "),
    ({"hosts": [{"address": "192.0.2.1", "names": []}]}, "/0/hosts/0/names: "),
    ({"hosts": [{"address": "192.0.2.1", "names": ["#"]}]}, "/0/hosts/0/names/0: "),
    ({"hosts": [{"address": "192.0.2.1", "names": ["a"], "x": 1}]}, "is no member of hosts"),
]


def test_what_would_be_no_line_is_refused(box: Box, net: Net) -> None:
    before = net.state()
    for members, text in NO_LINES:
        box.container(networked(box, VETH | members)).create().failed(text)
    assert net.state() == before


def test_what_cannot_be_mounted_is_refused(box: Box, net: Net) -> None:  # noqa: ARG001
    bundle = networked(box, {"type": "loopback"} | NAMES)
    bundle.config["hostname"] = "a b"
    box.container(bundle).create().failed("hosts has the hostname")
    bundle.config["hostname"] = "web"
    bundle.config["mounts"].append(
        {"destination": "/etc//hosts", "type": "bind", "source": "/dev/null", "options": ["bind"]}
    )
    box.container(bundle).create().failed("config.json mounts something already")
