"""process.args and how args[0] is found; the words are those callers match.

Source: runtime-spec config.md#process; docs/runc-compat/cli.md#matched-texts,
docs/runc-compat/init.md#order-of-init, docs/runc-compat/init.md#environment-of-the-process.
"""

from __future__ import annotations

import os
import re
import shutil

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates

# Files that can be executed as far as anybody can tell before execve.
ELF = b"\x7fELF\2\1\1".ljust(16, b"\0")
KERNEL_REFUSES = [
    pytest.param(b"#!/no/such/interpreter\n", "no such file or directory", id="no interpreter"),
    pytest.param(b"\0\1\2\3junk", "exec format error", id="no program"),
]
# And what is said beside the kernel's word.
REASONS = [
    pytest.param(b"#! /no/such -x\n", "its interpreter /no/such is not there", id="no interpreter"),
    pytest.param(b"echo hi\n", "neither a program nor a script that begins with #!", id="no #!"),
    pytest.param(
        ELF + b"\2\0\xb7\0", "it is made for aarch64, this machine is", id="other machine"
    ),
    pytest.param(ELF + b"\2\0", "exec format error", id="cut off"),
    pytest.param(b"", "exec format error", id="empty"),
]


class TestArguments:
    """process.args and how args[0] is found; the words are those callers match."""

    def test_they_arrive_as_they_are(self, box: Box) -> None:
        args = ["/probe", "", "a b", "ä", "-x", "\t", "$HOME", "\\", '"']
        assert box.report(box.bundle(*args))["argv"] == args

    def test_a_name_is_looked_up_in_the_containers_path(self, box: Box) -> None:
        bundle = box.bundle("tool", env=["PATH=/nowhere:/opt/tools:/bin"])
        (bundle.rootfs / "opt/tools").mkdir(parents=True)
        (bundle.rootfs / "opt/tools/tool").symlink_to("/probe")
        assert box.report(bundle)["argv"] == ["tool"]

    def test_a_path_with_a_slash_is_relative_to_cwd(self, box: Box) -> None:
        bundle = box.bundle("./tool", cwd="/opt")
        (bundle.rootfs / "opt").mkdir()
        (bundle.rootfs / "opt/tool").symlink_to("/probe")
        assert box.report(bundle)["argv"] == ["./tool"]

    def test_a_name_that_is_nowhere(self, box: Box) -> None:
        call = box.container(None, "nope").create()
        call.failed('exec: "nope": executable file not found in $PATH')

    def test_a_name_without_a_path(self, box: Box) -> None:
        call = box.container(None, "true", env=["A=b"]).create()
        call.failed('exec: "true": executable file not found in $PATH')

    def test_a_path_that_is_nowhere(self, box: Box) -> None:
        call = box.container(None, "/no/such").create()
        call.failed('exec: "/no/such"', "no such file or directory")

    def test_a_file_that_may_not_be_executed(self, box: Box) -> None:
        call = box.container(None, "/etc/passwd").create()
        call.failed('exec: "/etc/passwd"', "permission denied")

    @peer_deviates("runc", "1.1 says permission denied")
    def test_a_directory_as_program_is_refused(self, box: Box) -> None:
        box.container(None, "/etc").create().failed('exec: "/etc"', "is a directory")

    def test_a_path_through_a_file(self, box: Box) -> None:
        call = box.container(None, "/etc/passwd/x").create()
        call.failed('exec: "/etc/passwd/x"', "not a directory")

    def test_a_program_only_others_may_execute(self, box: Box) -> None:
        bundle = box.bundle("/mine", user={"uid": 1000, "gid": 1000}, capabilities={})
        (bundle.rootfs / "mine").write_text("#!/bin/sh\n")
        (bundle.rootfs / "mine").chmod(0o700)
        box.container(bundle).create().failed("permission denied")

    def test_the_lookup_skips_what_cannot_be_executed(self, box: Box) -> None:
        bundle = box.bundle("tool", env=["PATH=/a:/b"])
        for folder in "ab":
            (bundle.rootfs / folder).mkdir()
        (bundle.rootfs / "a/tool").write_text("not a program")
        (bundle.rootfs / "b/tool").symlink_to("/probe")
        assert box.report(bundle)["argv"] == ["tool"]

    def test_a_script_runs_through_its_interpreter(self, box: Box) -> None:
        bundle = box.bundle("/script", "x")
        (bundle.rootfs / "script").write_text('#!/bin/sh\necho "script $1"\n')
        (bundle.rootfs / "script").chmod(0o755)
        assert box.output(bundle) == "script x\n"

    @pytest.mark.parametrize(("content", "words"), KERNEL_REFUSES)
    def test_what_the_kernel_refuses_has_run(self, box: Box, content: bytes, words: str) -> None:
        """The program ends with status 1 and says why where a program says it: on stderr."""
        bundle = box.bundle("/file")
        (bundle.rootfs / "file").write_bytes(content)
        (bundle.rootfs / "file").chmod(0o755)
        call = box.container(bundle).run()
        assert call.status == 1
        assert words in call.said.lower()

    @needs("ours")  # peers say the kernel's word alone
    @pytest.mark.parametrize(("content", "words"), REASONS)
    def test_the_reason_for_a_refusal_is_given(self, box: Box, content: bytes, words: str) -> None:
        bundle = box.bundle("/file")
        (bundle.rootfs / "file").write_bytes(content)
        (bundle.rootfs / "file").chmod(0o755)
        assert words in box.container(bundle).run().said

    @needs("ours")
    def test_a_dynamic_loader_that_is_missing_is_named(self, box: Box) -> None:
        bundle = box.bundle("/file")
        shutil.copy(shutil.which("ls") or "/bin/ls", bundle.rootfs / "file")
        said = box.container(bundle).run().said
        assert re.search("no such file or directory: its interpreter /lib.* is not there", said)

    def test_the_kernels_word_is_given_where_a_filter_refuses_to_look_further(
        self, box: Box
    ) -> None:
        bundle = box.bundle("/file")
        (bundle.rootfs / "file").write_bytes(ELF + b"\2\0\xb7\0")
        (bundle.rootfs / "file").chmod(0o755)
        rule = {"names": ["uname"], "action": "SCMP_ACT_ERRNO"}
        bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
        call = box.container(bundle).run()
        assert call.status == 1
        assert "exec format error" in call.said.lower()

    @pytest.mark.parametrize(("content", "words"), KERNEL_REFUSES)
    def test_start_does_not_fail_for_it(self, box: Box, content: bytes, words: str) -> None:
        bundle = box.bundle("/file")
        (bundle.rootfs / "file").write_bytes(content)
        (bundle.rootfs / "file").chmod(0o755)
        container = box.created(bundle)
        container.start().ok()
        container.wait_status("stopped")
        assert words in container.errors.lower()

    @pytest.mark.parametrize(("content", "words"), KERNEL_REFUSES)
    def test_what_the_kernel_refuses_in_exec(self, box: Box, content: bytes, words: str) -> None:
        container = box.running()
        (container.bundle.rootfs / "file").write_bytes(content)
        (container.bundle.rootfs / "file").chmod(0o755)
        call = container.exec("/file")
        assert call.status == 1
        assert words in call.said.lower()

    @peer_deviates("crun", "dies of SIGPIPE itself")
    def test_what_the_kernel_refuses_in_exec_with_nobody_at_stderr(self, box: Box) -> None:
        """Its status is 1 all the same: the words that nobody reads do not kill it (SIGPIPE)."""
        container = box.running()
        (container.bundle.rootfs / "file").write_bytes(b"#!/no/such/interpreter\n")
        (container.bundle.rootfs / "file").chmod(0o755)
        reading, writing = os.pipe()
        os.close(reading)
        try:
            assert container.exec("/file", stderr=writing).status == 1
        finally:
            os.close(writing)
