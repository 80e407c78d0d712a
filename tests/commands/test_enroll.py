"""Nodes enrolled over ssh. The nodes are namespaces with a real sshd each, and age's own keys."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from tests.support.commands import REPOSITORY
from tests.support.netns import Lan, Machine, doit, lan

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

SITE = """\
site: crowd
network: {subnet: 10.99.0.0/24}
servers: {boot1: {ip: 10.99.0.200}}
images: {worker: {reference: {path: .}}}
nodes:
  wn001: {mac: "ae:d6:90:bb:00:01", ip: 10.99.0.1}
  wn002: {mac: "ae:d6:90:bb:00:02", ip: 10.99.0.2}
  wn003: {mac: "ae:d6:90:bb:00:03", ip: 10.99.0.3}
secrets_store: store
secrets: {munge: {to: /etc/munge/munge.key, from: {file: munge.key}}}
"""


def new_key(node: Machine) -> str:
    """As the first boot of a new disk leaves it."""
    made = subprocess.run(["age-keygen"], check=True, capture_output=True)
    public = subprocess.run(
        ["age-keygen", "-y"], input=made.stdout, check=True, capture_output=True
    ).stdout
    node.path("/run/plugnode").mkdir(exist_ok=True)
    node.path("/run/plugnode/age.pub").write_bytes(public)
    return public.decode().strip()


def shown(key: str) -> str:
    """As the console of its node has it: `sha256sum | cut -c 1-32`."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


class Crowd:
    def __init__(self, net: Lan, folder: Path):
        self.net, self.folder, self.site = net, folder, folder / "site.yaml"
        self.nodes = [net.machine(f"wn00{n}", n, known=False, own=("/run",)) for n in (1, 2, 3)]
        self.site.write_text(SITE)

    def __call__(self, *words: str, status: int = 0) -> str:
        done = doit(self.net, self.site, "enroll", *words)
        out = done.communicate(timeout=120)[0]
        assert done.returncode == status and "Traceback" not in out, out
        return out

    @property
    def recipients(self) -> str:
        return (self.folder / "store/recipients").read_text()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("enroll")
    with lan(folder / "lan") as net:
        yield Crowd(net, folder)


def test_a_key_is_shown_confirmed_and_kept_and_another_one_refused(crowd: Crowd):
    first, second = map(new_key, crowd.nodes[:2])
    crowd.nodes[2].path("/run/plugnode").mkdir()
    crowd.nodes[2].path("/run/plugnode/degraded").write_text(
        "secrets: without /etc/munge/munge.key: neither a disk nor a TPM keeps a key of its own\n"
    )
    out = crowd("node=wn[001-002]", status=1)
    assert f"wn001: {shown(first)}\nwn002: {shown(second)}\n" in out
    assert "nobody to confirm these fingerprints: nothing is kept; --yes takes them so" in out
    assert not (crowd.folder / "store/recipients").exists()

    out = crowd("--yes", status=1)
    assert "enrolled wn[001-002]; ./doit deploy encrypts for them\n" in out
    assert "wn003: it has no key: without /etc/munge/munge.key: neither a disk nor a TPM" in out
    assert crowd.recipients == f"wn001 {first}\nwn002 {second}\n"

    changed = new_key(crowd.nodes[0])
    crowd.nodes[2].path("/run/plugnode/age.pub").write_text(f"{second}\n")
    out = crowd("--yes", status=1)
    assert f"wn001: it shows {shown(changed)}, and was enrolled with {shown(first)}:" in out
    assert "wn003: wn002 has the same key: is its disk a copy?" in out
    assert "wn002: enrolled already\n" in out
    assert crowd.recipients == f"wn001 {first}\nwn002 {second}\n"
    out = crowd("--yes", "--changed", "node=wn001")
    assert f"wn001: {shown(changed)}, in place of {shown(first)}\n" in out
    assert crowd.recipients == f"wn001 {changed}\nwn002 {second}\n"

    assert "--forget: name the nodes" in crowd("--forget", status=3)
    assert "wn001: not enrolled any more" in crowd("--forget", "node=wn001")
    assert crowd.recipients == f"wn002 {second}\n"


def test_a_node_that_is_renamed_and_keeps_its_key_is_enrolled_by_its_new_name(crowd: Crowd):
    """As its TPM keeps it. The site has nobody of the old name, who could have a copy of it."""
    key = new_key(crowd.nodes[1])
    crowd("--yes", "--changed", "node=wn002")
    text = crowd.site.read_text()
    crowd.site.write_text(text.replace("wn002", "gpu2"))
    out = crowd("--yes", "node=gpu2")
    crowd.site.write_text(text)
    assert "enrolled gpu2; " in out
    assert f"gpu2 {key}\n" in crowd.recipients and "wn002" not in crowd.recipients


def test_what_a_node_says_that_is_no_key_is_not_taken(crowd: Crowd):
    crowd.nodes[0].path("/run/plugnode/age.pub").write_text("age1\x1b[2J; rm -rf /\n")
    assert "wn001: what it says is no public key" in crowd("--yes", "node=wn001", status=1)


@pytest.mark.parametrize(("answer", "kept"), [("n", False), ("y", True)])
def test_at_a_terminal_the_admin_is_asked(crowd: Crowd, answer: str, kept: bool):
    key = new_key(crowd.nodes[0])
    words = ["-m", "doit", "enroll", "node=wn001", f"site={crowd.site}"]
    argv = crowd.net.inside(sys.executable, *words, f"build={crowd.folder}/build")
    environ = crowd.net.environment()
    with pexpect.spawn(
        argv[0], argv[1:], cwd=REPOSITORY, env=environ, timeout=60, encoding="utf-8"
    ) as terminal:
        terminal.expect(shown(key))
        terminal.expect(r"\[y/N\]")
        terminal.sendline(answer)
        terminal.expect(pexpect.EOF)
    assert (key in crowd.recipients) is kept
