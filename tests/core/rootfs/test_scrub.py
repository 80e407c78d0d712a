"""Scrubbing by the table, and the search that looks at the bytes."""

from __future__ import annotations

import base64
import ctypes
import hashlib
import pathlib
import re
import secrets
import struct
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.rootfs import scrub, scrub_edits, scrub_rules
from tasks.core.secret_scan import form
from tasks.core.secret_scan.find import Find, broken_rule, find_secrets
from tasks.core.tree.filter import Patterns
from tasks.core.tree.model import FILE, Tree, directory, generated_file, read_content, symlink
from tests.support.package_databases import OF_DEBIAN, rpm_database, sums_of
from tests.support.scrub_samples import sample

SHADOW = b"root:$6$salt$" + b"h" * 86 + b":19000:0:99999:7:::\n"


def tree_of(files: dict[str, bytes | None]) -> Tree:
    """A tree of files (None: a folder), with every folder above them."""
    tree: Tree = {b"": directory()}
    for name, data in files.items():
        path = name.encode()
        for end in (match.start() for match in re.finditer(b"/", path)):
            tree.setdefault(path[:end], directory())
        tree[path] = directory() if data is None else generated_file(data, 0o600)
    return tree


def scrubbed(files: dict[str, bytes | None], *keep: str) -> dict[str, bytes]:
    tree, _ = scrub.scrub(tree_of(files), keep)
    return {
        path.decode(): read_content(entry) for path, entry in tree.items() if entry.type == FILE
    }


def test_every_row_is_complete() -> None:
    for row in scrub_rules.scrub_rules():
        assert row.action in ("delete", "files", "empty", "lock", "lines", "pass"), row
        assert row.kind in ("N", "P", "S", "V", "I", "X", "C"), row
        assert row.reason and (row.action == "lines") == bool(row.lines), row
        re.compile(row.lines)


def test_every_row_decides_about_something() -> None:
    rules = Patterns(row.pattern for row in scrub_rules.scrub_rules())
    for row in scrub_rules.scrub_rules():
        path, is_folder = sample(row.pattern)
        assert Patterns([row.pattern]).excludes(path, is_folder), row
        decides = scrub_rules.scrub_rules()[rules.first(path, is_folder)]
        assert decides.action == row.action, (row, decides)


def test_no_row_stands_twice() -> None:
    patterns = [row.pattern for row in scrub_rules.scrub_rules()]
    assert sorted(patterns) == sorted(set(patterns))


# Deleting, emptying, locking


def test_keys_of_the_reference_go_and_certificates_of_authorities_stay() -> None:
    left = scrubbed(
        {
            "etc/ssh/ssh_host_rsa_key": b"k",
            "etc/ssh/ssh_host_rsa_key.pub": b"k",
            "etc/ssh/sshd_config": b"c",
            "etc/grid-security/hostkey.pem": b"k",
            "etc/grid-security/hostkey.pem.old.2010": b"k",
            "etc/grid-security/certificates/abc.0": b"c",
            "etc/grid-security/certificates/keyed.pem": b"c",
            "etc/grid-security/tomcat/tomcatkey.pem": b"k",
            "etc/munge/munge.key": b"k",
            "root/.ssh/id_rsa": b"k",
            "opt/user/.ssh/id_ed25519": b"k",
            "srv/app/keystore.jks": b"k",
        }
    )
    assert set(left) == {
        "etc/ssh/sshd_config",
        "etc/grid-security/certificates/abc.0",
        "etc/grid-security/certificates/keyed.pem",
    }


def test_services_find_the_folders_of_their_state_with_their_modes() -> None:
    tree = tree_of(
        {
            "var/log/httpd/access_log": b"lines",
            "var/log/httpd/access_log.1": b"o",
            "var/cache/yum/x": b"c",
        }
    )
    tree[b"var/log/httpd"] = directory(0o700, 48, 48)
    left, _ = scrub.scrub(tree)
    assert left[b"var/log/httpd"] == directory(0o700, 48, 48)
    assert read_content(left[b"var/log/httpd/access_log"]) == b""
    assert left[b"var/log/httpd/access_log"].mode == 0o600
    assert b"var/log/httpd/access_log.1" not in left
    assert b"var/cache/yum" in left and b"var/cache/yum/x" not in left


