"""Several boot servers: each a machine of its own, with a real sshd, on a network of namespaces."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

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
        lines = "".join(
            f"  wn{n:03}: {{mac: 'ae:d6:90:bb:00:{n:02x}', ip: 10.99.0.{100 + n}{'' if n else first}}}\n"
            for n in range(nodes)
        )
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


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet")
    with lan(folder / "lan") as net:
        yield Fleet(net, folder)


def nfs(server: Machine, *path: str) -> pathlib.Path:
    return server.path(f"{DEST}/srv/nfs").joinpath(*path)


def boots(server: Machine, image: str = "worker") -> str:
    """The boot file that a server's nodes read."""
    return server.path(f"{DEST}/srv/tftp/plugnode/{image}.cfg").read_text()


def roots(server: Machine) -> list[str]:
    folder = nfs(server)
    return (
        sorted(name for name in os.listdir(folder) if not name.startswith("."))
        if folder.exists()
        else []
    )


def manifest(folder: pathlib.Path) -> list[tuple]:
    """Everything in a root: path, mode, owner, mtime of files, bytes or link."""
    found = []
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        data = (
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        )
        time = status.st_mtime_ns if path.is_file() and not path.is_symlink() else 0
        found.append(
            (
                str(path.relative_to(folder)),
                status.st_mode,
                status.st_uid,
                status.st_gid,
                time,
                data,
            )
        )
    return found


def received(server: Machine) -> int:
    """Bytes that its network card has received."""
    lines = run(*server.inside("cat", "/proc/net/dev")).splitlines()
    return next(
        int(line.split(":")[1].split()[0]) for line in lines if line.strip().startswith("eth0:")
    )


