"""What users ask for by mistake, and the words of runc that clients and users know it by.

Docker and podman turn these words into exit statuses (126, 127), so they must be there to the
letter. Newer runc says "is a directory" where 1.1 said "permission denied"; both give 126 in
Docker of the same age.
"""

from __future__ import annotations

import pytest

_EXEC = "unable to start container process: exec: "

PROGRAMS = [
    pytest.param(program, _EXEC + words if words[0] == '"' else words, id=name)
    for name, program, words in (
        ("not in PATH", "nosuch", '"nosuch": executable file not found in $PATH'),
        ("no such path", "/no/such", '"/no/such": stat /no/such: no such file or directory'),
        ("not executable", "/bin/noexec", '"/bin/noexec": permission denied'),
        ("not executable in PATH", "noexec", '"noexec": executable file not found in $PATH'),
        ("a directory", "/etc", '"/etc": '),
        ("below a file", "/etc/passwd/x", '"/etc/passwd/x": stat /etc/passwd/x: not a directory'),
        ("no interpreter", "/bin/noshell", "exec /bin/noshell: no such file or directory"),
        ("no program", "/bin/garbage", "exec /bin/garbage: exec format error"),
    )
]

_MISSING = "type=bind,src=/no/such/source,dst=/mnt,options=rbind:ro"

MOUNTS = [
    pytest.param(mount, words, id=name)
    for name, mount, words in (
        ("says what and where", _MISSING, 'mounting "/no/such/source" to rootfs at "/mnt": '),
        ("no source", _MISSING, "no such file or directory"),
        ("no such file system", "type=nofs,src=x,dst=/mnt,options=ro", "no such device"),
        ("bad option", "type=tmpfs,src=x,dst=/mnt,options=size=huge", "invalid argument"),
        (
            "file on directory",
            "type=bind,src=/etc/passwd,dst=/etc,options=rbind:ro",
            "not a directory",
        ),
    )
]
