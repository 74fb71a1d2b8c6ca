"""Translate the library's arguments to the options of `create` and `exec`."""

from __future__ import annotations

import os

from ocirun.errors import Problem, SpecError
from ocirun.library.process import check_args, check_env

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final, TypeAlias

    from ocirun.container.options import CreateOptions
    from ocirun.library.spec import Spec

    Configuration: TypeAlias = str | os.PathLike[str] | Spec | Mapping[str, Any]


MANAGERS: Final = ("cgroupfs", "systemd", "disabled")


def set_source(options: CreateOptions, source: Configuration, *, terminal: bool) -> None:
    """Set the configuration in `options`: a bundle directory, or a copy of the document.

    Relative paths in a document are resolved against the working directory. `terminal` overrides
    process.terminal with true.

    Raises:
        TypeError: it is neither. SpecError: it is nothing that JSON could hold.
    """
    if isinstance(source, (str, os.PathLike)):
        options.bundle = os.path.abspath(os.fspath(source))
        if terminal:
            from ocirun.spec.load import load_config

            options.document = {**load_config(options.bundle, options.config)}
    else:
        options.document = document_of(source)
        options.bundle = os.getcwd()
    if terminal and isinstance(options.document, dict):
        options.document.setdefault("process", {})["terminal"] = True


def document_of(source: Spec | Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the configuration `source`, a Spec or a mapping, without null members.

    Raises:
        TypeError: it is neither. SpecError: it is nothing that JSON could hold.
    """
    build = getattr(source, "build", None)
    value: object = build() if build is not None else source
    if not isinstance(value, dict):
        raise TypeError(
            f"the configuration must be a directory, a Spec or a dict, not {type(source).__name__}"
        )
    return copy_document(value, "config")


def copy_document(value: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a copy of `value` as JSON would hold it, without null members.

    Raises:
        SpecError: it is nothing that JSON could hold.
    """
    from ocirun.spec.jsontext import compact, parse
    from ocirun.spec.load import drop_nulls

    try:
        data = os.fsencode(compact(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError([Problem("", f"is no JSON: {error}")], name) from None
    document: Any = parse(data, name, "surrogateescape")
    drop_nulls(document)
    copied: dict[str, Any] = document
    return copied


def arguments_of(source: Configuration, options: CreateOptions) -> object:
    """Return process.args for messages, if the source has them without reading a file."""
    document = options.document
    if isinstance(document, dict) and isinstance(document.get("process"), dict):
        return document["process"].get("args")
    return source


def check_container_id(container_id: object) -> str:
    """Return the id; None generates one.

    Raises:
        TypeError: it is no str.
    """
    if container_id is None:
        return f"ocirun-{os.urandom(8).hex()}"
    if not isinstance(container_id, str):
        raise TypeError(f"the container's id must be a str, not {type(container_id).__name__}")
    return container_id


def check_options(cgroup_manager: object, preserve_fds: object) -> None:
    """Check the values of the two options.

    Raises:
        TypeError, ValueError: a value is wrong; the message names the option.
    """
    if cgroup_manager not in MANAGERS:
        raise ValueError(f"cgroup_manager must be one of {MANAGERS}, not {cgroup_manager!r}")
    if isinstance(preserve_fds, bool) or not isinstance(preserve_fds, int):
        raise TypeError(f"preserve_fds must be an int, not {type(preserve_fds).__name__}")
    if preserve_fds < 0:
        raise ValueError(f"preserve_fds must not be negative: {preserve_fds}")


def user_of(user: int | str | tuple[int, int]) -> dict[str, int]:
    """Return process.user for a uid, "uid:gid" or a pair of both; the default gid is 0.

    Names are not looked up: the host's /etc/passwd would be wrong, and the container controls its
    own.

    Raises:
        TypeError, ValueError: it is something else.
    """
    if isinstance(user, str):
        uid, colon, gid = user.partition(":")
        if not uid.isdecimal() or (colon and not gid.isdecimal()):
            raise ValueError(f'user must be a number or "uid:gid", not {user!r}')
        return {"uid": int(uid), "gid": int(gid) if colon else 0}
    pair: tuple[Any, ...] = user if isinstance(user, tuple) else (user, 0)
    if len(pair) != 2 or any(isinstance(one, bool) or not isinstance(one, int) for one in pair):
        raise TypeError(f"user must be a uid, a pair (uid, gid) or a str, not {user!r}")
    if not all(0 <= one < 1 << 32 for one in pair):
        raise ValueError(f"user must be between 0 and {(1 << 32) - 1}, not {user!r}")
    return {"uid": pair[0], "gid": pair[1]}


def process_of(
    process: Mapping[str, Any] | Sequence[str],
    own: Mapping[str, Any] | None,
    *,
    user: int | str | tuple[int, int] | None,
    env: Mapping[str, str] | None,
    cwd: str | None,
    terminal: bool,
) -> dict[str, Any]:
    """Return the process for `exec`: an argument list with the settings of `own`.

    `own` is the container's process. `user`, `env` (added to the variables) and `cwd` override
    those.
    """
    if isinstance(process, dict):
        asked = copy_document(process, "process")
    else:
        asked = {**(own or {}), "args": check_args(process), "terminal": False}
    if user is not None:
        asked["user"] = user_of(user)
    if env is not None:
        added = check_env(env)
        names = {entry.partition("=")[0] for entry in added}
        asked["env"] = [
            entry for entry in asked.get("env") or () if entry.partition("=")[0] not in names
        ] + added
    if cwd is not None:
        if not isinstance(cwd, str):
            raise TypeError(f"cwd must be a str, not {type(cwd).__name__}")
        asked["cwd"] = cwd
    if terminal:
        asked["terminal"] = True
    return asked


def encoding_of(text: bool | None, encoding: str | None, errors: str | None) -> str | None:
    """Return the encoding of text mode, None for bytes; unlike subprocess, UTF-8 by default.

    Raises:
        ValueError: the encoding or the error handler is unknown.
    """
    import codecs

    try:
        if errors is not None:
            codecs.lookup_error(errors)
        if encoding is not None:
            return codecs.lookup(encoding).name
    except LookupError as error:
        raise ValueError(str(error)) from None
    return "utf-8" if text or errors is not None else None