def test_only_the_hash_of_an_account_changes() -> None:
    before = (
        SHADOW
        + b"bin:*:19000:0:99999:7:::\nhalted:!!:1::::::\nlocked:!$1$abc$"
        + b"x" * 22
        + b":1:0:9:7:::\n"
        b"open::1:0:9:7:::\ndes:ab0123456789.:1::::::\nsun:*LK*:::::::\n+::::::::\n+@grp:x:::::::\nno colon\n# c\n\n"
    )
    after = (
        b"root:*:19000:0:99999:7:::\nbin:*:19000:0:99999:7:::\nhalted:!!:1::::::\nlocked:!:1:0:9:7:::\n"
        b"open:*:1:0:9:7:::\ndes:*:1::::::\nsun:*LK*:::::::\n+::::::::\n+@grp:x:::::::\nno colon\n# c\n\n"
    )
    assert scrubbed({"etc/shadow": before})["etc/shadow"] == after


def test_an_empty_field_of_a_group_lets_nobody_in_and_stays() -> None:
    assert scrubbed({"etc/gshadow": b"root:::\nwheel:$1$a$" + b"x" * 22 + b"::me\n"})[
        "etc/gshadow"
    ] == (b"root:::\nwheel:*::me\n")
    assert scrubbed({"etc/group": b"root::0:\n"})["etc/group"] == b"root::0:\n"
    assert scrubbed({"etc/passwd": b"root::0:0:root:/root:/bin/sh\nx:x:1:1::/:/bin/sh\n"})[
        "etc/passwd"
    ] == (b"root:*:0:0:root:/root:/bin/sh\nx:x:1:1::/:/bin/sh\n")


def test_backups_of_accounts_go() -> None:
    names = [
        "shadow-",
        "shadow.bak",
        "gshadow-",
        "passwd-",
        "passwd.rpmsave",
        "shadow~",
        "shadow.20100101",
    ]
    left = scrubbed({f"etc/{name}": SHADOW for name in names} | {"etc/security/opasswd": SHADOW})
    assert left == {"etc/security/opasswd": b""}


def test_a_card_loses_the_address_of_the_reference_and_keeps_the_rest() -> None:
    before = b'DEVICE=eth0\nHWADDR=00:16:3E:01:02:03\nBOOTPROTO=dhcp\n UUID="x"\nIPADDR0=10.0.0.1\nONBOOT=yes\n'
    name = "etc/sysconfig/network-scripts/ifcfg-eth0"
    assert scrubbed({name: before})[name] == b"DEVICE=eth0\nBOOTPROTO=dhcp\nONBOOT=yes\n"


def test_no_node_takes_an_address_of_the_reference_whatever_manages_its_cards() -> None:
    """A second card keeps its place in the configuration, or is the site's to configure."""
    card = "etc/sysconfig/network-scripts/ifcfg-ib0"
    before = (
        b"DEVICE=ib0\nIPV6ADDR=2001:db8::5/64\nIPV6ADDR_SECONDARIES=2001:db8::6/64\n"
        b"IPV6_DEFAULTGW=2001:db8::1\nIPADDR_START=10.0.0.5\nIPV6INIT=yes\n"
    )
    gone = [
        "etc/sysconfig/network-scripts/route6-ib0",
        "etc/sysconfig/network-scripts/rule-ib0",
        "etc/sysconfig/network/ifcfg-eth0",
        "etc/sysconfig/network/ifroute-eth0",
        "etc/sysconfig/network/routes",
        "etc/wicked/ifconfig/eth0.xml",
        "etc/cloud/cloud.cfg.d/90-installer-network.cfg",
        "etc/cloud/cloud.cfg.d/50-curtin-networking.cfg",
    ]
    kept = {
        "etc/sysconfig/network/ifcfg-lo": b"STARTMODE=nfsroot\n",
        "etc/sysconfig/network/config": b"NETCONFIG_DNS_POLICY=auto\n",
        "etc/cloud/cloud.cfg.d/99-disable-network-config.cfg": b"network: {config: disabled}\n",
    }
    left = scrubbed({card: before, **dict.fromkeys(gone, b"IPADDR=10.0.0.5/24\n"), **kept})
    assert left == {card: b"DEVICE=ib0\nIPV6INIT=yes\n", **kept}


