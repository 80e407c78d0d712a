"""Several boot servers: each a machine of its own, with a real sshd, on a network of namespaces."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support import sample_site
from tests.support.commands import REPOSITORY
from tests.support.netns import Lan, Machine, doit, lan, run, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces")

SITE = """\
site: fleet
network: {{subnet: 10.99.0.0/24}}
servers:
{servers}
images:
  worker:
    reference: {{path: {reference}}}
    initrd: {{base: none}}
    cmdline: "{cmdline}"
    disk: {{devices: [/dev/vda]}}
nodes:
{nodes}
deploy: {{tftp_root: /srv/tftp, nfs_root: /srv/nfs}}
trust: {{key: site.pub}}
secrets_store: store
secrets: {{munge: {{to: /etc/munge/munge.key, from: {{file: site}}}}}}
"""
DEST = "/srv/dest"  # on each server


class Fleet:
    """Three servers, a site that names them, and what it is built from."""

    def __init__(self, net: Lan, folder: pathlib.Path):
        self.net, self.folder, self.site = net, folder, folder / "site.yaml"
        self.servers = {f"boot{n}": net.machine(f"boot{n}", n) for n in (1, 2, 3)}
        self.reference = sample_site.reference(folder / "reference", files=1200)
        sample_site.put(self.reference / "usr/share/large", os.urandom(4_000_000))
        self.install("3.0.1")
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "site")]
        subprocess.run(words, check=True)  # what is deployed is signed by it, and it is a secret
        self.enroll()
        self.write()

    def enroll(self) -> None:
        """Every node that there will be, by one key."""
        key = subprocess.run(["age-keygen"], check=True, capture_output=True).stdout
        words = ["age-keygen", "-y"]
        public = subprocess.run(words, input=key, check=True, capture_output=True).stdout.decode()
        (self.folder / "store").mkdir(mode=0o700)
        lines = "".join(f"wn{n:03} {public}" for n in range(20))
        (self.folder / "store/recipients").write_text(lines)

    def install(self, version: str) -> None:
        """A package of that version, and a file of /etc that names it."""
        status = f"Package: openssl\nStatus: install ok installed\nVersion: {version}\n"
        sample_site.put(self.reference / "var/lib/dpkg/status", status.encode())
        sample_site.put(self.reference / "etc/openssl.conf", f"{version}\n".encode())

    def write(self, cmdline: str = "console=ttyS0", nodes: int = 9, first: str = "") -> None:
        """The site; `first`: what is said of the first node besides."""
        servers = "".join(
            f"  {name}: {{ip: {server.address}, ssh: root@{server.address}}}\n"
            for name, server in self.servers.items()
        )
        lines = "".join(node(number, "" if number else first) for number in range(nodes))
        self.site.write_text(
            SITE.format(servers=servers, nodes=lines, reference=self.reference, cmdline=cmdline)
        )

    def __call__(self, *words: str, status: int = 0, at: Machine | None = None) -> str:
        done = self.start(*words, at=at)
        out = done.communicate(timeout=300)[0]
        assert done.returncode == status, f"exit status {done.returncode}\n{out}"
        assert "Traceback" not in out, out
        return out

    def start(self, *words: str, at: Machine | None = None) -> subprocess.Popen:
        return doit(self.net, self.site, *words, f"destdir={DEST}", at=at)

    def release(self) -> str:
        return json.loads((self.folder / "build/worker/release.json").read_text())["id"]

    def clear(self) -> None:
        """Servers that nothing was ever deployed to."""
        for server in self.servers.values():
            run(*server.inside("rm", "-rf", DEST))

    def add(self, name: str, data: bytes) -> None:
        """A file that the next release has besides."""
        sample_site.put(self.reference / "usr/share" / name, data)

    def plan(self, *words: str) -> dict:
        """What scripts are told of what would be done."""
        return json.loads(self("plan", "--json", *words).partition("{")[2].join(["{", ""]))


def node(number: int, more: str) -> str:
    mac, ip = f"ae:d6:90:bb:00:{number:02x}", f"10.99.0.{100 + number}"
    return f"  wn{number:03}: {{mac: '{mac}', ip: {ip}{more}}}\n"


@pytest.fixture(scope="module")
def three_servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet")
    with lan(folder / "lan") as net:
        yield Fleet(net, folder)


@pytest.fixture
def fleet(three_servers: Fleet) -> Fleet:
    """The site as it is at first, whatever another test made of it; servers have what they have."""
    three_servers.write()
    return three_servers


@pytest.fixture
def new_fleet(fleet: Fleet) -> Iterator[Fleet]:
    """Its servers are as new, before and after: none has anything that was rolled back."""
    fleet.clear()
    yield fleet
    fleet.clear()


def nfs(server: Machine, *path: str) -> pathlib.Path:
    return server.path(f"{DEST}/srv/nfs").joinpath(*path)


def boots(server: Machine, image: str = "worker") -> str:
    """The boot file that a server's nodes read."""
    return server.path(f"{DEST}/srv/tftp/plugnode/{image}.cfg").read_text()


