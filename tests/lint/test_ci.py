"""The jobs of continuous integration are the stages of `.ci/run`, which are targets of make."""

from __future__ import annotations

import re

from harness.machine import REPO

RUN = (REPO / ".ci" / "run").read_text()
WORKFLOW = (REPO / ".github" / "workflows" / "ci.yml").read_text()


def default_stages() -> set[str]:
    found = re.search(r"set -- (.+)$", RUN, re.MULTILINE)
    assert found is not None
    return set(found[1].split())


def stages_of_jobs() -> set[str]:
    named = re.findall(r"run: \.ci/run ([a-z0-9 ]+)$", WORKFLOW, re.MULTILINE)
    rows = re.findall(r"stage: \[(.+)\]", WORKFLOW)
    return set(" ".join([*named, *rows]).replace(",", " ").split())


def test_the_jobs_together_run_every_stage() -> None:
    assert stages_of_jobs() == default_stages()


def test_every_stage_is_a_target_of_make() -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    assert default_stages() <= targets


def test_every_test_that_make_names_is_there() -> None:
    """A sample that names a file which has moved fails in continuous integration only."""
    makefile = (REPO / "Makefile").read_text()
    samples = re.findall(r"addprefix ([^,\s]+),([^)]*)\)", makefile)
    files = [prefix + name for prefix, names in samples for name in names.split()]
    files += re.findall(r"tests/[a-z_/]+\.py", makefile)
    assert files
    assert [name for name in files if not (REPO / name).exists()] == []
