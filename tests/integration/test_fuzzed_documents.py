"""No document, however spoiled, ends in an internal error or a hang of a verb that reads it.

The verbs run in namespaces of their own and under a document's `tame`d form (tests/fuzz/verbs.py),
because a spoiled configuration may ask for anything. OCIRUN_FUZZ_COUNT is how many documents each
test tries, OCIRUN_FUZZ_SEED which; what was found is kept as a test in tests/fuzz/corpus.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness.box import Box
from harness.runtime import PATIENCE

COUNT = int(os.environ.get("OCIRUN_FUZZ_COUNT", "3"))
SEED = int(os.environ.get("OCIRUN_FUZZ_SEED", "1"))
WORKER = Path(__file__).parents[1] / "fuzz" / "verbs.py"
UNSHARE = ("unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--mount-proc",
           "--propagation", "private", "--kill-child")  # fmt: skip


@pytest.mark.parametrize("kind", ["config", "exec", "update", "mounts", "records"])
def test_no_spoiled_document_ends_in_an_internal_error(box: Box, programs: Path, kind: str) -> None:
    if box.runtime.name != "ours":
        pytest.skip(f"this is not about {box.runtime.name}")
    folder = box.folder / f"{box.folder.name}-{os.getpid()}"
    folder.mkdir()
    count = COUNT * 8 if kind == "config" else COUNT
    command = [*UNSHARE, sys.executable, WORKER, box.runtime.path, programs, folder, kind]
    process = subprocess.run(
        [*command, f"--count={count}", f"--seed={SEED}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=60 + 30 * count * PATIENCE,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    findings = json.loads(process.stdout.splitlines()[-1])
    for finding in findings:
        print("\n".join(f"{name}: {text}" for name, text in finding.items()))  # noqa: T201
    assert not findings
    assert (folder / "decoy/file").read_text() == "of the host\n"