def roots(server: Machine) -> list[str]:
    folder = nfs(server)
    names = os.listdir(folder) if folder.exists() else []
    return sorted(name for name in names if not name.startswith("."))


def manifest(folder: pathlib.Path) -> list[tuple]:
    """Everything in a root: path, mode, owner, mtime of files, bytes or link."""
    return [entry(path, folder) for path in sorted(folder.rglob("*"))]


def entry(path: pathlib.Path, folder: pathlib.Path) -> tuple:
    status = path.lstat()
    name = str(path.relative_to(folder))
    known = (name, status.st_mode, status.st_uid, status.st_gid)
    if path.is_symlink():
        return (*known, os.readlink(path))
    if path.is_file():
        return (*known, status.st_mtime_ns, path.read_bytes())
    return known


def received(server: Machine) -> int:
    """Bytes that its network card has received."""
    lines = run(*server.inside("cat", "/proc/net/dev")).splitlines()
    (fields,) = [line.split(":")[1].split() for line in lines if "eth0:" in line]
    return int(fields[0])


def test_a_release_is_built_once_and_is_the_same_on_every_server(new_fleet):
    fleet, servers = new_fleet, new_fleet.servers.values()
    out = fleet("plan")
    assert "Releases, boot[1-3]" in out and "+ worker: worker-" in out, out
    assert not any(nfs(server).exists() for server in servers), "a plan changes nothing"
    out = fleet("deploy")
    assert "boot[1-3]: deployed" in out, out
    id, built = fleet.release(), manifest(fleet.folder / "build/worker/root")
    for server in servers:
        assert roots(server) == [id] and id in boots(server)
        assert manifest(nfs(server, id)) == built
        own = f"nfsroot={server.address}:/srv/nfs/{id}"
        assert own in boots(server), "each serves its own nodes"
        assert not server.processes("tasks.core"), "nothing stays running there"
        assert not os.listdir(server.path("/var/tmp")), "what was sent is removed"
    assert "boot[1-3]: no changes" in fleet("plan")
    assert fleet("verify", "--full").strip() == "boot[1-3]: ok: as it was deployed, every byte"


def test_every_server_has_the_same_secrets_encrypted(fleet):
    fleet("deploy")
    blobs = [server.path(f"{DEST}/srv/tftp/secrets/wn000.age") for server in fleet.servers.values()]
    (blob,) = {path.read_bytes() for path in blobs}
    assert blob.startswith(b"-----BEGIN AGE ENCRYPTED FILE-----\n")


def test_an_update_shares_what_is_equal_and_only_what_changed_travels(new_fleet):
    fleet = new_fleet
    fleet("deploy")
    old, data = fleet.release(), changed_at_one_place(fleet.reference / "usr/share/large")
    same_size_and_time(fleet.reference / "usr/share/3/file333", b"999\n")
    before = {name: received(server) for name, server in fleet.servers.items()}
    fleet("deploy")
    new = fleet.release()
    for name, server in fleet.servers.items():
        assert roots(server) == sorted([old, new]) and new in boots(server)
        made_anew = [path for path in FILES if inode(server, old, path) != inode(server, new, path)]
        assert made_anew == ["usr/share/large", "usr/share/3/file333"]
        assert nfs(server, new, "usr/share/3/file333").read_text() == "999\n"
        assert nfs(server, new, "usr/share/large").read_bytes() == data
        what = "the large file did not travel, nor what did not change"
        assert received(server) - before[name] < 1_500_000, what
        assert not list(nfs(server, ".plugnode", "received").iterdir())
    assert fleet("verify", "--full").strip() == "boot[1-3]: ok: as it was deployed, every byte"
    same_size_and_time(fleet.reference / "usr/share/3/file333", b"333\n")


