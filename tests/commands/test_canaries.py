"""Canaries: planted wherever a reference has secrets, and looked for in all that a build and a deploy leave."""

from __future__ import annotations

import gzip
import os
import re
import secrets
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.core.rootfs import scrub_rules
from tests.support import sample_site
from tests.support.commands import REPOSITORY, Doit
from tests.support.scrub_samples import sample

MARK = f"pn{secrets.token_hex(8)}"  # of this run's canaries; a number of four digits follows
SAYS = re.compile(f"{MARK}([0-9]{{4}})".encode())

# Real names of grid nodes, written without looking at the table's patterns
NAMES = """
etc/ssh/ssh_host_rsa_key etc/ssh/ssh_host_rsa_key.pub etc/ssh/ssh_host_ed25519_key etc/ssh/ssh_host_dsa_key.bak
root/.ssh/id_rsa root/.ssh/id_ed25519.old root/.ssh/known_hosts root/.ssh/authorized_keys home/alice/.ssh/id_ecdsa
home/alice/.bash_history home/alice/thesis.tex opt/tools/.ssh/id_rsa
etc/grid-security/hostkey.pem etc/grid-security/hostcert.pem etc/grid-security/hostkey.pem.bak
etc/grid-security/hostkey.pem.2009 etc/grid-security/containerkey.pem etc/grid-security/xrd/xrdkey.pem
etc/grid-security/http/httpkey.pem etc/grid-security/tomcat/key.pem tmp/x509up_u501 var/tmp/x509up_u502
opt/jobs/x509up_u503 var/lib/globus/job_home/proxy root/.globus/userkey.pem
etc/krb5.keytab etc/http.keytab etc/krb5.keytab.old var/kerberos/krb5kdc/principal tmp/krb5cc_0 root/krb5cc_1000
etc/munge/munge.key etc/munge/munge.key.bak etc/condor/passwords.d/POOL etc/condor/pool_password
etc/condor/tokens.d/join var/lib/condor/pool_password var/lib/condor/tokens.d/x var/spool/torque/mom_priv/jobs/1.JB
var/spool/torque/spool/1.OU var/spool/torque/undelivered/1.ER etc/slurm/slurmdbd.conf etc/slurm/jwt_hs256.key
etc/cvmfs/keys/example.org.key etc/cvmfs/keys/example.org.masterkey etc/cvmfs/keys/example.org.gw
var/lib/cvmfs/shared/cache etc/shadow- etc/gshadow- etc/passwd- etc/group- etc/shadow.rpmsave etc/shadow~ etc/shadow.bak
etc/security/opasswd etc/passwd.rpmnew etc/machine-id var/lib/dbus/machine-id etc/hostid etc/iscsi/initiatorname.iscsi
etc/nvme/hostid etc/nvme/hostnqn var/lib/random-seed var/lib/systemd/random-seed boot/efi/loader/random-seed
etc/udev/rules.d/70-persistent-net.rules etc/sysconfig/network-scripts/route-eth0
etc/NetworkManager/system-connections/wifi etc/wpa_supplicant/wpa_supplicant.conf etc/ppp/chap-secrets
etc/ppp/pap-secrets etc/ipsec.secrets etc/wireguard/wg0.conf var/lib/dhclient/dhclient.leases var/lib/dhcp/leases
var/lib/NetworkManager/secret_key etc/hostname etc/adjtime etc/crypttab etc/mdadm.conf etc/lvm/archive/vg.vg
etc/lvm/backup/vg etc/lvm/cache/.cache etc/blkid.tab etc/puppet/ssl/private_keys/a.pem etc/puppetlabs/puppet/ssl/ca.pem
var/lib/puppet/ssl/private_keys/b.pem var/cfengine/ppkeys/localhost.priv etc/chef/client.pem etc/salt/pki/minion.pem
etc/ncm-ncd.conf var/lib/ccm/profile etc/sysconfig/rhn/systemid etc/sysconfig/rhn/osad-auth.conf
etc/pki/consumer/key.pem etc/pki/entitlement/1-key.pem var/lib/yum/uuid etc/pki/tls/private/localhost.key
etc/pki/CA/private/ca.key etc/ssl/private/snakeoil.key srv/app/store.p12 opt/app/store.pfx usr/local/app/store.jks
etc/pki/nssdb/key3.db etc/pki/nssdb/key4.db etc/openldap/certs/password etc/ldap.secret etc/ipa/nssdb/pwdfile.txt
var/lib/ipa-client/sysrestore/x var/lib/sss/db/cache.ldb var/lib/sss/secrets/.secrets.mkey etc/cups/printers.conf
etc/exim4/passwd.client etc/postfix/sasl_passwd etc/postfix/sasl/smtpd.conf etc/snmp/snmpd.conf
var/lib/net-snmp/snmpd.conf root/.my.cnf root/.pgpass root/.netrc root/.aws/credentials root/.docker/config.json
root/.gnupg/secring.gpg root/.kube/config root/.bash_history root/.viminfo root/.lesshst root/.mysql_history
root/anaconda-ks.cfg root/install.log root/original-ks.cfg var/log/anaconda.log var/log/messages var/log/audit/audit.log
var/log/wtmp var/log/btmp var/log/lastlog var/log/sa/sa01 var/spool/cron/root var/spool/at/a1 var/spool/mail/root
var/spool/mqueue/q1 var/spool/postfix/active/1 var/spool/cups/d1 var/spool/abrt/core var/crash/vmcore var/account/pacct
core core.4711 var/cache/yum/x var/cache/man/x var/lib/rpm/__db.001 tmp/job var/tmp/job var/lock/x var/run/x.pid run/x
mnt/disk/x media/usb/x lost+found/x proc/x sys/x cvmfs/example.org/x dev/shm/x etc/app/app.conf.bak root/notes.bak
srv/data.bak var/lib/app/state.bak etc/x.bak root/x.bak srv/x.bak var/x.bak
""".split()

