"""What users ask for by mistake, and the words of runc that clients and users know it by.

Docker and podman turn these words into exit statuses (126, 127), so they must be there to the
letter. Newer runc says "is a directory" where 1.1 said "permission denied"; both give 126.
"""

from __future__ import annotations

_EXEC = "unable to start container process: exec: "

PROGRAMS = (
    ("nosuch", f'{_EXEC}"nosuch": executable file not found in $PATH'),
    ("/no/such", f'{_EXEC}"/no/such": stat /no/such: no such file or directory'),
    ("/bin/noexec", f'{_EXEC}"/bin/noexec": permission denied'),
    ("noexec", f'{_EXEC}"noexec": executable file not found in $PATH'),
    ("/etc", f'{_EXEC}"/etc": '),
    ("/etc/passwd/x", f'{_EXEC}"/etc/passwd/x": stat /etc/passwd/x: not a directory'),
    ("/bin/noshell", "exec /bin/noshell: no such file or directory"),
    ("/bin/garbage", "exec /bin/garbage: exec format error"),
)  # fmt: skip

MOUNTS = (
    (
        "type=bind,src=/nonexist,dst=/mnt,options=rbind:ro",
        'mounting "/nonexist" to rootfs at "/mnt": ',
    ),
    ("type=bind,src=/nonexist,dst=/mnt,options=rbind:ro", "no such file or directory"),
    ("type=nofs,src=x,dst=/mnt,options=ro", "no such device"),
    ("type=tmpfs,src=x,dst=/mnt,options=size=huge", "invalid argument"),
    ("type=bind,src=/etc/passwd,dst=/etc,options=rbind:ro", "not a directory"),
)
