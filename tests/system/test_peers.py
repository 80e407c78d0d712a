"""Root files from server to server: real sshds and nginx, on a network of namespaces.

What is not real is systemd: `systemctl` there is a script that does for nginx what it would.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import subprocess
import time

import pytest

from tests.support import sample_site
from tests.support.initrd_images import kernel_files
from tests.support.netns import Lan, Machine, doit, lan, run, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

SITE = """\
site: fleet
network: {{subnet: 10.99.0.0/24}}
servers:
  boot1: {{ip: 10.99.0.1, ssh: root@10.99.0.1}}
  boot2: {{ip: 10.99.0.2, ssh: root@10.99.0.2}}
  boot3: {{ip: 10.99.0.3, ssh: root@10.99.0.3}}
images:
  worker:
    root: ram
    reference: {{path: {reference}}}
    initrd: {{base: none}}
    disk: {{devices: [/dev/vda]}}
nodes: {{wn001: {{mac: 'ae:d6:90:bb:00:01', ip: 10.99.0.101}}}}
deploy: {{tftp_root: /srv/tftp, nfs_root: /srv/nfs, http_root: /srv/http, http: nginx{more}}}
"""
OF_FILE = {"drivers/block/loop.ko": "", "fs/overlayfs/overlay.ko": "", "fs/erofs/erofs.ko": ""}
SIZE = 6 << 20  # of what nothing shortens: it travels in the tree, too
NGINX = """\
user root; pid /run/nginx.pid; error_log stderr; events {}
http { access_log /run/access.log; client_body_temp_path /run/t1; proxy_temp_path /run/t2;
fastcgi_temp_path /run/t3; uwsgi_temp_path /run/t4; scgi_temp_path /run/t5;
include /run/more.conf; include /etc/nginx/conf.d/*.conf; }
"""
SYSTEMCTL = """
case $1 in is-active) kill -0 "$(cat /run/nginx.pid)"; exit ;; esac
if kill -0 "$(cat /run/nginx.pid 2>/dev/null)" 2>/dev/null; then act='-s reload'; fi
nginx -c /run/nginx.conf -e stderr $act </dev/null >/run/nginx.log 2>&1
"""
SILENT = """
import socket
with socket.create_server(("10.99.0.1", 80)) as listening:
    talks = []
    while True:
        talks.append(listening.accept()[0])
        talks[-1].sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\nsome of it")
"""


class Fleet:
    def __init__(self, net: Lan, folder: pathlib.Path):
        self.net, self.folder, self.site = net, folder, folder / "site.yaml"
        own = ("/run", "/etc/nginx/conf.d", "/var/lib/nfs")
        self.servers = [net.machine(f"boot{number}", number, own=own) for number in (1, 2, 3)]
        for server in self.servers:
            server.shim("systemctl", SYSTEMCTL)
            server.shim("exportfs", "")
            server.path("/run/nginx.conf").write_text(NGINX)
            server.path("/run/more.conf").touch()
        self.reference = sample_site.reference(folder / "reference", files=5)
        modules = kernel_files(sample_site.VERSION, sample_site.MODULES | OF_FILE)
        sample_site.fill(self.reference, modules)
        self.write()

    def write(self, more: str = "") -> None:
        self.site.write_text(SITE.format(reference=self.reference, more=more))

    def start(self, *words: str) -> subprocess.Popen:
        return doit(self.net, self.site, *words)

    def __call__(self, *words: str, status: int = 0) -> str:
        return self.end(self.start(*words), status)

    def end(self, done: subprocess.Popen, status: int = 0) -> str:
        out = done.communicate(timeout=300)[0]
        assert done.returncode == status and "Traceback" not in out, out
        return out

    def change(self) -> None:
        """All of the next root file is new: built, not deployed."""
        noise = random.Random(os.urandom(8)).randbytes(SIZE)
        (self.reference / "usr/share/noise").write_bytes(noise)
        self()

    @property
    def release(self) -> str:
        return json.loads((self.folder / "build/worker/release.json").read_text())["id"]

    @property
    def code_size(self) -> int:
        """Bytes of code that each server is sent with each command."""
        return (self.folder / "build/.core.zip").stat().st_size

    def place(self, server: Machine) -> pathlib.Path:
        return server.path(f"/srv/http/{self.release}/root.erofs")

    def has_it(self, server: Machine) -> bool:
        """Is the release's root file there, and nothing that came by the way?"""
        built = (self.folder / "build/worker/root.erofs").read_bytes()
        assert not server.path("/srv/http/.plugnode.new").exists()
        return self.place(server).read_bytes() == built

    def sent(self) -> int:
        """Bytes that the machine that deploys has sent."""
        lines = pathlib.Path(f"/proc/{self.net.pid}/net/dev").read_text().splitlines()
        (fields,) = [line.split(":")[1].split() for line in lines if "br0:" in line]
        return int(fields[8])


@pytest.fixture(scope="module")
def three_servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet")
    with lan(folder / "lan") as net:
        yield Fleet(net, folder)


@pytest.fixture
def fleet(three_servers: Fleet):
    """A new release, which no server has; all serve what they have, at once."""
    yield three_servers
    three_servers.write()
    for server in three_servers.servers:
        server.path("/run/more.conf").write_text("")
        run(*server.inside("systemctl", "reload", "nginx"))


def came_from(out: str) -> dict[str, str]:
    """What each server said of its root file's way: source, and why from no other one."""
    found = {}
    for line in out.splitlines():
        head, is_it, source = line.partition("root.erofs came from ")
        if is_it:
            found[head.split(":")[0].strip()] = source
    return found


HERE = "the machine that deploys"


def test_one_server_is_sent_the_file_and_the_others_fetch_it_there_from_the_first_deploy_on(fleet):
    for _ in range(2):  # the first time nginx has been told nothing yet
        fleet.change()
        before = fleet.sent()
        out = fleet("deploy")
        sources = sorted(came_from(out).values())
        assert len(sources) == 3 and sources[2] == HERE, out
        assert set(sources[:2]) <= {server.address for server in fleet.servers}, out
        assert all(map(fleet.has_it, fleet.servers))
    sent = fleet.sent() - before - 3 * fleet.code_size
    assert 4 * SIZE < sent < 4.5 * SIZE, "what is new of three trees, and one file"
    assert fleet("deploy").strip().endswith("no changes")


def test_a_server_that_is_not_asked_gives_it_too_and_one_that_has_it_fetches_nothing(fleet):
    fleet.change()
    assert came_from(fleet("deploy", "server=boot1"))["boot1"].startswith(HERE)
    out = fleet("deploy", "server=boot[2-3]")
    assert came_from(out).keys() == {"boot2", "boot3"} and HERE not in out, out
    run(*fleet.servers[2].inside("sh", "-c", f"rm -r /srv/tftp/{fleet.release}"))
    assert came_from(fleet("deploy")) == {}, "the kernel alone was gone"
    assert all(map(fleet.has_it, fleet.servers))


def test_a_damaged_file_is_taken_from_nobody(fleet):
    fleet.change()
    fleet("deploy", "server=boot1")
    first = fleet.place(fleet.servers[0])
    right = first.read_bytes()
    first.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    out = fleet("deploy", "server=boot2")
    why = "not from 10.99.0.1: its sha256 is not the release's"
    assert came_from(out)["boot2"].startswith(f"{HERE}; {why}"), out
    first.write_bytes(right + b"more")
    out = fleet("deploy", "server=boot3")
    size = len(right)
    assert f"not from 10.99.0.1: says that it has {size + 4} bytes, not {size}" in out, out
    fleet("deploy", "server=boot1")
    assert all(map(fleet.has_it, fleet.servers)), "the damaged one is mended"


def slowly(fleet: Fleet) -> None:
    """The first server's nginx gives a MiB a second, so that there is time for trouble."""
    fleet.servers[0].path("/run/more.conf").write_text("limit_rate 1m;")
    run(*fleet.servers[0].inside("systemctl", "reload", "nginx"))


def half_fetched(fleet: Fleet, server: Machine) -> bool:
    path = server.path(f"/srv/http/.plugnode.new/{fleet.release}/root.erofs")
    return path.exists() and SIZE / 4 < path.stat().st_size < SIZE


def forget_nginx(server: Machine) -> None:
    """It was killed: another one can start, once the last of it has left the port."""
    until(lambda: not server.processes("nginx"))
    server.path("/run/nginx.pid").unlink()


def test_a_server_that_is_killed_while_it_gives_the_file_holds_nobody_up(fleet):
    fleet.change()
    fleet("deploy", "server=boot1")
    slowly(fleet)
    deploying = fleet.start("deploy", "server=boot[2-3]")
    until(lambda: any(half_fetched(fleet, server) for server in fleet.servers[1:]))
    assert fleet.servers[0].kill("nginx")
    out = fleet.end(deploying)
    forget_nginx(fleet.servers[0])
    assert "; not from 10.99.0.1: gave " in out, out
    assert all(map(fleet.has_it, fleet.servers))


def test_one_that_goes_silent_is_left_after_half_a_minute(fleet):
    fleet.change()
    fleet("deploy", "server=boot1")
    fleet.servers[0].kill("nginx")
    forget_nginx(fleet.servers[0])
    size = fleet.place(fleet.servers[0]).stat().st_size
    script = fleet.servers[0].path("/srv/silent.py")
    script.write_text(SILENT.replace("%d", str(size)))
    silent = subprocess.Popen(fleet.servers[0].inside("python3", "/srv/silent.py"))
    begun = time.monotonic()
    out = fleet("deploy", "server=boot2")
    assert time.monotonic() - begun >= 30
    assert came_from(out)["boot2"].startswith(f"{HERE}; not from 10.99.0.1: timed out"), out
    fleet.servers[0].kill("silent.py")
    silent.wait()
    assert fleet.has_it(fleet.servers[1])


def test_a_fetch_that_is_killed_leaves_nothing_that_nodes_could_take(fleet):
    fleet.change()
    fleet("deploy", "server=boot1")
    slowly(fleet)
    deploying = fleet.start("deploy", "server=boot2")
    until(lambda: half_fetched(fleet, fleet.servers[1]))
    assert fleet.servers[1].kill("agent.main")
    fleet.end(deploying, status=1)
    assert not fleet.place(fleet.servers[1]).exists()
    fleet("deploy", "server=boot2")
    assert fleet.has_it(fleet.servers[1])


def test_the_others_go_on_without_a_first_server_that_vanishes_while_it_is_sent_the_file(fleet):
    fleet.write(more=", bandwidth: 20Mbit")
    fleet.change()
    deploying = fleet.start("deploy")

    def first() -> list[Machine]:
        """The one to which rsync brings it."""
        at = f"/srv/http/.plugnode.new/{fleet.release}"
        return [server for server in fleet.servers if any(server.path(at).glob(".root*"))]

    until(first)
    (gone,) = first()
    gone.unplug()
    out = fleet.end(deploying, status=1)
    gone.plug_again()
    assert "1 of 3 servers failed" in out, out
    name = f"boot{gone.address[-1]}"
    assert sorted(came_from(out).keys() | {name}) == ["boot1", "boot2", "boot3"]
    assert list(came_from(out).values()).count(HERE) == 1, out
    until(lambda: not gone.processes("agent.main"), 60)
    assert came_from(fleet("deploy", f"server={name}"))[name] != HERE
    assert all(map(fleet.has_it, fleet.servers))


def test_the_one_that_is_sent_the_file_has_the_shares_of_those_that_wait_but_one(fleet):
    mbit = 30
    fleet.write(more=f", bandwidth: {mbit}Mbit")
    fleet.change()
    deploying = fleet.start("deploy")
    seen = [(time.monotonic(), fleet.sent())]
    while deploying.poll() is None:
        time.sleep(0.5)
        seen.append((time.monotonic(), fleet.sent()))
    out = fleet.end(deploying)
    assert list(came_from(out).values()).count(HERE) == 1, out
    seconds = zip(seen, seen[2:])
    rates = [8e-6 * (after[1] - now[1]) / (after[0] - now[0]) for now, after in seconds]
    assert max(rates) < mbit * 1.1, rates
