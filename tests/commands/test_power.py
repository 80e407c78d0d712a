"""Nodes by their BMCs: real emulators of Redfish and IPMI, with what real BMCs do wrong."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shlex
import signal
import time
from collections.abc import Iterator

import pexpect
import pytest

from tests.support import bmcs
from tests.support.bmcs import IpmiSim, Redfish, stopped
from tests.support.netns import Lan, doit, doit_words, lan, run, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

SITE = """\
site: power
networks: {{nodes: {{subnet: 10.99.0.0/24}}, bmc: {{subnet: 10.99.1.0/24}}}}
servers: {{boot1: {{ip: 10.99.0.200}}}}
images: {{worker: {{reference: {{path: /}}}}}}
management: {{protocol: redfish, user: admin, password: {{file: {folder}/password}}, ca: {folder}/redfish/cert.pem}}
groups:
  old: {{management: {{protocol: ipmi, cipher: 3, password: {{command: "echo 'calvin&hobbes' # $NODE"}}}}}}
  wrong: {{management: {{password: {{env: WRONG}}}}}}
  any: {{management: {{verify: false}}}}
  none: {{management: {{protocol: ipmi}}}}
nodes:
{nodes}"""
NODE = "  wn00{n}: {{mac: 'ae:d6:90:bb:00:0{n}', ip: 10.99.0.{n}, groups: [{groups}], interfaces: {{bmc: {{ip: 10.99.1.{n}}}}}}}\n"
GROUPS = {5: "old", 6: "old", 7: "old, wrong", 8: "wrong"}


class Rack:
    """Nodes 1 to 4 and 8 by Redfish, 5 to 7 by IPMI."""

    def __init__(self, net: Lan, folder: pathlib.Path):
        self.net, self.folder, self.site = net, folder, folder / "site.yaml"
        run(*net.inside("ip", "addr", "add", "10.99.1.254/24", "dev", "lo"))
        nodes = [NODE.format(n=n, groups=GROUPS.get(n, "")) for n in range(1, 10)]
        self.site.write_text(SITE.format(folder=folder, nodes="".join(nodes)))
        (folder / "password").write_text(f"{bmcs.PASSWORD}\n")
        (folder / "password").chmod(0o600)
        self.redfish = Redfish(net, folder / "redfish", [f"10.99.1.{n}" for n in range(1, 9)])
        self.line = bmcs.SerialLine(net, folder / "line")
        self.sims = {}
        for n, sol in ((5, self.line.sol), (6, ""), (7, "")):
            self.sims[n] = IpmiSim(net, folder / f"ipmi{n}", f"10.99.1.{n}", sol=sol)

    def start(self, *words: str, **options):
        path = f"{self.folder}:{os.environ['PATH']}"
        environment = self.net.environment(WRONG="hunter2", PATH=path)
        return doit(self.net, self.site, *words, env=environment, **options)

    def __call__(self, *words: str, status: int = 0) -> str:
        done = self.start(*words)
        out = done.communicate(timeout=120)[0]
        assert done.returncode == status, f"exit status {done.returncode}\n{out}"
        assert "Traceback" not in out and "calvin" not in out and "hunter2" not in out, out
        return out


@pytest.fixture(scope="module")
def rack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rack")
    with lan(folder / "lan") as net:
        made = Rack(net, folder)
        with stopped(made.redfish, made.line, *made.sims.values()):
            yield made


def test_nodes_are_switched_by_either_protocol_and_those_of_the_same_fate_are_one_line(rack: Rack):
    nodes = "node=wn[001-002,005-006]"
    assert rack("power", "status", nodes) == "wn[001-002,005-006]: off\n"
    assert rack("power", "on", nodes) == "wn[001-002,005-006]: on\n"
    assert rack("power", "on", nodes) == "wn[001-002,005-006]: on, as it was\n"
    assert rack("power", "cycle", "node=wn[002-003,005]") == (
        "wn[002,005]: on, after off\nwn003: on; it was off\n"
    )
    assert rack.sims[5].told() == ["1", "0", "1"]
    assert rack("power", "pxe", "node=wn[001,005]") == "wn[001,005]: boots from the network next\n"
    assert (rack.sims[5].folder / "boot").read_text() == "pxe\n"
    assert rack("power", "off", "node=wn[001-003]") == "wn[001-003]: off\n"
    out = rack("power", "status", "--json", "node=wn[001,005,009]", status=1)
    found = json.loads(out.partition("ERROR")[0])
    assert found[:2] == [{"node": "wn001", "power": "off"}, {"node": "wn005", "power": "on"}]
    assert (
        found[2]["node"] == "wn009" and "not valid for '10.99.1.9'; see ca:" in found[2]["failed"]
    )


IPMITOOL = """\
#!/bin/sh
# The real one, its words noted; where there is `old` it asks for what the BMC does not have
words=$*
echo "$words" >>"{folder}/words"
[ ! -e "{folder}/old" ] || words=$(echo "$words" | sed 's/0x03 0x08$/0x60 0x08/')
exec /usr/bin/ipmitool $words
"""


@pytest.mark.parametrize("kind", ["new", "old"])
def test_by_ipmi_the_next_boot_is_told_for_longer_than_a_minute(rack: Rack, kind: str):
    """Where a BMC can; what a whole rack is told together is switched on one by one."""
    ipmitool = rack.folder / "ipmitool"
    ipmitool.write_text(IPMITOOL.format(folder=rack.folder))
    ipmitool.chmod(0o755)
    (rack.folder / kind).touch()
    assert rack("power", "pxe", "node=wn005") == "wn005: boots from the network next\n"
    assert rack("power", "pxe", "node=wn007", status=1).startswith("wn007: the password is wrong\n")
    ipmitool.unlink()
    told = (rack.folder / "words").read_text()
    (rack.folder / "words").unlink()
    (rack.folder / kind).unlink()
    first = "raw 0x00 0x08 0x03 0x08"
    found = re.findall(r"10\.99\.1\.(\d) .* (raw .*|pxe|get 5)", told)
    assert found == [("5", first), ("5", "pxe"), ("5", "get 5"), ("7", first)]


def test_by_redfish_a_node_boots_from_the_network_by_uefi_if_it_did(rack: Rack):
    """Some BMCs fall back to BIOS when they are told what to boot."""
    rack.redfish.faults(_2="bios")
    assert rack("power", "pxe", "node=wn002") == "wn002: boots from the network next\n"
    user = f"{bmcs.USER}:{bmcs.PASSWORD}"
    system = "https://10.99.1.2/redfish/v1/Systems/aaaaaaaa-0000-0000-0000-000000000001"
    said = json.loads(run(*rack.net.inside("curl", "-sku", user, system)))["Boot"]
    assert (said["BootSourceOverrideMode"], said["BootSourceOverrideTarget"]) == ("UEFI", "Pxe")
    rack.redfish.faults()


def test_what_bmcs_do_wrong_is_said_of_each_and_hinders_no_other(rack: Rack):
    rack("power", "off", "node=wn[001,006]")
    rack.sims[6].lies(True)
    rack.redfish.faults(_1="lies", _2="busy", _3="garbage", _4="broken", _8="slow")
    out = rack("power", "on", "node=wn[001-004,006-008]", "--within=5s", status=1)
    assert "wn002: on" in out, out
    for line in (
        "wn[001,006]: was told on and took it, but 5 seconds later: off",
        "wn003: what it says is no Redfish",
        "wn004: Redfish error 500",
        "wn007: the password is wrong",
        "wn008: it takes no such user or password (401)",
        "ERROR: 6 of 7 nodes failed",
    ):
        assert f"{line}\n" in out, out
    rack.redfish.faults(_4="lies", _2="several", _3="list")
    out = rack("power", "pxe", "node=wn[002-004,006]", "--within=2s", status=1)
    told = "was told to boot from the network and took it, but 2 seconds later:"
    assert f"wn004: {told} Hdd\n" in out and f"wn006: {told} Force Boot" in out, out
    assert "wn002: which of its systems is the node? aaaaaaaa-0000-0000-0000-0000000000" in out, out
    rack.redfish.faults()
    rack.sims[6].lies(False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_node_whose_cycle_is_cut_by_a_signal_is_switched_on_again(rack: Rack, number):
    """A terminal that goes away, a job that CI ends: nobody would look after a node that is off."""
    rack("power", "on", "node=wn[005-006]")
    at_work = rack.start("power", "cycle", "node=wn[005-006]", "--at-once=1")
    until(lambda: "0" in (rack.sims[5].told()[-1], rack.sims[6].told()[-1]))
    os.killpg(at_work.pid, number)
    if number == signal.SIGHUP:  # the kernel sends it, and the shell besides
        os.killpg(at_work.pid, number)
    out = at_work.communicate(timeout=60)[0]
    assert at_work.returncode == 130 and "Traceback" not in out, out
    assert rack.sims[5].told()[-1] == "1" and rack.sims[6].told()[-1] == "1", out
    far = "(?:told off|switched off, not on again)"  # as the BMC was quick to say so or not
    said = rf"wn00(\d): {far} already, and brought to its end; Ctrl-C once more ends at once"
    found = re.search(said, out)
    assert found and f"wn00{found[1]}: on, after off\n" in out, out
    other = {"5": "6", "6": "5"}[found[1]]
    assert f"wn00{other}: interrupted; nothing was done\n" in out, out


def test_a_password_is_in_no_argument_and_ctrl_c_twice_says_how_far_each_node_was(rack: Rack):
    rack("power", "on", "node=wn[001,005]")
    rack.redfish.faults(_1="slow")
    words: set[bytes] = set()
    at_work = rack.start("power", "cycle", "node=wn[001-002,005,007]", "--at-once=3")

    def is_off() -> bool:
        words.update(file.read_bytes() for file in processes())
        return rack.sims[5].told()[-1] == "0"

    until(is_off)
    os.killpg(at_work.pid, signal.SIGINT)
    time.sleep(1)
    os.killpg(at_work.pid, signal.SIGINT)
    out = at_work.communicate(timeout=30)[0]
    assert at_work.returncode == 130 and "Traceback" not in out, out
    assert re.search(
        r"wn\S*5\S*: interrupted; it was (told off|switched off, not on again)", out
    ), out
    assert re.search("wn.*007.*: (interrupted; nothing was done|the password is wrong)", out), out
    assert any(b"ipmitool" in line for line in words)
    assert not any(b"hobbes" in line for line in words if b"echo" not in line)
    rack.redfish.faults()


def processes() -> Iterator[pathlib.Path]:
    for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            file.read_bytes()
            yield file


def test_bad_input_is_said_before_any_bmc_is_asked_and_a_build_at_work_is_no_hindrance(rack: Rack):
    before = rack.redfish.asked()
    for words, said in (
        (["power", "off"], "power off: of which nodes? node=wn[003-007],@gpu, say; node=@* is all"),
        (["power", "reset", "node=wn001"], "power reset: write one of on, off, cycle, status, pxe"),
        (["power", "status", "node=wn777"], "node=wn777: no such node"),
        (["power", "status", "--within=5", "node=wn001"], "--within=5: not a time"),
        (["console"], "console: of one node; node=wn001, say"),
    ):
        assert f"{rack.site}:1:1: {said}" in rack(*words, status=3)
    secret = rack.folder / "password"
    secret.chmod(0o644)
    assert f"password: {secret}: others may read it" in rack("power", "status", status=3)
    secret.chmod(0o600)
    whole = rack.site.read_text()
    rack.site.write_text(whole.replace("cert.pem", "htpasswd"))
    assert "no certificate in PEM is in it" in rack("power", "status", status=3)
    rack.site.write_text(whole)
    assert rack.redfish.asked() == before
    with open(rack.folder / "build/.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert rack("power", "status", "node=wn005").startswith("wn005: ")


def test_a_console_is_on_the_terminal_until_ctrl_and_bracket(rack: Rack):
    """Behind the BMC is a line on which somebody says in capitals what is typed."""
    words = doit_words(rack.site, "console", "node=wn005")
    program, *arguments = rack.net.inside(*words)
    terminal = pexpect.spawn(program, arguments, timeout=60, env=rack.net.environment())
    terminal.expect_exact("console of wn005; Ctrl-] ends it")
    terminal.send("uname")
    terminal.expect_exact("UNAME")
    terminal.send("\x1d")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert "a console needs a terminal" in rack("console", "node=wn005", status=1)
    rack.redfish.faults(_1="ssh")
    program, *arguments = rack.net.inside(*doit_words(rack.site, "console", "node=wn001"))
    out = pexpect.run(shlex.join([program, *arguments]), env=rack.net.environment(), timeout=60)
    way = b"its BMC has it by ssh alone: ssh -p 2200 admin@10.99.1.1, then start /system1/sol1"
    assert way in out.replace(b"\r\n", b" "), out
    rack.redfish.faults()
