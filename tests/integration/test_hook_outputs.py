"""Files that hooks write to, named by annotations.

Source: crun(1), "run.oci.hooks.stdout=FILE".
"""

from __future__ import annotations

import os

import pytest
from harness.box import Box
from harness.hooks import Hooks, lived
from harness.needs import needs
from harness.peers import peer_deviates

ALL = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


class TestOutputFiles:
    """The annotations run.oci.hooks.stdout and run.oci.hooks.stderr, of crun."""

    @peer_deviates("runc", "knows no such annotations")
    @pytest.mark.parametrize("moment", ALL)
    def test_what_a_hook_writes_is_appended(self, box: Box, moment: str) -> None:
        hooks = Hooks(box)
        hooks.shell(moment, "echo out; echo err >&2")
        out, err = box.folder / "out", box.folder / "err"
        out.write_text("before\n")
        hooks.bundle.config["annotations"] = {
            "run.oci.hooks.stdout": str(out),
            "run.oci.hooks.stderr": str(err),
        }
        lived(box, hooks)
        assert (out.read_text(), err.read_text()) == ("before\nout\n", "err\n")

    @needs("ours", "userns")
    def test_hooks_in_a_user_namespace_write_there_too(self, box: Box) -> None:
        hooks = Hooks(box)
        for moment in ("createContainer", "startContainer"):
            hooks.shell(moment, f"echo {moment}")
        out = box.folder / "out"
        hooks.bundle.use_userns((0, 100000, 65536))
        hooks.bundle.config["annotations"] = {"run.oci.hooks.stdout": str(out)}
        lived(box, hooks)
        assert out.read_text() == "createContainer\nstartContainer\n"

    @needs("ours")
    @pytest.mark.parametrize("kind", ["device", "fifo", "folder", "link", "relative"])
    def test_nothing_but_a_regular_file_is_opened(self, box: Box, kind: str) -> None:
        hooks = Hooks(box)
        hooks.shell("createRuntime", "echo out")
        place, canary = box.folder / "place", box.folder / "canary"
        canary.touch()
        if kind == "device":
            os.mknod(place, 0o20666, os.makedev(1, 7))
        elif kind == "fifo":
            os.mkfifo(place)
        elif kind == "folder":
            place.mkdir()
        elif kind == "link":
            place.symlink_to(canary)
        path = "place" if kind == "relative" else str(place)
        hooks.bundle.config["annotations"] = {"run.oci.hooks.stdout": path}
        box.container(hooks.bundle).create(cwd=box.folder).failed("run.oci.hooks.stdout")
        assert canary.read_text() == ""