def changed_at_one_place(path: pathlib.Path) -> bytes:
    data = bytearray(path.read_bytes())
    data[2_000_000:2_000_010] = b"0123456789"
    path.write_bytes(data)
    return data


def inode(server: Machine, *path: str) -> int:
    return nfs(server, *path).stat().st_ino


def test_packages_that_changed_are_named_once_for_all_servers(fleet):
    fleet("deploy")
    old = fleet.release()
    fleet.install("3.0.2")
    out = fleet("deploy")
    fleet.install("3.0.1")
    assert "~ 1 package: openssl 3.0.1 -> 3.0.2\n      ~ /etc/openssl.conf\n" in out
    assert out.count("+3.0.2") == 1
    back = fleet("status", f"{fleet.release()}..{old}")
    assert back.startswith("boot[1-3]:\n  ~ root: 3 paths: 0 added, 0 removed, 3 changed"), back
    assert "  ~ 1 package: openssl 3.0.2 -> 3.0.1\n" in back and "    +3.0.1\n" in back


FILES = ("usr/share/large", "usr/share/3/file333", "usr/share/1/file150", "etc/passwd")


def same_size_and_time(path: pathlib.Path, data: bytes) -> None:
    """What rsync by itself would take for unchanged."""
    status = path.stat()
    assert len(data) == status.st_size and path.read_bytes() != data
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


RECEIVED = f"{DEST}/srv/nfs/.plugnode/received"
# Somebody else fills the disk when the root is on its way.
FILLING = f'ls {RECEIVED}/* && cat /dev/zero >/srv/fill; exec /usr/bin/rsync "$@"'
# An rsync that never comes to its end when it has brought files of a root.
STALLING = f'/usr/bin/rsync "$@"; status=$?; ls {RECEIVED}/*/usr && sleep 600; exit $status'


def heard(server: Machine, log: str) -> pathlib.Path:
    """Its log."""
    path = server.path(f"{DEST}/var/log/syslog")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(log)
    return path


def test_cards_that_asked_any_server_are_found_and_written(fleet):
    asks = "Nov  9 13:00:0{} {} dhcpd[12]: DHCPDISCOVER from 52:54:00:ff:00:0{} via eth0\n"
    one, two, three = fleet.servers.values()
    heard(one, asks.format(3, "boot1", 1) + asks.format(5, "boot1", 2))
    heard(two, asks.format(1, "boot2", 2) + asks.format(4, "boot2", 3))
    heard(three, "")
    out = fleet("discover")
    found = re.findall(r"^52:54:00:ff:00:(\d\d)  \S+ 13:00:0(\d)  10.99.0.0/24", out, re.M)
    assert found == [("02", "5"), ("01", "3"), ("03", "4")], out
    assert "ff:00:01" not in fleet("discover", "server=boot2")
    before = fleet.site.read_text()
    three.unplug()
    out = fleet("discover", "--write=wn[101-103]", status=1)
    three.plug_again()
    assert "boot3: it cannot be reached" in out and fleet.site.read_text() == before
    fleet("discover", "--write=wn[101-103]")
    known = before.splitlines()
    added = [line for line in fleet.site.read_text().splitlines() if line not in known]
    assert [line.split(", ip")[0] for line in added] == [
        '  wn101: {mac: "52:54:00:ff:00:02"',
        '  wn102: {mac: "52:54:00:ff:00:01"',
        '  wn103: {mac: "52:54:00:ff:00:03"',
    ]


def stalled(fleet: Fleet, victim: Machine, *words: str) -> subprocess.Popen:
    """A deploy that waits when that server has the files of a root."""
    victim.shim("rsync", STALLING)
    deploying = fleet.start("deploy", *words)
    until(lambda: victim.processes("sleep 600"))
    return deploying


