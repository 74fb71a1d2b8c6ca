"""Why a document does not conform: jsonschema over schemas/, with a message for every problem.

Cold: it takes 90 ms to load and runs only after a check has said no, or for `validate`. It is the
reference that the generated checks are tested against. Two of JSON Schema's liberties are taken
back, in both: 1.0 is not an integer, since no value may pass through a float, and the "$" of a
pattern is the end of the text, never a newline before it.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from pathlib import Path

import jsonschema
import jsonschema.validators
import referencing
import referencing.jsonschema

from ocirun.errors import Problem
from ocirun.spec.checks import _known_as
from ocirun.spec.jsontext import escaped
from ocirun.spec.schema_messages import SENTENCES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable
    from typing import Any, Final

    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

KINDS: Final = {
    "config": "config/config.json",
    "process": "config/process.json",
    "resources": "config/resources.json",
    "network": "networks/network.json",
    "state": "state/state.json",
    "features": "features/features.json",
    "audit": "audit/audit.json",
}

MOST: Final = 100  # problems in one report; a document with more has one cause


def report(document: Any, kind: str = "config") -> list[Problem]:  # noqa: ANN401  # JSON
    """Return what keeps `document` from being a `kind`, in the order of its pointers.

    `kind` is a key of KINDS. At most MOST problems are reported, then one that says so.
    """
    findings = []
    for error in validator(kind).iter_errors(document):
        findings.append(error)
        if len(findings) > MOST:
            break
    findings.sort(key=lambda error: [_place(step) for step in error.absolute_path])
    problems = [problem_of(error) for error in findings[:MOST]]
    if len(findings) > MOST:
        problems.append(Problem("", f"has more than {MOST} problems; the rest is not shown"))
    return problems


def _place(step: str | int) -> str:
    return str(step).zfill(8) if isinstance(step, int) else step


def schemas_directory() -> str:
    """Return where schemas/ is: inside the package when installed, beside it in the source tree."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for place in (package, os.path.dirname(package)):
        if os.path.isfile(os.path.join(place, "schemas", "types.json")):
            return os.path.join(place, "schemas")
    raise FileNotFoundError(os.path.join(package, "schemas"))


def _folder() -> Traversable:
    """Return the folder schemas/, of the archive in the one-file build."""
    if "_ocirun_archive" in sys.builtin_module_names:
        from ocirun.kernel.archive import ARCHIVE

        return ARCHIVE.folder("ocirun/schemas")
    return Path(schemas_directory())


def _documents(folder: Traversable, place: str = "") -> Iterator[tuple[str, str]]:
    """Return the path below schemas/ and the text of each schema."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _documents(entry, f"{place}{entry.name}/")
        elif entry.name.endswith(".json"):
            yield place + entry.name, entry.read_text(encoding="utf-8")


@functools.cache
def _schemas() -> referencing.Registry[Any]:
    """Return every schema by a made-up address, file:///config/config.json and so on."""
    resources = []
    for path, text in _documents(_folder()):
        schema = json.loads(text)
        # With it, jsonschema would go on with its own validator instead of STRICT.
        del schema["$schema"]
        resource = referencing.jsonschema.DRAFT202012.create_resource(schema)
        resources.append((f"file:///{path}", resource))
    empty: referencing.Registry[Any] = referencing.Registry()
    return empty.with_resources(resources)


@functools.cache
def validator(kind: str) -> Validator:
    """Return a jsonschema validator for the documents of `kind`."""
    made: Validator = STRICT({"$ref": f"file:///{KINDS[kind]}"}, registry=_schemas())
    return made


def _required(
    _: Validator, names: list[str], instance: object, __: object
) -> Iterator[ValidationError]:
    """As jsonschema's, but the error is the missing member's name and stands at its place."""
    if isinstance(instance, dict):
        for name in names:
            if name not in instance:
                yield jsonschema.ValidationError(name, path=[name])


def _properties(
    strict: Validator, properties: dict[str, Any], instance: object, schema: dict[str, Any]
) -> Iterator[ValidationError]:
    """As jsonschema's, and a member that Go's reader takes for one of these is an error there."""
    yield from PROPERTIES(strict, properties, instance, schema)
    for name in instance if isinstance(instance, dict) else ():
        if name not in properties and (known := _known_as(name, properties)):
            yield jsonschema.ValidationError(known, path=[name])


def _pattern(_: Validator, pattern: str, instance: object, __: object) -> Iterator[ValidationError]:
    closed = pattern.removesuffix("$") + (r"\Z" if pattern.endswith("$") else "")
    if isinstance(instance, str) and not re.search(closed, instance):
        yield jsonschema.ValidationError(pattern)


PROPERTIES: Final = jsonschema.Draft202012Validator.VALIDATORS["properties"]
STRICT: Final = jsonschema.validators.extend(  # type: ignore[no-untyped-call]  # untyped there
    jsonschema.Draft202012Validator,
    validators={"properties": _properties, "required": _required, "pattern": _pattern},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: type(value) is int
    ),
)


def problem_of(error: ValidationError) -> Problem:
    """Return `error` as a Problem with our words."""
    pointer = "".join(f"/{escaped(str(step))}" for step in error.absolute_path)
    schema: dict[str, Any] = dict(error.schema)  # type: ignore[arg-type]  # never a boolean here
    message, remedy = SENTENCES[str(error.validator)](schema, error.instance, error.message)
    return Problem(pointer, message, remedy)
