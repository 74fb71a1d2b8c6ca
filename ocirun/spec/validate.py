"""Everything that is wrong with a bundle, at once: what `ocirun validate` prints."""

from __future__ import annotations

import os

from ocirun.errors import Problem, SpecError
from ocirun.spec import LANDLOCK
from ocirun.spec.hidden_paths import missing_paths
from ocirun.spec.load import check_root, read_document
from ocirun.spec.members import respell
from ocirun.spec.misspelled import unknown_members, unknown_words
from ocirun.spec.rules import check_rules
from ocirun.spec.schema import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.spec.types import Config


class Verdict:
    """What `examine_bundle` found.

    `problems` keep a bundle from conforming; with `warnings` it conforms, and probably means
    something else than it says.
    """

    __slots__ = ("problems", "warnings")

    def __init__(self, problems: list[Problem], warnings: list[Problem]) -> None:
        self.problems = problems
        self.warnings = warnings


def examine_bundle(bundle: str, name: str = "config.json") -> Verdict:
    """Return every problem of the bundle in the directory `bundle`, and every warning.

    A member in another case is a warning: create takes it, as runc does, and crun and others do
    not. The rules are asked once the document has its shape: before, they would complain about what
    a misspelled word hides. A config without a process conforms, although it cannot be created.
    """
    try:
        document = read_document(os.path.join(bundle, name), name)
    except SpecError as error:
        return Verdict(error.problems, [])
    return examine_document(document, bundle)


def examine_document(document: object, bundle: str) -> Verdict:
    """Return the same of a document that is a bundle's configuration, and may be changed."""
    warnings = unknown_members(document)
    warnings += respell(document, "config")
    if problems := report(document):
        return Verdict(problems, warnings)
    config: Config = document  # type: ignore[assignment]  # the report found it to be one
    problems = check_rules(config) + check_root(bundle, config) + _landlock(config)
    warnings += unknown_words(config)
    if not problems:
        warnings += missing_paths(bundle, config)
    return Verdict(problems, warnings)


def _landlock(config: Config) -> list[Problem]:
    """Return what is wrong with the annotations of Landlock."""
    if any(name.startswith(LANDLOCK) for name in config.get("annotations") or ()):
        from ocirun.spec.landlock import read_landlock

        try:
            read_landlock(config)
        except SpecError as error:
            return error.problems
    return []


def validate_bundle(bundle: str, name: str = "config.json") -> list[Problem]:
    """Return every problem of the bundle in the directory `bundle`; none is one that conforms."""
    return examine_bundle(bundle, name).problems