def test_no_node_tells_a_server_that_it_is_the_reference() -> None:
    """A controller of networks with two machines of one name takes them for one that moves."""
    gone = ["etc/openvswitch/system-id.conf", "etc/salt/minion_id", "etc/qualys/hostid"]
    gone += ["etc/insights-client/machine-id", "var/lib/teleport/host_uuid"]
    kept = {"etc/openvswitch/default.conf": b"", "etc/salt/minion": b"master: salt\n"}
    assert scrubbed({**dict.fromkeys(gone, b"0a1b-2c3d-4e5f-6789\n"), **kept}) == kept


def test_no_node_does_again_what_the_installer_of_ubuntu_had_cloud_init_do() -> None:
    """Accounts, keys and network, as at a first boot: three failed units on a read-only root."""
    gone = ["etc/cloud/cloud.cfg.d/99-installer.cfg", "etc/cloud/ds-identify.cfg"]
    kept = {"etc/cloud/cloud.cfg": b"users: [default]\n"}
    assert scrubbed({**dict.fromkeys(gone, b"policy: enabled\n"), **kept}) == kept


def test_no_node_looks_for_the_disks_of_the_reference() -> None:
    gone = ["mdadm.conf.d/data.conf", "mdadm/mdadm.conf.d/data.conf", "zfs/zpool.cache"]
    gone += ["zfs/zfs-list.cache/tank"]
    kept = {"etc/zfs/zed.d/zed.rc": b"ZED_EMAIL_ADDR=root\n"}
    assert scrubbed({**{f"etc/{name}": b"tank\n" for name in gone}, **kept}) == kept


def test_a_password_in_a_configuration_goes_and_the_configuration_stays() -> None:
    before = b"[domain/x]\nldap_uri = ldap://x\nldap_default_authtok = geheim\n"
    left = scrubbed(
        {"etc/sssd/sssd.conf": before, "etc/nslcd.conf": b"uri ldap://x\nbindpw geheim\n"}
    )
    assert left == {
        "etc/sssd/sssd.conf": b"[domain/x]\nldap_uri = ldap://x\n",
        "etc/nslcd.conf": b"uri ldap://x\n",
    }


@given(st.binary(max_size=200).map(lambda data: data.replace(b"\r", b"")))
@settings(max_examples=200, deadline=None)
def test_locking_twice_is_locking_once(data: bytes) -> None:
    once = scrub_edits.locked_hashes(data, True)
    assert scrub_edits.locked_hashes(once, True) == once


NAMES = [
    "etc",
    "ssh",
    "shadow",
    "hostkey.pem",
    "x.bak",
    "log",
    "var",
    "root",
    ".ssh",
    "id_rsa",
    "munge.key",
    "a~",
    "tmp",
]


@given(
    st.dictionaries(
        st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join),
        st.binary(max_size=30),
    )
)
@settings(max_examples=150, deadline=None)
def test_scrubbing_twice_is_scrubbing_once(files: dict[str, bytes]) -> None:
    folders = {name.rpartition("/")[0] for name in files} | {
        name.split("/")[0] for name in files if "/" in name
    }
    tree = tree_of({name: data for name, data in files.items() if name not in folders})
    once, _ = scrub.scrub(tree)
    assert scrub.scrub(once)[0] == once


# keep


def test_keep_allows_one_path_and_not_its_neighbour() -> None:
    files: dict[str, bytes | None] = {
        "etc/grid-security/hostkey.pem": b"a" * 20,
        "etc/grid-security/hostcert.pem": b"b",
    }
    assert set(scrubbed(files, "/etc/grid-security/hostkey.pem")) == {
        "etc/grid-security/hostkey.pem"
    }


def test_keep_allows_a_folder_and_what_is_above_and_below() -> None:
    files = {
        "home/svc/.ssh/id_rsa": b"k",
        "home/svc/data/x": b"d",
        "home/alice/x": b"d",
        "etc/shadow": SHADOW,
    }
    assert scrubbed(files, "home/svc", "etc/shadow") == {
        "home/svc/.ssh/id_rsa": b"k",
        "home/svc/data/x": b"d",
        "etc/shadow": SHADOW,
    }


