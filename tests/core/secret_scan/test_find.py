"""Secrets of every form that the search knows, made by the programs that make them; and where they hide."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import pathlib
import struct
import tarfile
import zipfile
from collections.abc import Callable

import libarchive
import pytest
import zstandard

from tasks.core.archive.cpio import write_newc
from tasks.core.rootfs import scrub
from tasks.core.scan import reader
from tasks.core.secret_scan import find
from tasks.core.tree.model import FILE, Tree, directory, generated_file
from tests.support import sample_site
from tests.support.secret_samples import (
    DRESSES,
    FORMS,
    core,
    dropbear,
    gpg_home,
    pem,
    run,
    wireguard,
)


def broken(data: bytes) -> str:
    return find.broken_rule(data)


# ---- forms ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_the_search_knows(form: str, tmp_path: pathlib.Path) -> None:
    rule = broken(FORMS[form](tmp_path))
    assert rule, form
    assert not broken(b"nothing of interest, but long enough\n")


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_what_waits_for_a_trigger_of_dpkg_is_no_hash_of_a_web_server(arch: str) -> None:
    """As many letters as one of DES has: with a shim in it, no reference was taken."""
    assert not broken(f"shim-signed:{arch}/noawait\n".encode())
    assert broken(b"me:arm64/noawaiT\n")


@pytest.mark.parametrize("dollar", ["\\$", "$$"])
def test_a_hash_is_known_however_its_dollars_are_written(dollar: str) -> None:
    """As a kickstart's `usermod -p \\$6\\$…` has them, or docker compose's `$$apr1$$…`."""
    for line in (SHADOW, b"admin:$apr1$abcdefgh$" + b"x" * 22 + b"\n"):
        escaped = line.replace(b"$", dollar.encode())
        assert "password hash" in broken(b"users: " + escaped)
        assert not broken(escaped.replace(b"h" * 80, b"").replace(b"x" * 22, b"x"))


def test_public_halves_of_the_same_are_fine(tmp_path: pathlib.Path) -> None:
    with gpg_home(tmp_path) as home:
        export = ["gpg", "--homedir", str(home), "--batch", "--export"]
        keyring = run(*export, cwd=tmp_path)
        armored = run(*export, "--armor", cwd=tmp_path)
    private = run("wg", "genkey", cwd=tmp_path)
    secret = run("age-keygen", cwd=tmp_path)
    run("dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "example.org", cwd=tmp_path)
    run("dropbearkey", "-t", "ed25519", "-f", "key", cwd=tmp_path)
    line = run("dropbearkey", "-y", "-f", "key", cwd=tmp_path).split(b"\n")[1]
    public = {
        "OpenPGP": keyring,
        "OpenPGP, in text": armored,
        "WireGuard": b"[Peer]\nPublicKey = " + run("wg", "pubkey", cwd=tmp_path, given=private),
        "age": run("age-keygen", "-y", cwd=tmp_path, given=secret),
        "DNSSEC": next(tmp_path.glob("*.key")).read_bytes(),
        "ssh": line,
        "ssh, in binary": base64.b64decode(line.split()[1]),
        "JWK": json.dumps({"kty": "EC", "x": "a" * 43, "y": "b" * 43}).encode(),
    }
    assert {name: rule for name, data in public.items() if (rule := broken(data))} == {}


# ---- dress ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dress", DRESSES)
def test_a_key_is_known_in_the_dress_of(dress: str, tmp_path: pathlib.Path) -> None:
    assert broken(DRESSES[dress](pem(tmp_path))), dress


def test_a_program_of_ones_own_may_carry_keys_for_its_tests(tmp_path: pathlib.Path) -> None:
    data = core(pem(tmp_path))
    assert not broken(data[:16] + struct.pack("<H", 3) + data[18:])


# ---- containers ----------------------------------------------------------------------------------------------------

SHADOW = b"root:$6$salt$" + b"h" * 86 + b":19000:0:99999:7:::\n"


def tar_of(name: str, data: bytes, mode: str = "w") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return held.getvalue()


def zip_of(name: str, data: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return held.getvalue()


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "gz of pigz": lambda data: gzip.compress(b"x" * 99) + gzip.compress(data),
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zstd": zstandard.compress,
    "tar": lambda data: tar_of("a/b", data),
    "tar.gz": lambda data: tar_of("a/b", data, "w:gz"),
    "tar.xz": lambda data: tar_of("a/b", data, "w:xz"),
    "tar.zst": lambda data: zstandard.compress(tar_of("a/b", data)),
    "zip": lambda data: zip_of("a/b", data),
    "gz in tar in zip": lambda data: zip_of("a", tar_of("b.gz", gzip.compress(data))),
    "gz, cut off": lambda data: gzip.compress(data + os.urandom(1 << 20))[: 1 << 19],
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_what_is_packed_is_looked_at(container: str) -> None:
    assert "password hash" in broken(CONTAINERS[container](SHADOW))
    assert broken(CONTAINERS[container](b"nothing of interest\n" * 9)) == ""


@pytest.mark.parametrize("filter_name", ["compress", "lzip", "uuencode", "b64encode"])
def test_so_is_what_is_packed_as_of_old(filter_name: str, tmp_path: pathlib.Path) -> None:
    packed = tmp_path / "packed"
    with libarchive.file_writer(str(packed), "ustar", filter_name) as archive:
        archive.add_file_from_memory("etc/munge/munge.key", 18, b"a key of no form\n\n")
    assert "/etc/munge/munge.key" in broken(packed.read_bytes())


def test_so_is_a_cpio_archive_in_the_form_that_cpio_takes_if_none_is_named(tmp_path: pathlib.Path):
    (tmp_path / "munge.key").write_bytes(b"a key of no form\n")
    assert "/munge.key" in broken(
        run("cpio", "-o", "-H", "bin", cwd=tmp_path, given=b"munge.key\n")
    )


SPEC = """\
Name: keys
Version: 1
Release: 1
Summary: keys of a site
License: none
BuildArch: noarch
%description
%install
mkdir -p %{buildroot}/etc/munge
echo a key of no form >%{buildroot}/etc/munge/munge.key
%files
/etc/munge/munge.key
"""


def test_so_is_an_rpm_package(tmp_path: pathlib.Path) -> None:
    (tmp_path / "keys.spec").write_text(SPEC)
    run("rpmbuild", "-bb", "--define", f"_topdir {tmp_path}", "keys.spec", cwd=tmp_path)
    package = next(tmp_path.glob("RPMS/*/*.rpm"))
    assert "/etc/munge/munge.key" in broken(package.read_bytes())


@pytest.mark.parametrize("container", ["gz", "xz", "bz2", "zstd"])
def test_a_packed_program_may_carry_keys_and_a_packed_core_dump_may_not(
    container: str, tmp_path: pathlib.Path
) -> None:
    pack, dump = CONTAINERS[container], core(pem(tmp_path))
    assert "private key" in broken(pack(dump))
    assert not broken(pack(dump[:16] + struct.pack("<H", 3) + dump[18:]))


def test_a_key_without_form_is_known_by_its_place_in_an_archive() -> None:
    rule = broken(tar_of("./etc/munge/munge.key", os.urandom(128), "w:gz"))
    assert "its" not in rule.split() and "/etc/munge/munge.key" in rule and "scrub.table" in rule


def git(at: pathlib.Path, *words: str) -> None:
    run("git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words, cwd=at)


@pytest.mark.parametrize("packed", [False, True])
def test_a_store_of_git_anywhere_is_looked_into(packed: bool, tmp_path: pathlib.Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "shadow").write_bytes(SHADOW)
    (tmp_path / "other").write_bytes(b"of no interest\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    if packed:
        git(tmp_path, "gc", "-q")
    found = [
        path
        for path in (tmp_path / ".git").rglob("*")
        if path.is_file() and broken(path.read_bytes())
    ]
    assert [path.suffix for path in found] == ([".pack"] if packed else [""])


def test_a_key_far_behind_in_a_disk_image_is_found(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "root"
    folder.mkdir()
    with open(folder / "disk.img", "wb") as image:
        image.seek((64 << 20) - 300)  # over the end of the first block
        image.write(b"\n" + pem(tmp_path))
        image.truncate(65 << 20)
    found = reader.scan(str(folder), options=reader.ScanOptions(judge=find.scanner()))
    assert list(found.verdicts.values()) == ["holds a private key (PEM)"]


# ---- initial RAM disks ---------------------------------------------------------------------------------------------


def image_of(files: dict[str, bytes], before: bytes = b"") -> bytes:
    tree: Tree = {}
    for name, data in files.items():
        parts = name.encode().split(b"/")
        tree |= {b"/".join(parts[:n]): directory() for n in range(1, len(parts))}
        tree[name.encode()] = generated_file(data)
    return before + zstandard.compress(write_newc(tree))


def test_keys_in_the_distributions_image_are_named_with_their_places(
    tmp_path: pathlib.Path,
) -> None:
    key = dropbear("ed25519")(tmp_path)
    early = write_newc({b"kernel": directory(), b"kernel/x": generated_file(b"microcode" * 99)})
    image = image_of(
        {
            "etc/dropbear/dropbear_ed25519_host_key": key,
            "root-Xa12Zq/.ssh/authorized_keys": b"ssh-ed25519 AAAA\n",
            "cryptroot/keyfiles/root.key": os.urandom(64),
            "etc/wireguard/wg0.conf": wireguard(tmp_path),
            "lib/odd/place": key,
            "init": b"#!/bin/sh\n",
            "etc/hostname": b"wn001.grid.example.org\n",
            "usr/lib/x.so": b"\x7fELF\2\1\1" + bytes(9) + b"\3\0" + b"x" * 99,
        },
        early,
    )
    rule = broken(image)
    for name in (
        "dropbear_ed25519_host_key",
        "root-Xa12Zq/.ssh",
        "keyfiles/root.key",
        "wg0.conf",
        "lib/odd/place",
    ):
        assert name in rule, rule
    assert "hostname" not in rule and "init" not in rule


def test_an_image_that_is_longer_than_what_is_read_of_it_is_looked_at_as_far_as_it_goes(
    tmp_path: pathlib.Path,
) -> None:
    files = {"etc/a.pem": pem(tmp_path), "usr/z": os.urandom(1 << 20)}
    assert "/etc/a.pem" in broken(image_of(files)[: 1 << 19])


def test_the_build_refuses_an_image_with_keys_and_says_what_to_do(
    doit, reference: pathlib.Path, tmp_path
) -> None:
    name = f"boot/initrd.img-{sample_site.VERSION}"
    image = image_of(
        {"etc/dropbear/dropbear_rsa_host_key": dropbear("rsa")(tmp_path), "init": b"#!/bin/sh\n"}
    )
    sample_site.put(reference / name, image, 0o600)
    sample_site.write(doit.site, reference)
    out = doit(status=3)
    assert f"/{name}: holds /etc/dropbear/dropbear_rsa_host_key" in out
    assert "update-initramfs" in out and "base: none" in out and "`keep`" in out
    doit.site.write_text(
        doit.site.read_text().replace("    disk:", f"    keep: [{name}]\n    disk:")
    )
    doit()
    out = doit("plan")
    assert f"worker: keep lets out /{name}: holds /etc/dropbear/dropbear_rsa_host_key" in out
    assert "dropbear_rsa_host_key" in (doit.build / "report.html").read_text()


def test_so_it_does_of_an_image_that_the_site_names_by_its_path(
    doit, reference: pathlib.Path, tmp_path
) -> None:
    own = tmp_path / "own-initrd"
    own.write_bytes(image_of({"etc/site.key": pem(tmp_path)}))
    sample_site.write(doit.site, reference)
    doit.site.write_text(doit.site.read_text().replace("base: none", f"base: {own}"))
    assert f"{own}: its /etc/site.key holds a private key (PEM)" in doit(status=3)


# ---- places --------------------------------------------------------------------------------------------------------


def tree_of(files: dict[str, bytes]) -> Tree:
    tree: Tree = {b"": directory()}
    for name, data in files.items():
        parts = name.encode().split(b"/")
        tree |= {b"/".join(parts[:n]): directory() for n in range(1, len(parts))}
        tree[name.encode()] = generated_file(data, 0o644)
    return tree


def left(files: dict[str, bytes], keep: tuple[str, ...] = ()) -> set[str]:
    tree, _ = scrub.scrub(tree_of(files), keep)
    return {path.decode() for path in tree if tree[path].type == FILE}


def test_stores_of_versions_go_and_what_is_like_their_samples_stays() -> None:
    sample = b"#!/bin/sh\n# git's own sample of a hook\n"
    stores = ["etc/.git", "root/.hg", "opt/app/.svn", "srv/git/etc.git", "etc/.bzr", "etc/_darcs"]
    files = {f"{store}/hooks/x": sample for store in stores} | {"etc/RCS/shadow,v": b"head 1.1;\n"}
    kept = {
        "usr/share/git-core/templates/hooks/x": sample,
        "etc/.gitignore": b"*.key\n",
        "usr/lib/go/.git/x": b"x",
    }
    assert left(files | kept) == kept.keys()


PLACES = """
etc/krb5kdc/stash var/lib/krb5kdc/principal var/lib/ucf/cache/x etc/munge/other etc/munge/old/key2
opt/slurm/etc/slurmdbd.conf opt/slurm/etc/slurm.key var/spool/slurm/slurm.jwks etc/keys/disk etc/davfs/x.bak
etc/iscsi/nodes/iqn/10.0.0.1,3260,1/default etc/passwd-s3fs etc/gitlab-runner/config.toml etc/rancher/k3s/config.yaml
root/.config/containers/auth.json etc/containers/auth.json etc/postfix/mysql-virtual.cf etc/msmtprc
etc/wpa_supplicant/wpa_supplicant.conf etc/icinga2/conf.d/api-users.conf etc/ldap/slapd.d/x.ldif
opt/u/.google_authenticator opt/u/.vault_pass.txt opt/u/.pypirc opt/u/.zhistory opt/u/.s3cfg
etc/dropbear/initramfs/dropbear_rsa_host_key etc/snmp/snmpd.conf etc/snmp/snmpd.conf.d/own.conf
etc/beegfs/conn.auth etc/beegfs/connauthfile var/mmfs/ssl/stage/genkeyData1 etc/xcat/cfgloc etc/xrootd/sss.key
opt/tivoli/tsm/client/ba/bin/TSM.PWD etc/adsm/TSM.KDB etc/cifs-credentials etc/samba/nas.cred root/.smbcred
var/ossec/etc/client.keys opt/splunkforwarder/etc/auth/splunk.secret var/lib/zerotier-one/identity.secret
root/admin-openrc.sh root/keystonerc_admin root/.config/openstack/clouds.yaml root/.apptainer/remote.yaml
root/.config/enroot/.credentials root/.subversion/auth/svn.simple/0123 root/.m2/settings.xml root/.vnc/passwd
var/lib/kubelet/bootstrap-kubeconfig var/lib/waagent/ovf-env.xml root/preseed.cfg root/.config/borg/keys/x
root/.local/share/fish/fish_history root/.local/share/mc/history root/.zsh_sessions/x.history root/.dbshell
tmp/bt_u500 tmp/vt_u500 opt/lcg/etc/NSCONFIG opt/condor/etc/condor/tokens.d/x root/.condor/tokens.d/x
opt/moab/etc/moab-private.cfg srv/jupyterhub/jupyterhub_cookie_secret etc/ldap/ldap.secret var/lib/rabbitmq/.erlang.cookie
""".split()


def test_places_where_secrets_are_known_to_be() -> None:
    assert left({name: name.encode() for name in PLACES}) == set()


LINES = {
    "etc/nslcd.conf": b"uri ldap://x\nBINDPW geheim\n#bindpw old\n# bindpw older\nbase dc=x\n",
    "etc/ldap.conf": b"\xef\xbb\xbfbindpw geheim\nuri ldap://x\nbindpw \\\n  geheim\nbase dc=x\n",
    "etc/yum.repos.d/x.repo": b"[x]\nname=x\npassword=\n  geheim\nbaseurl=https://me:geheim@x.org/\nenabled=1\n",
    "etc/apt/sources.list.d/x.list": b"deb https://me:geheim@x.org/ x main\ndeb https://x.org/ y main\n",
    "etc/fstab": b"//srv/x /x cifs user=me,password=geheim 0 0\nsrv:/y /y nfs ro 0 0\n",
    "etc/auto.home": b"x -fstype=cifs,username=me,password=geheim ://srv/x\ny -ro srv:/y\n",
    "etc/davfs2/secrets": b"# sample\nhttps://dav.x.org me geheim\n",
    "etc/chrony/chrony.keys": b"# sample\n1 SHA256 HEX:0123geheim\n",
    "etc/swanctl/swanctl.conf": b"secrets {\n ike-1 {\n  id = x\n  secret = geheim\n }\n}\n",
    "etc/telegraf/telegraf.conf": b'urls = ["x"]\n  token = "geheim"\n  # password = "geheim"\n',
    "etc/filebeat.yml": b"",
    "etc/filebeat/filebeat.yml": b"hosts: [x]\n  output.x.password: geheim\n",
    "etc/slurm/slurm.conf": b"ClusterName=x\n#JobCompPass=\nAccountingStoragePass=geheim\nAuthInfo=/run/x\n",
    "opt/slurm/etc/slurm.conf": b"AccountingStoragePass=geheim\nJobCompPass=/run/munge\n",
    "root/siteinfo/site-info.def": b"SITE_NAME=x\nMYSQL_PASSWORD=geheim\nBDII_HOST=y\n",
    "opt/glite/yaim/etc/site-info.def": b"DPM_DB_PASSWORD=geheim\nDPM_HOST=y\n",
    "etc/apel/parser.cfg": b"[db]\npassword = geheim\nhost = x\n",
    "etc/autofs_ldap_auth.conf": b'<autofs_ldap_sasl_conf\n\tuser="x"\n\tsecret="geheim"\n/>\n',
    "etc/autofs/autofs_ldap_auth.conf": b'<autofs_ldap_sasl_conf\n\tsecret="geheim"\n/>\n',
    "etc/pam_radius_auth.conf": b"radius.x.org:1812 geheim 3\n",
    "etc/duo/pam_duo.conf": b"[duo]\nikey = x\nskey = geheim\n",
    "etc/collectd/collectd.conf": b'LoadPlugin cpu\n  Password "geheim"\n',
    "etc/prometheus/prometheus.yml": b"scrape_configs:\n- basic_auth:\n    password: geheim\n  x: y\n",
    "etc/consul.d/config.json": b'{"encrypt": "geheim",\n"server": false}\n',
    "etc/rhsm/rhsm.conf": b"proxy_password =\nproxy_password = geheim\n",
    "etc/systemd/system/x.service.d/p.conf": b"[Service]\nEnvironment=http_proxy=http://u:geheim@p:3128\n",
    "etc/sysconfig/proxy": b'PROXY_ENABLED="yes"\nHTTP_PROXY="http://u:geheim@p:3128"\n',
    "etc/bashrc": b"export http_proxy=http://u:geheim@p\nexport GITLAB_TOKEN=geheim\nPASSWORD_STORE=$HOME/x\n",
    "root/.curlrc": b"silent\nproxy-user = u:geheim\n",
    "root/.muttrc": b"set from=x\nset smtp_pass=geheim\n",
    "etc/cloud/cloud.cfg.d/90_dpkg_maas.cfg": b"datasource:\n  MAAS: {consumer_key: a, token_secret: geheim}\n",
    "etc/npmrc/.npmrc": b"package-lock=false\n//registry/:_authToken=geheim\n",
}


@pytest.mark.parametrize("name", LINES)
def test_lines_with_passwords_go_however_they_are_written(name: str) -> None:
    tree, _ = scrub.scrub(tree_of({name: LINES[name]}))
    data = tree[name.encode()].data or b""
    assert b"geheim" not in data and b"old" not in data
    assert len(data.splitlines()) == len(
        [line for line in LINES[name].splitlines() if _is_public(line)]
    )


def _is_public(line: bytes) -> bool:
    return b"geheim" not in line and not line.lstrip(b"\xef\xbb\xbf# ").lower().startswith(
        (b"bindpw", b"password=")
    )


def test_backups_of_files_go_and_folders_of_packages_stay() -> None:
    tree = tree_of(
        {
            "var/lib/nfs/sm.bak/node1": b"x",
            "etc/x.bak": b"x",
            "etc/wpa_supplicant/action_wpa.sh": b"#!",
        }
    )
    kept, _ = scrub.scrub(tree)
    assert b"var/lib/nfs/sm.bak" in kept and b"var/lib/nfs/sm.bak/node1" not in kept
    assert b"etc/x.bak" not in kept and b"etc/wpa_supplicant/action_wpa.sh" in kept


@pytest.mark.skipif(not os.path.isdir("/var/lib/dpkg/info"), reason="no Debian")
def test_no_folder_goes_that_a_package_of_this_machine_owns() -> None:
    names: set[bytes] = set()
    for each in pathlib.Path("/var/lib/dpkg/info").glob("*.list"):
        names |= {line.strip(b"/") for line in each.read_bytes().split(b"\n")}
    folders = {name for name in names if name and name != b"." and os.path.isdir(b"/" + name)}
    folders = {name for name in folders if not os.path.islink(b"/" + name)}
    tree = {name: directory() for name in folders} | {b"": directory()}
    after, _ = scrub.scrub(tree)
    gone = {name for name in folders if name not in after}
    assert {name for name in gone if not name.startswith(STATE)} == set()


STATE = (
    b"home/",
    b"var/cache/",
    b"var/lib/apt/lists/",
    b"var/spool/",
    b"var/log/",
)  # made anew by who needs them


# ---- overlays and keep ---------------------------------------------------------------------------------------------


def test_an_overlay_with_a_secret_is_refused_as_an_overlay(doit, reference: pathlib.Path) -> None:
    own = doit.folder / "overlays/own"
    sample_site.fill(own, {
        "etc/munge/munge.key": os.urandom(128),
        "etc/nslcd.conf": b"uri ldap://x\nbindpw geheim\n",
        "opt/key.pem": pem(doit.folder),
        "root/.ssh/authorized_keys": b"ssh-ed25519 AAAA\n",
        "etc/hostname": b"worker\n",
    })  # fmt: skip
    sample_site.write(doit.site, reference, overlays="own")
    out = doit(status=3)
    for name in ("etc/munge/munge.key", "etc/nslcd.conf", "opt/key.pem"):
        assert f"overlay {own}/{name}: " in out
    assert "authorized_keys" not in out and "hostname" not in out and "geheim" not in out
    text = doit.site.read_text()
    doit.site.write_text(
        text.replace("    disk:", "    keep: [etc/munge, etc/nslcd.conf, opt/key.pem]\n    disk:")
    )
    doit()
    assert "keep lets out /etc/munge/munge.key" in doit("plan")


def test_keep_of_a_folder_lets_out_all_that_is_in_it_and_plan_and_report_name_each(
    doit, reference, tmp_path
) -> None:
    sample_site.put(reference / "opt/app/node_modules/x/test/a.pem", pem(tmp_path))
    sample_site.put(reference / "opt/app/node_modules/y/b.p12", b"key store")
    sample_site.write(doit.site, reference)
    text = doit.site.read_text()
    doit.site.write_text(
        text.replace(
            "    disk:", "    keep: [opt/app/node_modules, opt/gone, usr/share/0]\n    disk:"
        )
    )
    out = doit()
    assert "keep: opt/gone lets nothing out" in out and "keep: usr/share/0 lets nothing out" in out
    plan, page = doit("plan"), (doit.build / "report.html").read_text()
    for name in ("opt/app/node_modules/x/test/a.pem", "opt/app/node_modules/y/b.p12"):
        assert f"keep lets out /{name}" in plan and name in page
    assert "keep: opt/gone lets nothing out" in plan and "opt/gone" in page
    assert len(json.loads(doit("plan", "--json"))["kept"]) == 4


def test_keep_of_nothing_says_nothing(built) -> None:
    assert "keep lets out" not in built("plan") and "lets nothing out" not in built("plan")