Plants = dict[int, str]  # a canary's number -> where it is


class Reference:
    """A small worker node with canaries."""

    def __init__(self, folder: Path):
        self.folder = sample_site.reference(folder, files=20)
        self.plants: Plants = {}

    def canary(self, where: str) -> str:
        self.plants[len(self.plants)] = where
        return f"{MARK}{len(self.plants) - 1:04}"

    def plant(self, name: str, text: str = "secret {}\n" * 4) -> None:
        """A file with a canary; below it, where that name is a folder already; nowhere, where a file is above."""
        path = self.folder / name
        if path.is_dir():
            path /= "canary"
        if any(up.is_file() or up.is_symlink() for up in path.parents) or os.path.lexists(path):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(*[self.canary(name)] * 4))
        path.chmod(0o600)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    found = Reference(tmp_path_factory.mktemp("canaries") / "reference")
    for name in NAMES:
        found.plant(name)
    for row in scrub_rules.scrub_rules():
        if row.action in ("delete", "files", "empty"):
            found.plant(os.fsdecode(sample(row.pattern)[0]))
        elif row.action == "lines":
            found.plant(os.fsdecode(sample(row.pattern)[0]), f"kept\n{line_of(row)}{{}}\n")
    lock_accounts(found)
    disguise(found)
    return found


BEGINNINGS = (
    "HOSTNAME=", "HWADDR=", "ldap_default_authtok=", "bindpw ", "rootpw ", "password=", "secret = ", "AuthPass=",
    "const TicketSalt = ", "1 SHA256 ", "https://me:pw@example.org/", "srv:/x /x cifs password=", "https://dav me ",
    "//registry/:_authToken=", "SITE_PASSWORD=", "LSF_EAUTH_KEY=", "proxyPassword=", "skey = ", "Pass ", "set smtp_pass = ",
    "proxy-user = me:", 'BUNDLE_X: "me:', '<fence passwd=', "ldap_password: ", "x DHHC-1:00:", "plugin.psk = ",
    "token_secret: ", "auth_pass ", "enable password ", 'password "', "shared-secret ", "allow me:", "dbc_dbpass='",
    "dns_x = ", "http-proxy-password = ",
)  # fmt: skip


