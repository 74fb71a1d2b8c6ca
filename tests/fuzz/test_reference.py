"""Our schemas against those of the specification, where these are at hand.

Both are asked about the same documents. Where their verdicts differ, every finding that makes the
difference must be one of those listed here with its reason.
"""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import referencing
import referencing.jsonschema
from hypothesis import given
from hypothesis import strategies as st

from ocirun.errors import SpecError
from ocirun.spec.features import features
from ocirun.spec.jsontext import parse
from ocirun.spec.schema import report

# Ours refuses, the reference accepts. Pointers with "*" for a list's index or a map's name.
NARROWER = {
    "/process/rlimits/*/type": "any RLIMIT_ word there; only the kernel's names are of use",
    "/process/oomScoreAdj": "the kernel takes -1000 to 1000",
    "/process/ioPriority/priority": "the specification's text says 0 to 7",
    "/process/execCPUAffinity/initial": "$ there also matches before a newline",
    "/process/execCPUAffinity/final": "$ there also matches before a newline",
    "/hooks/*/*/timeout": "seconds that no clock can hold",
    "/annotations/*": "a value whose name is empty or a newline is not looked at there",
    "/linux/sysctl/*": "the same",
    "/linux/resources/unified/*": "the same",
    "/linux/timeOffsets/*": "a clock that is neither is refused by the text, not looked at there",
    "/linux/timeOffsets/*/secs": "of such a clock",
    "/linux/timeOffsets/*/nanosecs": "a second has 10⁹; and of such a clock",
    "/linux/devices/*/type": "$ there also matches before a newline",
    "/linux/resources/devices/*/type": "the text says a, b or c; any word there",
    "/linux/resources/devices/*/access": "the text says r, w and m; any word there",
    "/linux/resources/memory/swappiness": "the text says 0 to 100",
    "/linux/resources/hugepageLimits/*/pageSize": "$ there also matches before a newline",
    "/linux/intelRdt/memBwSchema": "$ there also matches before a newline",
    "/linux/memoryPolicy/mode": "required by the text, not there",
    "/linux/memoryPolicy/nodes": "a list of nodes; any text there",
    "/linux/personality/domain": "required by the text, not there",
}

# The reference refuses, ours accepts.
WIDER = {
    "/linux/devices/*/fileMode": "Docker passes on the bits above 0777",
    "/freebsd/devices/*/mode": "the same type",
    "/linux/rootfsPropagation": "runc, and so Docker, knows the recursive words and the empty one",
    "/freebsd": "only its outline is checked",
    "/solaris": "only its outline is checked",
    "/vm": "only its outline is checked",
    "/windows": "only its outline is checked",
    "/zos": "only its outline is checked",
    "/status": "paused: the specification lets runtimes add their own",
    "/linux/capabilities/*": "the same pattern, but $ there also matches before a newline",
}

MAPS = (
    "/annotations", "/linux/sysctl", "/linux/resources/unified", "/linux/timeOffsets",
    "/linux/netDevices", "/linux/resources/rdma", "/hooks",
)  # fmt: skip


@functools.cache
def reference_validator(folder: Path, kind: str) -> Any:
    def resource(path: Path) -> Any:
        return referencing.jsonschema.DRAFT4.create_resource(json.loads(path.read_bytes()))

    registry: Any = referencing.Registry().with_resources(
        [(f"file:///{path.name}", resource(path)) for path in folder.glob("*.json")]
    )
    schema = {"$ref": f"file:///{kind}-schema.json"}
    return jsonschema.Draft4Validator(schema, registry=registry)


def general(steps: Any) -> str:
    """Return a pointer with "*" for what the documents name themselves."""
    pointer = ""
    for step in steps:
        number = isinstance(step, int) or step.isdigit()
        pointer += "/*" if number or pointer in MAPS else f"/{step}"
    return pointer


def explained(pointer: str, reasons: dict[str, str]) -> bool:
    loose = ("/freebsd", "/solaris", "/vm", "/windows", "/zos")
    return pointer in reasons or (reasons is WIDER and pointer.startswith(loose))