def test_a_server_that_dies_half_way_stops_no_other_and_is_finished_alone(fleet):
    fleet("deploy")
    old = fleet.release()
    fleet.write(cmdline="console=ttyS0 quiet")
    fleet.add("new", b"new\n" * 1000)
    first, _, victim = fleet.servers.values()
    deploying = stalled(fleet, victim)
    # The login is `sshd: root`, since OpenSSH 9.8 `sshd-session: root`
    ends = victim.kill(": root", "tasks.core", "sleep 600")
    assert ends, "at once, or rsync would go on"
    out = deploying.communicate()[0]
    victim.path("/usr/local/bin/rsync").unlink()
    new = fleet.release()
    assert deploying.returncode == 1 and "boot[1-2]: deployed" in out, out
    cut = "boot3: the line was cut; what nodes boot there is whole"
    assert cut in out and "server=boot3" in out, out
    assert [new in boots(server) for server in fleet.servers.values()] == [True, True, False]
    assert new not in roots(victim) and old in boots(victim)
    assert manifest(nfs(victim, old)) == manifest(nfs(first, old))
    said = fleet("status", "server=boot3", status=1)
    assert "! the last deploy did not end: run it again" in said
    out = fleet("deploy", "server=boot3")
    assert "boot3: deployed" in out and "boot1" not in out, out
    assert new in boots(victim) and manifest(nfs(victim, new)) == manifest(nfs(first, new))
    assert "boot[1-3]: no changes" in fleet("plan")
    last = json.loads(nfs(victim, ".plugnode/journal.jsonl").read_text().splitlines()[-1])
    assert last["host"] == os.uname().nodename and last["result"] == "done"
    assert last["releases"] == {"worker": new}


def test_who_is_at_a_server_is_named_to_who_comes_next(fleet):
    fleet("deploy")
    fleet.add("held", os.urandom(1000))
    victim = fleet.servers["boot3"]
    deploying = stalled(fleet, victim, "server=boot3")
    out = fleet("rollback", "server=boot3", f"build={fleet.folder}/another", status=1)
    victim.kill("sleep 600")
    assert "boot3: deployed" in deploying.communicate()[0]
    victim.path("/usr/local/bin/rsync").unlink()
    held = r"boot3: rollback to /srv/\S+: \w+ from \S+, pid \d+ on \S+ since .* is at it"
    assert re.search(held, out), out


def test_a_cut_line_frees_the_server_and_what_came_need_not_come_again(fleet):
    fleet("deploy")
    fleet.write(cmdline="console=ttyS0 cut")
    fleet.add("newer", os.urandom(3_000_000))
    victim = fleet.servers["boot2"]
    deploying = stalled(fleet, victim, "server=boot2")
    victim.unplug()
    out = deploying.communicate(timeout=60)[0]
    assert deploying.returncode == 1 and "boot2: the line was cut" in out, out
    victim.plug_again()
    victim.path("/usr/local/bin/rsync").unlink()
    until(lambda: not victim.processes("tasks.core"), seconds=60)
    before = received(victim)
    leave(victim, 2)  # room for what is still to come, not for all of it again
    fleet("deploy", "server=boot2")
    leave(victim, 100)
    assert received(victim) - before < 2_000_000, "what came before the cut did not come again"
    assert fleet.release() in boots(victim)


def test_a_server_that_cannot_be_reached_is_one_line_and_the_others_are_done(fleet):
    fleet("deploy")
    fleet.write(cmdline="console=ttyS0 unreached")
    one, two, three = fleet.servers.values()
    known = fleet.net.folder / "known_hosts"
    keys = known.read_text()
    others = [line for line in keys.splitlines(True) if not line.startswith(f"{two.address} ")]
    known.write_text("".join(others))
    three.unplug()
    out = fleet("deploy", status=1)
    known.write_text(keys)
    three.plug_again()
    id = fleet.release()
    assert "boot1: deployed" in out and id in boots(one) and id not in boots(two) + boots(three)
    for line in (
        r"^(ERROR: )?boot2: its host key is not known here: log in once",
        r"^(ERROR: )?boot3: it cannot be reached: (No route|Connection timed out)",
    ):
        assert re.search(line, out, re.M), out
    again = "2 of 3 servers failed; once mended, the same again for them: server=boot[2-3]"
    assert again in out, out
    assert "boot[2-3]: deployed" in fleet("deploy") and "boot[1-3]: no changes" in fleet("plan")


