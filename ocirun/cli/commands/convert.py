"""`ocirun convert`: a bundle, an LXC configuration or a container.json as one of the others."""

from __future__ import annotations

import os

from ocirun.cli.output import write
from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call


def run(call: Call) -> int:
    """Convert, and print what has no counterpart, a line each.

    With --strict nothing is written and the status is 1 when there is such a thing.
    """
    from ocirun.cgroups.choose import layout
    from ocirun.convert import formats

    source, target = call.arguments
    kinds = []
    for option, path in (("from", source), ("to", target)):
        form = call.text(option) or formats.format_of(path)
        if form not in formats.FORMATS:
            raise UsageError(
                f"invalid value for --{option}: {form!r} is not {' or '.join(formats.FORMATS)}"
            )
        kinds.append(form)
    root = os.path.abspath(call.text("rootfs")) if call.text("rootfs") else ""
    cgroups = call.text("cgroups") or ("v2" if layout() == "v2" else "v1")
    if cgroups not in ("v1", "v2"):
        raise UsageError(f"invalid value for --cgroups: {cgroups!r} is not v1 or v2")
    how = {"cgroup_v2": cgroups == "v2", "old_keys": call.flag("old-keys")}
    config, left = formats.read(source, kinds[0], root)
    if call.flag("strict"):
        left += formats.written(config, kinds[1], **how)[1]
        if not left:
            formats.write(config, target, kinds[1], **how)
    else:
        left += formats.write(config, target, kinds[1], **how)
    write("".join(f"no counterpart: {name}\n" for name in left))
    return 1 if left and call.flag("strict") else 0
