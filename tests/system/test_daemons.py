"""The daemons of a boot server: real ones, on a machine of namespaces, reloaded by a deploy over ssh.

What is not real is systemd: `systemctl` there is a script that does for three units what it would.
"""

from __future__ import annotations

import os
import pathlib
import socket
import struct
import subprocess

import pytest

from tests.support import sample_site
from tests.support.commands import REPOSITORY
from tests.support.netns import Lan, Machine, doit, lan, run, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

SITE = """\
site: daemons
network: {{subnet: {subnet}}}
servers: {{boot1: {{ip: {net}.1, ssh: root@10.99.0.1}}}}
images: {{worker: {{reference: {{path: {reference}}}, initrd: {{base: none}}, disk: {{devices: [/dev/vda]}}}}}}
nodes: {{wn001: {{mac: "ae:d6:90:bb:00:01", ip: {net}.{last}}}}}
deploy: {{tftp_root: /srv/tftp, nfs_root: /srv/nfs, dhcp: {dhcp}{more}}}
"""
SYSTEMCTL = """
for unit; do :; done
pid=/run/$unit.pid
case $1 in
is-active) kill -0 "$(cat "$pid")" 2>/dev/null; exit ;;
esac
echo "$*" >>/srv/calls
if [ -s "$pid" ]; then kill "$(cat "$pid")"; while kill -0 "$(cat "$pid")" 2>/dev/null; do sleep 0.1; done; fi
rm -f "$pid"
case $unit in
isc-dhcp-server) touch /run/leases; dhcpd -4 -q -cf /etc/dhcp/dhcpd.conf -pf "$pid" -lf /run/leases eth0 ;;
kea-dhcp4-server) KEA_LOCKFILE_DIR=/run KEA_PIDFILE_DIR=/run kea-dhcp4 -c /etc/kea/kea-dhcp4.conf >/srv/kea.log 2>&1 &
  echo $! >"$pid" ;;
dnsmasq) dnsmasq -C /srv/dnsmasq.conf -7 /etc/dnsmasq.d --pid-file="$pid" ;;
esac
"""
UNITS = {"isc": "isc-dhcp-server", "kea": "kea-dhcp4-server", "dnsmasq": "dnsmasq"}
PATHS = {
    "isc": "/etc/dhcp/dhcpd.conf",
    "kea": "/etc/kea/kea-dhcp4.conf",
    "dnsmasq": "/etc/dnsmasq.d/plugnode.conf",
}
ADMIN = "address=/admin.example/10.99.0.77\nno-resolv\n"  # what the server's own dnsmasq is for


