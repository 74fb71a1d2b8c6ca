"""Find the configuration of a CNI network, and build the input of its plugins.

Security: the directories come from the environment, as with cnitool, and not from the annotation:
engines pass on annotations of their users, and a plugin runs as root.

Source: https://www.cni.dev/docs/spec/, sections 1 and 3.
"""

from __future__ import annotations

import os

from ocirun.errors import Problem, SetupError, SpecError, kernel_words
from ocirun.kernel.regular_files import read_open
from ocirun.spec.jsontext import parse, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.network.attachment import Attachment

CONFIG_DIR: Final = "/etc/cni/net.d"
PLUGIN_DIRS: Final = "/opt/cni/bin:/usr/lib/cni"
MOST_CONFIG_BYTES: Final = 1 << 20
VERSIONS: Final = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
WITHOUT_CHECK: Final = VERSIONS[:4]
NAME_CHARACTERS: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
)


def find_config(name: str) -> dict[str, Any]:
    """Return the configuration list of the network `name`, from $NETCONFPATH.

    Raises:
        SetupError: it does not exist, or is not a valid configuration list.
    """
    folder = os.environ.get("NETCONFPATH") or CONFIG_DIR
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        words = f"looking for CNI network {quoted(name)}: {folder}: {kernel_words(error)}"
        raise SetupError(words, error.errno or 0) from error
    faults = []
    for file in names:
        if not file.endswith((".conflist", ".conf", ".json")):
            continue
        path = f"{folder}/{file}"
        try:
            found = _read(path)
        except OSError as error:
            faults.append(f"{path}: {kernel_words(error)}")
            continue
        except SpecError as error:
            faults.append(f"{path}: {error.problems[0]}")
            continue
        if found.get("name") == name:
            if "plugins" not in found:  # the configuration of one plugin
                found = {"cniVersion": found.get("cniVersion"), "name": name, "plugins": [found]}
            if fault := _fault_of(found):
                raise SetupError(f"CNI network {quoted(name)} in {path}: {fault}")
            return found
    raise SetupError("; ".join([f"there is no CNI network {quoted(name)} in {folder}", *faults]))


def find_plugin(kind: str) -> str:
    """Return the path of the plugin `kind`, from $CNI_PATH.

    Raises:
        SetupError: it does not exist.
    """
    for folder in plugin_dirs().split(":"):
        path = f"{folder}/{kind}"
        if folder.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise SetupError(f"there is no CNI plugin {quoted(kind)} in {plugin_dirs()}")


def is_cni_name(text: str) -> bool:
    """Return whether CNI allows `text` as the name of a network and the id of a container."""
    return NAME_CHARACTERS.issuperset(text) and text[:1].isalnum()


def plugin_dirs() -> str:
    """Return the directories with plugins, separated by colons."""
    return os.environ.get("CNI_PATH") or PLUGIN_DIRS


def has_check(config: dict[str, Any]) -> bool:
    """Return whether the plugins of a configuration list support CHECK."""
    return config["cniVersion"] not in WITHOUT_CHECK and not config.get("disableCheck")


def takes_ports(config: dict[str, Any]) -> bool:
    """Return whether a plugin of a configuration list takes ports."""
    return any(_capabilities(plugin).get("portMappings") for plugin in config["plugins"])


def input_of(
    attachment: Attachment, plugin: dict[str, Any], previous: dict[str, Any] | None
) -> dict[str, Any]:
    """Return a plugin's input: its configuration, the previous result, and the ports."""
    config = attachment.cni["config"]
    body = {name: value for name, value in plugin.items() if name != "capabilities"}
    body |= {"cniVersion": config["cniVersion"], "name": config["name"]}
    if previous is not None:
        body["prevResult"] = previous
    if attachment.cni["ports"] and _capabilities(plugin).get("portMappings"):
        body["runtimeConfig"] = {"portMappings": attachment.cni["ports"]}
    return body


def _capabilities(plugin: dict[str, Any]) -> dict[str, Any]:
    found = plugin.get("capabilities")
    return found if isinstance(found, dict) else {}


def _read(path: str) -> dict[str, Any]:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a link is usual here
    try:
        found: Any = parse(read_open(fd, MOST_CONFIG_BYTES, path), path)
    finally:
        os.close(fd)
    if not isinstance(found, dict):
        raise SpecError([Problem("", "must be an object")])
    return found


def _fault_of(config: dict[str, Any]) -> str:
    """Return what makes a configuration list unusable, "" if nothing does."""
    version = config.get("cniVersion") or VERSIONS[1]
    config["cniVersion"] = version
    if version not in VERSIONS:
        return f"CNI version {quoted(str(version))} is not known: {', '.join(VERSIONS)}"
    if not is_cni_name(config["name"]):
        return "CNI allows no such name"
    plugins = config["plugins"]
    if not isinstance(plugins, list) or not plugins:
        return "it has no plugins"
    for plugin in plugins:
        kind = plugin.get("type") if isinstance(plugin, dict) else None
        # Security: a name, not a path.
        if not isinstance(kind, str) or not kind or "/" in kind or kind in (".", ".."):
            return f"{quoted(str(kind))} is not the type of a plugin"
    return ""
