"""Networks of type cni: plugins of a CNI configuration list, Debian's and odd ones.

Source: docs/network.md#cni; https://www.cni.dev/docs/spec/.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.needs import needs
from harness.networks import Net, call

pytestmark = [pytest.mark.integration, needs("root", "ours", "tool ip", "tool nsenter")]

DEBIANS = Path("/usr/lib/cni")
real = [
    pytest.mark.skipif(not (DEBIANS / "bridge").exists(), reason="no CNI plugins"),
    needs("tool iptables"),
]


class Cni:
    """Configurations and plugins of one test."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.configs = box.folder / "net.d"
        self.plugins = box.folder / "plugins"
        self.calls = box.folder / "cni.log"
        for folder in (self.configs, self.plugins):
            folder.mkdir()
        box.runtime.owner = {"preexec_fn": None, "env": self.environment}

    @property
    def environment(self) -> dict[str, str]:
        dirs = f"{self.plugins}:{DEBIANS}"
        return {**os.environ, "NETCONFPATH": str(self.configs), "CNI_PATH": dirs}

    def network(self, *plugins: dict[str, Any], **more: Any) -> None:  # noqa: ANN401
        config = {"cniVersion": "1.0.0", "name": "net", "plugins": plugins, **more}
        (self.configs / "10-net.conflist").write_text(json.dumps(config))

    def plugin(self, name: str, text: str) -> dict[str, Any]:
        """Make a plugin that notes how it is called, and then does what `text` says."""
        path = self.plugins / name
        path.write_text(f"#!/bin/sh\nNAME={name} LOG={self.calls}\n{NOTES}\n{text}\n")
        path.chmod(0o755)
        return {"type": name}

    def bundle(self, *args: str, **more: Any) -> Bundle:  # noqa: ANN401
        sets = {name: ["CAP_NET_RAW"] for name in ("bounding", "effective", "permitted")}
        bundle = self.box.bundle(*(args or ("/probe", "wait")), capabilities=sets)
        networks = [{"type": "cni", "name": "net", **more}]
        bundle.config["annotations"] = {"org.ocirun.networks": json.dumps(networks)}
        return bundle

    def noted(self) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
        """Each call so far: "ADD first", its variables, what it has read."""
        found = []
        for line in self.calls.read_text().splitlines() if self.calls.exists() else ():
            words, _, body = line.partition("\t")
            command, _, rest = words.partition(" CNI")
            pairs = [word.partition("=") for word in f"CNI{rest}".split()]
            found.append((command, {key: value for key, _, value in pairs}, json.loads(body)))
        return found

    def commands(self) -> list[str]:
        return [command for command, _, _ in self.noted()]


NOTES = r"""
BODY=$(cat)
printf '%s %s CNI_CONTAINERID=%s CNI_NETNS=%s CNI_IFNAME=%s\t%s\n' \
    "$CNI_COMMAND" "$NAME" "$CNI_CONTAINERID" "$CNI_NETNS" "$CNI_IFNAME" "$BODY" >>"$LOG"
answer() { printf '{"cniVersion":"1.0.0","ips":[{"address":"%s"}]}' "$1"; }
"""


@pytest.fixture
def cni(box: Box, net: Net) -> Cni:
    del net
    return Cni(box)


def mounts_below(path: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().split() if str(path) in line]


