"""Members of config.json in another case hold the container as they do on runc."""

from __future__ import annotations

from harness.box import Box
from harness.peers import peer_deviates

pytestmark = peer_deviates("crun", "reads names exactly")


def test_no_new_privileges_in_another_case_holds(box: Box) -> None:
    bundle = box.bundle("/bin/grep", "NoNewPrivs", "/proc/self/status")
    bundle.process["nonewprivileges"] = True
    assert box.output(bundle).split() == ["NoNewPrivs:", "1"]


def test_a_read_only_root_in_another_case_holds(box: Box) -> None:
    bundle = box.bundle("/bin/sh", "-c", "touch /new || echo refused")
    bundle.config["root"]["Readonly"] = True
    assert box.output(bundle) == "refused\n"


def test_masked_paths_in_another_case_hold(box: Box) -> None:
    bundle = box.bundle("/bin/sh", "-c", "cat /proc/version | wc -c")
    bundle.linux["maskedpaths"] = ["/proc/version"]
    assert box.output(bundle) == "0\n"
