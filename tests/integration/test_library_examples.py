"""Each program in examples/ does what its docstring says, and leaves nothing behind.

They use the default state root, so they run with a /run of their own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness.box import Box
from harness.machine import REPO, cgroup_hierarchies
from harness.needs import needs

pytestmark = needs("root", "ours")

EXAMPLES = REPO / "examples"
OWN_RUN = """
mount -t tmpfs run /run && "$@"
status=$?
ls -A /run/ocirun 2>/dev/null | grep -v "^@" && status=99
exit $status
"""


@pytest.fixture
def rootfs(box: Box) -> str:
    """A root file system that anybody may walk through."""
    path = box.bundle().rootfs
    for folder in (path, *path.parents):
        if folder == Path("/tmp"):
            break
        folder.chmod(0o755)
    return str(path)


def example(name: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    words = ["unshare", "-m", "sh", "-c", OWN_RUN, "sh", sys.executable]
    words += ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest", "-c", os.devnull] if (
        name.startswith("test_")
    ) else []  # fmt: skip
    done = subprocess.run(
        [*words, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=EXAMPLES,  # not above the package's source, which is not what is installed
        env={**os.environ, **variables},
    )
    end = time.monotonic() + 20  # another program's may be there meanwhile
    while left := made_up_cgroups():
        assert time.monotonic() < end, left
        time.sleep(0.2)
    return done


def made_up_cgroups() -> list[Path]:
    """The cgroups of containers whose id the library has made up."""
    tops = set(cgroup_hierarchies().values())
    found = [path for top in tops for path in Path(top).glob("ocirun-*")]
    return [path for path in found if re.fullmatch("ocirun-[0-9a-f]{16}", path.name)]


def test_the_snippets_of_the_manual_run(rootfs: str, box: Box) -> None:
    text = (REPO / "docs" / "library.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == text.count("```python") == 4
    script = box.folder / "manual.py"
    script.write_text("".join(blocks).replace("/srv/images/alpine", rootfs))
    done = example(str(script))
    assert (done.stderr, done.returncode) == ("", 0), done
    lines = done.stdout.splitlines()
    assert lines[:3] == ["0 hello", "0", ""]
    assert re.fullmatch(r"\d+ running None", lines[3])
    assert lines[4:6] == [r"b'hello\n' 0", r"b'1000\n' 0"]
    assert lines[6:] == [rf"b'{number}\n'" for number in range(9)]


DOCTESTS = """
import doctest, sys
from ocirun import PIPE, Spec, aio
from ocirun.library import container, run, spec
names = {"rootfs": sys.argv[1], "PIPE": PIPE, "Spec": Spec}
for module, count in ((run, 2), (spec, 2), (container, 4), (aio, 2)):
    found = doctest.testmod(module, extraglobs=names)
    print(module.__name__, found.failed, found.attempted == count or found.attempted)
"""


def test_the_examples_in_docstrings_run(rootfs: str, box: Box) -> None:
    script = box.folder / "docstrings.py"
    script.write_text(DOCTESTS)
    done = example(str(script), rootfs)
    assert done.stdout.splitlines() == [
        f"ocirun.{name} 0 True"
        for name in ("library.run", "library.spec", "library.container", "aio")
    ], done


def test_the_sandbox_keeps_to_its_limits(rootfs: str) -> None:
    done = example("sandbox.py", rootfs, "sh", "-c", "id -u; touch /x; touch /tmp/y && echo tmp")
    assert done.stdout.splitlines()[0] == "65534", done
    assert "Read-only file system" in done.stdout
    assert "tmp" in done.stdout.splitlines()
    assert (done.stderr, done.returncode) == ("ok (0)\n", 0)
    done = example("sandbox.py", rootfs, "sh", "-c", "ls /sys/class/net; exit 3")
    assert (done.stdout, done.stderr) == ("lo\n", "failed (3)\n")
    done = example("sandbox.py", rootfs, "sh", "-c", "echo begun; sleep 1000")
    assert (done.stdout, done.stderr) == ("begun\n", "timeout (None)\n")


def test_the_parallel_runner_keeps_outputs_and_statuses_apart(rootfs: str) -> None:
    jobs = [f"echo {number}; exit {number}" for number in range(6)]
    done = example("parallel.py", rootfs, *jobs)
    assert done.returncode == 5, done
    assert done.stdout.splitlines() == [
        f"{number} {number} '{number}' {job}" for number, job in enumerate(jobs)
    ]


def test_the_judge_tells_each_verdict(rootfs: str, box: Box) -> None:
    folder = box.folder / "task"
    folder.mkdir()
    for name, question, answer in (
        ("1", "2 3", "5"), ("2", "1 1", "3"), ("3", "loop", ""), ("4", "fail", ""),
        ("5", "eat", ""),
    ):  # fmt: skip
        (folder / f"{name}.in").write_text(f"{question}\n")
        (folder / f"{name}.out").write_text(f"{answer}\n")
    submission = folder / "submission"
    submission.write_text(
        "read a b\n"
        "case $a in\n"
        "loop) while :; do :; done;;\n"
        "fail) exit 9;;\n"
        # No more than 256 MB, should the limit of 64 not hold.
        "eat) x=xxxxxxxxxxxxxxxx; while [ ${#x} -lt 200000000 ]; do x=$x$x; done;;\n"
        "*) echo $((a + b));;\n"
        "esac\n"
    )
    done = example("judge.py", rootfs, str(folder), str(submission))
    assert done.stdout.splitlines() == [
        "1: accepted",
        "2: wrong answer",
        "3: time limit",
        "4: runtime error",
        "5: memory limit",
        "1 of 5 points",
    ], done
    assert done.returncode == 1


def test_the_fixture_starts_a_service(rootfs: str) -> None:
    done = example("test_service.py", ROOTFS=rootfs)
    assert "2 passed" in done.stdout, done


def test_examples_are_all_run(box: Box) -> None:  # noqa: ARG001  # as the others
    text = Path(__file__).read_text()
    names = [path.name for path in EXAMPLES.glob("*.py")]
    assert names
    assert [name for name in names if f'"{name}"' not in text] == []
    assert shutil.which("unshare")
