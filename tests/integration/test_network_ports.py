"""The member ports of a network: ports of the host that lead to a container.

Source: docs/network.md#ports.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.needs import needs
from harness.networks import FORWARDING, Net, tables
from harness.runtime import wait_until

from ocirun.network.nftables import remove_table

pytestmark = [
    pytest.mark.integration,
    needs("root", "ours", "tool ip", "tool nsenter", "tool curl"),
]

VETH = {"type": "veth", "bridge": "oci0", "pools": ["10.9.0.0/24", "fd09::/64"]}
WORLD = ("203.0.113.2/24", "2001:db8::2/64")
HERE = ("203.0.113.3", "[2001:db8::3]")
WEB = {"host": 8080, "container": 80}
ECHO = """
import socket
one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
one.bind(("::", 53))
while True:
    data, peer = one.recvfrom(100)
    one.sendto(data.upper(), peer)
"""
SENDER = """
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x800))
wire.bind((sys.argv[1], 0))
wire.settimeout(0.5)
one = socket.socket()
one.setblocking(False)
one.connect_ex(("127.0.0.1", int(sys.argv[2])))
try:
    while wire.recv(2000)[12:16] != bytes([127, 0, 0, 1]):
        pass
    print("answered")
except TimeoutError:
    print("sent")
"""
Serve = Callable[..., None]


def bundle_with(box: Box, *ports: dict[str, Any], **more: Any) -> Bundle:  # noqa: ANN401
    bundle = box.bundle("/probe", "wait")
    network = {**VETH, "ports": list(ports), **more}
    bundle.config["annotations"] = {"org.ocirun.networks": json.dumps([network])}
    return bundle


def inside(container: Container) -> Path:
    return Path(f"/proc/{container.pid}/ns/net")


def page(url: str, where: Path | None = None) -> str:
    """Return what is at a URL, as seen from the host or from another namespace; "" for nothing."""
    words = ("curl", "--silent", "--globoff", "--max-time", "1", "--noproxy", "*", url)
    entered = ("nsenter", f"--net={where}") if where else ()
    return subprocess.run([*entered, *words], check=False, stdout=subprocess.PIPE, text=True).stdout


def reached(url: str, where: Path | None = None) -> str:
    """Return what is at a URL that has to answer; neighbours have to find each other first."""
    for _ in range(5):
        if found := page(url, where):
            return found
    return ""


@pytest.fixture
def outside(net: Net) -> Path:
    return net.outside(*WORLD)


@pytest.fixture
def serve(tmp_path: Path) -> Generator[Serve]:
    """Serve pages at a port, in the network of a container or here, until the test ends."""
    servers: list[subprocess.Popen[bytes]] = []

    def start(text: str, address: str, where: Path | None = None) -> None:
        folder = tmp_path / f"www{len(servers)}"
        folder.mkdir()
        (folder / "page").write_text(text)
        entered = ["nsenter", f"--net={where}"] if where else []
        words = ["busybox", "httpd", "-f", "-p", address, "-h", str(folder)]
        servers.append(subprocess.Popen([*entered, *words], stderr=subprocess.DEVNULL))
        url = f"http://{address.replace('[::]', '127.0.0.1')}/page"
        wait_until(lambda: page(url, where) == text, "the server")

    yield start
    for server in servers:
        server.kill()
        server.wait()


def test_a_port_is_reached_from_everywhere(
    each_way: Box, net: Net, outside: Path, serve: Serve
) -> None:
    box = each_way
    before = net.state()
    web, other = box.running(bundle_with(box, WEB)), box.running(bundle_with(box))
    serve("a page", "[::]:80", inside(web))
    for address in ("127.0.0.1", "127.0.0.9", "10.9.0.1", *HERE):
        assert reached(f"http://{address}:8080/page") == "a page", address
    for address in HERE:
        for where in (outside, inside(other), inside(web)):
            assert reached(f"http://{address}:8080/page", where) == "a page", (address, where)
    for container in (web, other):
        container.delete("--force").ok()
    assert net.state() == before
    assert page("http://127.0.0.1:8080/page") == ""


def test_ports_keep_to_their_address_and_protocol(
    box: Box, net: Net, outside: Path, serve: Serve
) -> None:
    web = box.running(
        bundle_with(
            box,
            {"host": 8081, "container": 80, "address": HERE[0]},
            {"host": 8082, "container": 80, "address": "127.0.0.1"},
            {"host": 9000, "container": 79, "count": 2},
            {"host": 80, "count": 2, "address": "10.9.0.1"},
            {"host": 5353, "container": 53, "protocol": "udp"},
        )
    )
    serve("a page", "[::]:80", inside(web))
    assert reached(f"http://{HERE[0]}:8081/page", outside) == "a page"
    assert page("http://127.0.0.1:8081/page") == ""
    assert reached("http://127.0.0.1:8082/page") == "a page"
    assert page(f"http://{HERE[0]}:8082/page", outside) == ""
    assert reached("http://127.0.0.1:9001/page") == "a page"
    assert reached("http://10.9.0.1:80/page") == "a page"
    assert page("http://127.0.0.1:5353/page") == ""
    # What goes through the host to others is not taken.
    serve("the world's", "[::]:8080", outside)
    assert page("http://203.0.113.2:8080/page", inside(web)) == ""
    net.ip("-n", outside.name, "route", "add", "10.9.0.0/24", "via", HERE[0])
    assert reached("http://203.0.113.2:8080/page", inside(web)) == "the world's"
    words = ["nsenter", f"--net={inside(web)}", "python3", "-c", ECHO]
    with subprocess.Popen(words) as echo, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)

        def answered() -> bool:
            try:
                client.sendto(b"hello", ("127.0.0.1", 5353))
                return client.recv(100) == b"HELLO"
            except OSError:
                return False

        wait_until(answered, "an answer to a datagram")
        echo.kill()


def is_answered(where: Path, gateway: str, device: str, port: int) -> bool:
    """Send to 127.0.0.1 by a wire; return whether an answer from there comes back by it.

    Its own kernel may not take that for an answer, so it looks at what arrives.
    """
    loopback = "/proc/sys/net/ipv4/conf/all/route_localnet"
    script = (
        f"echo 1 > {loopback}; ip route delete local 127.0.0.0/8 dev lo table local;"
        "ip route delete local 127.0.0.1 dev lo table local;"
        f"ip route replace 127.0.0.1/32 via {gateway} dev {device};"
        f"python3 -c '{SENDER}' {device} {port}"
    )
    words = ("nsenter", f"--net={where}", "sh", "-c", script)
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.stdout in ("answered\n", "sent\n"), done
    return done.stdout == "answered\n"


def test_nobody_else_gets_to_the_hosts_loopback(
    box: Box,
    outside: Path,
    serve: Serve,
) -> None:
    """CVE-2020-8558: with route_localnet, a packet to 127.0.0.1 from a wire would be taken."""
    web = box.running(bundle_with(box, WEB | {"address": "127.0.0.1"}))
    localnet = Path("/proc/sys/net/ipv4/conf/oci0/route_localnet")
    assert localnet.read_text() == "1\n"
    serve("a secret", "127.0.0.1:9999")
    serve("a page", "[::]:80", inside(web))
    assert reached("http://127.0.0.1:8080/page") == "a page"
    ways = (inside(web), "10.9.0.1", "eth0"), (outside, HERE[0], "out0")
    for way in ways:
        for port in (9999, 8080):
            assert not is_answered(*way, port), (way, port)
    # The same is answered where nothing drops it, so the question was right.
    remove_table(tables()[0].split()[0])
    assert is_answered(*ways[0], 9999)


class TestRefused:
    """Each refusal names the port, and leaves nothing."""

    def refuse(self, box: Box, net: Net, text: str, *ports: dict[str, Any]) -> None:
        before = net.state()
        box.container(bundle_with(box, *ports)).create().failed(text)
        assert net.state() == before

    @pytest.mark.parametrize(
        ("port", "text"),
        [
            ({"host": 0}, "/0/ports/0/host: "),
            ({"container": 80}, "/0/ports/0/host: "),
            ({"host": 80, "protocol": "sctp"}, '"sctp" is not a protocol of ports'),
            ({"host": 80, "to": 80}, "/0/ports/0/to: is no member of ports"),
            ({"host": 80, "address": "db"}, '/0/ports/0/address: "db" is not an address'),
            ({"host": 80, "address": "::ffff:127.0.0.1"}, "/0/ports/0/address: "),
            ({"host": 65530, "count": 7}, "leads to port 65536"),
            ({"host": 80, "address": "192.0.2.1"}, "192.0.2.1 is no address of the host"),
            ({"host": 80, "address": "::1"}, "the kernel cannot redirect what is sent to ::1"),
        ],
    )
    def test_what_is_no_port(self, box: Box, net: Net, port: dict[str, Any], text: str) -> None:
        self.refuse(box, net, text, port)

    def test_a_family_that_the_container_lacks(self, box: Box, net: Net) -> None:
        before = net.state()
        bundle = bundle_with(box, {"host": 80, "address": "::"}, pools=["10.9.0.0/24"])
        box.container(bundle).create().failed("has no address of that family")
        assert net.state() == before

    def test_a_port_that_another_container_has(self, box: Box, net: Net) -> None:
        taken = {"host": 8080, "count": 10, "address": "127.0.0.1"}
        first = box.created(bundle_with(box, taken))
        text = f"is taken by container {first.id}"
        self.refuse(box, net, text, {"host": 8089})
        self.refuse(box, net, text, {"host": 8000, "count": 100, "address": "127.0.0.1"})
        twice = {"host": 90}, {"host": 90, "address": "127.0.0.1"}
        self.refuse(box, net, "port 127.0.0.1:90->90/tcp is taken by container", *twice)
        with box.other_root():
            self.refuse(box, net, "is taken by a container of another state root", {"host": 8080})
        for free in ({"host": 8090}, taken | {"address": "127.0.0.2"}, taken | {"protocol": "udp"}):
            box.created(bundle_with(box, free))
        first.delete().ok()
        box.created(bundle_with(box, taken))

    def test_a_port_that_a_program_of_the_host_uses(self, box: Box, net: Net) -> None:
        net.ip("address", "add", "192.0.2.7/32", "dev", "lo")
        with socket.socket() as server, socket.socket(type=socket.SOCK_DGRAM) as receiver:
            server.bind(("127.0.0.1", 8080))
            server.listen()
            receiver.bind(("0.0.0.0", 53))
            text = "a program of the host uses 8080/tcp"
            self.refuse(box, net, text, {"host": 8079, "count": 3})
            text = "port 192.0.2.7:53->53/udp: a program of the host uses 53/udp"
            self.refuse(box, net, text, {"host": 53, "protocol": "udp", "address": "192.0.2.7"})
            free = {"host": 8080, "address": "192.0.2.7"}, {"host": 8080, "protocol": "udp"}
            box.created(bundle_with(box, *free))


def test_two_state_roots_share_what_they_turn_on(
    box: Box, net: Net, outside: Path, serve: Serve
) -> None:
    """Each forwards as long as it has a container that needs it, on a bridge of neither."""
    net.ip("link", "add", "mine", "address", "02:00:00:00:00:01", "type", "bridge")
    net.ip("address", "add", "10.9.0.1/24", "dev", "mine")
    net.ip("link", "set", "mine", "up")
    localnet = Path("/proc/sys/net/ipv4/conf/mine/route_localnet")
    before = net.state()
    mine = {"bridge": "mine", "pools": [], "gateway": "10.9.0.1", "masquerade": True}
    first = box.running(bundle_with(box, WEB, **mine, address="10.9.0.2/24"))
    with box.other_root():
        port = WEB | {"host": 8081}
        second = box.running(bundle_with(box, port, **mine, address="10.9.0.3/24"))
        there = inside(second)
    assert len(tables()) == 2
    serve("a page", "[::]:80", there)
    serve("the world's", "203.0.113.2:80", outside)
    first.delete("--force").ok()
    assert (FORWARDING[0].read_text(), localnet.read_text()) == ("1\n", "1\n")
    assert reached("http://127.0.0.1:8081/page") == "a page"
    assert reached("http://203.0.113.2/page", there) == "the world's"
    third = box.created(bundle_with(box, WEB, **mine, address="10.9.0.2/24"))
    with box.other_root():
        second.delete("--force").ok()
    assert FORWARDING[0].read_text() == "1\n"
    third.delete().ok()
    assert net.state() == before
    assert localnet.read_text() == "0\n"