def test_a_server_that_lacks_something_is_one_line(fleet):
    fleet("deploy")
    id = fleet.release()
    one, two, three = fleet.servers.values()
    shims = [two.shim(name, "exit 127") for name in PYTHONS]
    shims.append(one.shim("rsync", FILLING))
    leave(one, 12)
    leave(three, 2)
    fleet.add("larger", os.urandom(6_000_000))
    out = fleet("deploy", status=1)
    (fleet.reference / "usr/share/larger").unlink()
    for shim in shims:
        shim.unlink()
    leave(one, 100)
    leave(three, 100)
    one.path("/srv/fill").unlink()
    assert "boot1: No space left on device there; what nodes boot is whole" in out, out
    assert id in boots(one)
    assert "boot2: it has no Python 3.9 or newer: install python3 there" in out, out
    assert re.search(r"boot3: \S*: needs \S+ MiB, \S+ \S+ free; nothing was changed", out), out


def leave(server: Machine, room: int) -> None:
    """Give its disk so many MiB that are free."""
    used = os.statvfs(server.path("/srv"))
    size = (used.f_blocks - used.f_bfree) * used.f_frsize // 1024 + room * 1024
    run(*server.inside("mount", "-o", f"remount,size={size}k", "/srv"))


PYTHONS = ("python3", *(f"python3.{minor}" for minor in range(9, 14)))


def two_releases(fleet: Fleet, cmdline: str) -> tuple[str, str]:
    """Deployed one after the other; the second has those arguments."""
    fleet("deploy")
    old = fleet.release()
    fleet.write(cmdline=cmdline)
    fleet("deploy")
    return old, fleet.release()


def test_a_rollback_is_of_every_server_or_of_those_that_are_named(new_fleet):
    fleet = new_fleet
    old, new = two_releases(fleet, "console=ttyS0 newest")
    third = fleet.servers["boot3"]
    assert f"boot[1-3]: worker: nodes boot {old} from now on, not {new}" in fleet("rollback")
    assert all(old in boots(server) for server in fleet.servers.values())
    out = fleet("rollback", f"release={new}", "server=boot[1-2]")
    assert f"boot[1-2]: worker: nodes boot {new} from now on, not {old}" in out
    assert old in boots(third)
    out = fleet("deploy")
    stays = f"worker stays at {old}; deploy --again would go back to {new}, which"
    assert f"boot3: no changes\n  ! {stays}" in out and old in boots(third)
    fleet("deploy", "--again")
    assert new in boots(third)
    out = fleet("status")
    assert f"worker boots {new}" in out and "rollback" in out, out
    assert "named by /srv/tftp/plugnode/worker.cfg" in out, out
    assert f"kept    {new}: named by" in fleet("prune")


def test_a_release_that_only_servers_have_has_boot_files_made_by_what_they_know(fleet):
    old, new = two_releases(fleet, "console=ttyS0 pinned")
    fleet.write(cmdline="console=ttyS0 pinned", first=f", release: {old}")
    fleet("deploy")
    for server in fleet.servers.values():
        tftp = server.path(f"{DEST}/srv/tftp")
        own = (tftp / "pxelinux.cfg/01-ae-d6-90-bb-00-00").read_text()
        assert f"INCLUDE plugnode/{old}.cfg" in own
        text = (tftp / f"plugnode/{old}.cfg").read_text()
        assert f"nfsroot={server.address}:/srv/nfs/{old}" in text and new in boots(server)
    assert f"wn000 pinned to {old}" in fleet("status")