class Site:
    def __init__(self, net: Lan, folder: pathlib.Path):
        self.net, self.folder, self.site = net, folder, folder / "site.yaml"
        self.reference = sample_site.reference(folder / "reference", files=5)
        own = ("/run", "/etc/dhcp", "/etc/dnsmasq.d", "/etc/kea", "/var/lib/nfs")
        self.server, self.client = net.machine("boot1", 1, own=own), net.machine("client", 9)
        self.server.shim("systemctl", SYSTEMCTL)
        run(*self.client.inside("ip", "link", "set", "eth0", "address", "ae:d6:90:bb:00:01"))

    def write(self, dhcp: str, last: int, net: str = "10.99.0") -> None:
        more = ", dhcp_conf: /etc/dnsmasq.d/plugnode.conf" if dhcp == "dnsmasq" else ""
        text = SITE.format(
            subnet=f"{net}.0/24", net=net, last=last, reference=self.reference, dhcp=dhcp, more=more
        )
        self.site.write_text(text)

    def deploy(self, status: int = 0) -> str:
        done = doit(self.net, self.site, "deploy")
        out = done.communicate(timeout=300)[0]
        assert done.returncode == status and "Traceback" not in out, (
            f"exit status {done.returncode}\n{out}"
        )
        return out

    def calls(self) -> list[str]:
        path = self.server.path("/srv/calls")
        return path.read_text().splitlines() if path.exists() else []

    def lease(self) -> str:
        """What a DHCP client with the node's card is given; "" where it is nothing."""
        argv = self.client.inside(
            "busybox",
            "udhcpc",
            "-i",
            "eth0",
            "-n",
            "-q",
            "-f",
            "-t",
            "5",
            "-T",
            "1",
            "-s",
            "/bin/true",
        )
        done = subprocess.run(argv, capture_output=True, text=True)
        return next(
            (line.split()[3] for line in done.stderr.splitlines() if "lease of" in line), ""
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("daemons")
    with lan(folder / "lan") as net:
        made = Site(net, folder)
        made.server.path("/srv/dnsmasq.conf").write_text(ADMIN)
        yield made


@pytest.fixture(params=["isc", "kea", "dnsmasq"])
def dhcp(request, site):
    """One DHCP server; the others are at rest."""
    yield request.param
    pid = site.server.path(f"/run/{UNITS[request.param]}.pid")
    run(*site.server.inside("sh", "-c", f"kill $(cat /run/{pid.name})"))
    site.server.path("/srv/calls").unlink()


def test_a_daemon_reads_its_new_file_and_is_left_alone_where_that_did_not_change(site, dhcp):
    site.write(dhcp, last=101)
    assert "Actions" in site.deploy()
    assert site.calls() == [f"restart {UNITS[dhcp]}"] and site.lease() == "10.99.0.101"
    sample_site.put(site.reference / f"etc/of-{dhcp}", b"another release\n")
    site.deploy()
    assert len(site.calls()) == 1, "a release is no business of DHCP's"
    site.write(dhcp, last=102)
    site.deploy()
    assert len(site.calls()) == 2 and site.lease() == "10.99.0.102"
    assert (
        "/srv/nfs\t10.99.0.0/24(ro,sync" in site.server.path("/var/lib/nfs/etab").read_text()
    )  # exportfs(8) read it
    broken = break_it(site, dhcp)
    before = site.server.path(PATHS[dhcp]).read_bytes()
    out = site.deploy(status=1)
    assert "is put back" in out and PATHS[dhcp] in out, out
    assert site.server.path(PATHS[dhcp]).read_bytes() == before
    mend_it(dhcp, broken)
    site.write(dhcp, last=103)
    site.deploy()
    assert site.lease() == "10.99.0.103"


def break_it(site: Site, dhcp: str) -> pathlib.Path | None:
    """A file that its checker passes and with which the daemon does not run."""
    if dhcp == "isc":  # which looks at its interfaces only when it starts
        site.write(dhcp, last=104, net="10.98.0")
        return None
    site.write(dhcp, last=104)
    if dhcp == "dnsmasq":  # which looks at what else it reads only then
        path = site.server.path("/srv/dnsmasq.conf")
        path.write_text(ADMIN + "tftp-max=10\n")
        return path
    path = site.folder / "templates/kea-dhcp4.json"  # a lease file that cannot be
    path.parent.mkdir()
    text = (REPOSITORY / "templates/kea-dhcp4.json").read_text()
    path.write_text(
        text.replace('"persist": false', '"persist": true, "name": "/proc/none/leases"')
    )
    return path


def mend_it(dhcp: str, broken: pathlib.Path | None) -> None:
    if dhcp == "dnsmasq":
        broken.write_text(ADMIN)
    elif broken:
        broken.unlink()


def test_an_admins_own_dns_goes_on_beside_the_drop_in(site):
    site.write("dnsmasq", last=105)
    run(*site.server.inside("systemctl", "restart", "dnsmasq"))
    assert name(site.server) == "10.99.0.77"
    site.deploy()
    assert site.calls()[-1] == "restart dnsmasq"
    assert name(site.server) == "10.99.0.77" and site.lease() == "10.99.0.105"
    run(*site.server.inside("sh", "-c", "kill $(cat /run/dnsmasq.pid)"))


def name(server: Machine) -> str:
    """The address that the server's DNS gives for admin.example."""
    question = (
        struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + b"\5admin\7example\0" + struct.pack(">2H", 1, 1)
    )
    ask = f"import socket; s = socket.socket(2, 2); s.settimeout(5); s.sendto({question!r}, ('10.99.0.1', 53)); "
    ask += "print(s.recv(512)[-4:].hex())"
    return socket.inet_ntoa(
        bytes.fromhex(run(*server.inside("/usr/bin/python3", "-c", ask)).strip())
    )


def test_a_file_that_somebody_else_wrote_is_kept_beside(site):
    path = site.server.path(PATHS["isc"])
    path.write_text("# the admin's own\nsubnet 10.99.0.0 netmask 255.255.255.0 {}\n")
    path.chmod(0o640)  # it may hold keys
    os.chown(path, 0, 7)
    mine = path.read_text()
    kept = path.with_name("dhcpd.conf.before-plugnode")
    kept.unlink(missing_ok=True)
    site.write("isc", last=106)
    out = site.deploy()
    assert (
        "! /etc/dhcp/dhcpd.conf is not Plugnode's: it is replaced, and kept as dhcpd.conf.before-plugnode"
        in out
    ), out
    assert kept.read_text() == mine and "wn001" in path.read_text()
    rights = [(file.stat().st_mode & 0o777, file.stat().st_gid) for file in (kept, path)]
    assert rights == [(0o640, 7)] * 2
    until(lambda: site.lease() == "10.99.0.106")
