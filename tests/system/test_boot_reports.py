"""Reports of boots: a node's own script sends them over a real network to the real rsyslogd that a deploy has configured."""

from __future__ import annotations

import json
import os
import pathlib
import shutil

import pytest

from tests.support import sample_site
from tests.support.commands import REPOSITORY
from tests.support.netns import Lan, Machine, doit, lan, run, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

SITE = """\
site: told
network: {{subnet: 10.99.0.0/24}}
servers: {{boot1: {{ip: 10.99.0.1, ssh: root@10.99.0.1}}}}
images:
  worker:
    reference: {{path: {reference}}}
    initrd: {{base: none}}
    cmdline: "console=ttyS0"
    disk: {{devices: [/dev/vda]}}
nodes:
  wn001: {{mac: "ae:d6:90:bb:00:01", ip: 10.99.0.101}}
  wn[002-003]: {{macs: ["ae:d6:90:bb:00:02", "ae:d6:90:bb:00:03"], ip: "10.99.0.[102-103]"}}
deploy: {{tftp_root: /srv/tftp, nfs_root: /srv/nfs, syslog: rsyslog}}
"""
OWN = ("/etc/rsyslog.d", "/etc/logrotate.d", "/var/log", "/var/lib/logrotate")
# What systemd does with that unit
SYSTEMCTL = """
case "$1" in
restart) pid=$(cat /srv/rsyslogd.pid 2>/dev/null) && kill $pid && while kill -0 $pid 2>/dev/null; do sleep 0.1; done
  exec rsyslogd -f /srv/rsyslog.conf -i /srv/rsyslogd.pid ;;
is-active) kill -0 "$(cat /srv/rsyslogd.pid)" ;;
kill) kill -HUP "$(cat /srv/rsyslogd.pid)" ;;
esac"""
# The admin's own: his network's syslog goes on beside it
MAIN = """module(load="imudp")
input(type="imudp" port="514")
*.* /var/log/all
$IncludeConfig /etc/rsyslog.d/*.conf
"""
STAGES = "start 2.50\nmodules 3.00\nnetwork 3.75\naddress 6.00\nroot 8.25\nidentity 9.00\ninit 9.25\nsetup 12.00\n"


class Told:
    """A server, two nodes and a stranger on one network, and the site's commands."""

    def __init__(self, net: Lan, folder: pathlib.Path):
        self.net, self.site = net, folder / "site.yaml"
        self.server = net.machine("boot1", 1, own=OWN)
        self.server.shim("systemctl", SYSTEMCTL)
        self.server.shim("exportfs", "")
        self.server.path("/srv/rsyslog.conf").write_text(MAIN)
        reference = sample_site.reference(folder / "reference", files=3)
        self.site.write_text(SITE.format(reference=reference))

    def __call__(self, *words: str, status: int = 0) -> str:
        done = doit(self.net, self.site, *words)
        out = done.communicate(timeout=300)[0]
        assert done.returncode == status and "Traceback" not in out, out
        return out

    @property
    def log(self) -> str:
        path = self.server.path("/var/log/plugnode/told.log")
        return path.read_text(errors="replace") if path.exists() else ""

    def arguments(self) -> str:
        """What the boot file has the node's kernel told."""
        return self.server.path("/srv/tftp/plugnode/worker.cfg").read_text()

    def boots(self, node: Machine, root: pathlib.Path, release: str, degraded: str = "") -> None:
        """The node's last words, by its own script."""
        files = {
            "proc/cmdline": self.arguments(),
            "proc/uptime": "61.50 90.00\n",
            "proc/mounts": "",
        }
        files |= {"run/plugnode/release": f"{release}\n", "run/plugnode/stages": STAGES}
        files |= {"run/plugnode/degraded": degraded, "run/plugnode/interface": "eth0\n"}
        for name, text in files.items():
            sample_site.put(root / name, text.encode())
        (root / "dev").mkdir(exist_ok=True)
        etc = REPOSITORY / "overlays/worker/etc"
        given = [f"ROOT={root}", f"PARTS={etc / 'plugnode'}"]
        before = self.log
        run(*node.inside("env", *given, "sh", etc / "tell.sh"))
        until(lambda: self.log != before)

    def sends(self, machine: Machine, text: str, port: int = 20514) -> None:
        script = 'printf "%b" "$0" >/dev/udp/10.99.0.1/$1'
        run(*machine.inside("bash", "-c", script, text, port))


@pytest.fixture
def told(tmp_path):
    with lan(tmp_path / "lan") as net:
        yield Told(net, tmp_path)