def line_of(row: scrub_rules.ScrubRule) -> str:
    """The beginning of a line that a row's expression matches."""
    return next(text for text in BEGINNINGS if re.match(row.lines, f"{text}x"))


def lock_accounts(found: Reference) -> None:
    for name in ("shadow", "gshadow", "passwd", "group"):
        path = found.folder / "etc" / name
        rest = {"shadow": "1:0:9:7:::", "gshadow": ":", "passwd": "7:7::/:/bin/sh", "group": "7:"}[
            name
        ]
        old = path.read_text() if path.exists() else ""
        hashed = found.canary(f"etc/{name}").ljust(86, "x")
        path.write_text(f"{old}planted:$6$saltsalt${hashed}:{rest}\n")
    found.plant("etc/tcb/root/shadow", "root:$6$saltsalt${}" + "x" * 66 + ":1:0:9:7:::\n")


def disguise(found: Reference) -> None:
    """The same secrets by other names: hard links, symlinks, copies, attributes."""
    at = found.folder
    for number, name in enumerate(
        ("etc/munge/munge.key", "etc/grid-security/hostkey.pem", "root/.ssh/id_rsa")
    ):
        os.link(at / name, at / f"opt/hard{number}")
        sample_site.put(at / f"opt/copy{number}.txt", (at / name).read_bytes())
        found.plant(f"srv/real{number}")
    os.link(at / "etc/shadow", at / "opt/shadow-too")
    for number, link in enumerate(
        ("etc/ssh/ssh_host_ecdsa_key", "etc/pki/tls/private/linked.key", "etc/my.keytab")
    ):
        (at / link).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(f"/srv/real{number}", at / link)
    os.rename(at / "etc/grid-security", at / "opt/grid-security")
    os.symlink("../opt/grid-security", at / "etc/grid-security")
    for name in ("opt/grid-security/hostcert.pem", "var/log/messages", "etc/passwd"):
        os.setxattr(
            at / name, "user.note", f"{found.canary(f'an attribute of {name}')} ".encode() * 3
        )


def found_in(
    *folders: Path, but: Callable[[Path], bool] = lambda path: False
) -> dict[int, list[str]]:
    """Number of each canary -> the files that have it: bytes, what is packed in them, targets, attributes."""
    found: dict[int, list[str]] = {}
    for folder in folders:
        for path in [folder, *sorted(folder.rglob("*"))]:
            if but(path):
                continue
            for data in looked_at(path):
                for number in SAYS.findall(data):
                    found.setdefault(int(number), []).append(str(path.relative_to(folder)))
    return found


def looked_at(path: Path) -> Iterator[bytes]:
    yield os.fsencode(path.name)
    if path.is_symlink():
        yield os.readlink(os.fsencode(path))
        return
    for name in os.listxattr(path):
        yield os.getxattr(path, name)
    if path.is_file():
        data = path.read_bytes()
        yield data
        if data[:2] == b"\x1f\x8b":
            yield gzip.decompress(data)


class Run:
    """A site in a folder of its own, and all that its commands said."""

    def __init__(self, folder: Path, reference: str, keep: str = ""):
        self.doit, self.folder = Doit(folder), folder
        self.folder.mkdir(exist_ok=True)
        self.temporary, self.served, self.said = folder / "tmp", folder / "served", folder / "said"
        for path in (self.temporary, self.served, self.said):
            path.mkdir()
        sample_site.write(self.doit.site, Path("/nowhere"))
        text = self.doit.site.read_text().replace("{path: /nowhere}", reference)
        self.doit.site.write_text(text.replace("    disk:", f"    keep: [{keep}]\n    disk:"))

    def __call__(self, *words: str, status: int = 0) -> str:
        out = self.doit(*words, status=status, env={**os.environ, "TMPDIR": str(self.temporary)})
        (self.said / f"{len(list(self.said.iterdir()))}").write_text(out)
        return out

    def everything(self) -> None:
        """Every command that reads, builds or writes."""
        self()
        for words in (
            ["plan"],
            ["plan", "--json"],
            ["check"],
            ["deploy"],
            ["status"],
            ["verify", "--full"],
            ["list"],
        ):
            self(
                *words,
                *(
                    [f"destdir={self.served}"]
                    if words[0] in ("plan", "deploy", "status", "verify")
                    else []
                ),
            )

    def found(self, **more) -> dict[int, list[str]]:
        return found_in(self.doit.build, self.served, self.temporary, self.said, **more)


