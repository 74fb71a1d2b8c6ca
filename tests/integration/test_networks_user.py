"""Networks of type user: pasta or slirp4netns carry the packets of a container.

Source: docs/network.md#user.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.leaks import descendants, words
from harness.needs import needs
from harness.networks import Net, call
from harness.runtime import wait_until
from harness.user import Home, User

pytestmark = [pytest.mark.integration, needs("root", "ours", "tool ip")]

PROGRAMS = ("pasta", "slirp4netns")
USER = {"type": "user"}
WORLD = "203.0.113.2"
PAGE = ("/bin/busybox", "wget", "-qO-", f"http://{WORLD}/page")


def networked(bundle: Bundle, *networks: dict[str, Any]) -> Bundle:
    bundle.config["annotations"] = {"org.ocirun.networks": json.dumps(networks)}
    return bundle


def waiting(box: Box, network: dict[str, Any] = USER) -> Bundle:
    return networked(box.bundle("/probe", "wait"), network)


@pytest.fixture
def world(net: Net, tmp_path: Path) -> Generator[Net]:
    """A network with a way out, at whose end a web server answers; and one on its loopback."""
    there = net.outside(f"{WORLD}/24")
    net.ip("-n", there.name, "link", "set", "lo", "up")
    net.ip("route", "add", "default", "via", WORLD)
    (tmp_path / "page").write_text("the world\n")
    server = ("busybox", "httpd", "-f", "-h", str(tmp_path), "-p")
    servers = [
        subprocess.Popen(["ip", "netns", "exec", there.name, *server, "80"]),
        subprocess.Popen([*server, "127.0.0.1:80"]),
    ]
    yield net
    for process in servers:
        process.kill()
        process.wait()


@pytest.fixture
def home(box: Box) -> Home:
    user = User(box.folder)
    user.open_devices = ("net/tun",)
    return Home(box, user)


@pytest.fixture(params=PROGRAMS)
def only(box: Box, request: pytest.FixtureRequest) -> dict[str, str]:
    """An environment in whose PATH is one of the programs."""
    if not (path := shutil.which(request.param)):
        pytest.skip(f"no tool {request.param}")
    return path_with(box, Path(path))


def path_with(box: Box, *programs: Path) -> dict[str, str]:
    folder = box.folder / "programs"
    folder.mkdir()
    folder.chmod(0o755)
    for program in programs:
        folder.joinpath(program.name).symlink_to(program)
    return {**os.environ, "PATH": str(folder)}


def fake(box: Box, text: str) -> dict[str, str]:
    """An environment in whose PATH is only a pasta that is this script."""
    program = box.folder / "pasta"
    program.write_text(f"#!/bin/sh\nPATH={os.environ['PATH']}\n{text}\n")
    program.chmod(0o755)
    return path_with(box, program)


def carriers() -> dict[int, str]:
    """What carries packets for containers of this test, and its keepers: arguments, by pid."""
    return {
        pid: text
        for pid in descendants()
        if (text := words(pid)).startswith((*PROGRAMS, "ocirun: network of a container"))
    }


def fetch(container: Container) -> str:
    page: str = container.exec(*PAGE).ok().stdout
    return page


class TestCarries:
    """A container reaches what its caller reaches, and not the host's loopback."""

    def test_packets_of_roots_container(self, box: Box, world: Net, only: dict[str, str]) -> None:
        before = world.state()
        container = box.container(waiting(box, {**USER, "name": "up0", "mtu": 1400}))
        container.create(env=only).ok()
        container.start().ok()
        assert fetch(container) == "the world\n"
        assert world.devices(container.pid)["up0"]["mtu"] == 1400
        routes = container.exec("/bin/busybox", "route", "-n").ok().stdout
        gateway = next(line.split()[1] for line in routes.splitlines() if line[:8] == "0.0.0.0 ")
        # Of slirp4netns it is its own; pasta's is the host's, the world here.
        for host in {"127.0.0.1", gateway} - {WORLD}:
            page = ("timeout", "1", "/bin/busybox", "wget", "-qO-", f"http://{host}/page")
            assert container.exec("/bin/busybox", *page).status != 0, host
        assert len(carriers()) == 2
        container.delete("--force").ok()
        assert carriers() == {}
        assert world.state() == before

    def test_packets_of_roots_container_in_a_user_namespace(
        self, box: Box, world: Net, only: dict[str, str]
    ) -> None:
        del world
        bundle = waiting(box)
        bundle.use_userns((0, 100000, 65536))
        container = box.container(bundle)
        container.create(env=only).ok()
        container.start().ok()
        assert fetch(container) == "the world\n"
        container.delete("--force").ok()
        assert carriers() == {}

    @pytest.mark.parametrize("subordinate", [False, True])
    def test_packets_of_an_ordinary_user(
        self, home: Home, world: Net, only: dict[str, str], *, subordinate: bool
    ) -> None:
        del world
        bundle = networked(home.bundle("/probe", "wait", subordinate=subordinate), USER)
        container = home.box.container(bundle)
        found = f"{only['PATH']}:{os.environ['PATH']}"  # newuidmap, too
        keys = {**home.keys, "env": {**home.user.environment, "PATH": found}}
        container.create(**keys).ok()
        container.start(**home.keys).ok()
        assert fetch(container) == "the world\n"
        container.delete("--force", **home.keys).ok()
        assert carriers() == {}