LIE = "<30>plugnode-boot: ready=1.00 release=evil-0123456789ab stages=start:0.5"
TOO_LATE = LIE.removeprefix("<30>plugnode-boot: ") + ",a:0.1"  # a stage that began before the last


def test_a_node_that_boots_is_told_of_and_a_stranger_is_not(told: Told, tmp_path: pathlib.Path):
    out = told("deploy")
    assert "/etc/rsyslog.d/plugnode-told.conf" in out, out
    release = json.loads((tmp_path / "build/worker/release.json").read_text())["id"]
    assert " plugnode.report=10.99.0.1:20514 " in told.arguments()
    assert told("status", "--boots") == "no boot known of wn[001-003]\n"

    first, second = two_that_boot(told, tmp_path, release)
    lies(told, first)
    assert "evil" not in told.log.replace(TOO_LATE, "")
    assert "plugnode-boot" not in told.server.path("/var/log/all").read_text()
    shown_in_the_terminal(told, release)
    shown_on_pages(told, tmp_path, release)

    rotate = ["logrotate", "--force", "--state", "/srv/state", "/etc/logrotate.d/plugnode-told"]
    run(*told.server.inside(*rotate))
    assert told.log == "" and "! wn002" in told("status", "--boots")
    told.boots(second, tmp_path / "two", release)
    assert "wn[001-002]: " in told("status", "--boots")


def two_that_boot(told: Told, tmp_path: pathlib.Path, release: str) -> tuple[Machine, Machine]:
    """One has util-linux' logger, the other, which lacks something, only bash."""
    first, second = (told.net.machine(f"wn{n:03}", 100 + n, known=False) for n in (1, 2))
    told.boots(first, tmp_path / "one", release)
    logger = second.path("/usr/local/bin/logger")  # busybox's, which sends nothing: then bash does
    shutil.copy(shutil.which("busybox") or "", logger)
    run(*second.inside("mount", "--bind", "/usr/local/bin/logger", "/usr/bin/logger"))
    told.boots(second, tmp_path / "two", release, "no disk\nits \033[31m`card` \u202e$(x)\n")
    return first, second


def lies(told: Told, first: Machine) -> None:
    """What a stranger sends, and what a node does that is no report."""
    stranger = told.net.machine("stranger", 200, known=False)
    told.sends(stranger, LIE)
    for wrong in (
        "",
        " ready=1 release=../../x-0123456789ab stages=",
        TOO_LATE,
        "x" * 3000,
    ):
        told.sends(first, f"<30>plugnode-boot:{wrong}")
    told.sends(first, "<30>other: something", port=514)
    until(lambda: "other: something" in told.server.path("/var/log/all").read_text())
    told.sends(first, r"<30>plugnode-boot: \033[2J\r\0377 end")
    until(lambda: " end" in told.log)


def shown_in_the_terminal(told: Told, release: str) -> None:
    out = told("status", "--boots")
    heads = [text for text in out.splitlines() if not text.startswith(" ")]
    begin = f"wn001: {release} in 62 s, slowest setup (50 s), 20"
    assert len(heads) == 3 and heads[0].startswith(begin), out
    assert heads[1].startswith(f"! wn002: {release} in 62 s"), out
    assert "\n    degraded: no disk\n    degraded: its [31m`card` $(x)\n" in out
    assert heads[2] == "no boot known of wn003"
    known = json.loads(told("status", "--boots", "--json", "node=wn001"))
    assert known["wn001"]["stages"] == {
        **{"kernel": 2.5, "start": 0.5, "modules": 0.75, "network": 2.25, "address": 2.25},
        **{"root": 0.75, "identity": 0.25, "init": 2.75, "setup": 49.5},
    }


def shown_on_pages(told: Told, tmp_path: pathlib.Path, release: str) -> None:
    """The one for a wall, and the report, which shows the same."""
    page = tmp_path / "page.html"
    told("status", f"--html={page}")
    report = (tmp_path / "build/report.html").read_text()
    for text in (page.read_text(), report):
        assert '<li class="bad"><strong>boot1</strong>' not in text
        assert (
            "<strong>wn002</strong> in <strong>62 s</strong>, slowest <strong>setup</strong>"
            in text
        )
        assert "no disk; its [31m`card` $(x)" in text and "No boot known of wn003." in text
        assert f"<code>{release}</code>" in text and "did not answer: 2" in text
        assert "<strong>wn002</strong> <span>degraded: no disk; its" in text
