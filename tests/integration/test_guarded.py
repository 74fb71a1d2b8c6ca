"""The harness keeps this machine read-only where a runtime shows it to a container."""

from __future__ import annotations

import subprocess
from functools import partial

from harness.box import Box
from harness.guarded import guard_machine
from harness.needs import needs

pytestmark = needs("root", "ours")


def test_a_runtime_that_is_wrong_could_not_write_to_this_machine(box: Box) -> None:
    script = (
        "for f in /etc /usr /usr/bin /root /home /var /opt; do echo > $f/ocirun-canary; done; true"
    )
    done = subprocess.run(
        ["sh", "-c", script],
        preexec_fn=partial(guard_machine, box.folder),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.count("Read-only file system") == 7, done.stderr
