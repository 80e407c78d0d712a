"""Secrets of nodes as an admin meets them.

They are read by deploy alone, encrypted for each node, and nowhere in plain.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support import sample_site
from tests.support.commands import Doit

PLANTED = b"planted-plaintext-7f3a91"
SECRETS = """\
secrets_store: private/store
ssh_host_keys: kept
outputs: [ssh_known_hosts]
secrets:
  munge: {{to: /etc/munge/munge.key, from: {{file: private/munge.key}}, owner: daemon}}
  tab: {{to: /etc/krb5.keytab, from: {{command: [sh, -c, "{read}"]}}{groups}}}
groups: {{gpu: {{}}}}
"""
READ = "echo read >>private/log; cat private/tab"
NODES = [
    "{mac: 'ae:d6:90:bb:aa:1d', ip: 172.24.10.100, groups: [gpu]}",
    "{mac: 'ae:d6:90:bb:aa:1e', ip: 172.24.10.10}",
]


class Site:
    """A site with two secrets, and the keys of its two nodes."""

    def __init__(self, folder: Path):
        self.doit, self.folder, self.dest = Doit(folder), folder, folder / "dest"
        self.private, self.store = folder / "private", folder / "private/store"
        self.private.mkdir()
        self.reference = sample_site.reference(folder / "reference", files=5)
        self.site()

    def site(self, groups: str = "") -> None:
        """As it is at first, with its secrets; `groups`: who else may have the second one."""
        self.write("munge.key", PLANTED + b"\n")
        self.write("tab", PLANTED + b" of kerberos\n")
        sample_site.write(self.doit.site, self.reference, NODES)
        with self.doit.site.open("a") as file:
            file.write(SECRETS.format(groups=groups, read=READ))

    def write(self, name: str, data: bytes) -> None:
        (self.private / name).write_bytes(data)

    def __call__(self, *words: str, status: int = 0) -> str:
        return self.doit(*words, f"destdir={self.dest}", status=status)

    def key(self, node: str) -> Path:
        """Another key pair for a node: its private half."""
        path = self.private / f"{node}.key"
        path.unlink(missing_ok=True)
        subprocess.run(["age-keygen", "-o", path], check=True, capture_output=True)
        return path

    def enroll(self, **nodes: Path) -> None:
        """As `doit enroll` leaves it."""
        lines = ""
        for node, path in sorted(nodes.items()):
            words = ["age-keygen", "-y", path]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            lines += f"{node} {done.stdout}"
        self.store.mkdir(mode=0o700, exist_ok=True)
        (self.store / "recipients").write_text(lines)

    def enroll_both(self) -> dict[str, Path]:
        """Both nodes by new keys."""
        keys = {node: self.key(node) for node in ("wn001", "wn002")}
        self.enroll(**keys)
        return keys

    def blob(self, node: str) -> bytes:
        return (self.dest / f"tftpboot/secrets/{node}.age").read_bytes()

    def opened(self, node: str, key: Path) -> dict[str, bytes]:
        """What a node makes of its blob with its key."""
        folder = self.folder / "opened"
        subprocess.run(["rm", "-rf", folder], check=True)
        folder.mkdir()
        words = ["age", "-d", "-i", key, self.dest / f"tftpboot/secrets/{node}.age"]
        plain = subprocess.run(words, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-xf-", "-C", folder], input=plain, check=True)
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    @property
    def reads(self) -> int:
        log = self.private / "log"
        return log.read_text().count("read") if log.exists() else 0


@pytest.fixture(scope="module")
def one_site(tmp_path_factory) -> Site:
    return Site(tmp_path_factory.mktemp("secrets"))


@pytest.fixture
def site(one_site: Site) -> Site:
    """It is deployed, and both nodes are enrolled, whatever another test made of it."""
    one_site.site()
    one_site.enroll_both()
    one_site("deploy")
    return one_site


class Watch(threading.Thread):
    """All arguments of all processes, as long as it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bytes] = set()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.005):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:
                    continue


def holding(folder: Path) -> list[str]:
    """The files that have the planted text in them, whatever they are."""
    words = ["grep", "-rlaF", PLANTED, folder]
    return subprocess.run(words, capture_output=True, text=True).stdout.splitlines()


def test_nodes_that_are_not_enrolled_get_no_secrets_and_nothing_is_read(tmp_path: Path):
    site = Site(tmp_path)
    site.doit("validate")
    site.doit()
    checked = site("check")
    assert "secrets: worker: the root lacks age, by which nodes open their secrets: add" in checked
    assert "no user daemon, whose /etc/munge/munge.key shall be" in checked
    assert "secrets: wn[001-002]: not enrolled, so they get none; ./doit enroll" in site("plan")
    assert site.reads == 0 and not site.store.exists()
    assert "secrets: wn[001-002]: not enrolled" in site("deploy")
    assert site.store.stat().st_mode & 0o777 == 0o700
    assert not (site.dest / "tftpboot/secrets").exists()
    assert "! secrets: wn[001-002]: not enrolled" in site("status")


def test_deploy_alone_reads_secrets_and_the_plain_text_is_nowhere(site: Site):
    site.enroll_both()
    before = site.reads
    planned = site("plan")
    names = "tab, munge, ssh_host_ed25519_key, ssh_host_ed25519_key.pub"
    assert f"secrets: {names}: to be encrypted for wn[001-002]\n" in planned
    assert "enrolled" not in site("status") and site.reads == before
    watch = Watch()
    watch.start()
    out = site("deploy")
    watch.ended.set()
    watch.join()
    assert "secrets: encrypted for wn[001-002]\n" in out and site.reads == before + 1
    assert any(b"age" in words for words in watch.seen)
    assert not [words for words in watch.seen if PLANTED in words or b"AGE-SECRET" in words]
    assert PLANTED.decode() not in out + planned
    for folder in (site.dest, site.doit.build, site.store):
        assert holding(folder) == []


