"""Which members of config.json are ignored, and why; shown with `--debug` only.

A warning in the log would spoil it for podman, which reads the whole file as one JSON object, and
one on stderr for callers that read both streams together (docs/runc-compat/cli.md#log-and-stderr).
"""

from __future__ import annotations

from ocirun.spec.process_rules import has_selinux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Config

OTHER_PLATFORMS: Final = ("windows", "solaris", "vm", "zos", "freebsd")


def ignored_members(config: Config) -> list[str]:
    """Return each member without effect, as a pointer with the reason."""
    process = config["process"]
    lines = [f"/{name}: it is about another platform" for name in OTHER_PLATFORMS if name in config]
    if "commandLine" in process:
        lines.append("/process/commandLine: it is for Windows")
    if "username" in process.get("user", {}):
        lines.append("/process/user/username: it is for Windows")
    if "consoleSize" in process and not process.get("terminal"):
        lines.append("/process/consoleSize: there is no terminal")
    if config.get("linux", {}).get("mountLabel") and not has_selinux():
        lines.append("/linux/mountLabel: this host has no SELinux")
    return lines
