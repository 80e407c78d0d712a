"""`deploy: {bandwidth: …}`: what boot servers are sent, all together, on a link that others use, too."""

from __future__ import annotations

import os
import pathlib
import time
from collections.abc import Iterator

import pytest

from tests.support import sample_site
from tests.support.netns import Lan, doit, lan, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

SITE = """\
site: fleet
network: {{subnet: 10.99.0.0/24}}
servers: {{boot1: {{ip: 10.99.0.1, ssh: root@10.99.0.1}}, boot2: {{ip: 10.99.0.2, ssh: root@10.99.0.2}}}}
images:
  worker: {{reference: {{path: {reference}}}, initrd: {{base: none}}, disk: {{devices: [/dev/vda]}}}}
nodes: {{wn001: {{mac: 'ae:d6:90:bb:00:01', ip: 10.99.0.101}}}}
deploy: {{tftp_root: /srv/tftp, nfs_root: /srv/nfs, bandwidth: {mbit}Mbit}}
"""
LINK = "tbf rate 100mbit burst 64k limit 512k"
MBIT = 40  # of these 100 are ours


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> Iterator[Lan]:
    """Two servers behind one link."""
    with lan(tmp_path_factory.mktemp("bandwidth") / "lan") as net:
        for number in (1, 2):
            net.machine(f"boot{number}", number)
        run(*net.inside("tc", "qdisc", "add", "dev", "br0", "root", *LINK.split()))
        yield net


def write_site(folder: pathlib.Path) -> pathlib.Path:
    reference = sample_site.reference(folder / "reference", files=5)
    sample_site.put(reference / "usr/share/large", os.urandom(4_000_000))
    site = folder / "site.yaml"
    site.write_text(SITE.format(reference=reference, mbit=MBIT))
    return site


def sent(net: Lan) -> int:
    """Bytes that this machine has sent to the link."""
    lines = pathlib.Path(f"/proc/{net.pid}/net/dev").read_text().splitlines()
    (fields,) = [line.split(":")[1].split() for line in lines if "br0:" in line]
    return int(fields[8])


def test_all_servers_together_are_sent_what_the_bandwidth_says_and_others_have_the_rest(
    net, tmp_path
):
    site = write_site(tmp_path)
    assert doit(net, site).wait(timeout=60) == 0  # built beforehand
    rsh = net.environment()["RSYNC_RSH"].split()
    deploying = doit(net, site, "deploy", "destdir=/srv/dest")
    seen = [(time.monotonic(), sent(net))]
    while deploying.poll() is None:
        assert run(*net.inside(*rsh, "root@10.99.0.1", "echo", "in")) == "in\n"
        time.sleep(0.5)
        seen.append((time.monotonic(), sent(net)))
    assert "boot[1-2]: deployed" in deploying.stdout.read()
    first, *_, last = seen
    assert last[1] - first[1] > 8_000_000, "both have all of it"
    rates = [8e-6 * (after[1] - now[1]) / (after[0] - now[0]) for now, after in zip(seen, seen[1:])]
    assert max(rates) < MBIT * 1.1, rates