def test_a_release_is_built_once_and_is_the_same_on_every_server(fleet):
    out = fleet("plan")
    assert "Releases, boot[1-3]" in out and "+ worker: worker-" in out, out
    assert all(
        not nfs(server).exists() for server in fleet.servers.values()
    )  # a plan changes nothing
    out = fleet("deploy")
    assert "boot[1-3]: deployed" in out, out
    id, built = fleet.release(), manifest(fleet.folder / "build/worker/root")
    for server in fleet.servers.values():
        assert roots(server) == [id] and id in boots(server)
        assert manifest(nfs(server, id)) == built
        assert f"nfsroot={server.address}:/srv/nfs/{id}" in boots(
            server
        )  # each serves its own nodes
        assert not server.processes("tasks.core"), "nothing stays running there"
    blobs = {
        server.path(f"{DEST}/srv/tftp/secrets/wn000.age").read_bytes()
        for server in fleet.servers.values()
    }
    assert len(blobs) == 1 and blobs.pop().startswith(b"-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert "boot[1-3]: no changes" in fleet("plan")
    assert fleet("verify", "--full").strip() == "boot[1-3]: ok: as it was deployed, every byte"
    assert not any(os.listdir(server.path("/var/tmp")) for server in fleet.servers.values()), (
        "what was sent is removed"
    )


def test_an_update_shares_what_is_equal_and_only_what_changed_travels(fleet):
    fleet("deploy")
    old, large = fleet.release(), fleet.reference / "usr/share/large"
    data = bytearray(large.read_bytes())
    data[2_000_000:2_000_010] = b"0123456789"
    large.write_bytes(data)
    same_size_and_time(fleet.reference / "usr/share/3/file333", b"999\n")
    fleet.install("3.0.2")
    before = {name: received(server) for name, server in fleet.servers.items()}
    out = fleet("deploy")
    new = fleet.release()
    assert "~ 1 package: openssl 3.0.1 -> 3.0.2\n      ~ /etc/openssl.conf\n" in out
    assert out.count("+3.0.2") == 1
    for name, server in fleet.servers.items():
        assert roots(server) == sorted([old, new]) and new in boots(server)
        inodes = [
            {path: nfs(server, id, path).stat().st_ino for path in FILES} for id in (old, new)
        ]
        assert [path for path in FILES if inodes[0][path] != inodes[1][path]] == [
            "usr/share/large",
            "usr/share/3/file333",
        ]
        assert nfs(server, new, "usr/share/3/file333").read_text() == "999\n"
        assert nfs(server, new, "usr/share/large").read_bytes() == data
        assert received(server) - before[name] < 1_500_000, (
            "the large file did not travel, nor what did not change"
        )
        assert not list(nfs(server, ".plugnode", "received").iterdir())
    assert fleet("verify", "--full").strip() == "boot[1-3]: ok: as it was deployed, every byte"
    back = fleet("status", f"{new}..{old}")
    assert back.startswith("boot[1-3]:\n  ~ root: 5 paths: 0 added, 0 removed, 5 changed")
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
    assert "boot3: it cannot be reached" in out and fleet.site.read_text() == before
    three.plug_again()
    fleet("discover", "--write=wn[101-103]")
    known = before.splitlines()
    added = [line for line in fleet.site.read_text().splitlines() if line not in known]
    assert [line.split(", ip")[0] for line in added] == [
        '  wn101: {mac: "52:54:00:ff:00:02"',
        '  wn102: {mac: "52:54:00:ff:00:01"',
        '  wn103: {mac: "52:54:00:ff:00:03"',
    ]
    fleet.write()


def test_a_server_that_dies_half_way_stops_no_other_and_is_finished_alone(fleet):
    fleet("deploy")
    old = fleet.release()
    fleet.write(cmdline="console=ttyS0 quiet")
    sample_site.put(fleet.reference / "usr/share/new", b"new\n" * 1000)
    victim = fleet.servers["boot3"]
    victim.shim("rsync", STALLING)
    deploying = fleet.start("deploy")
    until(lambda: victim.processes("sleep 600"))
    second = fleet("rollback", "server=boot3", f"build={fleet.folder}/another", status=1)
    assert re.search(
        r"boot3: rollback to /srv/\S+: \w+ from \S+, pid \d+ on \S+ since .* is at it", second
    ), second
    assert victim.kill(
        "sshd: root", "tasks.core", "sleep 600"
    )  # at once: without its rsync it would go on
    out = deploying.communicate()[0]
    new = fleet.release()
    assert deploying.returncode == 1 and "boot[1-2]: deployed" in out, out
    assert (
        "boot3: the line was cut; what nodes boot there is whole" in out and "server=boot3" in out
    ), out
    for name in ("boot1", "boot2"):
        assert new in boots(fleet.servers[name])
    assert new not in roots(victim) and old in boots(victim)
    assert manifest(nfs(victim, old)) == manifest(nfs(fleet.servers["boot1"], old))
    victim.path("/usr/local/bin/rsync").unlink()
    assert "! the last deploy did not end: run it again" in fleet(
        "status", "server=boot3", status=1
    )
    out = fleet("deploy", "server=boot3")
    assert "boot3: deployed" in out and "boot1" not in out, out
    assert new in boots(victim) and manifest(nfs(victim, new)) == manifest(
        nfs(fleet.servers["boot1"], new)
    )
    assert "boot[1-3]: no changes" in fleet("plan")
    last = json.loads(nfs(victim, ".plugnode/journal.jsonl").read_text().splitlines()[-1])
    assert (
        last["host"] == os.uname().nodename
        and last["releases"] == {"worker": new}
        and last["result"] == "done"
    )


def test_a_cut_line_frees_the_server_and_what_came_need_not_come_again(fleet):
    fleet("deploy")
    fleet.write(cmdline="console=ttyS0 cut")
    sample_site.put(fleet.reference / "usr/share/newer", os.urandom(3_000_000))
    victim = fleet.servers["boot2"]
    victim.shim("rsync", STALLING)
    deploying = fleet.start("deploy", "server=boot2")
    until(lambda: victim.processes("sleep 600"))
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


def test_every_trouble_is_one_line_with_the_servers_name_and_the_others_are_done(fleet):
    fleet("deploy")
    fleet.write(cmdline="console=ttyS0 troubled")
    one, two, three = fleet.servers.values()
    known = fleet.net.folder / "known_hosts"
    keys = known.read_text()
    known.write_text(
        "".join(line for line in keys.splitlines(True) if not line.startswith(two.address + " "))
    )
    three.unplug()
    out = fleet("deploy", status=1)
    known.write_text(keys)
    three.plug_again()
    id = fleet.release()
    assert "boot1: deployed" in out and id in boots(one) and id not in boots(two) + boots(three)
    assert re.search(r"^(ERROR: )?boot2: its host key is not known here: log in once", out, re.M), (
        out
    )
    assert re.search(
        r"^(ERROR: )?boot3: it cannot be reached: (No route|Connection timed out)", out, re.M
    ), out
    assert "2 of 3 servers failed; once mended, the same again for them: server=boot[2-3]" in out, (
        out
    )
    shims = [two.shim(name, "exit 127") for name in PYTHONS]
    shims.append(one.shim("rsync", FILLING))
    leave(one, 12)
    leave(three, 2)
    sample_site.put(fleet.reference / "usr/share/larger", os.urandom(6_000_000))
    out = fleet("deploy", status=1)
    for shim in shims:
        shim.unlink()
    leave(one, 100)
    leave(three, 100)
    one.path("/srv/fill").unlink()
    assert "boot1: No space left on device there; what nodes boot is whole" in out and id in boots(
        one
    ), out
    assert "boot2: it has no Python 3.9 or newer: install python3 there" in out, out
    assert re.search(r"boot3: \S*: needs \S+ MiB, \S+ \S+ free; nothing was changed", out), out
    (fleet.reference / "usr/share/larger").unlink()
    assert "boot[2-3]: deployed" in fleet("deploy") and "boot[1-3]: no changes" in fleet("plan")


def leave(server: Machine, room: int) -> None:
    """Give its disk so many MiB that are free."""
    used = os.statvfs(server.path("/srv"))
    size = (used.f_blocks - used.f_bfree) * used.f_frsize // 1024 + room * 1024
    run(*server.inside("mount", "-o", f"remount,size={size}k", "/srv"))


PYTHONS = ("python3", *(f"python3.{minor}" for minor in range(9, 14)))


def test_rollback_status_prune_and_verify_work_on_every_server(fleet):
    fleet("deploy")
    old = fleet.release()
    fleet.write(cmdline="console=ttyS0 newest")
    fleet("deploy")
    new = fleet.release()
    assert f"boot[1-3]: worker: nodes boot {old} from now on, not {new}" in fleet("rollback")
    assert all(old in boots(server) for server in fleet.servers.values())
    out = fleet("rollback", f"release={new}", "server=boot[1-2]")
    assert f"boot[1-2]: worker: nodes boot {new} from now on, not {old}" in out and old in boots(
        fleet.servers["boot3"]
    )
    assert (
        f"boot3: no changes\n  ! worker stays at {old}; deploy --again would go back to {new}, which"
        in fleet("deploy")
    )
    assert old in boots(fleet.servers["boot3"])
    fleet("deploy", "--again")
    out = fleet("status")
    assert (
        f"worker boots {new}" in out
        and "rollback" in out
        and "named by /srv/tftp/plugnode/worker.cfg" in out
    ), out
    assert f"kept    {new}: named by" in fleet("prune")
    fleet.write(cmdline="console=ttyS0 newest", first=f", release: {old}")
    fleet("deploy")
    for server in (
        fleet.servers.values()
    ):  # a release that only they have: its boot files are made by what they know
        tftp = server.path(f"{DEST}/srv/tftp")
        assert (
            f"INCLUDE plugnode/{old}.cfg"
            in (tftp / "pxelinux.cfg/01-ae-d6-90-bb-00-00").read_text()
        )
        text = (tftp / f"plugnode/{old}.cfg").read_text()
        assert f"nfsroot={server.address}:/srv/nfs/{old}" in text and new in boots(server)
    assert f"wn000 pinned to {old}" in fleet("status")
    nfs(fleet.servers["boot2"], new, "etc/added").touch()
    signature = nfs(fleet.servers["boot3"], f".plugnode/{new}.sig")
    good = signature.read_bytes()
    signature.write_bytes(good[:-99])
    out = fleet("verify", status=1)
    assert f"boot2: /srv/nfs/{new}/etc/added: added" in out, out
    assert f"boot3: /srv/nfs/.plugnode/{new}.json: not signed by a key of `trust:`" in out
    assert "boot1: ok: as it was deployed" in out
    nfs(fleet.servers["boot2"], new, "etc/added").unlink()
    signature.write_bytes(good)
    assert fleet("verify", "server=boot[1,3]").strip() == "boot[1,3]: ok: as it was deployed"
    assert "site.yaml has no boot9; it has boot[1-3]" in fleet("verify", "server=boot9", status=3)
    mended_by_another(fleet, nfs(fleet.servers["boot2"], new, "usr/share/large"))


def mended_by_another(fleet: Fleet, harmed: pathlib.Path) -> None:
    """A byte of a file on one server; what is built is harmed, too."""
    built = fleet.folder / "build/worker/root/usr/share/large"
    right = harmed.read_bytes()
    with open(harmed, "r+b") as file:
        file.write(b"harmed")
    built.rename(fleet.folder / "aside")
    out = fleet("verify", "--repair")
    (fleet.folder / "aside").rename(built)
    assert (
        f"boot2: mended /srv/nfs/{harmed.parts[-4]}/usr/share/large: content (sha256)" in out
        or ("boot2:\n" in out and "usr/share/large: content (sha256)" in out)
    ), out
    assert "boot[1-3]: ok: as it was deployed" in out and harmed.read_bytes() == right


def test_one_image_on_one_server_is_moved_and_nothing_else(fleet):
    fleet.write(first=", image: gpu")
    text = fleet.site.read_text()
    image = text[text.index("  worker:\n") : text.index("nodes:\n")]
    text = text.replace("nodes:\n", image.replace("worker:", "gpu:", 1) + "nodes:\n")
    text = re.sub(r"^(  wn[0-9]+: .*[0-9])}$", r"\1, image: worker}", text, flags=re.M)
    fleet.site.write_text(text)
    fleet("deploy")
    one, two, three = fleet.servers.values()
    old = {server.name: (boots(server), boots(server, "gpu")) for server in (one, two, three)}
    fleet.site.write_text(fleet.site.read_text().replace("console=ttyS0", "console=ttyS0 both"))
    assert "server=: push has no use for it" in fleet.start("push", "server=boot1").communicate()[0]
    told = json.loads(
        fleet("plan", "--json", "image=gpu", "server=boot[1-2]").partition("{")[2].join(["{", ""])
    )
    for server in ("boot1", "boot2"):
        assert [move["image"] for move in told["servers"][server]["releases"]] == ["gpu"]
        assert {each["path"] for each in told["servers"][server]["files"]} == {
            f"/srv/tftp/plugnode/gpu.{kind}" for kind in ("cfg", "grub", "ipxe")
        }
    assert "boot[1-2]: deployed" in fleet("deploy", "image=gpu", "server=boot[1-2]")
    new = json.loads((fleet.folder / "build/gpu/release.json").read_text())["id"]
    assert (
        new in boots(one, "gpu") and new in boots(two, "gpu") and fleet.release() not in roots(one)
    )
    assert [boots(server) for server in (one, two, three)] == [old[name][0] for name in old]
    assert boots(three, "gpu") == old["boot3"][1]
    nfs(two, new, "etc/added").touch()
    assert fleet("verify", "image=worker").strip() == "boot[1-3]: ok: as it was deployed"
    assert f"boot2: /srv/nfs/{new}/etc/added: added" in fleet("verify", "image=gpu", status=1)
    nfs(two, new, "etc/added").unlink()
    assert "boot[1-2]: gpu: nodes boot" in fleet("rollback", "image=gpu", "server=boot[1-2]")
    assert boots(one, "gpu") == old["boot1"][1]
    assert "worker-" not in fleet("prune", "image=gpu")


def test_a_plan_says_what_a_server_would_refuse(fleet):
    fleet.write(first=", release: worker-0123456789ab")
    why = "boot[1-3]: worker-0123456789ab: pinned in site.yaml and not on the server; nothing was changed"
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
    assert "is not what a deploy would do now" in fleet(
        "deploy", f"--plan={at[0]}", "server=boot1", status=1
    )
    assert "boot[1-3]: deployed" in fleet("deploy", f"--plan={at[0]}")


def test_the_server_that_this_machine_is_is_one_of_them(fleet):
    fleet.write()
    here, text = fleet.servers["boot1"], fleet.site.read_text()
    fleet.site.write_text(
        text.replace(f", ssh: root@{here.address}", "").replace('"console', '"mixed console')
    )
    assert "boot[1-3]: deployed" in fleet("deploy", at=here)
    assert all(fleet.release() in boots(server) for server in fleet.servers.values())


def test_a_plan_for_scripts_has_every_server(fleet):
    fleet.write(nodes=12)
    plan = json.loads(fleet("plan", "--json", "server=boot[1,3]").partition("{")[2].join(["{", ""]))
    assert plan["changed"] and list(plan["servers"]) == ["boot1", "boot3"]
    assert "wn011" in plan["servers"]["boot3"]["nodes"]["added"]


def test_what_runs_on_a_boot_server_needs_no_more_than_python_3_9():
    probe = "import sys; from tasks.core.remote import agent; "
    probe += "print(*(module.__file__ for name, module in sys.modules.items() if name.startswith('tasks.core.')))"
    files = run(sys.executable, "-c", probe, cwd=REPOSITORY).split()
    assert len(files) > 20
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import vermin; vermin.main()",
            "-q",
            "-t=3.9-",
            "--no-tips",
            "--eval-annotations",
            *files,
        ]
    )
    assert done.returncode == 0
