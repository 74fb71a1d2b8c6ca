"""Which calls, steps and functions a trace knows, compared with the code.

Source: ocirun/trace/calls.py, ocirun/trace/spans.py, ocirun/trace/explain.py.
"""

from __future__ import annotations

import itertools
import os
import re

from harness.machine import REPO

from ocirun.trace.calls import NATIVE, PYTHON, read_table
from ocirun.trace.describe import FAMILIES, Describer, flags_text
from ocirun.trace.explain import EXPLAINED, MESSAGES, NAMESPACES
from ocirun.trace.recorder import HIDDEN, shown
from ocirun.trace.recorder import NAMESPACES as RECORDED
from ocirun.trace.spans import SPANS
from ocirun.trace.wrapping import find

DECLARED = (REPO / "ocirun/_build/native.py").read_text().split('"""')[3]
# No system calls, or none of create, exec and their relatives.
NOT_RECORDED = {
    *("forget_arguments", "wipe", "is_unavailable", "have_clone3_say_enosys", "forbid_libm"),
    *("sys_ptrace", "dlopen", "dlsym"),
}
KINDS = {"fd", "path", "int", "hex", "oct", "size", "option", "data", "args", "count", "FSCONFIG"}


def declared() -> dict[str, int]:
    """The functions of native.py, with how many arguments each takes."""
    found = re.findall(r"(\w+)\(([^)]*)\);", DECLARED)
    return {name: 0 if args == "void" else args.count(",") + 1 for name, args in found}


def test_each_native_call_is_recorded_or_left_out_on_purpose() -> None:
    assert set(read_table(NATIVE)) | NOT_RECORDED == set(declared())


def test_each_row_names_every_argument_of_its_call() -> None:
    counts = declared()
    rows = {name: len(row.arguments) for name, row in read_table(NATIVE).items()}
    assert rows == {name: counts[name] for name in rows}


def test_each_kind_of_argument_is_known() -> None:
    rows = (*read_table(NATIVE).values(), *read_table(PYTHON).values())
    used = {kind for row in rows for name, kind in row.arguments if name != "-"}
    assert used <= KINDS | set(FAMILIES)


def test_each_python_call_is_one_of_os() -> None:
    assert [name for name in read_table(PYTHON) if not hasattr(os, name)] == []


def test_each_span_is_a_function_and_is_explained() -> None:
    for target in SPANS:
        assert callable(find(target)[2])
    assert set(SPANS) <= set(EXPLAINED)


def test_each_step_of_the_plan_is_explained() -> None:
    text = (REPO / "ocirun/process/plan.py").read_text()
    targets = re.findall(r'"(\w+:\w+)"', text)
    assert len(targets) > 50
    assert [one for one in targets if f"process.steps.{one}" not in EXPLAINED] == []
    assert "process.steps.assemble:mounting" in EXPLAINED


def test_each_message_and_each_namespace_is_explained() -> None:
    text = (REPO / "ocirun/process/messages.py").read_text()
    assert set(re.findall(r'^[A-Z_]+: Final = "(\w+)"', text, re.MULTILINE)) == set(MESSAGES)
    assert set(RECORDED) == set(NAMESPACES)


def test_each_section_is_one_of_the_specification() -> None:
    text = (REPO / "tests/data/runtime-spec-sections.txt").read_text()
    for section in {section for section, _ in EXPLAINED.values() if section}:
        name, _, anchor = section.partition("#")
        lines = text.split(f"\n{name}\n")[1].splitlines()
        indented = list(itertools.takewhile(lambda line: line.startswith(" "), lines))
        assert anchor in " ".join(indented).split()


def test_values_of_mount_options_that_may_be_secrets_are_hidden() -> None:
    kinds = read_table(NATIVE)["sys_fsconfig"].arguments
    assert shown(kinds, (5, 1, b"password", b"s3cret", 0)) == [5, 1, "password", HIDDEN, 0]
    assert shown(kinds, (5, 1, b"size", b"64k", 0)) == [5, 1, "size", "64k", 0]
    kinds = read_table(NATIVE)["mount"].arguments
    words = shown(kinds, (b"//s", b"/m", b"cifs", 0, b"user=u,password=s3cret"))
    assert words[-1] == f"user=u,password={HIDDEN}"


def test_environment_and_data_are_recorded_by_size_only() -> None:
    rows = read_table(PYTHON)
    words = shown(rows["execve"].arguments, (b"/bin/sh", ["sh", "-c", "x"], {b"TOKEN": b"s3cret"}))
    assert words == ["/bin/sh", ["sh", "-c", "x"], 1]
    assert shown(rows["write"].arguments, (3, b"s3cret")) == [3, 6]


def test_a_call_is_described_as_by_strace() -> None:
    describer = Describer({})
    describe = describer.describe
    assert describe("os.open", ["/run/x", os.O_PATH | os.O_CLOEXEC], 5, failed=False) == (
        "openat",
        'openat(path="/run/x", flags=O_PATH|O_CLOEXEC) = 5</run/x>',
    )
    text = describe("sys_openat2", [5, "web", os.O_PATH, 0, 0x10], 6, failed=False)[1]
    assert "dirfd=5</run/x>" in text
    assert text.endswith("resolve=RESOLVE_IN_ROOT) = 6</run/x/web>")
    describe("os.close", [5], None, failed=False)
    assert describe("os.fchdir", [5], None, failed=False)[1] == "fchdir(fd=5)"


def test_flags_are_decoded() -> None:
    assert flags_text(0x20020000, "CLONE_") == "CLONE_NEWPID|CLONE_NEWNS"
    assert flags_text(1, "PR_") == "PR_SET_PDEATHSIG"
    assert flags_text(0x800000, "CLONE_") == "0x800000"
