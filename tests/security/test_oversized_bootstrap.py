"""CVE-2021-43784: whatever the length of a text of config.json, no namespace is left out for it.

Attack: texts longer than 64 KiB, whose length runc once wrote into 16 bits of a netlink message, so
that what followed was read as other settings.

runc 1.1.5 has the fix and refuses.

Source: CVE-2021-43784; docs/runc-compat/security.md#vulnerabilities.
"""

from __future__ import annotations

import os

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates

pytestmark = needs("root")

LARGEST_MAP = 340  # entries: user_namespaces(7)


def namespaces_of(pid: int | str) -> dict[str, str]:
    kinds = ("pid", "net", "ipc", "uts", "mnt", "user")
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds}


@peer_deviates("crun", "1.8 refuses in other words")
@pytest.mark.parametrize("length", [65530, 65536, 70000, 1 << 20])
def test_a_long_path_of_a_namespace_is_an_error(box: Box, length: int) -> None:
    bundle = box.bundle("/probe", "wait")
    path = "/proc/self/ns/net"
    bundle.set_namespace("network", "/" * (length - len(path)) + path)
    box.container(bundle).create().failed("file name too long")


@needs("userns")
def test_as_many_mappings_as_the_kernel_takes(box: Box) -> None:
    # The text of a map may be no longer than a page.
    bundle = box.bundle("/probe", "wait")
    bundle.use_userns(*((number, 1000 + number, 1) for number in range(LARGEST_MAP)))
    container = box.running(bundle)
    ours, theirs = namespaces_of("self"), namespaces_of(container.pid)
    assert [kind for kind in ours if ours[kind] == theirs[kind]] == []


@needs("userns")
@pytest.mark.parametrize("count", [LARGEST_MAP + 1, 6000])
def test_more_mappings_are_an_error(box: Box, count: int) -> None:
    """6,000 of them have more than 64 KiB of text."""
    # The text of a map may be no longer than a page.
    bundle = box.bundle("/probe", "wait")
    bundle.use_userns(*((number, 100000 + number, 1) for number in range(count)))
    assert box.container(bundle).create().status == 1


@pytest.mark.parametrize("member", ["hostname", "args", "env", "cwd", "annotation"])
def test_long_texts_elsewhere_change_nothing(box: Box, member: str) -> None:
    bundle = box.bundle("/probe", "wait")
    text = "x" * 70000
    if member == "hostname":
        bundle.config["hostname"] = text
    elif member == "args":
        bundle.process["args"] += ["0", text]
    elif member == "env":
        bundle.process["env"].append(f"LONG={text}")
    elif member == "cwd":
        bundle.process["cwd"] = f"/{text}"
    else:
        bundle.config["annotations"] = {text: text}
    container = box.container(bundle)
    if container.create().status == 0:
        ours, theirs = namespaces_of("self"), namespaces_of(container.pid)
        assert [kind for kind in ours if kind != "user" and ours[kind] == theirs[kind]] == []
