"""Options and rules of the whole suite.

    pytest                                    tests/unit and tests/lint: seconds, no root
    pytest -m integration tests/integration   containers on the real kernel, as root
    pytest -m integration tests/security      the same, under attack
    … --runtime=runc                          the same tests on a peer, which proves them

Where CI=true or OCIRUN_TEST_IMAGE is set, a skip whose reason is not in harness/needs.py fails.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from harness import machine, needs, peers
from lab import chapters


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--runtime",
        default="ours",
        metavar="ours|library|runc|crun|PATH",
        help="the runtime under test: ours ($OCIRUN, .venv/bin/ocirun, PATH), a peer, or a path",
    )
    parser.addoption(
        "--outcomes", metavar="PAGE", help="tests/clients: write the table of outcomes into PAGE"
    )
    parser.addoption(
        "--lab-only", action="store_true", help="only the tests that are for the lab (make lab)"
    )


def pytest_configure(config: pytest.Config) -> None:
    machine.choose_temporary_folder()
    for line in (
        "lab: for `make lab` too, since what it looks at differs there; see lab/chapters.py",
        "conformance: runs the validation suite of a runtime-tools checkout; needs root",
        "needs(*words, kernel): skip unless the machine has what the words say",
        "peer_deviates(peer, reason, sometimes): expected to fail on that peer",
    ):
        config.addinivalue_line("markers", line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    on_the_kernel = {Path(__file__).parent / name for name in ("integration", "rootfs", "security")}
    for item in items:
        if not on_the_kernel.isdisjoint(item.path.parents):
            item.add_marker("integration")
            peers.apply_deviations(item, runtime_name(config))
    if config.getoption("lab_only"):
        others = [item for item in items if not chapters.is_for_the_lab(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]


def pytest_runtest_setup(item: pytest.Item) -> None:
    needs.check_needs(item, runtime_name(item.config))


def runtime_name(config: pytest.Config) -> str:
    """The name of the runtime under test; "ours" too when it is not there yet."""
    try:
        return peers.find_runtime(config.getoption("runtime"))[0]
    except FileNotFoundError:
        return "ours"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001  # pytest passes by name
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the runtime calls of a failed test; forbid unknown skips where CI says so."""
    report = yield
    box = getattr(item, "funcargs", {}).get("box")
    if report.failed and box is not None:
        report.sections.append(("what the runtime did", box.story()))
    strict = os.environ.get("CI") == "true" or os.environ.get("OCIRUN_TEST_IMAGE")
    if report.skipped and strict and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not needs.is_known_skip(reason):
            report.outcome = "failed"
            report.longrepr = f"an unexpected skip: {reason} (harness/needs.py has the known ones)"
    return report
