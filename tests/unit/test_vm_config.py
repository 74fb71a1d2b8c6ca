"""What of config.json a machine has, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from harness.bundle import MINIMAL

from ocirun.engines.vm import frames
from ocirun.engines.vm.config import (
    REFUSED,
    cpus_of,
    host_resources,
    memory_of,
    refuse,
    setup_frames,
)
from ocirun.engines.vm.program import program_payload
from ocirun.engines.vm.qemu import Hardware, command_line, user_options_of
from ocirun.errors import OcirunError, UnsupportedError

REPO = Path(__file__).resolve().parents[2]
PAGE = REPO / "docs/vm.md"


def config_with(**members: Any) -> Any:  # noqa: ANN401
    """Return a small configuration; `members` replace its own, `linux` is merged."""
    config = json.loads(json.dumps(MINIMAL))
    config["linux"].update(members.pop("linux", {}))
    config["process"].update(members.pop("process", {}))
    config.update(members)
    return config


def test_an_ordinary_bundle_is_accepted() -> None:
    refuse(config_with())


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"linux": {"seccomp": {"listenerPath": "/run/agent"}}}, "/linux/seccomp/listenerPath"),
        (
            {"linux": {"seccomp": {"syscalls": [{"action": "SCMP_ACT_NOTIFY"}]}}},
            "/linux/seccomp/syscalls/0/action",
        ),
        ({"linux": {"devices": [{"path": "/dev/a"}]}}, "/linux/devices"),
        ({"linux": {"namespaces": [{"type": "user"}]}}, "/linux/namespaces/0"),
        ({"linux": {"namespaces": [{"type": "pid", "path": "/x"}]}}, "/linux/namespaces/0"),
        ({"linux": {"resources": {"unified": {"pids.max": "5"}}}}, "/linux/resources/unified"),
        ({"linux": {"resources": {"memory": {"limit": 5 << 20}}}}, "less than 128 MiB"),
        ({"linux": {"rootfsPropagation": "rshared"}}, "/linux/rootfsPropagation"),
        ({"process": {"apparmorProfile": "x"}}, "/process/apparmorProfile"),
        ({"hooks": {"startContainer": [{"path": "/x"}]}}, "/hooks/startContainer"),
        ({"vm": {"image": {"path": "/x"}}}, "/vm/image/format: is missing"),
        (
            {"vm": {"image": {"path": "/x", "format": "iso"}}},
            "/vm/image/format: is not one of raw, qcow2",
        ),
        ({"vm": {"hwConfig": {"irqs": [1]}}}, "/vm/hwConfig/irqs"),
        ({"annotations": {"org.ocirun.overlay": "[]"}}, "/annotations/org.ocirun.overlay"),
        ({"annotations": {"org.ocirun.vm.boot-seconds": "soon"}}, "no number of seconds"),
        ({"mounts": [{"destination": "/a", "type": "nfs"}]}, "no file system 'nfs'"),
        (
            {"mounts": [{"destination": "/a", "source": "/a", "options": ["bind", "idmap"]}]},
            "/mounts/0",
        ),
    ],
)
def test_what_a_machine_cannot_have_is_refused_by_name(
    members: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(OcirunError, match=re.escape(pointer)):
        refuse(config_with(**members))


@pytest.mark.parametrize(
    ("section", "pointer"),
    [
        (5, "/vm"),
        ({"kernel": 5}, "/vm/kernel"),
        ({"kernel": {"path": 5}}, "/vm/kernel/path"),
        ({"kernel": {"path": "vmlinux"}}, "/vm/kernel/path"),
        ({"kernel": {"parameters": [5]}}, "/vm/kernel/parameters"),
        ({"hypervisor": {"parameters": "-S"}}, "/vm/hypervisor/parameters"),
        ({"hwConfig": {"vcpus": 0}}, "/vm/hwConfig/vcpus"),
        ({"hwConfig": {"memory": "1G"}}, "/vm/hwConfig/memory"),
        ({"hwConfig": {"cpus": 1}}, "/vm/hwConfig/cpus"),
    ],
)
def test_a_section_of_the_wrong_shape_is_refused(section: Any, pointer: str) -> None:  # noqa: ANN401
    with pytest.raises(UnsupportedError, match=re.escape(f"{pointer}: ")):
        refuse(config_with(vm=section))


def test_every_refusal_is_named_at_once() -> None:
    config = config_with(linux={"mountLabel": "x", "devices": [{}]})
    with pytest.raises(UnsupportedError) as error:
        refuse(config)
    assert len(error.value.problems) == 2


def test_memory_and_processors_come_from_hwconfig_then_from_the_limits() -> None:
    resources = {"memory": {"limit": 512 << 20}, "cpu": {"quota": 150_000, "period": 100_000}}
    limited = config_with(linux={"resources": resources})
    assert (memory_of(limited), cpus_of(limited)) == (512 << 20, 2)
    named: Any = {**limited, "vm": {"hwConfig": {"memory": 1 << 30, "vcpus": 4}}}
    assert (memory_of(named), cpus_of(named)) == (1 << 30, 4)
    assert (memory_of(config_with()), cpus_of(config_with())) == (256 << 20, 1)
    assert host_resources(limited) == {"cpu": resources["cpu"]}


def test_the_setup_is_in_the_order_of_the_mounts_with_read_only_last() -> None:
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]},
        {"destination": "/data", "source": "/srv", "options": ["rbind", "ro"]},
    ]
    linux = {"maskedPaths": ["/proc/kcore"], "sysctl": {"net.ipv4.ip_forward": "1"}}
    root = {"path": "rootfs", "readonly": True}
    made = setup_frames(config_with(mounts=mounts, linux=linux, root=root, hostname="box"))
    found = [frame for one in made for frame in frames.Reader({one[:1]: 9999}).feed(one)]
    assert [kind for kind, _, _ in found] == [
        *(frames.ROOT, frames.MOUNT, frames.MOUNT, frames.BIND, frames.DEVICES, frames.HOSTNAME),
        *(frames.SYSCTL, frames.MASK, frames.READONLY, frames.READONLY),
    ]
    assert found[1][2].startswith(frames.u64(2))
    assert found[2][2].startswith(frames.u64(0))  # read-only when its devices are made
    assert found[3][2] == frames.u64(1) + frames.text("2") + frames.text("/data")
    assert (found[-2][2], found[-1][2]) == (frames.text("/dev"), frames.text("/"))


@pytest.mark.parametrize(("limit", "sent"), [(5, [5]), (0, [1]), (-1, []), (None, [])])
def test_a_limit_of_processes_is_made_after_the_root(limit: int | None, sent: list[int]) -> None:
    root, *made = setup_frames(config_with(linux={"resources": {"pids": {"limit": limit}}}))
    assert root == frames.frame(frames.ROOT)
    wanted = [frames.frame(frames.PIDS, payload=frames.u64(number)) for number in sent]
    assert [frame for frame in made if frame[:1] == frames.PIDS] == wanted


def test_a_process_has_a_home_and_its_capabilities(tmp_path: Path) -> None:
    process = {
        "user": {"uid": 7, "gid": 8},
        "args": ["a"],
        "cwd": "/",
        "env": ["A=1"],
        "capabilities": {"bounding": ["CAP_KILL"]},
    }
    payload = program_payload(process, str(tmp_path))  # type: ignore[arg-type]
    assert payload.startswith(frames.u32(4) + frames.u32(7) + frames.u32(8))
    assert frames.u64(1 << 5) in payload
    scheduler = {"policy": "SCHED_OTHER", "nice": -2}
    payload_of_nice = program_payload({**process, "scheduler": scheduler}, str(tmp_path))  # type: ignore[arg-type]
    assert payload_of_nice.startswith(frames.u32(4 | 128))
    assert frames.u32(2**32 - 2) + frames.u32(0) + bytes(24) in payload_of_nice
    assert payload.endswith(frames.u32(2) + frames.text("A=1") + frames.text("HOME=/"))


def test_a_filter_is_in_the_frame_of_its_process(tmp_path: Path) -> None:
    process: Any = {"user": {"uid": 0, "gid": 0}, "args": ["a"], "cwd": "/", "env": []}
    filter_ = {"program": "00" * 8 + "ff" * 8, "flags": 4}
    payload = program_payload(process, str(tmp_path), filter_)
    assert payload.startswith(frames.u32(64))
    assert frames.u32(4) + frames.u32(16) + bytes(8) + b"\xff" * 8 + frames.text("/") in payload
    assert frames.u32(0) * 2 + frames.text("/") in program_payload(process, str(tmp_path))


def test_the_command_line_has_the_bundles_parameters_last() -> None:
    hardware = Hardware(
        "/q", "/k", "/i", memory=1 << 28, cpus=2, has_kvm=False, parameters=["-S"],
        kernel_parameters=["quiet"],
    )  # fmt: skip
    words = command_line(hardware, qmp=5, agent=6, console=7, memory=8, user=["-runas", "1"])
    assert "-incoming" not in words
    assert words[0] == "/q"
    assert words[-3:] == ["-runas", "1", "-S"]
    assert words[words.index("-m") + 1] == "256M"
    assert words[words.index("-append") + 1].endswith(" mitigations=off nokaslr quiet")
    assert words[words.index("-accel") + 1].startswith("tcg")
    words = command_line(hardware, qmp=5, agent=6, console=7, memory=8, user=(), is_restored=True)
    assert words[words.index("-incoming") + 1] == "defer"
    assert "mem-path=/proc/self/fd/8" in words[words.index("-object") + 1]


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", ["-runas", "65534:65534"]),
        ("9.0.2", ["-runas", "65534:65534"]),
        ("9.1.0", ["-run-with", "user=65534:65534"]),
        ("10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)", ["-run-with", "user=65534:65534"]),
        ("", ["-run-with", "user=65534:65534"]),
    ],
)
def test_qemu_becomes_nobody_by_the_option_of_its_version(version: str, words: list[str]) -> None:
    assert user_options_of(f"QEMU emulator version {version}\nCopyright") == words


def test_the_page_says_of_every_member_where_it_holds() -> None:
    """Every member of the schemas' config, linux, process and resources has a row in docs/vm.md."""
    rows = set(re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE))
    schemas = REPO / "schemas/config"
    wanted = set()
    for file, prefix in (
        ("config", ""),
        ("linux", "linux."),
        ("process", "process."),
        ("resources", "linux.resources."),
    ):
        schema = json.loads((schemas / f"{file}.json").read_text())
        wanted |= {f"{prefix}{name}" for name in schema["properties"]}
    others = {"freebsd", "solaris", "windows", "zos"}
    assert wanted - others - rows == set()
    places = {
        "resources": "linux.resources.",
        "memory": "linux.resources.memory.",
        "cpu": "linux.resources.cpu.",
        "hwConfig": "vm.hwConfig.",
        "seccomp": "linux.seccomp.",
    }
    for section, members in REFUSED.items():
        before = places.get(section, f"{section}.")
        for name in members:
            assert f"{before}{name}" in rows
