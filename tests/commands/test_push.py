"""Site data for nodes that run. The nodes are namespaces with a real sshd each and a /run of their own."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest

from tasks import push
from tasks.core.initrd import busybox
from tasks.core.release import Release
from tasks.core.remote.line import Answer
from tasks.core.site.load import read_site
from tests.support import sample_site
from tests.support.commands import REPOSITORY
from tests.support.initrd_images import kernel_files
from tests.support.netns import WITH_US, Lan, Machine, doit, lan, run, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

SITE = """\
site: crowd
network: {{subnet: 10.99.0.0/24}}
servers: {{boot1: {{ip: 10.99.0.200, ssh: root@10.99.0.200}}}}
images: {{worker: {{reference: {{path: {reference}}}, initrd: {{base: none}}, disk: {{devices: [/dev/vda]}}}}}}
groups: {{first: {{}}}}
nodes:
{nodes}
deploy: {{tftp_root: /srv/tftp, nfs_root: /srv/nfs, keep: 1, keep_days: 0}}
"""
GROUP = ", groups: [first]"
OLD = {
    "hosts": "127.0.0.1 localhost\n",
    "nodes": "old\n",
    "release": "worker-0123456789ab\n",
    "address": "-\n",
}


class Crowd:
    """Six nodes, of which wn001 and wn002 are as they shall be, and the others each have a trouble of their own."""

    def __init__(self, net: Lan, folder: pathlib.Path):
        self.net, self.folder, self.site = net, folder, folder / "site.yaml"
        self.nodes = [net.machine(f"wn00{n}", n, known=False, own=("/run",)) for n in range(1, 7)]
        for node in self.nodes:
            self.boot(node)
        self.server = net.machine("boot1", 200, own=("/var/lib/nfs",))
        self.reference = sample_site.reference(folder / "reference", files=5)
        self.write(7)

    def boot(self, node: Machine) -> None:
        """As the initrd and setup.sh of an earlier deploy left it."""
        node.path("/run/plugnode/layouts").mkdir(parents=True)
        for name, text in OLD.items():
            node.path(f"/run/plugnode/{name}").write_text(text)
        node.path("/run/plugnode/layouts/gone").write_text("table gpt\n")

    def write(self, count: int) -> None:
        lines = "".join(
            f"  wn{n:03}: {{mac: 'ae:d6:90:bb:00:{n:02x}', ip: 10.99.0.{n}{GROUP if n < 3 else ''}}}\n"
            for n in range(1, count + 1)
        )
        self.site.write_text(SITE.format(reference=self.reference, nodes=lines))

    def __call__(self, *words: str, status: int = 0) -> str:
        done = doit(self.net, self.site, *words)
        out = done.communicate(timeout=300)[0]
        assert done.returncode == status, f"exit status {done.returncode}\n{out}"
        assert "Traceback" not in out, out
        return out

    def data(self, number: int, name: str) -> str:
        return self.nodes[number - 1].path(f"/run/plugnode/{name}").read_text()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crowd")
    with lan(folder / "lan") as net:
        yield Crowd(net, folder)


def test_nodes_that_run_get_new_site_data_and_those_that_cannot_are_named_by_reason(crowd):
    out = crowd("push", "node=wn001", status=1)
    assert "wn001: boot1, its server: no site data is deployed; ./doit deploy first" in out, out
    crowd("deploy")
    crowd("push", "node=wn[001-006]")  # each key is taken the first time that its node shows it
    held = crowd.nodes[0].path("/run/plugnode/hosts").open()
    before = held.read()
    crowd.write(8)
    crowd("deploy")
    crowd.nodes[2].unplug()
    crowd.nodes[3].unplug()
    run(*crowd.nodes[4].inside("rm", "-r", "/run/plugnode"))
    new_key(crowd.nodes[5])
    out = crowd("push", "node=wn[001-006]", status=1)
    crowd.nodes[2].plug_again()
    crowd.nodes[3].plug_again()
    lines = set(out.splitlines())
    assert "wn[001-002]: new site data" in lines, out
    assert {"wn[003-004]: No route to host", "wn[003-004]: Connection timed out"} & lines, out
    assert "wn005: it runs, but has no /run/plugnode: it was not booted by Plugnode" in lines, out
    (changed,) = [
        line for line in lines if line.startswith("wn006: its host key is not the one that it had")
    ]
    assert f"ssh-keygen -R wn006 -f {crowd.folder}/build/nodes.known_hosts" in changed
    assert "4 of 6 nodes have not got it; they will when they boot" in out, out
    hosts = (crowd.folder / "build/configs/hosts").read_text()
    assert "wn008" in hosts and crowd.data(1, "hosts") == crowd.data(2, "hosts") == hosts
    held.seek(0)
    assert held.read() == before and "wn008" not in before, (
        "who has the old file open reads that to its end"
    )
    assert "wn008" not in crowd.data(3, "hosts") + crowd.data(6, "hosts")


def new_key(node: Machine) -> None:
    """As after a wipe of its disk."""
    key = node.lan.folder / f"{node.name}.key"
    key.unlink()
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    assert node.kill("/usr/sbin/sshd -D")
    node.sshd.wait()
    node.serve()


def test_what_a_node_holds_besides_stays_and_nothing_half_made_does(crowd):
    crowd("push", "node=wn001")
    names = set(os.listdir(crowd.nodes[0].path("/run/plugnode")))
    assert names == {"hosts", "nodes", "site", "layouts", "release", "address"}
    assert crowd.data(1, "release") == OLD["release"]
    assert os.listdir(crowd.nodes[0].path("/run/plugnode/layouts")) == ["worker"]
    assert "10.99.0.1\twn001\tae:d6:90:bb:00:01" in crowd.data(1, "nodes")


def test_a_node_that_the_site_has_not_is_bad_input(crowd):
    out = crowd("push", "node=wn[001,099]", status=3)
    assert f"{crowd.site}:1:1: node=wn[001,099]: wn099: no such node" in out, out
    for words, reason in {
        "@last": "@last: no such group; there is @first",
        "@rack:3": "rack: no such source of groups",
        "wn001,@frist": "@frist: no such group; there is @first",
        "@first!wn[001-002]": "stands for no node",
        "wn[001-": 'missing bracket: "wn[001-"',
    }.items():
        assert f"{crowd.site}:1:1: node={words}: {reason}" in crowd(
            "push", f"node={words}", status=3
        )


def test_status_shows_what_nodes_say_that_they_run(crowd):
    crowd.nodes[1].path("/run/plugnode/degraded").write_text("var: no disk\n")
    out = crowd("status", "--nodes", "node=wn[001-002,005]")
    assert "  wn[001-002]: worker-0123456789ab" in out, out
    assert "  ! wn002: degraded: see /run/plugnode/degraded there" in out, out
    assert "  wn005: it runs, but has no /run/plugnode" in out, out
    assert "  wn[001-002]: worker-0123456789ab" in crowd("status", "node=@first")


def test_metrics_have_what_the_server_and_its_nodes_say(crowd):
    crowd.nodes[1].path("/run/plugnode/degraded").write_text("var: no disk\n")
    out = crowd("status", "--prometheus", "node=wn[001-002,005]")
    crowd.nodes[1].path("/run/plugnode/degraded").unlink()
    lines = out[out.index("# HELP") :].splitlines()
    assert "plugnode_nodes_unheard 1" in lines and "plugnode_nodes_outdated 2" in lines, out
    assert 'plugnode_nodes_degraded{release="worker-0123456789ab"} 1' in lines, out
    assert 'plugnode_server_drift{server="boot1"} 0' in lines, out
    assert any(line.startswith("plugnode_release_age_seconds{") for line in lines), out


def test_nodes_that_are_asked_say_what_they_run_beside_what_they_boot_next(crowd):
    crowd.nodes[1].path("/run/plugnode/degraded").write_text("var: no disk\n")
    out = crowd("nodes", "--ask", "node=wn[001-002,005]")
    assert "wn001\n  image      worker\n" in out, "it says something else than wn002"
    assert "  runs       worker-0123456789ab\n" in out, out
    assert "  runs       worker-0123456789ab, degraded\n" in out, out
    assert "  runs       -\n" in out, out
    assert "wn005: it runs, but has no /run/plugnode" in out, out
    told = crowd("nodes", "--ask", "--json", "node=wn[001-002,005]")
    lines = [line.rstrip(",") for line in told.splitlines() if line.startswith("{")]
    runs = [(node["runs"], node["degraded"]) for node in map(json.loads, lines)]
    assert runs == [("worker-0123456789ab", False), ("worker-0123456789ab", True), (None, None)]
    crowd.nodes[1].path("/run/plugnode/degraded").unlink()


def test_what_a_node_says_is_looked_at_before_it_is_shown_or_believed(crowd):
    for number, words in ((1, "Welcome to this node\n"), (2, "Hello ")):
        crowd.nodes[number - 1].path("/root/.bashrc").write_text(f"printf '%s' '{words}'\n")
    crowd.nodes[1].path("/run/plugnode/degraded").unlink(missing_ok=True)
    crowd.nodes[5].path("/run/plugnode/release").write_text(
        "\x1b[31mworker-0123456789ab\x07\nmore\n"
    )
    crowd.nodes[4].path("/run/plugnode").mkdir(exist_ok=True)
    crowd.nodes[4].path("/run/plugnode/release").write_text("../../etc\n")
    (crowd.folder / "build/nodes.known_hosts").unlink()
    out = crowd("status", "--nodes", "node=wn[001-002,005-006]")
    for number in (1, 2):
        crowd.nodes[number - 1].path("/root/.bashrc").unlink()
    run(*crowd.nodes[4].inside("rm", "-r", "/run/plugnode"))
    assert "  wn[001-002]: worker-0123456789ab" in out, out
    assert "  wn[005-006]: what it says that it runs is no release" in out and "\x1b" not in out, (
        out
    )


def test_prune_keeps_what_a_node_says_that_it_runs(crowd):
    ids = []
    for number in range(4):
        sample_site.put(crowd.reference / f"etc/{number}", b"x\n")
        crowd("deploy")
        ids.append(json.loads((crowd.folder / "build/worker/release.json").read_text())["id"])
    crowd.nodes[0].path("/run/plugnode/release").write_text(f"{ids[0]}\n")
    told = json.loads(crowd("plan", "--json").partition("{")[2].join(["{", ""]))
    prunable = [each["release"] for each in told["prunable"]]
    assert [id for id in prunable if id in ids] == [ids[1]], "nor does plan announce it"
    out = crowd("prune")
    assert f"kept    {ids[0]}: run by wn001" in out and f"removed {ids[1]}: in use until" in out, (
        out
    )
    assert "wn005: it runs, but has no /run/plugnode" in out, out
    assert f"kept    {ids[2]}: among the 1 newest" in out, out
    crowd.nodes[0].path("/run/plugnode/release").write_text(f"{ids[3]}\n")
    assert f"removed {ids[0]}: in use until" in crowd("prune")


def test_what_is_deployed_is_sent_and_not_what_is_built(crowd):
    crowd.write(7)
    crowd("deploy")
    crowd.write(9)
    out = crowd("push", "node=wn001")
    (line,) = [line for line in out.splitlines() if line.startswith("! ")]
    assert line.startswith("! sent is what is deployed, site-") and "; built is site-" in line
    assert "wn007" in crowd.data(1, "hosts") and "wn009" not in crowd.data(1, "hosts")
    assert "wn009" not in crowd.data(1, "nodes")
    crowd("deploy")
    out = crowd("push", "node=wn001")
    assert "! " not in out and "wn009" in crowd.data(1, "hosts"), out


def test_a_site_img_that_is_damaged_or_gone_is_not_sent(crowd):
    crowd("deploy")
    before = crowd.data(1, "hosts")
    (image,) = list_of_site_data(crowd.server)[-1:]
    held = image.read_bytes()
    for spoil in (image.unlink, lambda: image.write_bytes(held[: len(held) // 2])):
        spoil()
        out = crowd("push", "node=wn001", status=1)
        assert "site.img: boot files name it, and it is missing or damaged; deploy again" in out
        assert crowd.data(1, "hosts") == before
    image.write_bytes(held)
    crowd("push", "node=wn001")


def list_of_site_data(server: Machine) -> list[pathlib.Path]:
    """The images of site data on a server, by their age."""
    found = server.path("/srv/tftp").glob("site-*/site.img")
    return sorted(found, key=lambda path: path.stat().st_mtime)


TWO = """\
site: pair
network: {{subnet: 10.99.0.0/24}}
servers:
  boot1: {{ip: 10.99.0.201, ssh: root@10.99.0.201}}
  boot2: {{ip: 10.99.0.202, ssh: root@10.99.0.202}}
