"""The validation suite of opencontainers/runtime-tools, by the path of a built checkout.

RUNTIME_TOOLS=folder make conformance
RUNTIME_TOOLS=folder pytest -m conformance tests/conformance --runtime=runc
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conformance import suite
from harness import peers


@pytest.mark.conformance
def test_the_outcomes_are_the_expected_ones(
    pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = os.environ.get("RUNTIME_TOOLS")
    if not folder:
        pytest.skip("RUNTIME_TOOLS is not set")
    checkout = Path(folder)
    programs = suite.programs_of(checkout)
    assert programs, f"no validation/*/*.t in {checkout}: build them there first"
    name, path = peers.find_runtime(pytestconfig.getoption("runtime"))
    runtime = suite.with_state_root(path, tmp_path)
    with suite.only_run():
        outcomes = [suite.run_program(program, checkout, runtime) for program in programs]
    with capsys.disabled():
        print("\n" + suite.table(outcomes))  # noqa: T201  # the table is the point
    expected = suite.read_expected(suite.EXPECTED.read_text(), name)
    assert suite.compare(outcomes, expected) == []