def test_keep_of_what_is_not_there_changes_nothing() -> None:
    tree, _ = scrub.scrub(tree_of({"home/alice/x": b"d"}), ["home/svc/key"])
    assert sorted(tree) == [b"", b"home"]


# Other names of the same secret


def test_other_names_and_copies_of_a_secret_go_too() -> None:
    key = b"0123456789abcdef0123456789abcdef"
    tree = tree_of(
        {
            "etc/munge/munge.key": key,
            "opt/a": key,
            "opt/b": key,
            "opt/c": b"another file, of no interest",
        }
    )
    tree[b"etc/munge/munge.key"] = tree[b"etc/munge/munge.key"]._replace(inode=7)
    tree[b"opt/a"] = tree[b"opt/a"]._replace(inode=7)
    left, notes = scrub.scrub(tree)
    assert [path for path in left if left[path].type == FILE] == [b"opt/c"]
    assert [note.path for note in notes] == ["etc/munge/munge.key", "opt/a", "opt/b"]
    assert "has the bytes of etc/munge/munge.key" in notes[1].reason
    kept, _ = scrub.scrub(tree, ["opt/b"])
    assert b"opt/b" in kept and b"opt/a" not in kept


def test_copies_of_short_or_public_files_stay() -> None:
    left = scrubbed(
        {"root/.ssh/config": b"\n", "etc/empty": b"\n", "var/log/x": b"y" * 40, "opt/x": b"y" * 40}
    )
    assert set(left) == {"etc/empty", "var/log/x", "opt/x"}


def test_what_a_secrets_symlink_leads_to_goes_too() -> None:
    tree = tree_of(
        {
            "srv/keys/host": b"k",
            "srv/ssh/id": b"k",
            "usr/share/x": b"s",
            "srv/shadow": SHADOW,
            "srv/y": b"y",
        }
    )
    tree |= {b"etc": directory(), b"etc/ssh": directory(), b"root": directory()}
    tree[b"etc/ssh/ssh_host_rsa_key"] = symlink(b"/srv/keys/host")
    tree[b"root/.ssh"] = symlink(b"../srv/ssh")
    tree[b"etc/krb5.keytab"] = symlink(b"/usr/share")
    tree[b"etc/shadow"] = symlink(b"../srv/shadow")
    left, _ = scrub.scrub(tree)
    assert {path for path in left if left[path].type == FILE} == {
        b"usr/share/x",
        b"srv/shadow",
        b"srv/y",
    }
    assert read_content(left[b"srv/shadow"]).startswith(b"root:*:")
    assert b"etc/ssh/ssh_host_rsa_key" not in left


def test_secrets_are_found_through_a_folder_that_is_a_symlink() -> None:
    tree = tree_of(
        {"opt/grid/hostkey.pem": b"k", "opt/grid/certificates/x.0": b"c", "opt/grid/vomses": b"v"}
    )
    tree |= {b"etc": directory(), b"etc/grid-security": symlink(b"../opt/grid")}
    left, _ = scrub.scrub(tree)
    assert {path for path in left if left[path].type == FILE} == {
        b"opt/grid/certificates/x.0",
        b"opt/grid/vomses",
    }


def test_symlinks_that_lead_nowhere_or_in_circles_do_no_harm() -> None:
    tree = tree_of({"etc/x": b"x"})
    tree |= {
        b"etc/krb5.keytab": symlink(b"krb5.keytab"),
        b"etc/hostid": symlink(b"/../../nowhere"),
        b"root": symlink(b"/"),
    }
    left, _ = scrub.scrub(tree)
    assert sorted(left) == [b"", b"etc", b"etc/x", b"root"]


def test_notes_name_secrets_one_by_one_and_state_by_rule_and_never_content() -> None:
    canary = secrets.token_hex(16).encode()
    files = {f"var/log/{n}.log": canary for n in range(5)} | {
        "etc/munge/munge.key": canary,
        "etc/letsencrypt/live/a/b": canary,
    }
    _, notes = scrub.scrub(tree_of(dict(files)))
    assert [(note.path, note.action, note.names) for note in notes] == [
        ("etc/letsencrypt/live/a", "delete", 2),
        ("etc/munge/munge.key", "delete", 1),
        ("var/log/**", "empty", 5),
    ]
    assert canary.decode() not in repr(notes)