def where(reference: Reference, found: dict[int, list[str]]) -> dict[str, list[str]]:
    return {reference.plants[number]: paths for number, paths in found.items()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, reference: Reference) -> Run:
    made = Run(tmp_path_factory.mktemp("built"), f"{{path: {reference.folder}}}")
    made.everything()
    return made


def test_there_are_canaries_in_every_place_that_the_table_or_the_trade_knows(reference: Reference):
    assert len(reference.plants) > 300
    planted = found_in(reference.folder)
    assert set(planted) == set(reference.plants)


def test_no_canary_is_in_anything_that_a_build_and_a_deploy_leave(run: Run, reference: Reference):
    """Releases, initrds, site.img, configurations, the report, state, journal, temporary files, all that was said."""
    assert where(reference, run.found()) == {}
    (release,) = (run.served / "opt/nfs_export").glob("worker-*")
    assert (release / "var.ro/log/messages").read_bytes() == b""
    assert b"planted:*:1:0" in (release / "etc/shadow").read_bytes()
    assert (release / "etc/nslcd.conf").read_bytes() == b"kept\n"


def test_what_was_looked_through_is_what_is_there(run: Run):
    """That a canary would be found: in a packed file, in the state, in what was said."""
    assert {"release.json", "root.mtree", "initrd.img", "notes.json"} <= set(
        os.listdir(run.doit.build / "worker")
    )
    (initrd,) = run.served.glob("tftpboot/worker-*/initrd.img")
    assert any(b"TRAILER!!!" in data for data in looked_at(initrd))
    state = b"".join(path.read_bytes() for path in run.doit.build.glob(".*") if path.is_file())
    assert b"root:worker" in state
    assert (run.doit.build / ".noted/worker.state").stat().st_size > 1000
    assert "Plan:" in "".join(path.read_text() for path in run.said.iterdir())


def test_the_report_names_what_was_scrubbed(run: Run):
    report = (run.doit.build / "report.html").read_text()
    assert "etc/munge/munge.key" in report and "authenticates as any user of the cluster" in report


def test_an_archive_keeps_its_canaries_in_its_own_snapshot_only(
    tmp_path: Path, reference: Reference
):
    with tarfile.open(tmp_path / "reference.tar", "w") as archive:
        archive.add(reference.folder, ".")
    run = Run(tmp_path / "site", f"{{archive: {tmp_path}/reference.tar}}")
    run()
    (snapshot,) = run.doit.build.glob("references/*/tree")
    assert where(reference, run.found(but=lambda path: snapshot in path.parents)) == {}


def test_what_keep_names_and_nothing_else_is_in_the_release(tmp_path: Path, reference: Reference):
    run = Run(tmp_path / "site", f"{{path: {reference.folder}}}", keep="etc/krb5.keytab")
    run()
    found = where(reference, run.found())
    assert set(found) == {"etc/krb5.keytab"}
    assert set(found["etc/krb5.keytab"]) == {"worker/root/etc/krb5.keytab"}


# What must not be built


KEY_PLACES = [
    "opt/app/data", "usr/local/etc/app.conf", "etc/app/tls.key", "srv/www/x", "var/lib/app/key", "etc/profile.d/x.sh",
    "usr/share/app/.hidden", "opt/a b\n\xff/key", "root/key.pem", "boot/key", "opt/app/key.pem.1", "usr/lib/key.so.1",
]  # fmt: skip