@pytest.mark.usefixtures("net")
class TestDebiansPlugins:
    pytestmark = real

    def bridge(self, cni: Cni) -> dict[str, Any]:
        ipam = {
            "type": "host-local",
            "ranges": [[{"subnet": "10.88.0.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(cni.box.folder / "ipam"),
        }
        words = {"bridge": "cni0", "isGateway": True, "ipMasq": True}
        return {"type": "bridge", **words, "ipam": ipam}

    def reserved(self, cni: Cni) -> list[str]:
        folder = cni.box.folder / "ipam" / "net"
        return sorted(each.name for each in folder.glob("10.*"))

    def rules(self) -> str:
        saved = call("iptables-save")
        return "\n".join(line for line in saved.splitlines() if "ocitest" in line)

    def test_a_bridge_is_added_checked_and_removed(self, cni: Cni, net: Net) -> None:
        cni.network(self.bridge(cni), {"type": "loopback"})
        first, second = (cni.box.running(cni.bundle()) for _ in range(2))
        assert net.addresses("eth0", first.pid) == ["10.88.0.2/24"]
        assert net.addresses("eth0", second.pid) == ["10.88.0.3/24"]
        first.exec("/bin/busybox", "ping", "-c1", "-W2", "10.88.0.3").ok()
        call("busybox", "ping", "-c1", "-W2", "10.88.0.2")
        assert self.reserved(cni) == ["10.88.0.2", "10.88.0.3"]
        assert "10.88.0.0/24" in self.rules()
        for container in (first, second):
            container.stop()  # init's end is not the namespace's
            container.delete().ok()
        assert self.reserved(cni) == []
        assert self.rules() == ""
        assert [name for name in net.devices() if name.startswith("veth")] == []
        assert mounts_below(cni.box.runtime.root) == []

    def test_start_warns_of_a_network_that_somebody_took_down(self, cni: Cni, net: Net) -> None:
        cni.network(self.bridge(cni))
        container = cni.box.created(cni.bundle())
        net.ip("link", "delete", "cni0")
        started = container.start().ok()
        assert 'CNI plugin bridge, CHECK of network "net": ' in started.said
        container.delete("--force").ok()
        assert self.reserved(cni) == []

    def test_ports_lead_to_the_container(self, cni: Cni) -> None:
        cni.network(self.bridge(cni), {"type": "portmap", "capabilities": {"portMappings": True}})
        ports = [{"host": 8080, "container": 8000, "address": "127.0.0.1"}]
        container = cni.box.running(cni.bundle(ports=ports))
        container.exec("/bin/sh", "-c", "echo a page > /tmp/page; httpd -p 8000 -h /tmp").ok()
        assert call("busybox", "wget", "-qO-", "http://127.0.0.1:8080/page") == "a page\n"
        container.delete("--force").ok()
        assert self.rules() == ""

    def test_a_failed_create_takes_everything_back(self, cni: Cni, net: Net) -> None:
        cni.network(self.bridge(cni))
        cni.box.container(cni.bundle("/no/such/program")).create().failed("/no/such/program")
        assert self.reserved(cni) == []
        assert [name for name in net.devices() if name.startswith("veth")] == []


class TestTheSpecification:
    """What plugins are given, in which order."""

    def test_results_are_chained_and_removed_in_reverse_order(self, cni: Cni) -> None:
        first = cni.plugin("first", "answer 10.1.0.2/16")
        second = cni.plugin("second", "answer 10.2.0.2/16")
        cni.network({**first, "capabilities": {"bandwidth": True}, "own": 1}, second)
        container = cni.box.created(cni.bundle(device="net0"))
        record = json.loads((cni.box.runtime.root / container.id / "networks.json").read_text())
        assert record[0]["addresses"] == ["10.2.0.2/16"]
        container.start().ok()
        container.delete("--force").ok()
        assert cni.commands() == [
            *("ADD first", "ADD second", "CHECK first", "CHECK second", "DEL second", "DEL first"),
        ]
        results = [
            body.get("prevResult", {}).get("ips", [{}])[0].get("address", "")
            for _, _, body in cni.noted()
        ]
        assert results == ["", "10.1.0.2/16", *["10.2.0.2/16"] * 4]
        for _, variables, body in cni.noted():
            assert variables["CNI_CONTAINERID"] == container.id
            assert variables["CNI_IFNAME"] == "net0"
            assert variables["CNI_NETNS"].endswith(f"/{container.id}/cni-netns")
            assert (body["name"], body["cniVersion"]) == ("net", "1.0.0")
            assert "capabilities" not in body
        assert cni.noted()[0][2]["own"] == 1

    def test_no_check_of_old_versions_or_where_it_is_switched_off(self, cni: Cni) -> None:
        plugin = cni.plugin("one", "answer 10.1.0.2/16")
        cni.network(plugin, disableCheck=True)
        container = cni.box.running(cni.bundle())
        container.delete("--force").ok()
        assert cni.commands() == ["ADD one", "DEL one"]

    def test_a_configuration_of_one_plugin(self, cni: Cni) -> None:
        plugin = cni.plugin("one", "answer 10.1.0.2/16")
        body = {**plugin, "cniVersion": "1.0.0", "name": "net"}
        (cni.configs / "one.conf").write_text(json.dumps(body))
        cni.box.created(cni.bundle()).delete().ok()
        assert cni.commands() == ["ADD one", "DEL one"]

    def test_the_namespace_is_that_of_the_container(self, cni: Cni) -> None:
        plugin = cni.plugin("one", 'stat -Lc %i "$CNI_NETNS" >>"$LOG.ns"; answer 10.1.0.2/16')
        cni.network(plugin)
        container = cni.box.created(cni.bundle())
        inode = os.stat(f"/proc/{container.pid}/ns/net").st_ino
        container.delete().ok()
        assert Path(f"{cni.calls}.ns").read_text().split() == [str(inode)] * 2


class TestFailures:
    """What a plugin gets wrong is quoted, its DEL is called, and nothing is left."""

    def fail(self, cni: Cni, *texts: str) -> None:
        container = cni.box.container(cni.bundle())
        container.create().failed(*texts)
        assert mounts_below(cni.box.runtime.root) == []

    def test_an_error_is_quoted_and_all_are_removed(self, cni: Cni) -> None:
        first = cni.plugin("first", "answer 10.1.0.2/16")
        error = '{"cniVersion":"1.0.0","code":7,"msg":"no luck","details":"at all"}'
        second = cni.plugin("second", f"[ $CNI_COMMAND = DEL ] || {{ echo '{error}'; exit 1; }}")
        cni.network(first, second)
        text = 'CNI plugin second, ADD of network "net": no luck; at all (code 7)'
        self.fail(cni, text)
        assert cni.commands() == ["ADD first", "ADD second", "DEL second", "DEL first"]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("echo oh no >&2; exit 3", "exit status 3: oh no"),
            ("echo garbage; exit 3", "exit status 3: garbage"),
            ("kill -9 $$", "killed by signal 9"),
            ("echo garbage", "its result is no JSON object"),
            ("echo '[]'", "its result is no JSON object"),
            ("yes", "its result is longer than 1048576 bytes"),
            ("yes >&2 & answer 10.1.0.2/16; kill $!; exit 2", "exit status 2"),
            ("true", "gives no result of version 1.0.0"),
            ('echo \'{"cniVersion":"0.4.0"}\'', "gives no result of version 1.0.0"),
        ],
    )
    def test_what_odd_plugins_do_is_said(self, cni: Cni, text: str, words: str) -> None:
        cni.network(cni.plugin("odd", f"[ $CNI_COMMAND = DEL ] && exit\n{text}"))
        self.fail(cni, "CNI plugin odd", words)
        assert cni.commands() == ["ADD odd", "DEL odd"]

    def test_a_plugin_that_hangs_is_killed(self, cni: Cni) -> None:
        cni.network(cni.plugin("hangs", "[ $CNI_COMMAND = DEL ] || { sleep 99 & wait; }"))
        bundle = cni.bundle()
        bundle.save()
        done = self.call(cni, IMPATIENT, bundle, cni.box.container(bundle))
        assert "it has not finished after 1 s" in done.stderr
        assert cni.commands() == ["ADD hangs", "DEL hangs"]
        assert "sleep 99" not in call("ps", "-eo", "args")

    def test_del_that_fails_can_be_repeated(self, cni: Cni) -> None:
        odd = cni.plugin(
            "odd",
            f"[ $CNI_COMMAND = DEL ] && [ ! -e {cni.box.folder}/ok ] && exit 4\nanswer 1.1.1.1/8",
        )
        first = cni.plugin("first", "answer 10.1.0.2/16")
        cni.network(first, odd)
        container = cni.box.created(cni.bundle())
        container.delete().failed('CNI plugin odd, DEL of network "net": exit status 4')
        (cni.box.folder / "ok").touch()
        container.delete().ok()
        assert cni.commands()[2:] == ["DEL odd", "DEL first"] * 2

    def test_force_goes_on_where_del_fails(self, cni: Cni) -> None:
        cni.network(cni.plugin("odd", "[ $CNI_COMMAND = DEL ] && exit 4\nanswer 1.1.1.1/8"))
        container = cni.box.created(cni.bundle())
        text = 'CNI plugin odd, DEL of network "net": exit status 4'
        container.delete("--force").failed(text)
        assert not (cni.box.runtime.root / container.id).exists()
        assert mounts_below(cni.box.runtime.root) == []

    def test_a_caller_that_is_killed_in_between(self, cni: Cni) -> None:
        """DEL waits for the plugin of the caller that is no more."""
        slow = cni.plugin(
            "slow",
            "[ $CNI_COMMAND = ADD ] && { kill -9 $PPID; sleep 1; echo ADDED x >>$LOG.s; }\n"
            "[ $CNI_COMMAND = DEL ] && echo DEL >>$LOG.s\nanswer 10.1.0.2/16",
        )
        cni.network(slow)
        container = cni.box.container(cni.bundle())
        assert container.create().status == -signal.SIGKILL
        container.delete("--force").ok()
        assert Path(f"{cni.calls}.s").read_text().split() == ["ADDED", "x", "DEL"]
        assert mounts_below(cni.box.runtime.root) == []

    @pytest.mark.parametrize(
        ("config", "text"),
        [
            ({"name": "other"}, 'there is no CNI network "net" in '),
            ({"cniVersion": "9.9"}, 'CNI version "9.9" is not known'),
            ({"cniVersion": "1.0.0"}, "no plugin of CNI network net takes ports"),
            ({"plugins": []}, "it has no plugins"),
            ({"plugins": [{"type": "../sh"}]}, '"../sh" is not the type of a plugin'),
            ({"plugins": [{"type": "none-such"}]}, 'there is no CNI plugin "none-such" in '),
        ],
    )
    def test_a_configuration_that_cannot_be_used(
        self, cni: Cni, config: dict[str, Any], text: str
    ) -> None:
        cni.network(cni.plugin("one", "answer 10.1.0.2/16"), **config)
        (cni.configs / "broken.conf").write_text("{")
        os.mkfifo(cni.configs / "fifo.conf")
        bundle = cni.bundle(**({"ports": [{"host": 1}]} if "ports" in text else {}))
        cni.box.container(bundle).create().failed(text)
        assert cni.commands() == []

    def test_an_id_that_cni_does_not_allow(self, cni: Cni) -> None:
        """Debian's plugins refuse it at DEL as well, so that `delete` could not succeed."""
        cni.network(cni.plugin("one", "answer 10.1.0.2/16"))
        container = cni.box.container(cni.bundle())
        container.id += "+b"
        container.create().failed("CNI allows no container ID like")
        assert cni.commands() == []

    def test_more_than_the_record_can_have(self, cni: Cni) -> None:
        """What `delete` could not read again is not written."""
        text = 'printf \'{"cniVersion":"1.0.0","x":"%0900000d"}\' 0'
        cni.network(cni.plugin("one", text), more="m" * 300000)
        self.fail(cni, "networks.json would have more than 1048576 bytes")
        assert cni.commands() == ["ADD one", "DEL one"]

    def test_a_damaged_record(self, cni: Cni) -> None:
        cni.network(cni.plugin("one", "answer 10.1.0.2/16"))
        container = cni.box.created(cni.bundle())
        path = cni.box.runtime.root / container.id / "networks.json"
        record = json.loads(path.read_text())
        del record[0]["cni"]["paths"]
        path.write_text(json.dumps(record))
        container.delete("--force").ok()
        assert mounts_below(cni.box.runtime.root) == []

    def call(
        self, cni: Cni, text: str, bundle: Bundle, container: Container
    ) -> subprocess.CompletedProcess[str]:
        program = cni.box.folder / "program.py"
        program.write_text(text)
        python = Path(cni.box.runtime.path).parent / "python"
        return subprocess.run(
            [python, program, container.id, bundle.path, cni.box.runtime.root],
            env=cni.environment,
            capture_output=True,
            text=True,
            check=False,
        )


IMPATIENT = """
import sys
import ocirun
from ocirun.network import cni_plugin

cni_plugin.TIMEOUT_S = 1.0
ocirun.Container.create(sys.argv[1], sys.argv[2], root=sys.argv[3])
"""
