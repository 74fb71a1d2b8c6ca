"""Programs of the distribution in the container of `spec --profile hardened`, with its filter."""

from __future__ import annotations

import copy
import errno
import json
import shutil

import pytest
from harness.box import Box
from harness.bundle import Bundle
from harness.needs import needs

# A line of shell each; what it prints must not depend on the moment.
pytestmark = [needs("ours"), needs("root")]

PROGRAMS = {
    "bash": "bash -c 'echo $((6*7)); x=(1 2); echo ${#x[@]}; (exit 3)'",
    "dash": "dash -c 'trap \"echo bye\" EXIT; echo hi'",
    "ls": "ls -l --time-style=+ /usr/bin/env",
    "cp": "cp -a /etc/debian_version v && cmp v /etc/debian_version",
    "sort": "seq 3000 | sort -rn -S 1M | head -n 2",
    "dd": "dd if=/dev/zero of=zero bs=64k count=8 status=none && wc -c < zero",
    "mkfifo": "mkfifo pipe && (echo through > pipe & cat pipe)",
    "mknod": "mknod node c 1 3 || echo refused",
    "find": "find /usr/share/doc/base-files -type f | sort",
    "xargs": "printf '1 2 3' | xargs -n 1 -P 2 echo | sort",
    "diff": "echo a > a; echo b > b; diff a b",
    "sha256sum": "sha256sum /etc/shells",
    "setsid": "setsid sh -c 'echo new session'",
    "run-parts": "mkdir parts; run-parts --list parts; run-parts --test parts",
    "hostname": "hostname | wc -l",
    "grep": "grep -c bash /etc/shells",
    "sed": "echo abc | sed s/b/x/",
    "awk": "echo 1 2 | awk '{print $1+$2}'",
    "tar": "tar -cf t.tar /etc/shells 2>/dev/null; tar -tf t.tar",
    "gzip": "seq 100 | gzip -n | gzip -d | tail -n 1",
    "bzip2": "seq 100 | bzip2 | bzip2 -d | tail -n 1",
    "xz": "seq 100 | xz -T2 | xz -d | tail -n 1",
    "perl": "perl -e 'print join(\",\", sort map { $_*2 } 1..3), qq(\\n); exit 4'",
    "python3": "/usr/bin/python3 -c 'import subprocess, threading, socket, asyncio;"
    ' a, b = socket.socketpair(); a.send(b"x"); print(b.recv(1));'
    " t = threading.Thread(target=print, args=(1,)); t.start(); t.join();"
    ' print(asyncio.run(asyncio.sleep(0, 5)), subprocess.check_output(["echo", "sub"]))\'',
    "gcc": "echo 'int main(void){return 7;}' > m.c && gcc m.c -o m && ./m",
    "make": "printf 'a:\\n\\t@echo made\\n' > Makefile && make -s -j2",
    "git": "HOME=$PWD git init -q r && cd r && git status --short && git --version",
    "openssl": "echo x | openssl dgst -sha256",
    "ssh-keygen": "ssh-keygen -q -t ed25519 -N '' -f key && ls key.pub",
    "gpg": "gpg --version | head -n 1",
    "curl": "curl -sS http://127.0.0.1:9/ 2>&1",
    "sqlite3": "sqlite3 db 'create table t(a); insert into t values(5); select a from t'",
    "ip": "ip -o link show lo | cut -c1-6",
    "ps": "ps -o comm= -p 1",
    "setpriv": "setpriv --dump 2>/dev/null | head -n 2",
    "timeout": "timeout 0.2 sleep 5; echo $?",
    "flock": "flock lock echo locked",
    "nproc": "nproc; uname -m; id -u",
    "dpkg": "dpkg --version | head -n 1",
    "apt": "apt-config dump APT::Architecture",
    "busybox": "busybox vi --help 2>&1 | head -n 1; busybox nc -w 1 127.0.0.1 9; echo $?",
    "gdb": "gdb --batch -ex 'print 6*7'",
    "unshare": "unshare -m true || echo refused",
    "jq": "echo '{\"a\":[1,2]}' | jq -c .a",
    "node": "node -e 'setTimeout(() => console.log(5), 10)'",
}
FEWEST = 30


def hardened(box: Box, *args: str) -> Bundle:
    """A bundle that `spec --profile hardened` has written, on a root of its own."""
    bundle = box.bundle()
    box.runtime.call("spec", "--profile", "hardened", "--bundle", bundle.path).ok()
    bundle.config = json.loads((bundle.path / "config.json").read_text())
    bundle.process["terminal"] = False
    bundle.process["args"] = list(args)
    return bundle


def with_the_distribution(bundle: Bundle) -> None:
    """Add the /usr and /etc of this machine, read-only, and a writable /tmp to `bundle`."""
    for name in ("bin", "lib", "lib64", "sbin"):
        place = bundle.rootfs / name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        place.unlink(missing_ok=True)
        place.symlink_to(f"usr/{name}")
    for name in ("usr", "etc", "var/lib/dpkg"):
        (bundle.rootfs / name).mkdir(parents=True, exist_ok=True)
        options = ["rbind", "ro", "nosuid", "nodev"]
        source = f"/{name}"
        bundle.mounts.append(
            {"destination": source, "type": "bind", "source": source, "options": options}
        )
    (bundle.rootfs / "tmp").mkdir(exist_ok=True)
    options = ["nosuid", "nodev", "mode=1777", "size=64m"]
    bundle.mounts.append(
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options}
    )


def test_programs_of_the_distribution_do_the_same_under_the_filter(box: Box) -> None:
    present = {name: line for name, line in PROGRAMS.items() if shutil.which(name)}
    assert len(present) >= FEWEST, "a distribution has more programs"
    script = "cd /tmp\n" + "".join(
        f"mkdir {name}; (cd {name}; {line}) 2>&1; echo '= {name}' $?\n"
        for name, line in present.items()
    )
    bundle = hardened(box, "/bin/sh", "-c", script)
    bundle.process["cwd"] = "/tmp"  # the container's
    with_the_distribution(bundle)
    filtered = box.output(bundle)
    # Each has done its work: the two are not equal because both failed.
    for line in ("= bash 3", "= perl 4", "= python3 0", "= gcc 7", "= git 0", "= tar 0"):
        name = line.split()[1]
        assert name not in present or f"\n{line}\n" in filtered, filtered
    unfiltered_config = copy.deepcopy(bundle.config)
    del unfiltered_config["linux"]["seccomp"]
    bundle.config = unfiltered_config
    assert filtered == box.output(bundle)
    assert filtered.count("\n= ") + filtered.startswith("= ") == len(present)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("hostname:x", errno.EPERM),
        ("key:x", errno.EPERM),
        ("mount:/tmp", errno.EPERM),
        ("mkdir:/x", errno.EROFS),
    ],
)
def test_what_a_hardened_container_refuses(box: Box, call: str, answer: int) -> None:
    bundle = hardened(box, "/probe")
    assert box.attempts(bundle, call) == [answer]


def test_a_hardened_container_holds_nothing(box: Box) -> None:
    bundle = hardened(box, "/probe")
    report = box.report(bundle)
    assert set(report["capabilities"].values()) == {0}
    assert report["no_new_privs"] is True
    assert report["seccomp"] == "2"