def test_verify_names_the_server_that_something_is_wrong_on(fleet):
    fleet("deploy")
    id, two, three = fleet.release(), fleet.servers["boot2"], fleet.servers["boot3"]
    nfs(two, id, "etc/added").touch()
    signature = nfs(three, f".plugnode/{id}.sig")
    good = signature.read_bytes()
    signature.write_bytes(good[:-99])
    out = fleet("verify", status=1)
    nfs(two, id, "etc/added").unlink()
    signature.write_bytes(good)
    assert f"boot2: /srv/nfs/{id}/etc/added: added" in out, out
    assert f"boot3: /srv/nfs/.plugnode/{id}.json: not signed by a key of `trust:`" in out
    assert "boot1: ok: as it was deployed" in out
    assert fleet("verify", "server=boot[1,3]").strip() == "boot[1,3]: ok: as it was deployed"
    assert "site.yaml has no boot9; it has boot[1-3]" in fleet("verify", "server=boot9", status=3)


def test_what_one_server_has_harmed_is_mended_by_another(fleet):
    """What is built is harmed, too."""
    fleet("deploy")
    id = fleet.release()
    harmed = nfs(fleet.servers["boot2"], id, "usr/share/large")
    built, aside = fleet.folder / "build/worker/root/usr/share/large", fleet.folder / "aside"
    right = harmed.read_bytes()
    with open(harmed, "r+b") as file:
        file.write(b"harmed")
    built.rename(aside)
    out = fleet("verify", "--repair")
    aside.rename(built)
    mended = rf"^(boot2:|  )(\n  )? ?mended /srv/nfs/{id}/usr/share/large: content \(sha256\)$"
    assert re.search(mended, out, re.M), out
    assert "boot[1-3]: ok: as it was deployed" in out and harmed.read_bytes() == right


def with_gpu(fleet: Fleet) -> None:
    """The first node boots an image of its own, gpu."""
    fleet.write(first=", image: gpu")
    text = fleet.site.read_text()
    image = text[text.index("  worker:\n") : text.index("nodes:\n")]
    text = text.replace("nodes:\n", image.replace("worker:", "gpu:", 1) + "nodes:\n")
    text = re.sub(r"^(  wn[0-9]+: .*[0-9])}$", r"\1, image: worker}", text, flags=re.M)
    fleet.site.write_text(text)


def test_one_image_on_one_server_is_moved_and_nothing_else(new_fleet):
    fleet = new_fleet
    with_gpu(fleet)
    fleet("deploy")
    one, two, three = servers = list(fleet.servers.values())
    workers, gpu = [boots(server) for server in servers], boots(one, "gpu")
    gpu_of_three = boots(three, "gpu")
    fleet.site.write_text(fleet.site.read_text().replace("console=ttyS0", "console=ttyS0 both"))
    told = fleet.plan("image=gpu", "server=boot[1-2]")["servers"]
    files = {f"/srv/tftp/plugnode/gpu.{kind}" for kind in ("cfg", "grub", "ipxe")}
    for server in ("boot1", "boot2"):
        assert [move["image"] for move in told[server]["releases"]] == ["gpu"]
        assert {each["path"] for each in told[server]["files"]} == files
    assert "boot[1-2]: deployed" in fleet("deploy", "image=gpu", "server=boot[1-2]")
    new = json.loads((fleet.folder / "build/gpu/release.json").read_text())["id"]
    assert new in boots(one, "gpu") and new in boots(two, "gpu")
    assert fleet.release() not in roots(one)
    assert [boots(server) for server in servers] == workers
    assert boots(three, "gpu") == gpu_of_three
    assert "boot[1-2]: gpu: nodes boot" in fleet("rollback", "image=gpu", "server=boot[1-2]")
    assert boots(one, "gpu") == gpu
    assert "worker-" not in fleet("prune", "image=gpu")


def test_one_image_alone_is_verified_and_push_has_no_use_for_a_server(fleet):
    with_gpu(fleet)
    fleet("deploy")
    gpu = json.loads((fleet.folder / "build/gpu/release.json").read_text())["id"]
    added = nfs(fleet.servers["boot2"], gpu, "etc/added")
    added.touch()
    right = fleet("verify", "image=worker").strip()
    wrong = fleet("verify", "image=gpu", status=1)
    added.unlink()
    assert right == "boot[1-3]: ok: as it was deployed"
    assert f"boot2: /srv/nfs/{gpu}/etc/added: added" in wrong
    assert "server=: push has no use for it" in fleet.start("push", "server=boot1").communicate()[0]


