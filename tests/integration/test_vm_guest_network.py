"""The network of the guest's program, outside of a machine; test_vm_network.py has machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness.bundle import Bundle
from harness.guest import MAC, NETWORK, ROOT, Guest, address, compile_guest, link, route
from harness.needs import needs

from ocirun.engines.vm import frames
from ocirun.engines.vm.config import setup_frames

pytestmark = needs("ours", "root")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_guest(tmp_path_factory.mktemp("guest") / "init")


@pytest.fixture
def bundle(box: Any) -> Bundle:  # noqa: ANN401
    return box.bundle()  # type: ignore[no-any-return]


def test_network_devices_are_those_of_the_frames(program: Path, bundle: Bundle) -> None:
    bundle.process["args"] = ["sh", "-c", "ip address; ip route; ip -6 route"]
    guest = Guest(program, bundle)
    root, *rest = setup_frames(bundle.config)  # type: ignore[arg-type]
    guest.socket.sendall(b"".join([root, *NETWORK, *rest]))
    guest.run(0)
    guest.until(frames.READY, 0)
    guest.send(frames.GO)
    assert guest.until(frames.EXIT, 0) == frames.u32(0)
    lines = [set(line.split()) for line in guest.outputs[0].decode().splitlines()]
    for line in (
        "inet 10.1.0.2/24 brd 10.1.0.255 scope global eth7",
        "inet 10.2.0.2 peer 10.2.0.1/32 scope global eth7",
        "10.3.0.0/16 dev eth7 scope link metric 7 src 10.1.0.2",
        "default via 10.1.0.1 dev eth7 metric 7",
        "fd02::/48 dev eth7 metric 7",
    ):
        assert set(line.split()) in lines, lines
    assert any({"inet6", "fd01::2/64"} < line for line in lines)
    assert "eth7: <LOOPBACK,UP,LOWER_UP> mtu 1400" in guest.outputs[0].decode()
    assert guest.end() == (0, "")


@pytest.mark.parametrize(
    ("sentence", "sent"),
    [
        ("setting up the network device x: No such device", link(name="x", mac=b"\2" + MAC[1:])),
        ("setting up the network device x/y: Invalid argument", link(name="x/y")),
        (
            "setting up the network device " + "x" * 16 + ": Invalid argument",
            link(name="x" * 16),
        ),
        ("adding the address 1.2.3: Invalid argument", address(8, "lo", "1.2.3", "1.2.3", "")),
        ("adding the address ::1: Invalid argument", address(8, "lo", "::1", "1.2.3.4", "")),
        ("adding the address 1.1.1.1: No such device", address(8, "no", "1.1.1.1", "1.1.1.1", "")),
        ("adding the route to ::: Invalid argument", route(0, "lo", "::", "1.1.1.1", "")),
        ("adding the route to 1.0.0.0: No such device", route(8, "no", "1.0.0.0", "", "")),
    ],
)
def test_a_network_that_cannot_be_made_says_what(
    sentence: str, sent: bytes, program: Path, bundle: Bundle
) -> None:
    guest = Guest(program, bundle)
    guest.socket.sendall(ROOT + sent)
    guest.run(0)
    assert guest.until(frames.FAILED, 0).decode() == sentence
    guest.end()
