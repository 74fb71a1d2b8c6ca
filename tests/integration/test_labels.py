"""AppArmor and SELinux on a host that lacks them: refused before anything is made.

AppArmor where there is one: test_apparmor.py. What goes to a host's SELinux is tested against
recordings (unit/security/test_labels.py).

Source: runtime-spec config.md#linux-process, config-linux.md#mount-label;
docs/runc-compat/init.md#validation, docs/runc-compat/security.md#invariants.
"""

from __future__ import annotations

import os

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates

NO_SELINUX = "selinux label is specified in config, but selinux is disabled or not supported"
NO_APPARMOR = "apparmor profile is specified in config, but apparmor is disabled or not supported"


@pytest.fixture(autouse=True)
def _without_lsm() -> None:
    if os.path.exists("/sys/fs/selinux/enforce"):
        pytest.skip("this host has SELinux")
    if os.path.exists("/sys/module/apparmor/parameters/enabled"):
        pytest.skip("this host has AppArmor")


@peer_deviates("crun", "finds out from the kernel, in the container")
def test_a_selinux_label(box: Box) -> None:
    container = box.container(None, selinuxLabel="system_u:system_r:container_t:s0")
    container.create().failed(NO_SELINUX)
    assert not (box.runtime.root / container.id).exists()


@peer_deviates("runc", "1.1 finds out from the kernel, in the container")
@peer_deviates("crun", "ignores it")
@pytest.mark.parametrize("profile", ["docker-default", "unconfined"])
def test_an_apparmor_profile(box: Box, profile: str) -> None:
    container = box.container(None, apparmorProfile=profile)
    container.create().failed(NO_APPARMOR)
    assert not (box.runtime.root / container.id).exists()


@peer_deviates("runc", "refuses it, 1.1 by the kernel's answer at the first tmpfs")
def test_a_mount_label_is_ignored_without_selinux(box: Box) -> None:
    bundle = box.bundle()
    bundle.linux["mountLabel"] = "system_u:object_r:container_file_t:s0"
    assert box.report(bundle)["pid"] == 1


@needs("ours")
def test_debug_names_the_ignored_mount_label(box: Box) -> None:
    bundle = box.bundle("/bin/true")
    bundle.linux["mountLabel"] = "a:b:c"
    box.runtime.settings = ["--debug"]
    call = box.container(bundle).create().ok()
    assert "ignoring /linux/mountLabel: this host has no SELinux" in call.said


def test_empty_labels_are_none(box: Box) -> None:
    bundle = box.bundle(selinuxLabel="", apparmorProfile="")
    bundle.linux["mountLabel"] = ""
    assert box.report(bundle)["pid"] == 1


@needs("ours")
def test_every_problem_is_told_at_once(box: Box) -> None:
    bundle = box.bundle(selinuxLabel="a:b:c", apparmorProfile="p")
    call = box.container(bundle).create()
    call.failed("/process/selinuxLabel", "/process/apparmorProfile")