def test_a_pull_leaves_secrets_on_the_reference_and_takes_what_keep_names(
    tmp_path: pathlib.Path,
) -> None:
    for name in (
        "etc/munge/munge.key",
        "etc/grid-security/hostkey.pem",
        "root/.ssh/id_rsa",
        "root/.ssh/config",
        "etc/x",
    ):
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_bytes(b"1")
    rules = [
        f"--exclude={rule}"
        for rule in scrub_rules.not_pulled(["/etc/grid-security/hostkey.pem", "root/.ssh/config"])
    ]
    subprocess.run(["rsync", "-a", *rules, f"{tmp_path}/from/", f"{tmp_path}/to/"], check=True)
    taken = {
        str(path.relative_to(tmp_path / "to"))
        for path in (tmp_path / "to").rglob("*")
        if path.is_file()
    }
    assert taken == {"etc/grid-security/hostkey.pem", "root/.ssh/config", "etc/x"}


# The search for secrets


def find(tree: Tree, keep: list[str], known: dict[str, str]) -> list[Find]:
    return find_secrets(tree, keep, known).refused


def run(*argv: str, cwd: pathlib.Path) -> bytes:
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True).stdout


def hash_of(method: str) -> bytes:
    library = ctypes.CDLL("libcrypt.so.1")  # crypt(3): Python 3.13 has none
    library.crypt.restype = ctypes.c_char_p
    return library.crypt(b"geheim", method.encode())


def made(name: str) -> Callable[[Callable[[pathlib.Path], bytes]], Callable[[pathlib.Path], bytes]]:
    def keep(function: Callable[[pathlib.Path], bytes]) -> Callable[[pathlib.Path], bytes]:
        SECRETS[name] = function
        return function

    return keep


SECRETS: dict[str, Callable[[pathlib.Path], bytes]] = {
    "an RSA key": lambda at: run("openssl", "genrsa", "-traditional", "1024", cwd=at),
    "a PKCS#8 key": lambda at: run("openssl", "genpkey", "-algorithm", "ED25519", cwd=at),
    "an encrypted key": lambda at: run(
        "openssl", "genrsa", "-traditional", "-aes128", "-passout", "pass:xxxx", "1024", cwd=at
    ),
    "an EC key": lambda at: run(
        "openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", cwd=at
    ),
    "a DER key": lambda at: run(
        "openssl", "genpkey", "-algorithm", "ED25519", "-outform", "DER", cwd=at
    ),
    "an RSA key in DER": lambda at: run(
        "openssl", "genpkey", "-algorithm", "RSA", "-outform", "DER", cwd=at
    ),
    "a key in JSON": lambda at: (
        b'{"private_key": "'
        + run("openssl", "genrsa", "1024", cwd=at).replace(b"\n", b"\\n")
        + b'"}'
    ),
    "a key after its certificate": lambda at: (
        b"Bag\n" * 500 + run("openssl", "genrsa", "1024", cwd=at)
    ),
    "a key with CRLF": lambda at: run("openssl", "genrsa", "1024", cwd=at).replace(b"\n", b"\r\n"),
    "a WireGuard key": lambda at: b"[Interface]\nPrivateKey = " + b"A" * 43 + b"=\n",
    "a keytab": lambda at: keytab("host/wn.example.org", "EXAMPLE.ORG"),
    "SHA-512": lambda at: b"admin:" + hash_of("$6$saltsalt") + b":1:2:3\n",
    "SHA-256 with rounds": lambda at: b"  passwd: " + hash_of("$5$rounds=5000$saltsalt") + b"\n",
    "MD5": lambda at: b"password --md5 " + hash_of("$1$saltsalt"),
    "bcrypt": lambda at: b'"' + hash_of("$2b$04$" + "a" * 22) + b'",',
    "yescrypt": lambda at: b"root:" + hash_of("$y$j9T$saltsaltsaltsalt") + b":",
    "apr1": lambda at: b"me:" + run("openssl", "passwd", "-apr1", "x", cwd=at),
    "DES": lambda at: b"root:x:0:0::/:/bin/sh\nold:" + hash_of("ab") + b":14000:0:99999:7:::\n",
    "GRUB's": lambda at: (
        b"password_pbkdf2 root grub.pbkdf2.sha512.10000." + b"AB" * 64 + b"." + b"CD" * 64
    ),
}