@pytest.fixture(scope="module")
def key() -> str:
    return subprocess.run(
        ["openssl", "genrsa", "1024"], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return sample_site.reference(tmp_path / "node", files=5)


@pytest.mark.parametrize("name", KEY_PLACES)
def test_a_private_key_anywhere_stops_the_build_which_names_it_and_keeps_it_to_itself(
    tmp_path: Path, node: Path, key: str, name: str
):
    sample_site.put(node / os.fsdecode(name.encode("latin-1")), key.encode(), 0o400)
    refused(tmp_path, node, key, name.replace("\n\xff", ""), "holds a private key (PEM)")


def refused(tmp_path: Path, node: Path, secret: str, name: str, rule: str) -> None:
    """The build fails, says where and why, and leaves no line of the secret anywhere."""
    run = Run(tmp_path / "site", f"{{path: {node}}}")
    said = run(status=3)
    (line,) = [line for line in said.splitlines() if rule in line]
    assert re.match(rf"{re.escape(str(run.doit.site))}:\d+:\d+: images\.worker: /", line)
    assert name.split("b", 1)[0] in line and "`keep`" in line
    assert not (run.doit.build / "worker").exists()
    pieces = [piece.encode() for piece in secret.split("\n") if len(piece) > 20]
    left = [path for path in run.folder.rglob("*") if path.is_file()]
    assert pieces and not [path for path in left for piece in pieces if piece in path.read_bytes()]


OTHERS = {
    "a password hash": (
        "opt/app/users",
        "admin:$6$saltsalt$" + "h" * 86 + "\n",
        "holds a usable password hash",
    ),
    "a password of the boot loader": (
        "opt/boot.cfg",
        f"password_pbkdf2 root grub.pbkdf2.sha512.10000.{'AB' * 64}.{'CD' * 64}\n",
        "holds a usable password hash",
    ),
    "a WireGuard key": (
        "opt/wg0.conf",
        "[Interface]\nPrivateKey = " + "A" * 43 + "=\n",
        "private key of WireGuard",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_so_does_every_other_secret_that_can_be_known_by_its_bytes(
    tmp_path: Path, node: Path, kind: str
):
    name, secret, rule = OTHERS[kind]
    sample_site.put(node / name, secret.encode())
    refused(tmp_path, node, secret, name, rule)


def test_so_does_a_key_in_an_attribute(tmp_path: Path, node: Path, key: str):
    sample_site.put(node / "opt/data", b"nothing of interest\n")
    os.setxattr(node / "opt/data", "user.key", key.encode())
    refused(
        tmp_path, node, key, "/opt/data", "extended attribute user.key holds a private key (PEM)"
    )


def test_so_does_a_key_that_an_overlay_brings(tmp_path: Path, node: Path, key: str):
    run = Run(tmp_path / "site", f"{{path: {node}}}")
    run.doit.site.write_text(run.doit.site.read_text().replace("overlays: []", "overlays: [own]"))
    sample_site.put(run.folder / "overlays/own/etc/own.key", key.encode())
    assert "/etc/own.key: holds a private key (PEM)" in run(status=3)


def test_two_sites_ship_the_same_setup_sh_which_is_the_tested_one(tmp_path: Path):
    shipped = []
    for name in ("one", "two"):
        node = sample_site.reference(tmp_path / f"node-{name}", files=3 + len(shipped))
        run = Run(tmp_path / name, f"{{path: {node}}}")
        text = (
            run.doit.site.read_text()
            .replace("site: small", f"site: {name}")
            .replace("172.24.10", f"10.1.{len(name)}")
        )
        run.doit.site.write_text(text.replace("/dev/vda", f"/dev/{name}"))
        run()
        shipped.append(scripts(run.doit.build / "worker/root/etc"))
    assert shipped == [scripts(REPOSITORY / "overlays/worker/etc")] * 2


def scripts(etc: Path) -> dict[str, bytes]:
    """setup.sh and its parts."""
    return {
        path.name: path.read_bytes() for path in [etc / "setup.sh", *(etc / "plugnode").iterdir()]
    }
