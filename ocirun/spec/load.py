"""From a bundle to a config that may be acted upon: read, parsed, checked.

What comes out is the document itself, a plain dict: one model, no copies. One thing is done to it:
a member that is null counts as absent, as it does for runc, crun and youki, and is dropped here so
that nobody else has to think of it.

The hot path only computes yes or no; the messages come from `schema`, which is slow.
"""

from __future__ import annotations

import os

from ocirun.errors import Problem, SpecError, kernel_words
from ocirun.kernel import regular_files
from ocirun.spec import checks
from ocirun.spec.jsontext import MAX_BYTES, parse, printable
from ocirun.spec.rules import check_process_rules, check_resources_rules, check_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Config, Process, Resources


CHECKS: Final = {
    "config": checks.check_config,
    "process": checks.check_process,
    "resources": checks.check_resources,
}


class SpecMissing(SpecError):
    """There is no such file; callers match runc's message, which `remedy` follows."""

    def __init__(self, document: str, remedy: str = "") -> None:
        super().__init__([Problem("", "not found")], document)
        self.args = (f"JSON specification file {document} not found{remedy}",)


def load_config(bundle: str, name: str = "config.json", *, need_process: bool = True) -> Config:
    """Return the config in the directory `bundle`, in the file `name` (an absolute one counts).

    `need_process` is for create and run: the specification lets a config go without a process
    until the container is started, but this runtime starts what it created.

    Raises:
        SpecError: the file is missing or unreadable, is not JSON, or breaks rules; all of them.
    """
    document = read_document(os.path.join(bundle, name), name)
    return check_document(document, bundle, name, need_process=need_process)


def check_document(
    document: object, bundle: str, name: str = "config", *, need_process: bool = True
) -> Config:
    """Return `document` as a config; relative paths begin at `bundle`, messages call it `name`.

    Null members must be dropped already.

    Raises:
        SpecError: it is not shaped like one or breaks rules; all of them.
    """
    if not conforms(document, "config"):
        raise misshapen(document, "config", name)
    config: Config = document  # type: ignore[assignment]  # check_config is what makes it one
    problems = check_rules(config)
    problems += check_root(bundle, config)
    if need_process and "process" not in config:
        problems.insert(0, Problem("", "process property must not be empty"))
    if problems:
        raise SpecError(problems, name, lead="invalid configuration: ")  # runc's words
    return config


def conforms(document: object, kind: str) -> bool:
    """Return whether `document` has the shape of a `kind`: "config", "process" or "resources".

    What only runc's reader takes, such as members in another case, is put into that shape.
    """
    if CHECKS[kind](document):
        return True
    from ocirun.spec.lenient import settle  # cold: the document is not as it should be

    settle(document, kind)
    return CHECKS[kind](document)


def check_root(bundle: str, config: Config) -> list[Problem]:
    """Return what is wrong with the root directory of `config`: it must be there.

    Source: runtime-spec config.md#root.
    """
    if not (root := config.get("root", {"path": ""})["path"]):
        return []  # root_is_given reports it
    path = os.path.join(bundle, root)
    shown = printable(path)
    try:
        kind = os.stat(path).st_mode & 0o170000
    except OSError as error:
        return [Problem("/root/path", f"invalid rootfs: stat {shown}: {kernel_words(error)}")]
    if kind != 0o040000:
        return [Problem("/root/path", f"invalid rootfs: {shown}: not a directory")]
    return []


def check_process(document: object, name: str = "process.json") -> Process:
    """Return `document` as the process of `exec --process`; messages call it `name`.

    Raises:
        SpecError: it is not shaped like one or breaks rules; all of them.
    """
    drop_nulls(document)
    if not conforms(document, "process"):
        raise misshapen(document, "process", name)
    process: Process = document  # type: ignore[assignment]  # check_process is what makes it one
    if problems := check_process_rules(process):
        raise SpecError(problems, name)
    return process


def check_resources(document: object, name: str = "resources") -> Resources:
    """Return `document` as the resources of `update --resources`; messages call it `name`.

    Left out are `devices`, as by runc, and what no schema knows.

    Raises:
        SpecError: it is not shaped like them or breaks rules; all of them.
    """
    from ocirun.spec.members import drop_unknown  # cold: only update comes here

    drop_nulls(document)
    if isinstance(document, dict):
        document.pop("devices", None)  # an update leaves devices alone, whatever it says of them
    if not conforms(document, "resources"):
        raise misshapen(document, "resources", name)
    drop_unknown(document, "resources")
    resources: Resources = document  # type: ignore[assignment]  # check_resources makes it one
    if problems := check_resources_rules(resources):
        raise SpecError(problems, name)
    return resources


def read_document(path: str, name: str) -> object:
    """Return the JSON value in the file `path`, without its null members; messages call it `name`.

    Raises:
        SpecError: the file is missing, cannot be read, or is not one JSON document.
    """
    try:
        data = regular_files.read_document(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise SpecMissing(name) from error
    except OSError as error:
        message = f"cannot be read: {kernel_words(error)}"
        raise SpecError([Problem("", message)], name) from error
    return _parsed(data, name)


def read_open_document(fd: int, name: str) -> object:
    """Return the JSON value that can be read from `fd` (borrowed), as `read_document` does.

    Raises:
        SpecError: it cannot be read, or is not one JSON document.
    """
    try:
        data = regular_files.read_stream(fd, MAX_BYTES)
    except OSError as error:
        message = f"cannot be read: {kernel_words(error)}"
        raise SpecError([Problem("", message)], name) from error
    return _parsed(data, name)


def _parsed(data: bytes, name: str) -> object:
    document = parse(data, name)
    # "/dev/null" is in many configs, null in few.
    if b"null" in data.replace(b"/null", b""):
        drop_nulls(document)
    return document


def drop_nulls(document: object) -> None:
    """Remove every member that is null, at any depth, from `document` itself."""
    todo = [document]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            for name in [name for name, member in value.items() if member is None]:
                del value[name]
            todo += value.values()
        elif isinstance(value, list):
            todo += value


def misshapen(document: object, kind: str, name: str) -> SpecError:
    """Return the error that says what `document` has wrong; slow, and only on the way out."""
    from ocirun.spec.schema import report  # cold: loads jsonschema

    return SpecError(report(document, kind), name)