@made("an OpenSSH key")
def openssh(at: pathlib.Path) -> bytes:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key", cwd=at)
    return (at / "key").read_bytes()


@made("a PKCS#12 store")
def pkcs12(at: pathlib.Path) -> bytes:
    certificate(at)
    return run(
        "openssl",
        "pkcs12",
        "-export",
        "-in",
        "c.pem",
        "-inkey",
        "k.pem",
        "-passout",
        "pass:x",
        cwd=at,
    )


def certificate(at: pathlib.Path) -> None:
    request = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=x",
        "-keyout",
        "k.pem",
        "-out",
        "c.pem",
    ]
    run("openssl", *request, cwd=at)


def keytab(principal: str, realm: str) -> bytes:
    """One entry, as ktutil writes it."""
    parts = [realm, *principal.split("/")]
    body = struct.pack(">H", len(parts) - 1) + b"".join(
        struct.pack(">H", len(p)) + p.encode() for p in parts
    )
    body += struct.pack(">IIBHH", 1, 0, 1, 18, 32) + bytes(32)
    return b"\5\2" + struct.pack(">i", len(body)) + body


@pytest.mark.parametrize("name", SECRETS)
def test_the_gate_finds(name: str, tmp_path: pathlib.Path) -> None:
    secret = SECRETS[name](tmp_path)
    tree = tree_of(
        {
            "opt/app/data": secret,
            "var.ro/lib/app/x": secret,
            "opt/app/other": b"nothing to see here" * 9,
        }
    )
    known: dict[str, str] = {}
    found = find(tree, [], known)
    assert [find.path for find in found] == ["opt/app/data", "var/lib/app/x"]
    assert not any(line in str(found).encode() for line in secret.split(b"\n") if len(line) > 20)
    assert find(tree, ["/opt/app/data", "var/lib/app"], known) == []
    assert len(known) == 2


def public_keys(at: pathlib.Path) -> dict[str, bytes]:
    certificate(at)
    run(
        "openssl",
        "pkcs12",
        "-export",
        "-nokeys",
        "-in",
        "c.pem",
        "-passout",
        "pass:x",
        "-out",
        "trust.p12",
        cwd=at,
    )
    run("openssl", "x509", "-in", "c.pem", "-outform", "DER", "-out", "c.der", cwd=at)
    return {name: (at / name).read_bytes() for name in ("c.pem", "c.der", "trust.p12")}


def test_the_search_lets_pass_what_is_no_secret(tmp_path: pathlib.Path) -> None:
    files: dict[str, bytes | None] = {
        f"opt/{name}": data for name, data in public_keys(tmp_path).items()
    }
    files |= {
        "opt/script": b'grep -q -- "-----BEGIN RSA PRIVATE KEY-----" "$file" && openssl rsa -in "$file" -out /etc/x\n',
        "opt/manual": b"-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\nan explanation follows here\n",
        "opt/code.py": b'BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"\n_END = b"-----END OPENSSH PRIVATE KEY-----"\n',
        "opt/shadow": b"root:*:19000:0:99999:7:::\nbin:!!:19000:0:99999:7:::\nx:!:1:::::: and so on and on",
        "opt/passwd": b"root:x:0:0:root:/root:/bin/bash\nhalt:x:7:0:halt:/sbin:/sbin/halt\n",
        "opt/crypt.5": b"$6$saltstring$svn8UoSVapNtMuq1ukKS... and $1$salt$hash, and $y$j9T$...$...\n",
        "opt/shell": b'case $1 in $2) echo "$1$2$3$4$5$6$7" ;; esac # of many words and more words\n',
        "opt/zero": bytes(4096),
        "opt/5.2": b"\5\2" + bytes(range(256)),
        "opt/empty": b"",
    }
    assert find(tree_of(files), [], {}) == []


def in_packages(files: dict[str, bytes | None], mode: int = 0o644) -> Tree:
    """A tree whose files others may read."""
    tree = tree_of(files)
    return {
        path: entry._replace(mode=mode) if entry.type == FILE else entry
        for path, entry in tree.items()
    }


