# The commands of the README. What each needs is installed when it is missing (tools/prepare).

.PHONY: demo build reference test lint unit fuzz integration cold mutants bars bench soak conformance clients lab debian13 deb check-deb onefile check-onefile site placement vm check-vm clean

ROUNDS ?= 30
MINUTES ?= 30
BARS ?= $(addprefix tests/integration/test_,faults.py many.py hostile.py devices_agree.py) \
  $(addprefix tests/security/test_,console.py exchanged_places.py masks.py mounts_over_proc.py proc_writes.py)

demo: build
	@tools/demo

build:
	@tools/prepare

# runtime-spec's schemas and example documents, with which unit and fuzz compare ours.
reference:
	tools/runtime-spec

# Everything this machine can run; what it cannot is named with the reason.
test: lint unit fuzz integration

# ruff, mypy, import-linter, codespell, shellcheck, and the rules of this repository.
lint:
	@tools/prepare test
	.venv/bin/pytest tests/lint

unit:
	@tools/prepare test
	.venv/bin/pytest tests/unit

# Property-based tests; FUZZ_MINUTES=30 fuzzes the readers of foreign bytes that much longer, all of
# them or TARGETS="config state". What it finds is kept in tests/fuzz/corpus.
fuzz:
	@tools/prepare test
	.venv/bin/pytest -m fuzz tests/fuzz
	$(if $(FUZZ_MINUTES),.venv/bin/python tests/fuzz --minutes $(FUZZ_MINUTES) $(TARGETS))

integration:
	@tools/prepare test
	tools/as-root .venv/bin/pytest -m integration tests/integration tests/rootfs tests/security

# One thing changed in a module, its unit tests run: how many of the changes do they notice?
# EACH=100 tries more, MODULES="ocirun.spec.load" chooses; see docs/testing.md.
EACH ?= 24
mutants:
	@tools/prepare test
	.venv/bin/python tests/mutants --each $(EACH) $(MODULES)

# A sample on the ordinary launcher, where the other one starts from a snapshot.
COLD ?= $(addprefix tests/integration/test_,lifecycle.py exec.py seccomp.py) tests/security/test_import_seal.py
cold:
	@tools/prepare test
	[ ! -x .venv/bin/ocirun-cold ] || \
	    tools/as-root .venv/bin/pytest -m integration --runtime=.venv/bin/ocirun-cold $(COLD)

# What integration does with samples and small numbers, whole: every system call that can fail, every
# place to die at, a thousand containers in a row. Hours; see docs/robustness.md.
bars:
	@tools/prepare test
	OCIRUN_BARS=full tools/as-root .venv/bin/pytest -m integration $(BARS)

# Each verb beside runc and crun: medians of alternating runs.
bench:
	@tools/prepare test
	tools/as-root .venv/bin/python -m tests.bench --rounds $(ROUNDS)

# Which blocks of the snapshot verbs write to, so that they lie together: after larger changes of a
# hot path. Needs perf.
placement:
	@tools/prepare test
	tools/as-root .venv/bin/python tests/bench/placement.py

# Containers come and go in one process; nothing may stay or grow.
soak:
	@tools/prepare test
	tools/as-root .venv/bin/python tests/soak --minutes $(MINUTES)

# RUNTIME_TOOLS=folder: a built checkout of opencontainers/runtime-tools.
conformance:
	@tools/prepare test
	tools/as-root .venv/bin/pytest -m conformance tests/conformance

# containerd, podman and Docker with runc and with ocirun; the outcomes go to docs/clients-outcomes.md.
# CRITEST=program: cri-tools' validation suite, its images imported by hand.
# CONTAINERD=directory, PODMAN=directory, DOCKER=directory: others than the installed ones.
# CRIO=directory: CRI-O in the place of containerd's CRI. KUBELET=program: static pods.
clients:
	@tools/prepare clients
	tools/as-root .venv/bin/pytest -m clients tests/clients --outcomes docs/clients-outcomes.md

