"""The configurations clients start containers with, as they come.

Source: tests/data/configs/README.md; docs/runc-compat/callers.md#needs-of-each-caller.
"""

from __future__ import annotations

import copy
import errno
import json
import resource
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box
from harness.bundle import Bundle
from harness.machine import MARK
from harness.mountinfo import mount_at
from harness.needs import needs
from harness.peers import peer_deviates

CONFIGS = Path(__file__).parents[1] / "data" / "configs"
CLIENTS = ["spec", "podman", "docker", "containerd"]


def load(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return config


def make(box: Box, client: str, *args: str, seccomp: bool = False) -> Bundle:
    bundle = box.bundle()
    text = (CONFIGS / f"{client}.json").read_text().replace("BUNDLE", str(bundle.path))
    bundle.config = json.loads(text.replace('"CGROUP"', f'"/{MARK}-{box.folder.name}"'))
    for mount in bundle.mounts:
        source = Path(mount["source"])
        if mount["type"] == "bind" and source.name == "shm":
            source.mkdir(mode=0o1777)
        elif mount["type"] == "bind":
            source.write_text(f"{source.name} of the bundle\n")
    if seccomp:
        bundle.linux["seccomp"] = load("seccomp")
    bundle.process["args"] = list(args or ("/probe",))
    return bundle


@pytest.mark.parametrize("seccomp", [False, True], ids=["without-seccomp", "with-seccomp"])
@pytest.mark.parametrize("client", CLIENTS)
def test_the_default_config_of_each_client_runs(box: Box, client: str, *, seccomp: bool) -> None:
    report = box.report(make(box, client, seccomp=seccomp))
    assert report["pid"] == 1
    assert report["seccomp"] == ("2" if seccomp else "0")


@pytest.mark.parametrize("client", CLIENTS)
def test_what_it_asks_for_is_there(box: Box, client: str) -> None:
    bundle = make(box, client)
    wanted = copy.deepcopy(bundle.config)
    report = box.report(bundle)
    for mount in wanted["mounts"]:
        found = mount_at(report, mount["destination"])
        if mount["type"] == "cgroup":
            continue
        assert ("ro" in mount.get("options", ())) == ("ro" in found.options), found
        if mount["type"] != "bind":
            assert found.kind == mount["type"]
    for entry in wanted["process"]["env"]:
        assert entry in report["env"]
    if "hostname" in wanted:
        assert report["hostname"] == wanted["hostname"]
    assert report["no_new_privs"] is wanted["process"].get("noNewPrivileges", False)
    bounding = len(wanted["process"]["capabilities"]["bounding"])
    assert report["capabilities"]["bounding"].bit_count() == bounding


@peer_deviates("runc", "1.1 leaves the tmpfs below the hierarchies writable")
@needs("cgroup v1")
@pytest.mark.parametrize("client", ["spec", "podman", "docker"])
def test_the_cgroup_mount_is_read_only(box: Box, client: str) -> None:
    bundle = make(box, client)
    places = ["/sys/fs/cgroup/memory/x", "/sys/fs/cgroup/x"]
    calls = box.attempts(bundle, *(f"mkdir:{place}" for place in places))
    assert calls[0] in (errno.EROFS, errno.ENOENT)
    assert calls[1] == errno.EROFS


@pytest.mark.parametrize("client", CLIENTS)
def test_a_whole_life(box: Box, client: str) -> None:
    container = box.running(make(box, client, "/probe", "trap"))
    container.kill("USR1").ok()
    container.wait_output("got 10")
    container.stop()
    container.delete().ok()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_shell_can_work_in_it(box: Box, client: str) -> None:
    script = "id -u; ls / | head -1; echo x > /dev/null; head -c1 /dev/urandom | wc -c; df /dev/shm"
    output = box.output(make(box, client, "sh", "-c", script)).split()
    assert output[:3] == ["0", "bin", "1"]


def test_the_specs_default_of_the_runtime_itself_runs(box: Box) -> None:
    """`spec` writes what `run` takes."""
    bundle = box.bundle()
    box.runtime.call("spec", "--bundle", bundle.path).ok()
    bundle.config = json.loads((bundle.path / "config.json").read_text())
    bundle.process["terminal"] = False
    bundle.process["args"] = ["/probe"]
    report = box.report(bundle)
    assert report["no_new_privs"] is True
    assert report["rlimits"]["NOFILE"] == [1024, 1024]


def test_spec_does_not_overwrite(box: Box) -> None:
    bundle = box.bundle()
    bundle.save()
    call = box.runtime.call("spec", "--bundle", bundle.path)
    call.failed("File config.json exists. Remove it first")


@peer_deviates("runc", "leaves the beginning of it")
@peer_deviates("crun", "dies of the signal")
def test_spec_leaves_no_half_of_a_file(box: Box) -> None:
    config = box.folder / "config.json"
    call = box.runtime.call("spec", "--bundle", box.folder, preexec_fn=write_little)
    call.failed("writing config.json: file too large")
    assert not config.exists()


@peer_deviates("runc", "has no such verb")
@peer_deviates("crun", "has no such verb")
def test_convert_leaves_no_half_of_a_file(box: Box) -> None:
    bundle = box.bundle()
    bundle.save()
    converted = box.folder / "lxc.conf"
    call = box.runtime.call("convert", bundle.path, converted, preexec_fn=write_little)
    call.failed(f"writing {converted}: file too large")
    assert not converted.exists()


def write_little() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