def test_what_a_distribution_ships_is_public(tmp_path: pathlib.Path) -> None:
    key = run("openssl", "genrsa", "1024", cwd=tmp_path)
    own = run("openssl", "genrsa", "1024", cwd=tmp_path)
    conffile = OF_DEBIAN + b"Conffiles:\n /etc/x/key.pem " + sums_of(key, "")
    held = hashlib.sha256(key).hexdigest().encode()
    for records in (
        {
            "var.ro/lib/dpkg/status": OF_DEBIAN,
            "var.ro/lib/dpkg/info/x:amd64.md5sums": sums_of(key, "usr/lib/x/key.pem"),
        },
        {"var.ro/lib/dpkg/status": conffile},
        {
            "var.ro/lib/rpm/rpmdb.sqlite": rpm_database(
                tmp_path, b"Rocky Enterprise Software Foundation", held
            )
        },
        {"var.ro/lib/rpm/Packages": b"\0\0header" + held + b"\0"},
    ):
        tree = in_packages({**records, "usr/lib/x/key.pem": key, "etc/x/key.pem": own})
        assert [find.path for find in find(tree, [], {})] == ["etc/x/key.pem"], records.keys()


def test_a_key_in_a_package_of_the_sites_own_is_refused(tmp_path: pathlib.Path) -> None:
    key = run("openssl", "genrsa", "1024", cwd=tmp_path)
    status = OF_DEBIAN.replace(b"x@lists.debian.org", b"ops@grid.example.org")
    wheel = b"site_tool/key.pem,sha256=" + base64.urlsafe_b64encode(
        hashlib.sha256(key).digest()
    ).rstrip(b"=")
    held = hashlib.sha256(key).hexdigest().encode()
    for records in (
        {
            "var.ro/lib/dpkg/status": status,
            "var.ro/lib/dpkg/info/x.md5sums": sums_of(key, "usr/lib/x/key.pem"),
        },
        {"var.ro/lib/dpkg/status": status + b"Conffiles:\n /usr/lib/x/key.pem " + sums_of(key, "")},
        {"var.ro/lib/rpm/rpmdb.sqlite": rpm_database(tmp_path, b"Our grid", held)},
        {"usr/lib/python3/dist-packages/site_tool-1.dist-info/RECORD": wheel + b",887\n"},
    ):
        tree = in_packages({**records, "usr/lib/x/key.pem": key})
        assert [find.path for find in find(tree, [], {})] == ["usr/lib/x/key.pem"], records.keys()


def test_a_package_s_file_that_others_may_not_read_is_refused(tmp_path: pathlib.Path) -> None:
    key = run("openssl", "genrsa", "1024", cwd=tmp_path)
    tree = in_packages({
        "var.ro/lib/dpkg/status": OF_DEBIAN, "var.ro/lib/dpkg/info/x.md5sums": sums_of(key, "etc/x/key.pem"),
        "etc/x/key.pem": key, "srv/closed/key.pem": key, "srv/open/key.pem": key,
    })  # fmt: skip
    tree[b"etc/x/key.pem"] = tree[b"etc/x/key.pem"]._replace(mode=0o640)
    tree[b"srv/closed"] = directory(0o700)
    assert [find.path for find in find(tree, [], {})] == ["etc/x/key.pem", "srv/closed/key.pem"]


def test_keys_of_pythons_own_tests_are_public(tmp_path: pathlib.Path) -> None:
    key = run("openssl", "genrsa", "1024", cwd=tmp_path)
    names = [
        "usr/lib64/python2.4/test/keycert.pem",
        "opt/py/lib/python3.11/test/certdata/x.pem",
        "opt/lib/test/x.pem",
    ]
    assert [find.path for find in find(in_packages(dict.fromkeys(names, key)), [], {})] == [
        "opt/lib/test/x.pem"
    ]