images: {{worker: {{reference: {{path: {reference}}}, initrd: {{base: none}}, disk: {{devices: [/dev/vda]}}}}}}
groups: {{second: {{server: boot2}}}}
nodes:
  wn001: {{mac: 'ae:d6:90:bb:00:01', ip: 10.99.0.1}}
  wn002: {{mac: 'ae:d6:90:bb:00:02', ip: 10.99.0.2, groups: [second]}}
{more}deploy: {{tftp_root: /srv/tftp, nfs_root: /srv/nfs}}
"""
THIRD = "  wn003: {mac: 'ae:d6:90:bb:00:03', ip: 10.99.0.3}\n"


def test_each_node_gets_what_its_own_server_has(tmp_path: pathlib.Path):
    with lan(tmp_path / "lan") as net:
        nodes = [net.machine(f"wn00{n}", n, known=False, own=("/run",)) for n in (1, 2)]
        servers = [net.machine(f"boot{n}", 200 + n, own=("/var/lib/nfs",)) for n in (1, 2)]
        reference, site = sample_site.reference(tmp_path / "ref", files=5), tmp_path / "site.yaml"
        for node in nodes:
            node.path("/run/plugnode").mkdir()

        def call(*words: str, more: str = "", status: int = 0) -> str:
            site.write_text(TWO.format(reference=reference, more=more))
            done = doit(net, site, *words)
            out = done.communicate(timeout=300)[0]
            assert done.returncode == status and "Traceback" not in out, out
            return out

        call("deploy")
        call("deploy", "server=boot2", more=THIRD)
        out = call("push", "node=wn[001-002]", more=THIRD)
        hosts = [node.path("/run/plugnode/hosts").read_text() for node in nodes]
        assert ["wn003" in text for text in hosts] == [False, True]
        assert "boot1: ! sent is what is deployed, site-" in out and "boot2: ! " not in out, out
        servers[1].unplug()
        out = call("push", status=1)
        assert "wn001: new site data" in out and "wn002: boot2, its server: " in out, out
        assert "1 of 2 nodes has not got it; it will when it boots" in out, out


KEEPING = """\
site: kept
network: {{subnet: 10.99.0.0/24}}
servers: {{boot1: {{ip: 10.99.0.200}}, boot2: {{ip: 10.99.0.201}}}}
images:
  worker:
    reference: {{path: {reference}}}
    root: disk
    disk: {{partitions: [{{mount: image, size: 1G}}]}}