def compare(folder: Path, kind: str, document: Any) -> None:
    ours = report(document, kind)
    theirs = list(reference_validator(folder, kind).iter_errors(document))
    if ours and not theirs:
        for problem in ours:
            steps = [int(s) if s.isdigit() else s for s in problem.pointer.split("/")[1:]]
            assert explained(general(steps), NARROWER), str(problem)
    if theirs and not ours:
        for error in theirs:
            assert explained(general(error.absolute_path), WIDER), error.message


@given(st.data())
def test_verdicts_on_spoiled_configs(reference: Path, configs: Any, data: st.DataObject) -> None:
    compare(reference, "config", data.draw(configs))


@given(st.data())
def test_verdicts_on_spoiled_states(reference: Path, spoil: Any, data: st.DataObject) -> None:
    state = {
        "ociVersion": "1.3.0", "id": "a", "status": "running", "pid": 1, "bundle": "/b",
        "annotations": {"a": "b"},
    }  # fmt: skip
    document = data.draw(spoil([state]))
    # The largest pid is the kernel's; the reference takes any.
    if not (isinstance(document.get("pid"), int) and document["pid"] > 2**31 - 1):
        compare(reference, "state", without_ours(document, "rootfs", "created", "owner"))


@given(st.data())
def test_verdicts_on_spoiled_features(reference: Path, spoil: Any, data: st.DataObject) -> None:
    document = data.draw(spoil([features()]))
    # The reference at hand knows nothing of these, which the text has.
    if isinstance(document.get("linux"), dict):
        document["linux"] = without_ours(document["linux"], "memoryPolicy", "intelRdt")
    compare(reference, "features", document)


def without_ours(document: Any, *names: str) -> Any:
    return {name: value for name, value in document.items() if name not in names}


def test_good_documents_are_accepted(reference: Path) -> None:
    for kind in ("config", "state", "features"):
        paths = list((reference / "test" / kind / "good").glob("*.json"))
        assert paths
        for path in paths:
            assert report(parse(path.read_bytes(), path.name), kind) == [], path.name


def test_bad_documents_are_refused(reference: Path) -> None:
    for kind in ("config", "state", "features"):
        paths = list((reference / "test" / kind / "bad").glob("*.json"))
        assert paths
        for path in paths:
            try:
                problems = report(parse(path.read_bytes(), path.name), kind)
            except SpecError as error:
                problems = error.problems
            assert problems, path.name


def test_every_property_of_the_reference_is_described_here(reference: Path) -> None:
    """Walk both schemas side by side, Linux only: no name is missing, none is made up."""
    ours = members(Path(__file__).parents[2] / "schemas" / "config", "config.json")
    theirs = members(reference, "config-schema.json")
    linux = re.compile("/(?!freebsd|solaris|vm|windows|zos)")
    missing = {name for name in theirs - ours if linux.match(name)}
    assert missing == {"/linux/timeOffsets/boottime", "/linux/timeOffsets/monotonic"} | {
        f"/linux/timeOffsets/{clock}/{part}"
        for clock in ("boottime", "monotonic")
        for part in ("secs", "nanosecs")
    }
    extra = {name for name in ours - theirs if linux.match(name)}
    assert extra == {"/linux/timeOffsets/*/secs", "/linux/timeOffsets/*/nanosecs"}


def members(folder: Path, name: str) -> set[str]:
    """Return the general pointer of every property that a schema describes."""
    found = set()

    def walk(node: Any, file: Path, pointer: str) -> None:
        if "$ref" in node:
            target, _, inside = node["$ref"].partition("#")
            there = file.parent / target if target else file
            schema = json.loads(there.read_bytes())
            for step in inside.split("/")[1:]:
                schema = schema[step]
            walk(schema, there, pointer)
        for member, below in node.get("properties", {}).items():
            found.add(f"{pointer}/{member}")
            walk(below, file, f"{pointer}/{member}")
        for key in ("items", "additionalProperties"):
            if isinstance(node.get(key), dict):
                walk(node[key], file, f"{pointer}/*")
        for key in ("anyOf", "allOf"):
            for one in node.get(key, []):
                walk(one, file, pointer)

    walk(json.loads((folder / name).read_bytes()), folder / name, "")
    return found