def test_a_compiled_module_is_as_public_as_its_source(tmp_path: pathlib.Path) -> None:
    source = b"KEY = '''" + run("openssl", "genrsa", "1024", cwd=tmp_path) + b"'''\n"
    folder = "usr/lib/python3/dist-packages/t"
    tree = in_packages({
        "var.ro/lib/dpkg/status": OF_DEBIAN,
        "var.ro/lib/dpkg/info/x.md5sums": sums_of(source, f"{folder}/certs.py"),
        f"{folder}/certs.py": source,
        f"{folder}/__pycache__/certs.cpython-311.pyc": b"\xa7\r\r\n\0" + source,
        f"{folder}/__pycache__/gone.cpython-311.pyc": b"\xa7\r\r\n\0" + source,
    })  # fmt: skip
    assert [find.path for find in find(tree, [], {})] == [
        f"{folder}/__pycache__/gone.cpython-311.pyc"
    ]


def test_unchanged_files_are_not_read_again(tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_bytes(run("openssl", "genrsa", "1024", cwd=tmp_path))
    source = bytes(tmp_path / "key")
    tree = tree_of({"opt/key": b"x" * 100})
    digest = hashlib.sha256((tmp_path / "key").read_bytes()).hexdigest()
    tree[b"opt/key"] = tree[b"opt/key"]._replace(source=source, data=None, digest=digest, size=900)
    known: dict[str, str] = {}
    assert len(find(tree, [], known)) == 1
    known[digest] = ""
    (tmp_path / "key").unlink()
    assert find(tree, [], known) == []


def test_a_key_at_the_end_of_a_big_file_is_found(tmp_path: pathlib.Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(3 << 20) + b"\n" + run("openssl", "genrsa", "1024", cwd=tmp_path))
    tree = tree_of({"opt/big": b""})
    digest = hashlib.sha256(big.read_bytes()).hexdigest()
    tree[b"opt/big"] = tree[b"opt/big"]._replace(
        source=bytes(big), data=None, digest=digest, size=big.stat().st_size
    )
    assert [find.rule for find in find(tree, [], {})] == ["holds a private key (PEM)"]


PACKED = [
    b"070701",
    b"PK\3\4",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ\0",
    b"PACK\0\0\0\2",
    b"\x78\x9c",
    b"\xff\xfe",
]


@given(
    st.binary(max_size=300),
    st.sampled_from(
        [b"\x30", b"\5\2", b"\xfe\xed\xfe\xed", b"openssh-key-v", b"\x30\x82", b"\x95\1", *PACKED]
    ),
)
@settings(max_examples=300, deadline=None)
def test_no_file_is_too_strange_for_the_search(data: bytes, magic: bytes) -> None:
    padded = (magic + data).ljust(form.SHORTEST, b"\0")
    assert isinstance(broken_rule(padded), str)


def java_store(*entries: bytes, password: str = "changeit") -> bytes:
    """As Java's JavaKeyStore.java writes it; `keytool -list` of JDK 17 reads it."""
    import hashlib

    body = b"\xfe\xed\xfe\xed" + struct.pack(">II", 2, len(entries)) + b"".join(entries)
    return body + hashlib.sha1(password.encode("utf-16-be") + b"Mighty Aphrodite" + body).digest()


def java_text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


def java_certificate(der: bytes) -> bytes:
    return java_text("X.509") + struct.pack(">I", len(der)) + der


def test_a_java_key_store_is_found_wherever_in_it_the_key_is_and_a_trust_store_is_none(
    tmp_path: pathlib.Path,
) -> None:
    certificate(tmp_path)
    der = run("openssl", "x509", "-in", "c.pem", "-outform", "DER", cwd=tmp_path)
    key = run(
        "openssl",
        "pkcs8",
        "-topk8",
        "-in",
        "k.pem",
        "-outform",
        "DER",
        "-passout",
        "pass:x",
        cwd=tmp_path,
    )
    date = bytes(8)
    trusted = struct.pack(">I", 2) + java_text("authority") + date + java_certificate(der)
    private = struct.pack(">I", 1) + java_text("own") + date + struct.pack(">I", len(key)) + key
    private += struct.pack(">I", 1) + java_certificate(der)
    stores = {
        "first": (private, trusted),
        "last": (trusted, trusted, private),
        "trust": (trusted,),
        "empty": (),
    }
    files: dict[str, bytes | None] = {
        f"opt/{name}": java_store(*entries) for name, entries in stores.items()
    }
    found = find(tree_of(files), [], {})
    assert [(find.path, find.rule) for find in found] == [
        ("opt/first", "is a key store with a private key"),
        ("opt/last", "is a key store with a private key"),
    ]