nodes:
  wn001: {{mac: "52:54:00:00:00:01", ip: 10.99.0.1, server: boot1}}
  wn002: {{mac: "52:54:00:00:00:02", ip: 10.99.0.2, server: boot2, cmdline: plugnode.cache=10.99.0.9,
          interface: eth1}}
  wn003: {{mac: "52:54:00:00:00:03", ip: 10.99.0.3, server: boot1, release: worker-000000000009}}
"""


def test_a_node_is_told_to_fetch_what_its_own_server_has_deployed_for_it(tmp_path: pathlib.Path):
    """By the kernel arguments that it will boot by: the image's release, not the build's; another where it is pinned."""
    (tmp_path / "reference").mkdir()
    (tmp_path / "site.yaml").write_text(KEEPING.format(reference=tmp_path / "reference"))
    site, _ = read_site(str(tmp_path / "site.yaml"), (str(REPOSITORY),))
    release = Release(
        "worker-000000000001", "worker", "quiet", *["0" * 64] * 4, "6.1.0", "own", 1, 1,
        root_kind="disk", root_name="root.erofs", root_file="1" * 64, root_bytes=7,
    )  # fmt: skip
    said = {"worker": release._asdict()}
    held = {"boot1": Answer({"releases": said}), "boot2": Answer({"releases": said})}
    failed: dict[str, str] = {}
    asked = push.of_same_release(site, site.nodes, held, failed)
    told = {node.name: words for words, nodes in asked.items() for node in nodes}
    assert told.keys() == {"wn001", "wn002"}
    assert f"root=disk:http://10.99.0.200/{release.id}/root.erofs " in told["wn001"]
    assert "http://10.99.0.201/" in told["wn002"] and "plugnode.cache=10.99.0.9" in told["wn002"]
    assert "plugnode.interface=eth1" in told["wn002"]
    assert failed == {"wn003": "boot1, its server: nothing is deployed for it"}


def test_only_nodes_that_keep_their_root_on_a_disk_can_be_sent_one(crowd):
    assert "no node that is asked keeps its root on its disk" in crowd("push", "--image", status=1)


KEPT = """\
site: kept
network: {{subnet: 10.99.0.0/24}}
servers: {{boot1: {{ip: 10.99.0.200, ssh: root@10.99.0.200}}}}
images:
  worker:
    reference: {{path: {reference}}}
    root: disk
    initrd: {{base: none}}
    disk: {{devices: [/dev/vda], partitions: [{{mount: image, size: 1G}}]}}
