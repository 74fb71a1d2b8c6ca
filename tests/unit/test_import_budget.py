"""What a hot verb imports is a set; the set is held here, times are in tests/bench.

Source: ARCHITECTURE.md#imports-inside-functions.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

HOT_VERBS = ("create", "run", "start", "state", "kill", "delete")
BUDGET = {
    *("__future__", "os", "os.path", "posixpath", "genericpath", "stat", "_stat"),
    *("_collections_abc", "abc", "_abc", "errno", "fcntl", "select", "time", "gc", "_signal"),
    *("_json", "_socket", "_struct", "_cffi_backend", "resource", "termios", "array"),
}
NEVER = {
    *("typing", "re", "json", "enum", "contextlib", "dataclasses", "functools", "pathlib"),
    *("subprocess", "logging", "signal", "socket", "shutil", "tempfile", "traceback", "inspect"),
    *("collections", "importlib.util", "typer", "click", "rich", "jsonschema", "pyroute2", "cffi"),
    "google",
}


def installed() -> Path:
    """The folder that has the built package; its native module is what the sources lack."""
    for name in ("platlib", "purelib"):
        folder = Path(sysconfig.get_path(name))
        if list((folder / "ocirun" / "kernel").glob("_native*.so")):
            return folder
    spec = importlib.util.find_spec("ocirun")
    if spec and spec.origin and list((Path(spec.origin).parent / "kernel").glob("_native*.so")):
        return Path(spec.origin).parent.parent
    return pytest.skip("ocirun is not built: make build")


def modules_added_by(*names: str) -> set[str]:
    """Names of the modules that importing `names` adds to a bare interpreter."""
    program = (
        "import sys\n"
        f"sys.path.append({str(installed())!r})\n"
        "before = set(sys.modules)\n"
        f"for name in {names!r}: __import__(name)\n"
        "print(*sorted(set(sys.modules) - before), sep='\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("verb", HOT_VERBS)
def test_a_hot_verb_stays_within_the_budget(verb: str) -> None:
    added = modules_added_by("ocirun.cli.launcher", f"ocirun.cli.commands.{verb}")
    outside = {name for name in added if name.split(".")[0] != "ocirun"}
    assert outside - BUDGET == set()


@pytest.mark.parametrize("verb", HOT_VERBS)
def test_a_hot_verb_never_imports_what_costs_most(verb: str) -> None:
    added = modules_added_by("ocirun.cli.launcher", f"ocirun.cli.commands.{verb}")
    assert added & NEVER == set()
    assert [name for name in added if name.startswith("ocirun.trace")] == []


@pytest.mark.parametrize("verb", ["start", "state", "kill", "delete"])
def test_a_small_verb_does_not_load_what_create_needs(verb: str) -> None:
    added = modules_added_by("ocirun.cli.launcher", f"ocirun.cli.commands.{verb}")
    heavy = {"ocirun.process.plan", "ocirun.process.init", "ocirun.spec.checks", "ocirun.cli.app"}
    assert added & heavy == set()


@pytest.mark.parametrize("verb", [*HOT_VERBS, "exec", "pause", "ps"])
def test_a_native_container_loads_no_engine(verb: str) -> None:
    added = modules_added_by("ocirun.cli.launcher", f"ocirun.cli.commands.{verb}")
    foreign = ("ocirun.engines", "ocirun.convert", "ocirun.container.engine_create")
    assert [name for name in added if name.startswith(foreign)] == []


def test_the_public_package_is_a_docstring_and_lazy_names() -> None:
    assert {name for name in modules_added_by("ocirun") if name.startswith("ocirun.")} == set()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_writing_limits_does_not_load_what_reads_counters(version: str) -> None:
    names = ("cgroup", "devices", "memory", "cpu", "cpuset", "pids")
    added = modules_added_by(*(f"ocirun.cgroups.{version}.{name}" for name in names))
    assert "ocirun.cgroups.counters" not in added
