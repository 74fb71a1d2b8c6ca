"""The man pages that the build makes: whole, and without a warning of mandoc."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from harness.machine import REPO, has_tool

from ocirun.cli.verbs import VERBS

SHOWN = [verb for verb in VERBS.values() if not verb.hidden]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    program = REPO / "ocirun/_build/manpages.py"
    subprocess.run([sys.executable, program, REPO / "schemas", folder], check=True)
    return folder


def text(page: Path) -> str:
    """Return what the page says, without the escapes of roff."""
    return re.sub(r"\\f[BP]|\\&", "", page.read_text()).replace("\\-", "-").replace("\\(aq", "'")


def test_there_is_one_for_every_verb(pages: Path) -> None:
    verbs = {f"ocirun-{verb.name}.1" for verb in SHOWN}
    others = {"ocirun.1", "ocirun-config.5", "ocirun-bundle.7"}
    assert {page.name for page in pages.iterdir()} == verbs | others
    done = subprocess.run(
        [sys.executable, REPO / "ocirun/_build/manpages.py", "--names"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert set(done.stdout.split()) == verbs | others


@pytest.mark.skipif(not has_tool("mandoc"), reason="no mandoc")
def test_mandoc_has_no_warning(pages: Path) -> None:
    words = ["mandoc", "-Tlint", "-Wwarning", *sorted(pages.iterdir())]
    done = subprocess.run(words, capture_output=True, check=False, text=True)
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_page_of_a_verb_has_all_of_its_options(pages: Path) -> None:
    for verb in SHOWN:
        said = text(pages / f"ocirun-{verb.name}.1")
        for option in verb.options:
            assert (f"--{option.name}" in said) != option.hidden, (verb.name, option.name)


def test_the_configuration_is_described_down_to_its_members(pages: Path) -> None:
    said = text(pages / "ocirun-config.5")
    for name in ("maskedPaths", "process.rlimits[].soft", "linux.seccomp", "mounts[].options"):
        assert re.search(rf"^\.B .*{re.escape(name)}$", said, re.MULTILINE), name
    assert "windows" not in said.lower().replace("windows only", "")


def test_nothing_in_a_text_is_taken_for_a_request() -> None:
    program = f"import sys; sys.path.insert(0, {str(REPO / 'ocirun/_build')!r}); import manpages; "
    program += "print(manpages.escape(sys.argv[1]))"
    words = [sys.executable, "-c", program, '.SH "a\\b" -x']
    done = subprocess.run(words, capture_output=True, check=True, text=True)
    assert done.stdout == "\\&.SH \\(dqa\\eb\\(dq \\-x\n"