# A virtual machine with systemd and cgroup v2 alone: the tests that need one, or any others:
# make lab TESTS="tests/integration/test_rootless.py -k maps" KERNEL=6.1 USER=u1 (docs/lab.md).
# USER counts only where it was typed: every shell has a variable of that name.
KERNEL ?= 6.12
RELEASE ?= bookworm
LAB_USER = $(if $(filter command line,$(origin USER)),--user $(USER))
lab:
	@tools/prepare lab
	tools/as-root .venv/bin/python -m tests.lab --release $(RELEASE) --kernel $(KERNEL) $(LAB_USER) -- $(TESTS)

# Of Debian 13 a sample: its Python, its CRIU, its clients. Skipped where no mirror answers.
debian13:
	@tools/prepare lab
	tools/as-root .venv/bin/python -m tests.lab --release trixie --skip-offline -- \
	    -m 'integration or clients' \
	    tests/integration/test_doctor.py::test_the_json_report_has_its_documented_members \
	    tests/integration/test_lifecycle.py::test_a_container_lives_from_created_to_gone \
	    tests/integration/test_checkpoint.py::test_a_counter_counts_on \
	    'tests/clients/test_containerd.py::test_exit_code[ours]' \
	    'tests/clients/test_podman.py::test_exit_code[ours]'

# What the vm engine boots: a Debian kernel and the guest's program, beside the ocirun in .venv
# (docs/vm.md). `tools/vm DIRECTORY` puts them elsewhere.
vm: build
	tools/vm

# The vm engine, on a machine that boots.
check-vm:
	@tools/prepare lab
	tools/vm
	tools/as-root .venv/bin/pytest -m integration \
	    tests/integration/test_vm.py tests/integration/test_vm_saved.py tests/integration/test_vm_failures.py \
	    tests/integration/test_vm_network.py tests/integration/test_vm_image.py

# dist/ocirun_VERSION_ARCHITECTURE.deb, for the Debian or Ubuntu release that this runs on.
deb:
	@tools/prepare deb
	tools/deb

# The package: installed, upgraded and removed in a bare Debian, and called by podman and containerd.
check-deb: deb
	@tools/prepare clients
	tools/as-root .venv/bin/pytest -m deb tests/deb
	rm -rf build/deb && mkdir -p build && dpkg-deb -x dist/ocirun_*.deb build/deb
	OCIRUN=$(CURDIR)/build/deb/usr/bin/ocirun tools/as-root .venv/bin/pytest -m clients \
	    "tests/clients/test_containerd.py::test_exit_code[ours]" \
	    "tests/clients/test_podman.py::test_exit_code[ours]"

# dist/ocirun-VERSION-linux-x86_64: one program with everything in it.
onefile:
	@tools/prepare deb
	tools/onefile/build.py

# That file in a bare Debian without Python, RELEASE=trixie for Debian 13; built again for the same
# bytes; and called by the integration tests, podman and containerd. By hand: two builds take minutes.
ONEFILE ?= $(addprefix tests/integration/test_,lifecycle.py exec.py) tests/security/test_import_seal.py
check-onefile: onefile
	@tools/prepare clients
	tools/as-root .venv/bin/pytest -m onefile tests/onefile
	rm -rf build/onefile && mkdir -p build/onefile && cp dist/ocirun-*-linux-x86_64 build/onefile/ocirun
	OCIRUN=$(CURDIR)/build/onefile/ocirun tools/as-root .venv/bin/pytest -m 'integration or clients' \
	    $(ONEFILE) "tests/clients/test_containerd.py::test_exit_code[ours]" \
	    "tests/clients/test_podman.py::test_exit_code[ours]"

# The documentation as a site, in dist/site: every link is checked.
site:
	@tools/prepare
	[ -x build/site/bin/mkdocs ] || .venv/bin/python -m venv build/site
	build/site/bin/python -m pip install -qq --disable-pip-version-check -r tools/site/requirements.txt
	NO_MKDOCS_2_WARNING=1 build/site/bin/mkdocs build --quiet --config-file tools/site/mkdocs.yml

clean:
	rm -rf .venv build dist bundles/*/rootfs .mypy_cache .ruff_cache .pytest_cache .hypothesis