nodes: {{wn001: {{mac: "52:54:00:00:00:01", ip: 10.99.0.1}}}}
deploy: {{tftp_root: /srv/tftp, nfs_root: /srv/nfs, http_root: /srv/http}}
"""
OF_DISK = (
    "drivers/block/loop.ko drivers/block/virtio_blk.ko fs/overlayfs/overlay.ko fs/erofs/erofs.ko fs/ext4/ext4.ko"
).split()
# What the initrd has left there (its own `keep_tools`), and setup.sh: the partition of the node's disk
TOOLS = """
for name in common.sh fetch next-image; do cp "$REPOSITORY/overlays/initrd/$name" "$ROOT/"; done
mkdir -p "$ROOT/bin" /run/plugnode/image
cp /bin/busybox "$ROOT/bin/"
for applet in $APPLETS; do ln -s busybox "$ROOT/bin/$applet"; done
mac=52:54:00:00:00:01
keep_tools() { :; }
eval "$(sed -n '/^keep_tools() {/,/^}/p' "$REPOSITORY/overlays/initrd/root-disk")"
keep_tools ""
mount -t tmpfs -o size=64m tmpfs /run/plugnode/image
echo name=none >/run/plugnode/root
"""
NGINX = """\
daemon off; user root; pid /run/nginx.pid; error_log stderr; events {{}}
http {{ access_log /run/access.log; client_body_temp_path /run/t1; proxy_temp_path /run/t2;
fastcgi_temp_path /run/t3; uwsgi_temp_path /run/t4; scgi_temp_path /run/t5; include {conf}; }}
"""


@pytest.fixture
def kept(tmp_path: pathlib.Path):
    """A node that works by `root: disk`, and its server with nginx."""
    with lan(tmp_path / "lan") as net:
        yield Kept(net, tmp_path)


class Kept:
    def __init__(self, net: Lan, folder: pathlib.Path):
        self.net, self.folder, self.site = net, folder, folder / "site.yaml"
        self.node = net.machine("wn001", 1, known=False, own=("/run",))
        self.server = net.machine("boot1", 200, own=("/var/lib/nfs", "/run"))
        self.reference = sample_site.reference(folder / "reference", files=5)
        modules = sample_site.MODULES | dict.fromkeys(OF_DISK, "")
        sample_site.fill(self.reference, kernel_files(sample_site.VERSION, modules))
        self.site.write_text(KEPT.format(reference=self.reference))
        tools = folder / "initrd"
        tools.mkdir()
        applets = (*busybox.NETWORK_ROOT, *busybox.OWN, *busybox.ROOT_FILE, *busybox.DISK)
        words = {"ROOT": tools, "REPOSITORY": REPOSITORY, "APPLETS": " ".join(applets)}
        settings = [f"{name}={word}" for name, word in words.items()]
        run(*self.node.inside("env", *settings, "sh", "-euc", TOOLS))

    def __call__(self, *words: str, status: int = 0) -> str:
        done = doit(self.net, self.site, *words)
        out = done.communicate(timeout=300)[0]
        assert done.returncode == status and "Traceback" not in out, out
        return out

    def serve(self) -> None:
        """By the generated configuration."""
        conf = self.folder / "nginx.conf"
        conf.write_text(NGINX.format(conf=self.folder / "build/configs/nginx.conf"))
        argv = self.server.inside("nginx", "-c", conf, "-e", "stderr")
        self.nginx = subprocess.Popen([*WITH_US, *argv], stderr=subprocess.DEVNULL)
        until(lambda: self.server.path("/run/nginx.pid").exists())

    @property
    def files(self) -> dict[str, bytes]:
        return {
            path.name: path.read_bytes() for path in self.node.path("/run/plugnode/image").iterdir()
        }

    def built(self) -> tuple[str, bytes]:
        """The name by which a node keeps the release's root file, and the file."""
        release = json.loads((self.folder / "build/worker/release.json").read_text())
        data = (self.folder / "build/worker/root.erofs").read_bytes()
        return f"{release['id']}.{release['root_file']}.erofs", data