@needs("tool pasta")
def test_ports_lead_to_the_container(box: Box, world: Net) -> None:
    del world
    ports = [
        {"host": 8080, "container": 8000, "address": "127.0.0.1"},
        {"host": 9000, "container": 9100, "count": 2},
    ]
    container = box.running(waiting(box, {**USER, "ports": ports}))
    script = "echo a page > /tmp/page; httpd -p 8000 -h /tmp && httpd -p 9101 -h /tmp"
    container.exec("/bin/sh", "-c", script).ok()
    for place in ("127.0.0.1:8080", "203.0.113.3:9001"):
        assert call("busybox", "wget", "-qO-", f"http://{place}/page") == "a page\n"
    taken = box.container(waiting(box, {**USER, "ports": ports[:1]}))
    taken.create().failed("/pasta exited with status 1: ", "8080")
    container.delete("--force").ok()


@needs("tool slirp4netns")
def test_ports_need_pasta(box: Box, net: Net) -> None:
    del net
    env = path_with(box, Path(shutil.which("slirp4netns") or ""))
    bundle = waiting(box, {**USER, "ports": [{"host": 8080}]})
    box.container(bundle).create(env=env).failed("that needs pasta (package passt)")


@needs("tool pasta")
class TestEnds:
    """It lives as long as init does."""

    def test_it_ends_with_init(self, box: Box, world: Net) -> None:
        del world
        container = box.running(waiting(box))
        assert len(carriers()) == 2
        container.stop()
        wait_until(lambda: carriers() == {}, "the end of pasta")
        container.delete().ok()

    def test_it_ends_with_its_keeper_and_delete_finds_nothing_to_do(
        self, box: Box, world: Net
    ) -> None:
        del world
        container = box.running(waiting(box))
        record = json.loads((box.runtime.root / container.id / "networks.json").read_text())
        os.kill(record[0]["process"]["pid"], signal.SIGKILL)
        wait_until(lambda: carriers() == {}, "the end of pasta")
        assert container.status == "running"
        container.delete("--force").ok()

    def test_a_program_that_ends_by_itself(self, box: Box, world: Net) -> None:
        del world
        container = box.running(waiting(box))
        for pid in carriers():
            if "pasta" in carriers()[pid]:
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: carriers() == {}, "the end of its keeper")
        container.delete("--force").ok()

    def test_it_ends_whatever_died_in_between(self, box: Box, world: Net) -> None:
        """The parent is killed before and after each step; `delete` then finds no more to end."""
        del world
        python = Path(box.runtime.path).parent / "python"
        program = box.folder / "killed.py"
        program.write_text(KILLED)
        bundle = waiting(box)
        bundle.save()
        for number in range(20):
            container = box.container(bundle)
            arguments = (container.id, bundle.path, box.runtime.root, str(number))
            done = subprocess.run(
                [python, program, *arguments], check=False, stdin=subprocess.DEVNULL
            )
            if done.returncode:
                assert done.returncode == -signal.SIGKILL
                wait_until(lambda: carriers() == {}, "the end of pasta")
            container.delete("--force").ok()
            assert carriers() == {}
            if done.returncode == 0:
                break
        assert number == 8


