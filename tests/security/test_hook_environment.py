"""CVE-2025-23266: a hook of the host that runs with the environment of the image.

A createContainer hook without an `env` of its own once had the variables of the container's
process. It runs in the root file system as its working directory, so `LD_PRELOAD=./evil.so` in an
image loaded the image's library into a program of the host that has all rights.

Outcome on the peers: runc 1.1.5 loads the image's library; crun 1.8.1 does when LD_LIBRARY_PATH
leads to it.

Source: CVE-2025-23266 ("NVIDIAScape"); runtime-spec config.md#posix-platform-hooks; ld.so(8).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box
from harness.bundle import PATH, Bundle
from harness.needs import needs
from harness.peers import peer_deviates

pytestmark = needs("root")

MOST_SECONDS = 9223372036  # what the reader lets through
HOST_SIDE = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
LIBRARY = """
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void)
{
    close(open(MARK, O_CREAT | O_WRONLY, 0600));
}
"""


class Evil:
    """A library of the image that leaves a mark on the host when a program loads it."""

    def __init__(self, box: Box, bundle: Bundle) -> None:
        self.mark = box.folder / "loaded"
        source = box.folder / "evil.c"
        source.write_text(LIBRARY)
        words = ["gcc", "-shared", "-fPIC", f'-DMARK="{self.mark}"', "-o", "evil.so", source]
        subprocess.run(words, cwd=bundle.rootfs, check=True)
        (bundle.rootfs / "evil.so").chmod(0o755)

    def is_loaded_by(self, program: str, env: dict[str, str], cwd: Path) -> bool:
        """Return whether it works at all."""
        subprocess.run([program], env=env, cwd=cwd, check=True)
        loaded = self.mark.exists()
        self.mark.unlink(missing_ok=True)
        return loaded


def lived(box: Box, bundle: Bundle, **keys: Any) -> None:  # noqa: ANN401
    container = box.container(bundle)
    container.create(**keys).ok()
    container.start(**keys).ok()
    container.wait_status("stopped")
    container.delete(**keys).ok()


@peer_deviates("runc", "1.1 gives createContainer hooks the image's variables", sometimes=True)
@peer_deviates("crun", "does so in some cases", sometimes=True)
@pytest.mark.parametrize("preload", ["./evil.so", "/evil.so", "evil.so"])
def test_the_images_library_is_not_loaded(box: Box, preload: str) -> None:
    bundle = box.bundle("true", env=[PATH, f"LD_PRELOAD={preload}", "LD_LIBRARY_PATH=."])
    evil = Evil(box, bundle)
    assert evil.is_loaded_by("/usr/bin/env", {"LD_PRELOAD": "./evil.so"}, bundle.rootfs)
    bundle.config["hooks"] = {moment: [{"path": "/usr/bin/env"}] for moment in HOST_SIDE}
    lived(box, bundle)
    assert not evil.mark.exists()


@peer_deviates("runc", "1.1 gives createContainer hooks the image's variables", sometimes=True)
@pytest.mark.parametrize("moment", HOST_SIDE)
def test_no_variable_of_the_image_reaches_a_hook(box: Box, moment: str) -> None:
    bundle = box.bundle("true", env=[PATH, "OF_THE_IMAGE=1", "LD_AUDIT=/evil.so", "BASH_ENV=/x"])
    place = bundle.path / "seen"
    probe = os.fspath(bundle.rootfs / "probe")
    bundle.config["hooks"] = {
        moment: [{"path": probe, "args": ["probe", "record", str(place), "0"]}]
    }
    lived(box, bundle, env={"PATH": os.environ["PATH"], "OF_THE_CALLER": "1"})
    names = {entry.partition("=")[0] for entry in json.loads(place.read_text())["env"]}
    assert names.isdisjoint({"OF_THE_IMAGE", "LD_AUDIT", "BASH_ENV"})


class TestWrongEntries:
    """Entries of `env` that are no NAME=VALUE: the hook runs without them, and the others do.

    Seen before: "internal error", poststop hooks that did not run, and a delete with status 1.
    """

    @peer_deviates("crun", "hands them over as they are", sometimes=True)
    @pytest.mark.parametrize("moment", HOST_SIDE)
    @pytest.mark.parametrize("entry", ["NO_EQUALS_SIGN", "", "=value", "="])
    def test_they_are_left_out(self, box: Box, moment: str, entry: str) -> None:
        bundle = box.bundle("true")
        place = bundle.path / "seen"
        probe = os.fspath(bundle.rootfs / "probe")
        hook = {
            "path": probe,
            "args": ["probe", "record", str(place), "0"],
            "env": [entry, "A=b=c"],
        }
        bundle.config["hooks"] = {moment: [hook]}
        lived(box, bundle)
        env = json.loads(place.read_text())["env"]
        assert "A=b=c" in env
        if box.runtime.name == "ours":
            assert env == ["A=b=c"]

    @needs("ours")
    @pytest.mark.parametrize("name", ["path", "args", "env"])
    def test_a_nul_is_a_broken_rule(self, box: Box, name: str) -> None:
        hook = {"path": "/bin/true", name: "/bin/tr\0ue" if name == "path" else ["A=\0"]}
        container = box.container(None, "true")
        container.bundle.config["hooks"] = {"poststop": [hook]}
        result = container.create().failed("contains a NUL character")
        assert "internal error" not in result.said


class TestLongTimeouts:
    """A timeout in seconds that poll(2) cannot count in milliseconds."""

    @peer_deviates("crun", "fails beyond 31 bits", sometimes=True)
    @pytest.mark.parametrize("timeout", [2147483, 2147484, 2**31 - 1, 2**31, MOST_SECONDS])
    @pytest.mark.parametrize("moment", ["createRuntime", "createContainer", "poststop"])
    def test_the_hook_runs(self, box: Box, moment: str, timeout: int) -> None:
        bundle = box.bundle("true")
        place = bundle.path / "ran"
        hook = {"path": "/usr/bin/touch", "args": ["touch", str(place)], "timeout": timeout}
        bundle.config["hooks"] = {moment: [hook]}
        lived(box, bundle)
        assert place.exists()
