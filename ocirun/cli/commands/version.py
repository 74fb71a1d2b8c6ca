"""`ocirun --version`: lines that callers take apart by their prefix.

go-runc wants its first line to begin "runc version " and leaves its fields empty otherwise, without
an error; Docker takes name and version from the last line holding the word "version" and the commit
from "commit:"; podman and CRI-O show the text as it is. So the first line names us, as crun's and
youki's do, no other line says "version", and it does not claim to be runc. The last line is
crun's list of what is built in, which podman, buildah and scripts look for words in.

Source: go-runc runc.go, parseVersion; moby daemon/info_unix.go, parseRuntimeVersion; podman
libpod/oci_conmon_common.go.
"""

from __future__ import annotations

import sys

from ocirun import __version__
from ocirun.cli.output import write
from ocirun.spec.default import OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cli.call import Call

BUILT_IN: Final = "+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF +CRIU"


def run(call: Call) -> int:  # noqa: ARG001  # every verb has this shape
    """Print the version."""
    write(version_text())
    return 0


def version_text() -> str:
    """Return the lines of --version."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return (
        f"ocirun version {__version__}\n"
        f"commit: v{__version__}\n"
        f"spec: {OCI_VERSION}\n"
        f"python: {python}\n"
        f"{BUILT_IN}\n"
    )
