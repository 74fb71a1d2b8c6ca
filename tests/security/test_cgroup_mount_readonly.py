"""CVE-2023-25809: the cgroups of the host are not writable in a container that did not get them so.

Attack: without a cgroup namespace /sys/fs/cgroup shows the whole tree; a container of root's in a
user namespace, or of an ordinary user, writes there although its mount says `ro`.

runc 1.1.5 has the fix. crun 1.8.1 leaves the tmpfs above the hierarchies of v1 writable, which is
the container's own.

Source: CVE-2023-25809; docs/runc-compat/security.md#vulnerabilities.
"""

from __future__ import annotations

import pytest
from harness.box import Box
from harness.bundle import Bundle
from harness.needs import needs
from harness.peers import peer_deviates

pytestmark = needs("root")


def shown(box: Box, how: str, *, userns: bool, cgroupns: bool) -> Bundle:
    bundle = box.bundle()
    if userns:
        bundle.use_userns((0, 100000, 65536))
    if cgroupns:
        bundle.set_namespace("cgroup")
    if how == "cgroup":
        bundle.add_mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
        bundle.add_mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "ro")
    else:
        bundle.add_mount("/sys/fs/cgroup", "bind", "/sys/fs/cgroup", "rbind", "rro")
    return bundle


@pytest.mark.parametrize("cgroupns", [False, True], ids=["", "cgroupns"])
@pytest.mark.parametrize("userns", [False, pytest.param(True, marks=needs("userns"))])
@pytest.mark.parametrize(
    "how",
    [
        pytest.param("cgroup", marks=peer_deviates("crun", "1.8: a tmpfs that can be written to")),
        "rbind",
    ],
)
def test_nothing_can_be_made_in_it(box: Box, how: str, *, userns: bool, cgroupns: bool) -> None:
    bundle = shown(box, how, userns=userns, cgroupns=cgroupns)
    script = (
        "for place in /sys/fs/cgroup /sys/fs/cgroup/*; do"
        " [ -d $place ] || continue; mkdir $place/ocitest 2>&1 || continue; echo made $place; done"
    )
    bundle.process["args"] = ["sh", "-c", script]
    said = box.output(bundle)
    assert "made" not in said
    assert "ead-only file system" in said
