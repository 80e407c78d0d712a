"""What servers and nodes get of this machine by ssh: nothing, whatever its configuration of ssh would give them."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

from tests.support import sample_site
from tests.support.netns import Lan, Machine, doit, lan, run, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

SITE = """\
site: generous
network: {{subnet: 10.99.0.0/24}}
servers: {{boot1: {{ip: 10.99.0.1, ssh: root@10.99.0.1}}}}
images:
  worker:
    reference: {{path: {reference}}}
    initrd: {{base: none}}
nodes: {{wn001: {{mac: 'ae:d6:90:bb:00:01', ip: 10.99.0.101}}}}
deploy: {{tftp_root: /srv/tftp, nfs_root: /srv/nfs}}
"""
# A forward that was tried would end ssh: the folder of its socket is not there.
GENEROUS = """\
Host *
  ForwardAgent yes
  ForwardX11 yes
  ForwardX11Trusted yes
  GSSAPIDelegateCredentials yes
  LocalForward {folder}/none/local.sock localhost:22
  RemoteForward {folder}/none/remote.sock localhost:22
  DynamicForward 127.0.0.1:1080
  ExitOnForwardFailure yes
  Tunnel yes
  PermitLocalCommand yes
  LocalCommand touch {folder}/local-command
  RemoteCommand touch {folder}/remote-command
  RequestTTY force
"""
SSHD = "LogLevel DEBUG1\nX11Forwarding yes\nPermitTunnel yes\nAllowTcpForwarding yes\nAllowAgentForwarding yes\n"
RECORDING = 'env >>/srv/environment; exec /usr/bin/{name} "$@"'
ASKED_FOR = (
    "auth-agent-req",
    "x11-req",
    "tcpip-forward",
    "streamlocal-forward",
    "pty-req",
    "tun@openssh",
)


class Generous:
    """A server and a node; an admin whose ssh forwards all that it can, with an agent that holds a key."""

    def __init__(self, net: Lan, folder: pathlib.Path):
        self.net, self.folder, self.site = net, folder, folder / "site.yaml"
        self.server = net.machine("boot1", 1, more=SSHD)
        self.node = net.machine("wn001", 101, more=SSHD)
        for name in ("python3", "rsync"):
            self.server.shim(name, RECORDING.format(name=name))
        config = net.folder / "ssh_config"
        config.write_text(GENEROUS.format(folder=folder) + config.read_text())
        self.site.write_text(SITE.format(reference=sample_site.reference(folder / "reference")))

    def __call__(
        self, *words: str, status: int = 0, rsh: str = "", at: Lan | Machine | None = None
    ) -> str:
        environment = self.net.environment(SSH_AUTH_SOCK=str(self.folder / "agent"), DISPLAY=":7")
        environment["RSYNC_RSH"] += rsh
        done = doit(self.net, self.site, *words, at=at, env=environment)
        out = done.communicate(timeout=300)[0]
        assert done.returncode == status, out
        return out

    def gave(self) -> list[str]:
        """What was asked for or came through."""
        log = self.server.said() + self.node.said()
        found = [word for word in ASKED_FOR if word in log]
        record = self.server.path("/srv/environment")
        said = record.read_text() if record.exists() else ""
        found += [
            word for word in ("SSH_AUTH_SOCK=", "DISPLAY=", "SSH_TTY=") if f"\n{word}" in said
        ]
        return [
            *found,
            *(
                name
                for name in ("local-command", "remote-command")
                if (self.folder / name).exists()
            ),
        ]


@pytest.fixture
def generous(tmp_path: pathlib.Path):
    with lan(tmp_path / "lan") as net:
        agent = subprocess.Popen(
            ["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL
        )
        try:
            until((tmp_path / "agent").exists)
            run(
                "ssh-add",
                "-q",
                net.folder / "user",
                env={**os.environ, "SSH_AUTH_SOCK": str(tmp_path / "agent")},
            )
            yield Generous(net, tmp_path)
        finally:
            agent.kill()
            agent.wait()


def test_neither_servers_nor_nodes_are_given_anything_of_this_machine(generous: Generous):
    assert "worker: worker-" in generous("deploy", "destdir=/srv/dest")
    assert "no /run/plugnode" in generous("push", "destdir=/srv/dest", status=1)
    assert generous.server.path("/srv/environment").read_text().count("SSH_CONNECTION=") >= 2, (
        "python and rsync"
    )
    assert generous.gave() == []


def test_not_even_where_the_variable_that_names_ssh_says_so(generous: Generous):
    generous(
        "deploy", "destdir=/srv/dest", rsh=" -A -X -K -oForwardAgent=yes -oPermitLocalCommand=yes"
    )
    generous("push", "destdir=/srv/dest", status=1, rsh=" -A -Y -t")
    assert generous.gave() == []


def test_a_node_that_is_a_reference_is_given_nothing_either(generous: Generous):
    text = generous.site.read_text()
    where = f"{{rsync: 'root@10.99.0.1:{generous.folder}/reference'}}"
    generous.site.write_text(text.replace(f"{{path: {generous.folder}/reference}}", where))
    generous("pull")
    assert "SSH_CONNECTION=" in generous.server.path("/srv/environment").read_text()
    assert generous.gave() == []
