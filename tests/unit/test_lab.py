"""The lab's own parts that need no machine: what is chosen, what is counted, what is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.machine import REPO
from lab import cache, chapters, table, vmlinux
from lab.__main__ import PYTEST
from lab.cache import LabError

REPORT = """<testsuites><testsuite>
<testcase classname="tests.integration.test_a.TestX" name="one"/>
<testcase classname="tests.integration.test_a" name="two"/>
<testcase classname="tests.integration.test_a" name="three"><skipped type="pytest.skip"/></testcase>
<testcase classname="tests.integration.test_b" name="one"><failure/></testcase>
<testcase classname="tests.integration.test_b" name="two"><skipped type="pytest.xfail"/></testcase>
</testsuite></testsuites>"""


def test_the_chapters_of_root_are_found_by_what_they_need() -> None:
    found = chapters.files("root")
    for name in ("test_resources_v2", "test_apparmor", "test_limits_raised"):
        assert f"tests/integration/{name}.py" in found
    assert "tests/integration/test_arguments.py" not in found


def test_those_of_the_user_are_its_own() -> None:
    assert "tests/integration/test_rootless_delegated.py" in chapters.files("user")
    assert not set(chapters.files("user")) & set(chapters.files("root"))


def test_counts_go_into_one_column_and_others_stay(tmp_path: Path) -> None:
    page, report = tmp_path / "page.md", tmp_path / "report.xml"
    page.write_text(f"# Head\n{table.BEGIN}{table.END}tail\n")
    report.write_text(REPORT)
    table.update("6.12-root", [report], page)
    table.update("hybrid", [report], page)
    text = page.read_text()
    counts = "2 passed, 1 skipped"
    assert f"| test_a | {counts} | {counts} |  |  |" in text
    assert "| 1 failed, 1 expected to fail |" in text
    assert text.startswith("# Head\n")
    assert text.endswith("tail\n")


def test_a_column_that_the_page_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no column 5\.10"):
        table.update("5.10", [], tmp_path / "page")


def test_a_part_is_made_once_and_is_whole(tmp_path: Path) -> None:
    def fail(scratch: Path) -> None:
        scratch.mkdir()
        raise LabError("half of it")

    with pytest.raises(LabError, match="half"):
        cache.make_part(tmp_path, "part", fail)
    assert not (tmp_path / "part").exists()
    assert cache.make_part(tmp_path, "part", Path.mkdir) == tmp_path / "part"
    assert cache.make_part(tmp_path, "part", fail) == tmp_path / "part"


def test_a_missing_program_is_named_with_the_remedy() -> None:
    with pytest.raises(LabError, match=r"making a disk: no program nowhere here; tools/prepare"):
        cache.run("making a disk", "nowhere")


def test_a_failing_program_is_quoted() -> None:
    with pytest.raises(LabError, match=r"fetching x: sh ended with 3: no such host"):
        cache.run("fetching x", "sh", "-c", "echo no such host >&2; exit 3")


def test_the_cache_is_named_by_its_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCIRUN_LAB", str(tmp_path))
    first = cache.cache_folder()
    guest = tmp_path / "guest"
    guest.mkdir()
    (guest / "init").write_text("another one")
    monkeypatch.setattr(cache, "GUEST", guest)
    assert first.parent == tmp_path == cache.cache_folder().parent
    assert cache.cache_folder() != first


def test_what_is_no_kernel_is_refused() -> None:
    with pytest.raises(LabError, match="no bzImage"):
        vmlinux.extract(bytes(4096))


def test_nothing_is_written_into_the_checkout() -> None:
    """It is mounted read-only there."""
    assert "no:cacheprovider" in PYTEST
    assert (REPO / "tests/lab/guest/agent.py").exists()
