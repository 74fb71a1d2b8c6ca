"""The report: a pointer, a sentence, and the remedy when it is sure."""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ocirun.errors import Problem
from ocirun.spec import _json
from ocirun.spec.schema import KINDS, MOST, report, schemas_directory, validator
from ocirun.spec.schema_messages import SENTENCES

REPOSITORY = Path(__file__).parents[3]

SENTENCE_CASES = [
    ("/ociVersion", None, "must be a string, not null", ""),
    ("/process/terminal", 1, "must be true or false, not 1", ""),
    ("/process/args", "sh", 'must be a list, not "sh"', ""),
    ("/process/args/0", {"a": 1}, "must be a string, not an object", ""),
    ("/process/user", [], "must be an object, not a list", ""),
    ("/process/user/uid", -1, "must be from 0 to 4294967295, not -1", ""),
    ("/process/user/uid", 1.0, "must be a whole number, not 1.0", ""),
    ("/process/user/uid", 1e3, "must be a whole number, not 1000.0", ""),
    ("/process/user/uid", True, "must be a whole number, not true", ""),
    (
        "/process/user/uid",
        10**50,
        "must be from 0 to 4294967295, not a number of 51 digits",
        "",
    ),
    (
        "/linux/resources/memory/limit",
        2**63,
        "must be from -9223372036854775808 to 9223372036854775807, not 9223372036854775808",
        "",
    ),
    (
        "/linux/namespaces/2/type",
        "netwrok",
        '"netwrok" is not a namespace type',
        'did you mean "network"?',
    ),
    ("/linux/namespaces/2/type", 7, "must be a namespace type, not 7", ""),
    (
        "/linux/devices/0/type",
        "z",
        '"z" is not a device type',
        'one of "c", "b", "u", "p"',
    ),
    (
        "/process/rlimits/0/type",
        "NOFILE",
        '"NOFILE" is not a resource limit',
        'did you mean "RLIMIT_NOFILE"?',
    ),
    ("/process/rlimits/0/type", "RLIMIT_XYZ", '"RLIMIT_XYZ" is not a resource limit', ""),
    (
        "/process/ioPriority/class",
        "ioprio_class_be",
        '"ioprio_class_be" is not an I/O scheduling class',
        'did you mean "IOPRIO_CLASS_BE"?',
    ),
    (
        "/linux/seccomp/architectures/0",
        "SCMP_ARCH_X64",
        '"SCMP_ARCH_X64" is not a seccomp architecture',
        "",
    ),
    ("/linux/seccomp/architectures/0", "vax", '"vax" is not a seccomp architecture', ""),
    (
        "/linux/resources/hugepageLimits/0/pageSize",
        "64kB",
        '"64kB" is not a huge page size',
        'for example "2MB"',
    ),
    ("/linux/seccomp/syscalls/0/names", [], "must have at least 1 item", ""),
    ("/annotations/org.example~1a~0b", 1, "must be a string, not 1", ""),
]


@pytest.mark.parametrize(("pointer", "value", "message", "remedy"), SENTENCE_CASES)
def test_each_keyword_has_its_sentence(
    everything: Any, pointer: str, value: Any, message: str, remedy: str
) -> None:
    put(everything, pointer, value)
    assert report(everything) == [Problem(pointer, message, remedy)]


def test_a_missing_member_is_named_where_it_should_be(everything: Any) -> None:
    del everything["mounts"][0]["destination"], everything["process"]["cwd"]
    assert report(everything) == [
        Problem("/mounts/0/destination", "is missing"),
        Problem("/process/cwd", "Cwd property must not be empty"),
    ]


def test_all_problems_come_at_once_in_the_order_of_their_places(everything: Any) -> None:
    wrong = ["/process/args/0", "/hostname", "/linux/cgroupsPath", "/mounts/0/destination"]
    for pointer in wrong:
        put(everything, pointer, 5)
    assert [problem.pointer for problem in report(everything)] == sorted(wrong)


def test_a_flood_of_problems_is_cut(everything: Any) -> None:
    everything["process"]["args"] = list(range(5000))
    problems = report(everything)
    assert len(problems) == MOST + 1
    assert problems[-1].message == f"has more than {MOST} problems; the rest is not shown"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_refuses_a_list(kind: str) -> None:
    assert report([], kind) == [Problem("", "must be an object, not a list")]


def test_every_keyword_of_the_schemas_has_a_sentence_and_every_property_a_description() -> None:
    silent = {"properties", "items", "additionalProperties", "required", "$ref", "$defs"}
    words = {"$schema", "title", "description", "examples", "x-absent", "x-invalid"}
    for path in Path(schemas_directory()).rglob("*.json"):
        for pointer, node in nodes(json.loads(path.read_bytes()), ""):
            where = f"{path.name}{pointer}"
            assert set(node) <= {*SENTENCES, *silent, *words}, where
            if "enum" in node or "pattern" in node:
                assert "title" in node, where
            if pointer.rpartition("/")[0].endswith("/properties"):
                assert "description" in node or "$ref" in node, where


def test_the_schemas_are_valid_schemas() -> None:
    import jsonschema

    for path in Path(schemas_directory()).rglob("*.json"):
        jsonschema.Draft202012Validator.check_schema(json.loads(path.read_bytes()))
    for kind in KINDS:
        validator(kind)


def test_state_and_features_are_described() -> None:
    state = {"ociVersion": "1.3.0", "id": "a", "status": "paused", "pid": 1, "bundle": "/b"}
    assert report(state, "state") == []
    assert report({**state, "status": "dead"}, "state") == [
        Problem(
            "/status",
            '"dead" is not a status',
            'one of "creating", "created", "running", "paused", "stopped"',
        )
    ]
    assert [problem.pointer for problem in report({}, "features")] == [
        "/ociVersionMax",
        "/ociVersionMin",
    ]


def put(document: Any, pointer: str, value: Any) -> None:
    *steps, last = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    for step in steps:
        document = document[int(step) if isinstance(document, list) else step]
    document[int(last) if isinstance(document, list) else last] = value


def nodes(node: Any, pointer: str) -> Any:
    """Yield every schema below `node` with its place."""
    yield pointer, node
    for group in ("properties", "$defs"):
        for name, below in node.get(group, {}).items():
            yield from nodes(below, f"{pointer}/{group}/{name}")
    for single in ("items", "additionalProperties"):
        if single in node:
            yield from nodes(node[single], f"{pointer}/{single}")


def test_the_schemas_are_found_where_they_are_installed(tmp_path: Path) -> None:
    """Lay the package out as the build does, schemas inside it, and ask from there."""
    package = tmp_path / "ocirun"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "ocirun" / "spec", package / "spec", ignore=ignored)
    shutil.copy(_json.__file__, package / "spec")  # compiled, so not among the sources
    shutil.copytree(REPOSITORY / "schemas", package / "schemas")
    for name in ("__init__.py", "errors.py"):
        shutil.copy(REPOSITORY / "ocirun" / name, package)
    code = "from ocirun.spec import schema; print(schema.__file__, schema.report(1))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    place = package / "spec" / "schema.py"
    assert done.stdout == f"{place} [Problem('', 'must be an object, not 1', '')]\n"
