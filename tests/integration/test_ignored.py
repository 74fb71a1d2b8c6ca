"""Members that have no effect on Linux: read, and nothing else.

Source: runtime-spec config.md#process, config.md#user.
"""

from __future__ import annotations

from harness.box import Box


def test_what_is_for_windows(box: Box) -> None:
    bundle = box.bundle(
        commandLine="cmd /c exit 1", user={"uid": 0, "gid": 0, "username": "nobody"}
    )
    report = box.report(bundle)
    assert report["uids"] == [0] * 3
    assert report["gids"] == [0] * 3


def test_members_of_other_platforms_have_no_effect(box: Box) -> None:
    bundle = box.bundle("echo", "here")
    bundle.config["windows"] = {"layerFolders": ["C:\\\\layer"]}
    bundle.config["zos"] = {"namespaces": []}
    assert box.output(bundle) == "here\n"
