"""The messages of pyroute2 are loaded without the rest of it, also while answers are decoded."""

from __future__ import annotations

import subprocess
import sys

DECODES = """
import sys
from ocirun.network import messages, netlink

try:
    netlink._decoded(messages.ifinfmsg, b"cut off")
except OSError as error:
    print(error.strerror.partition(":")[0])
print([name for name in sys.modules if name.startswith("pyroute2")])
"""


def test_decoding_a_broken_answer_loads_nothing_more() -> None:
    words = [sys.executable, "-I", "-c", DECODES]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.splitlines() == ["an answer of the kernel is not understood", "[]"]