def test_a_node_alone_opens_what_is_encrypted_for_it(site: Site):
    got = site.opened("wn001", site.private / "wn001.key")
    assert got["etc/munge/munge.key"] == PLANTED + b"\n" and "etc/krb5.keytab" in got
    with pytest.raises(subprocess.CalledProcessError):
        site.opened("wn002", site.private / "wn001.key")


def test_what_is_unchanged_keeps_its_blob(site: Site):
    first = {node: site.blob(node) for node in ("wn001", "wn002")}
    assert "no changes" in site("deploy")
    assert {node: site.blob(node) for node in first} == first


def test_what_is_new_is_encrypted_for_those_that_have_it(site: Site):
    first = site.blob("wn002")
    site.site(", groups: [gpu]")
    assert "to be encrypted for wn002\n" in site("plan")
    site("deploy")
    second = site.blob("wn002")
    assert second != first
    assert "etc/krb5.keytab" not in site.opened("wn002", site.private / "wn002.key")

    site.write("tab", PLANTED + b" rotated\n")
    assert "no changes" in site("plan"), "nothing was read"
    assert "secrets: encrypted for wn001\n" in site("deploy")
    tab = site.opened("wn001", site.private / "wn001.key")["etc/krb5.keytab"]
    assert tab.endswith(b" rotated\n") and site.blob("wn002") == second


def test_a_node_that_is_revoked_loses_its_blob_and_one_with_a_new_key_gets_another(site: Site):
    old, new = site.private / "wn001.key", site.private / "moved.key"
    os.replace(old, new)
    site.enroll(wn001=site.key("wn001"))
    assert "- /tftpboot/secrets/wn002.age\n" in site("plan")
    assert "secrets: encrypted for wn001\n" in site("deploy")
    assert not (site.dest / "tftpboot/secrets/wn002.age").exists()
    assert not (site.store / "blobs/wn002.age").exists()
    assert site.opened("wn001", old)
    with pytest.raises(subprocess.CalledProcessError):
        site.opened("wn001", new)


def test_a_node_that_is_out_of_the_site_is_told_of_and_a_trial_takes_nothing_back(site: Site):
    text = site.doit.site.read_text()
    site.doit.site.write_text(text.replace("wn002", "wn007"))
    out = site("plan")
    assert "secrets: wn002: enrolled, and no node any more; deploy takes that back\n" in out
    site("deploy")
    assert "wn002 " in (site.store / "recipients").read_text()


def test_a_plan_that_was_seen_is_done_whatever_the_secrets_are(site: Site):
    site.write("munge.key", PLANTED + b" again\n")
    text = site.doit.site.read_text()
    site.doit.site.write_text(text.replace("console=ttyS0", "console=ttyS1"))
    id = re.search(r"--plan=(\w+)", site("plan"))[1]
    assert "secrets: encrypted for wn[001-002]\n" in site("deploy", f"--plan={id}")
    assert b"again" in site.opened("wn001", site.private / "wn001.key")["etc/munge/munge.key"]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("rm private/tab", "secrets.tab: sh ended with exit status 1; run it by hand to see why"),
        (": >private/munge.key", "secrets.munge: what it comes from gives nothing"),
        ("rm private/munge.key", "private/munge.key: No such file or directory"),
        ("chmod 0750 private/store", "others may enter it: chmod 0700"),
        ("echo 'wn001 age1x' >private/store/recipients", "no name and public key of a node"),
    ],
)
def test_what_cannot_be_read_stops_a_deploy_before_anything_is_changed(site: Site, broken, said):
    saved = site.folder / "saved"
    subprocess.run(["cp", "-a", site.private, saved], check=True)
    before = site.blob("wn001")
    subprocess.run(broken, shell=True, check=True, cwd=site.folder)
    out = site("deploy", status=3 if "recipients" in broken else 1)
    assert said in out and PLANTED.decode() not in out
    assert site.blob("wn001") == before
    subprocess.run(["rm", "-rf", site.private], check=True)
    saved.rename(site.private)


HOST_KEY = "var/lib/plugnode/ssh/ssh_host_ed25519_key"


def test_ssh_knows_nodes_by_the_keys_that_are_kept(site: Site):
    site.doit()
    known = site.doit.build / "configs/cluster/ssh_known_hosts"
    key = site.private / "host.key"
    key.write_bytes(site.opened("wn001", site.private / "wn001.key")[HOST_KEY])
    key.chmod(0o600)
    fingerprint = listed("-l", "-f", key).split()[1]
    for name, has_it in {"wn001": True, "172.24.10.100": True, "wn002": False}.items():
        assert (fingerprint in listed("-f", known, "-F", name, "-l")) == has_it
    assert "wn001 ssh-ed25519" in (site.doit.build / "nodes.known_hosts").read_text()
    assert b"PRIVATE KEY" not in known.read_bytes()


def listed(*words: object) -> str:
    """What ssh-keygen prints."""
    argv = ["ssh-keygen", *map(str, words)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_the_root_has_places_for_secrets_and_nothing_in_them(site: Site):
    root = site.doit.build / "worker/root"
    assert (root / "etc/munge/munge.key").read_bytes() == b""
    assert (root / "etc/plugnode/secrets").read_text().splitlines()[:2] == [
        "etc/krb5.keytab\tmemory",
        "etc/munge/munge.key\tmemory",
    ]
    release = json.loads((site.doit.build / "worker/release.json").read_text())["id"]
    site.write("munge.key", PLANTED + b" once more\n")
    site("deploy")
    assert json.loads((site.doit.build / "worker/release.json").read_text())["id"] == release
