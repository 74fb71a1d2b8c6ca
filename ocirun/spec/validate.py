"""Everything that is wrong with a bundle, at once: what `ocirun validate` prints."""

from __future__ import annotations

import os

from ocirun.errors import Problem, SpecError
from ocirun.spec.load import check_root, read_document
from ocirun.spec.members import respell
from ocirun.spec.rules import check_rules
from ocirun.spec.schema import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.spec.types import Config


def validate_bundle(bundle: str, name: str = "config.json") -> list[Problem]:
    """Return every problem of the bundle in the directory `bundle`; none is a bundle that conforms.

    A member in another case is one, although create takes it: crun and others do not. The rules
    are asked once the document has its shape: before, they would complain about what
    a misspelled word hides. A config without a process conforms, although it cannot be created.
    """
    try:
        document = read_document(os.path.join(bundle, name), name)
    except SpecError as error:
        return error.problems
    spelling = respell(document, "config")
    if problems := report(document):
        return spelling + problems
    config: Config = document  # type: ignore[assignment]  # the report found it to be one
    return spelling + check_rules(config) + check_root(bundle, config)