def test_a_node_that_works_fetches_the_root_file_that_it_boots_next(kept):
    """doit, ssh, the node's own shell, and its server's nginx, all real."""
    kept("deploy")
    out = kept("push", "--image", status=1)
    assert "wn001: no server gives worker-" in out and "Connection refused, 0 of " in out, out
    assert "1 of 1 node has not got it" in out
    kept.serve()
    first, data = kept.built()
    out = kept("push", "--image")
    url = f"http://10.99.0.200/{first.partition('.')[0]}/root.erofs"
    assert f"wn001: {first.partition('.')[0]}: {len(data)} bytes from {url}" in out, out
    assert kept.files == {first: data}
    assert f"{len(data)} bytes from here" in kept("push", "--image"), "what it has is not fetched"

    (kept.reference / "etc/motd").write_text("another\n")
    kept("deploy")
    second, newer = kept.built()
    assert second != first
    kept("push", "--image")
    assert kept.files == {first: data, second: newer}, "beside what it runs"


def test_a_node_goes_on_where_it_was_cut_off_and_takes_no_other_file(kept):
    kept("deploy")
    kept.serve()
    name, data = kept.built()
    place = kept.node.path("/run/plugnode/image") / name
    place.write_bytes(data[:5000])
    kept("push", "--image")
    assert kept.files == {name: data}
    log = kept.server.path("/run/access.log").read_text()
    assert f'" 206 {len(data) - 5000} ' in log, log

    place.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    served = kept.server.path(f"/srv/http/{name.partition('.')[0]}/root.erofs")
    served.write_bytes(bytes(len(data)))
    out = kept("push", "--image", status=1)
    assert "not the file of this release: its sha256 is" in out and kept.files == {}, out