class TestRefused:
    """Each refusal says what is wrong, and leaves nothing."""

    def refuse(self, box: Box, bundle: Bundle, *texts: str, **keys: Any) -> None:  # noqa: ANN401
        box.container(bundle).create(**keys).failed(*texts)
        assert carriers() == {}

    def test_a_host_without_the_programs(self, box: Box, net: Net) -> None:
        del net
        text = (
            "a network of type user needs the program pasta (Debian's package passt) or "
            "slirp4netns, and none of them is in PATH"
        )
        self.refuse(box, waiting(box), text, env=path_with(box))

    def test_a_joined_namespace(self, box: Box, net: Net) -> None:
        bundle = waiting(box)
        bundle.set_namespace("network", str(net.namespace("ocirun-net14b")))
        self.refuse(box, bundle, "a network of type user needs a new network namespace")

    def test_other_types_of_an_ordinary_user(self, home: Home) -> None:
        bundle = networked(home.bundle(), USER, {"type": "veth", "bridge": "oci0"})
        text = "networks of type veth are not supported for rootless containers"
        home.box.container(bundle).create(**home.keys).failed(text)

    def test_a_program_that_fails_is_quoted(self, box: Box, net: Net) -> None:
        del net
        env = fake(box, "echo no luck >&2; echo at all >&2; exit 3")
        text = "/programs/pasta exited with status 3: no luck; at all"
        self.refuse(box, waiting(box), text, env=env)

    def test_a_program_that_is_killed(self, box: Box, net: Net) -> None:
        del net
        env = fake(box, "sleep 99 & kill -9 $$")
        self.refuse(box, waiting(box), "/programs/pasta was killed by signal 9", env=env)

    def test_a_program_that_says_too_much(self, box: Box, net: Net) -> None:
        del net
        env = fake(box, "yes | head -c 1000000 >&2; exit 1")
        result = box.container(waiting(box)).create(env=env)
        result.failed("/programs/pasta exited with status 1: y; y")
        assert len(result.stderr) < 4000

    def test_a_file_that_is_no_program(self, box: Box, net: Net) -> None:
        del net
        env = fake(box, "")
        (box.folder / "pasta").write_bytes(b"\0")
        text = "/programs/pasta could not be started: exec format error"
        self.refuse(box, waiting(box), text, env=env)

    def test_a_program_that_is_never_ready(self, box: Box, net: Net) -> None:
        del net
        python = Path(box.runtime.path).parent / "python"
        program = box.folder / "impatient.py"
        program.write_text(IMPATIENT)
        bundle = waiting(box)
        bundle.save()
        arguments = (box.container(bundle).id, bundle.path, box.runtime.root)
        done = subprocess.run(
            [python, program, *arguments],
            env=fake(box, "echo still trying >&2; sleep 99"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert "/programs/pasta is not ready after 1 s: still trying" in done.stderr
        assert carriers() == {}

    def test_a_container_that_fails_later(self, box: Box, world: Net) -> None:
        del world
        bundle = networked(box.bundle("/no/such/program"), USER)
        self.refuse(box, bundle, "/no/such/program")


KILLED = """
import os, signal, sys
import ocirun
from ocirun.container import networks
from ocirun.kernel.companion import Companion
from ocirun.network import user

left = [int(sys.argv[4])]


def or_die(change):
    def wrapped(*arguments, **keys):
        step()
        result = change(*arguments, **keys)
        step()
        return result

    return wrapped


def step():
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1


Companion.__init__ = or_die(Companion.__init__)
networks._record = or_die(networks._record)
user._wait_until_ready = or_die(user._wait_until_ready)
ocirun.Container.create(sys.argv[1], sys.argv[2], root=sys.argv[3])
"""

IMPATIENT = """
import sys
import ocirun
from ocirun.network import user

user.READY_S = 1.0
ocirun.Container.create(sys.argv[1], sys.argv[2], root=sys.argv[3])
"""