def test_a_plan_says_what_a_server_would_refuse(fleet):
    fleet.write(first=", release: worker-0123456789ab")
    pinned = "worker-0123456789ab: pinned in site.yaml and not on the server"
    why = f"boot[1-3]: {pinned}; nothing was changed"
    out = fleet("plan", status=1)
    assert why in out and "3 of 3 servers failed" in out, out
    assert why in fleet("deploy", status=1)


def test_a_plan_of_several_servers_has_one_id_and_none_is_changed_by_another(fleet):
    fleet.write(nodes=24)
    fleet("deploy", "server=boot[1-2]")
    fleet.write(nodes=12)
    line = "boot[1-2]: 12 of 24 nodes are removed; deploy does that by --plan=ID alone"
    assert line in fleet("deploy", status=1)
    at = [fleet("plan").rpartition("--plan=")[2].split()[0] for _ in range(2)]
    assert at[0] == at[1]
    other = fleet("plan", "server=boot1").rpartition("--plan=")[2]
    assert other.split()[1] == "server=boot1" and other.split()[0] != at[0]
    out = fleet("deploy", f"--plan={at[0]}", "server=boot1", status=1)
    assert "is not what a deploy would do now" in out
    assert "boot[1-3]: deployed" in fleet("deploy", f"--plan={at[0]}")


@pytest.mark.parametrize("other", ["boot1", "boot2"])
def test_none_is_changed_where_this_machine_or_another_wants_to_have_been_seen(new_fleet, other):
    """This machine is boot1."""
    new_fleet.write(nodes=24)
    new_fleet("deploy", f"server={other}")
    new_fleet.write(nodes=12)
    here = from_boot1(new_fleet)
    before = {name: journal(server) for name, server in new_fleet.servers.items()}
    line = f"{other}: 12 of 24 nodes are removed; deploy does that by --plan=ID alone"
    assert line in new_fleet("deploy", status=1, at=here)
    assert {name: journal(server) for name, server in new_fleet.servers.items()} == before
    id = new_fleet("plan", at=here).rpartition("--plan=")[2].split()[0]
    assert "boot[1-3]: deployed" in new_fleet("deploy", f"--plan={id}", at=here)


def journal(server: Machine) -> bytes:
    """What was done on a server."""
    path = nfs(server, ".plugnode/journal.jsonl")
    return path.read_bytes() if path.exists() else b""


def from_boot1(fleet: Fleet) -> Machine:
    """The site as it is where boot1 deploys: that machine."""
    here, text = fleet.servers["boot1"], fleet.site.read_text()
    fleet.site.write_text(text.replace(f", ssh: root@{here.address}", ""))
    return here


def test_the_server_that_this_machine_is_is_one_of_them(fleet):
    fleet.write(cmdline="mixed console=ttyS0")
    here = from_boot1(fleet)
    assert "boot[1-3]: deployed" in fleet("deploy", at=here)
    assert all(fleet.release() in boots(server) for server in fleet.servers.values())


def test_a_plan_for_scripts_has_every_server(fleet):
    fleet("deploy")
    fleet.write(nodes=12)
    plan = fleet.plan("server=boot[1,3]")
    assert plan["changed"] and list(plan["servers"]) == ["boot1", "boot3"]
    assert "wn011" in plan["servers"]["boot3"]["nodes"]["added"]


LOADED = """
import sys
from tasks.core.remote import agent
print(*(each.__file__ for name, each in sys.modules.items() if name.startswith("tasks.core.")))
"""
VERMIN = "import vermin; vermin.main()"


def test_what_runs_on_a_boot_server_needs_no_more_than_python_3_9():
    files = run(sys.executable, "-c", LOADED, cwd=REPOSITORY).split()
    assert len(files) > 20
    options = ("-q", "-t=3.9-", "--no-tips", "--eval-annotations")
    assert subprocess.run([sys.executable, "-c", VERMIN, *options, *files]).returncode == 0
