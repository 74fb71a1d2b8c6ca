"""The three formats: detection by path, reading and writing.

Source: docs/convert.md.
"""

from __future__ import annotations

import os

from ocirun.convert.lxc_read import absolute_root, read_lxc
from ocirun.convert.lxc_write import write_lxc
from ocirun.errors import SetupError, UsageError, doing
from ocirun.kernel import regular_files
from ocirun.spec.load import conforms, load_config, read_document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.convert.document import Document

OCI: Final = "oci"
LXC: Final = "lxc"
LIBCONTAINER: Final = "libcontainer"
FORMATS: Final = (OCI, LXC, LIBCONTAINER)
CONFIG: Final = "config.json"
MAX_LXC_BYTES: Final = 1 << 20


def format_of(path: str) -> str:
    """Return the format for the file name `path`.

    A directory, a name without an extension and config.json are a bundle, container.json is
    libcontainer's, `config`, `*.conf` and `*.lxc` are LXC's.

    Raises:
        UsageError: the name matches no format.
    """
    name = os.path.basename(path.rstrip("/"))
    if name == "container.json":
        return LIBCONTAINER
    if name.endswith((".conf", ".lxc")) or (name == "config" and not os.path.isdir(path)):
        return LXC
    if name == CONFIG or os.path.isdir(path) or "." not in name:
        return OCI
    raise UsageError(f"the format of {path} is not known: name it with --from or --to")


def read(path: str, form: str, root: str) -> tuple[Document, list[str]]:
    """Read `path` and return (config.json, names without a counterpart); root.path is absolute.

    `root` is the root directory, "" to take it from the document.

    Raises:
        SpecError, UsageError: it is not in this format. SetupError: it cannot be read.
    """
    left: list[str] = []
    if form == OCI:
        directory = path if os.path.isdir(path) else os.path.dirname(path) or "."
        name = CONFIG if os.path.isdir(path) else os.path.basename(path)
        # The other formats' readers and writers take any JSON object: an untyped copy.
        config: Document = dict(load_config(directory, name))
        absolute_root(config, os.path.abspath(directory))
    elif form == LXC:
        config, left = read_lxc(_read_text(path))
    else:
        from ocirun.convert.libcontainer import read_container_json

        document: Any = read_document(path, os.path.basename(path))
        if not isinstance(document, dict):
            raise UsageError(f"{path}: a container.json is a JSON object")
        if not root:
            raise UsageError("a container.json names no root directory: give it with --rootfs")
        config, left = _guarded(path, read_container_json, document, root)
        left.append("process.args is sh: a container.json names no program")
    if root:
        config["root"]["path"] = root
    if not conforms(config, "config"):
        raise UsageError(f"{path}: a value of a wrong type: there is no valid config.json for it")
    return config, left


def write(config: Document, path: str, form: str, *, cgroup_v2: bool, old_keys: bool) -> list[str]:
    """Write `config` to `path`, never over a file; return the names without a counterpart.

    Raises:
        UsageError: the file exists. SetupError: the kernel refused; nothing is left of it.
    """
    text, left = written(config, form, cgroup_v2=cgroup_v2, old_keys=old_keys)
    if form == OCI and os.path.basename(path) != CONFIG:
        with doing(f"making the directory {path}"):
            os.makedirs(path, exist_ok=True)
        path = f"{path}/{CONFIG}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with doing(f"making {path}"):
        try:
            fd = os.open(path, flags, 0o666)
        except FileExistsError:
            raise UsageError(f"{path} exists. Remove it first") from None
    try:
        with doing(f"writing {path}"), os.fdopen(fd, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
    except SetupError:
        os.unlink(path)  # half of it would be in the way of the next try
        raise
    return left


def written(
    config: Document, form: str, *, cgroup_v2: bool, old_keys: bool
) -> tuple[str, list[str]]:
    """Return `config` as text in the format, and the names without a counterpart."""
    if form == LXC:
        return write_lxc(config, cgroup_v2=cgroup_v2, old_keys=old_keys)
    from ocirun.spec.jsontext import indented

    if form == OCI:
        return indented(config, "\t") + "\n", []
    from ocirun.convert.libcontainer import write_container_json

    document, left = write_container_json(config)
    return indented(document, "\t") + "\n", left


def _guarded(path: str, reader: Any, document: Document, root: str) -> Any:  # noqa: ANN401
    """Call the reader of a JSON document without a schema; report wrong types as UsageError."""
    try:
        return reader(document, root)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is no container.json: {type(error).__name__}: {error}") from error


def _read_text(path: str) -> str:
    with doing(f"reading {path}"):
        data = regular_files.read_document(path, MAX_LXC_BYTES)
    if len(data) > MAX_LXC_BYTES:
        raise SetupError(f"reading {path}: larger than {MAX_LXC_BYTES} bytes")
    return data.decode("utf-8", "surrogateescape")
