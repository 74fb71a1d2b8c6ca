"""The bundles a newcomer starts with do what their READMEs say."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from harness.box import Box, Container
from harness.machine import REPO
from harness.needs import needs
from harness.networks import Net

SAMPLES = sorted(path.parent.name for path in (REPO / "bundles").glob("*/config.json"))


def sample(box: Box, name: str) -> Container:
    """A container of a copy of the sample, its root filled as bundles/README.md says."""
    container = box.container()
    bundle = container.bundle
    shutil.rmtree(bundle.rootfs)
    shutil.copy(REPO / "bundles" / name / "config.json", bundle.path)
    subprocess.run([REPO / "bundles" / "fill", bundle.path], check=True)
    return container


def run(container: Container) -> str:
    call = container.runtime.call("run", "--bundle", container.bundle.path, container.id)
    return call.ok().stdout


def test_there_are_nine() -> None:
    assert len(SAMPLES) == 9


@pytest.mark.parametrize("name", SAMPLES)
def test_each_has_a_readme_that_says_how_to_run_it(name: str) -> None:
    text = (REPO / "bundles" / name / "README.md").read_text()
    assert f"bundles/fill bundles/{name}\n" in text
    assert f"ocirun run --bundle bundles/{name} " in text


def test_the_bundle_hello_greets(box: Box) -> None:
    assert run(sample(box, "hello")) == "hello from a container\n"


@needs("ours", "tool lxc-start")
def test_the_bundle_lxc_runs_by_both_engines(box: Box) -> None:
    container = sample(box, "lxc")
    assert run(container) == "run by ocirun\nbox\n512\n0\n"
    words = ("run", "--bundle", container.bundle.path, container.id)
    assert box.runtime.call("--engine", "lxc", *words).ok().stdout == "run by lxc\nbox\n512\n0\n"


@needs("ours")
def test_the_bundle_vm_runs_in_a_container_too(box: Box) -> None:
    """In a machine it is run by hand, and its like by test_vm.py: a boot takes seconds."""
    container = sample(box, "vm")
    words = ("run", "--bundle", container.bundle.path, container.id)
    said = box.runtime.call("--engine", "native", *words).ok().stdout
    assert said.startswith(f"kernel {os.uname().release}, process 1, ")


def test_the_bundle_seccomp_shows_refused_calls(box: Box) -> None:
    container = sample(box, "seccomp")
    call = container.runtime.call("run", "--bundle", container.bundle.path, container.id).ok()
    assert call.stdout == "written\nplain modes are fine\n"
    assert "No space left on device" in call.stderr
    assert "Operation not permitted" in call.stderr


@needs("userns")
def test_the_bundle_userns_maps_root(box: Box) -> None:
    container = sample(box, "userns")
    container.bundle.path.chmod(0o755)
    assert run(container).split()[:5] == ["uid=0(root)", "gid=0(root)", "0", "100000", "65536"]


@needs("cgroup memory", "cgroup pids")
def test_the_bundle_limits_stops_memory_and_forks(box: Box) -> None:
    container = sample(box, "limits")
    call = container.runtime.call("run", "--bundle", container.bundle.path, container.id)
    assert call.status == 2
    assert call.stdout == "64 MiB of memory: status 137\n"
    assert "can't fork" in call.stderr


@needs("root", "ours", "tool ip")
def test_the_bundle_network_has_an_address(box: Box, net: Net) -> None:
    before = net.state()
    output = run(sample(box, "network"))
    assert "inet 10.83.0.2/16" in output
    assert "default via 10.83.0.1 dev eth0" in output
    assert "1 packets received" in output
    assert net.state() == before


def test_the_bundle_hooks_runs_each_hook(box: Box) -> None:
    container = sample(box, "hooks")
    assert run(container).startswith("prepared by the startContainer hook")
    log = (container.bundle.path / "hooks.log").read_text().splitlines()
    moments = [line.partition(":")[0].partition(",")[0] for line in log]
    assert moments == ["createRuntime", "createContainer", "poststart", "poststop"]


def test_the_bundle_terminal_has_a_terminal(box: Box) -> None:
    import pexpect

    container = sample(box, "terminal")
    call = container.runtime.prepare("run", "--bundle", container.bundle.path, container.id)
    child = pexpect.spawn(call.argv[0], call.argv[1:], timeout=10)
    child.expect("terminal:/# ")
    child.sendline("tty; exit 3")
    child.expect("/dev/pts/0")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 3
