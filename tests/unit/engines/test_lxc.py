"""What the engine lxc writes for LXC, and reads from its log, without LXC."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocirun.engines.lxc.configuration import make_configuration
from ocirun.engines.lxc.tools import exit_status_in, first_error, has_started, log_options
from ocirun.errors import UnsupportedError
from ocirun.spec.default import default_config

START = "lxc-start web 20261128225110.223 "
LOG = [
    START + "WARN     start - ../src/lxc/start.c:do_start:1391 - Failed to adjust",
    START + 'ERROR    start - ../src/lxc/start.c:start:2197 - No such file - Failed to exec "x"',
    START + "ERROR    sync - ../src/lxc/sync.c:sync_wait:34 - An error occurred",
]
ERROR = (
    START + "INFO     error - ../src/lxc/error.c:lxc_error_set_and_log:31 - Child <{}> ended on "
)


def configuration(**changes: Any) -> list[str]:  # noqa: ANN401
    config: Any = {**default_config(), **changes}
    config["process"]["terminal"] = False
    return make_configuration(config, "web", "/srv/root", "/run/it's/web").splitlines()


def test_the_default_configuration_has_a_counterpart() -> None:
    lines = configuration()
    assert "lxc.rootfs.path = /srv/root" in lines
    assert "lxc.autodev = 1" in lines
    assert "lxc.console.path = none" in lines
    assert "lxc.cap.keep = audit_write kill net_bind_service" in lines
    assert "lxc.mount.entry = proc/sys proc/sys none bind,ro,relative,optional 0 0" in lines
    assert """lxc.hook.start-host = /bin/sh '/run/it'"'"'s/web/gate'""" in lines
    assert not [line for line in lines if " dev tmpfs " in line or " dev/pts " in line]


@pytest.mark.parametrize("member", ["maskedPaths", "readonlyPaths", "cgroupsPath"])
def test_a_newline_does_not_begin_another_line(member: str) -> None:
    path = "/proc/x\nlxc.hook.pre-start = /bin/true"
    linux = {**default_config()["linux"], member: path if member == "cgroupsPath" else [path]}
    with pytest.raises(UnsupportedError, match="newline"):
        configuration(linux=linux)


def test_blanks_do_not_begin_another_field() -> None:
    lines = configuration(linux={**default_config()["linux"], "readonlyPaths": ["/a b\tc"]})
    assert r"lxc.mount.entry = a\040b\011c a\040b\011c none bind,ro,relative,optional 0 0" in lines


def test_a_veth_of_the_annotation_is_one_of_lxc() -> None:
    networks = [
        {"type": "loopback"},
        {"type": "veth", "context": {"bridge": "docker0", "prefix": "veth"}, "mtu": 1400,
         "address": "172.17.0.2/16", "gateway": "172.17.42.1"},
    ]  # fmt: skip
    lines = configuration(annotations={"org.ocirun.networks": json.dumps(networks)})
    assert [line for line in lines if line.startswith("lxc.net.2")] == [
        "lxc.net.2.type = veth",
        "lxc.net.2.link = docker0",
        "lxc.net.2.name = eth0",
        "lxc.net.2.flags = up",
        "lxc.net.2.mtu = 1400",
        "lxc.net.2.ipv4.address = 172.17.0.2/16",
        "lxc.net.2.ipv4.gateway = 172.17.42.1",
    ]
    networks = [{"type": "macvlan", "parent": "e0", "address": "10.0.0.2/24"}]
    with pytest.raises(UnsupportedError, match=r"org\.ocirun\.networks\.0 \(macvlan\)"):
        configuration(annotations={"org.ocirun.networks": json.dumps(networks)})


def test_the_log_has_the_first_error_and_the_exit_status() -> None:
    assert first_error(LOG) == 'No such file - Failed to exec "x"'
    assert first_error(LOG[:1]) == ""
    assert not has_started(LOG)
    assert has_started([START + "NOTICE   start - ../src/lxc/start.c:post_start:2205 - Started"])
    lines = [ERROR.format(7) + "error (3)", ERROR.format(8) + "signal (9)"]
    assert exit_status_in(lines, 7) == 3
    assert exit_status_in(lines, 8) == 137
    assert exit_status_in(lines, 9) is None


@pytest.mark.parametrize(
    ("version", "options"), [("5.0.2", []), ("6.0.4", ["--logfile", "/c/lxc.log"])]
)
def test_lxc_6_is_told_of_its_log_by_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, options: list[str]
) -> None:
    """It leaves a log that only the configuration names empty."""
    tool = tmp_path / "lxc-start"
    tool.write_text(f"#!/bin/sh\necho {version}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert log_options("/c")[:2] == options
