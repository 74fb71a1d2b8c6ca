"""What create and run are given: an id, a bundle, a config.json.

Source: runtime-spec bundle.md, runtime.md#create; docs/runc-compat/cli.md#matched-texts,
docs/runc-compat/cli.md#create-and-run, docs/runc-compat/state.md#root-directory,
docs/runc-compat/init.md#validation.
"""

from __future__ import annotations

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates


class TestIds:
    """The id becomes a folder's name."""

    @pytest.mark.parametrize("name", ["a.b", "a_b", "a+b", "A-1", "9"])
    def test_letters_digits_and_four_signs_are_fine(self, box: Box, name: str) -> None:
        container = box.container(None, "true")
        container.id = f"{container.id}{name}"
        container.run().ok()

    @pytest.mark.parametrize("name", ["a/b", "..", ".", "a b", "ä", "a\nb", "a:b", "../../x"])
    def test_anything_else_is_refused(self, box: Box, name: str) -> None:
        container = box.container(None, "true")
        container.id = name
        container.create().failed("invalid container ID format")

    @pytest.mark.parametrize("verb", ["state", "start", "kill", "delete"])
    def test_no_verb_leaves_the_root_by_an_id(self, box: Box, verb: str) -> None:
        victim = box.folder / "victim"
        victim.mkdir()
        box.runtime.root.mkdir(mode=0o700)
        assert box.runtime.call(verb, "../victim").status == 1
        assert victim.is_dir()

    def test_an_empty_id_is_refused(self, box: Box) -> None:
        container = box.container()
        container.id = ""
        container.create().failed("container id cannot be empty")


class TestBundle:
    """Where the bundle is and what it lacks."""

    def test_the_default_is_the_working_directory(self, box: Box) -> None:
        bundle = box.bundle("echo", "here")
        container = box.container(bundle)
        call = box.runtime.call("run", container.id, bundle=bundle, cwd=bundle.path)
        assert call.ok().stdout == "here\n"

    def test_a_relative_bundle_is_recorded_as_absolute(self, box: Box) -> None:
        container = box.container()
        container.bundle.save()
        relative = container.bundle.path.name
        box.runtime.call("create", "-b", relative, container.id, cwd=box.folder).ok()
        assert container.state()["bundle"] == str(container.bundle.path)

    def test_a_missing_config_json_is_named(self, box: Box) -> None:
        empty = box.folder / "empty"
        empty.mkdir()
        call = box.runtime.call("create", "--bundle", empty, box.container().id)
        call.failed("JSON specification file config.json not found")

    @needs("ours")  # runc ends after the first half
    @pytest.mark.parametrize("verb", ["run", "create"])
    def test_who_names_no_bundle_is_told_what_one_is(self, box: Box, verb: str) -> None:
        empty = box.folder / "empty"
        empty.mkdir()
        call = box.runtime.call(verb, "debian", cwd=empty)
        call.failed("JSON specification file config.json not found: this directory is no bundle")

    def test_a_missing_bundle_is_an_error(self, box: Box) -> None:
        call = box.runtime.call("create", "--bundle", box.folder / "nowhere", box.container().id)
        call.failed("no such file or directory")

    def test_a_missing_root_is_named(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.config["root"]["path"] = "nowhere"
        box.container(bundle).create().failed("nowhere", "no such file or directory")

    @peer_deviates("crun", "dies on it")
    def test_create_needs_a_process(self, box: Box) -> None:
        bundle = box.bundle()
        del bundle.config["process"]
        box.container(bundle).create().failed("process property must not be empty")

    def test_process_args_must_not_be_empty(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.process["args"] = []
        box.container(bundle).create().failed("args must not be empty")

    def test_broken_json_is_a_sentence(self, box: Box) -> None:
        bundle = box.bundle()
        (bundle.path / "config.json").write_text('{"ociVersion": ')
        call = box.runtime.call("create", "--bundle", bundle.path, box.container(bundle).id)
        call.failed()
        assert "Traceback" not in call.stderr

    def test_an_absolute_root_outside_of_the_bundle(self, box: Box) -> None:
        bundle = box.bundle("echo", "far")
        bundle.rootfs.rename(box.folder / "elsewhere")
        bundle.config["root"]["path"] = str(box.folder / "elsewhere")
        assert box.output(bundle) == "far\n"

    @peer_deviates("runc", "refuses a symlink as rootfs")
    def test_a_root_behind_a_symlink(self, box: Box) -> None:
        bundle = box.bundle("echo", "link")
        bundle.rootfs.rename(bundle.path / "real")
        bundle.rootfs.symlink_to("real")
        assert box.output(bundle) == "link\n"


class TestRun:
    """`run` is create, start, wait and delete."""

    def test_it_leaves_nothing(self, box: Box) -> None:
        container = box.container(None, "true")
        container.run().ok()
        box.runtime.call("state", container.id).failed("does not exist")

    @pytest.mark.parametrize("status", [0, 1, 42, 255])
    def test_it_returns_the_status_of_the_process(self, box: Box, status: int) -> None:
        container = box.container(None, "/probe", "exit", str(status))
        assert container.run().status == status

    def test_detached_it_returns_when_the_container_runs(self, box: Box) -> None:
        container = box.container(None, "/probe", "wait")
        container.run("--detach").ok()
        container.wait_output("ready")
        assert container.status == "running"

    def test_a_failed_run_leaves_nothing(self, box: Box) -> None:
        container = box.container(None, "/no/such/program")
        container.run().failed("no such file or directory")
        box.runtime.call("state", container.id).failed("does not exist")
