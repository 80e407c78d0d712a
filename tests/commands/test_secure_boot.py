"""Releases as one signed file, as an admin meets them: on a server, and where they are not signed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.base.boot_programs import certificate_of
from tasks.core.trust import uki
from tasks.core.trust.authenticode import fingerprint
from tests.support import sample_site
from tests.support.commands import Doit
from tests.support.signed_site import certify, make_keys

TRUST = "trust: {key: site.pub, secure_boot: {certificate: secure-boot.crt}}\n"
NOT_SIGNED = "not signed for Secure Boot"


class SignedFiles:
    """A small site whose image is one signed file, and what a server has of it."""

    def __init__(self, folder: Path):
        self.doit, self.folder, self.dest = Doit(folder), folder, folder / "dest"
        self.key = folder / "secure-boot.key"
        make_keys(folder)
        self.reference = sample_site.reference(folder / "reference", files=20)
        self.write()

    def write(self, cmdline: str = "console=ttyS0", before: str = "", after: str = "") -> None:
        """The site file, with one text replaced."""
        sample_site.write(self.doit.site, self.reference, cmdline=cmdline)
        text = self.doit.site.read_text().replace("    initrd:", "    loader: uki\n    initrd:")
        self.doit.site.write_text((text + TRUST).replace(before or TRUST, after or TRUST))

    def __call__(self, *words: str, status: int = 0) -> str:
        signs = () if words[0] == "sign" else (f"destdir={self.dest}",)
        return self.doit(*words, *signs, status=status)

    @property
    def release(self) -> str:
        return json.loads((self.doit.build / "worker/release.json").read_text())["id"]

    def served(self, name: str = "grubx64.efi", label: str = "worker") -> Path:
        return self.dest / "tftpboot/plugnode" / label / name

    def kept(self, release: str) -> Path:
        return self.dest / "opt/nfs_export/.plugnode" / f"{release}.efi"

    def is_good(self, file: Path, name: str = "secure-boot") -> bool:
        words = ["sbverify", "--cert", self.folder / f"{name}.crt", file]
        return subprocess.run(words, capture_output=True).returncode == 0


def flip(file: Path, at: int) -> None:
    """Change one bit of a byte."""
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[SignedFiles]:
    yield SignedFiles(tmp_path_factory.mktemp("secure-boot"))


def test_what_nobody_has_signed_is_not_deployed_and_a_build_needs_no_key(site):
    away = site.key.rename(site.folder / "away")
    site.doit()
    assert NOT_SIGNED in site("plan", status=1) and NOT_SIGNED in site("deploy", status=1)
    assert not list(site.dest.rglob("*.efi"))
    assert "no private key here" in site("sign", status=1)
    away.rename(site.key)
    certify(site.folder, "stranger")
    site.write(before="secure-boot.crt", after="stranger.crt, key: secure-boot.key")
    assert "private key does not match certificate; nothing is signed" in site("sign", status=1)
    site.write()


def test_shim_finds_one_file_with_kernel_initrd_and_arguments_that_the_site_signed(site):
    assert f"signed {site.release} for Secure Boot\n" in site("sign")
    assert "plugnode/worker/grubx64.efi" in site("plan")
    site("deploy")
    assert site("deploy") == site("plan") == "no changes\n"
    program, folder = site.served().read_bytes(), site.dest / "tftpboot" / site.release
    assert site.is_good(site.served()) and program == site.kept(site.release).read_bytes()
    for section, name in ((uki.LINUX, "vmlinuz"), (uki.INITRD, "initrd.img")):
        assert uki.section_of(program, section) == (folder / name).read_bytes()
    line = uki.section_of(program, uki.CMDLINE).decode()
    assert f"nfsroot=next-server:/opt/nfs_export/{site.release},ro" in line
    assert "172.24.10.1" not in line and line.endswith(" console=ttyS0 plugnode.site=worker")
    top = site.dest / "tftpboot"
    assert site.served("shimx64.efi").read_bytes() == (top / "shimx64.efi").read_bytes()
    (data,) = top.glob("site-*")
    assert (top / "plugnode/worker.site").read_text() == f"{data.name}\n"
    assert "ok" in site("verify")


def test_another_machine_that_signs_the_same_leaves_what_is_served(site):
    """A signature says when it was made; a new node changes nothing that is signed."""
    before = site.served().read_bytes()
    shutil.rmtree(site.doit.build / "secure_boot")
    assert site("plan") == "no changes\n"
    site.write(before="172.24.10.10}", after="172.24.10.11}")
    site("deploy")
    assert site.served().read_bytes() == before
    (made,) = (site.doit.build / "secure_boot").iterdir()
    assert made.read_bytes() != before
    site.write()
    site("deploy")


def test_rollback_and_verify_know_the_signed_file(site):
    first, program = site.release, site.served().read_bytes()
    site.write("console=ttyS0 quiet")
    site("deploy")
    second = site.release
    assert b"quiet plugnode.site" in site.served().read_bytes() and first != second
    site("rollback")
    assert site.served().read_bytes() == program
    assert "ok" in site("verify")
    site("deploy")  # stays
    assert site.served().read_bytes() == program
    site("deploy", "--again")
    assert site.served().read_bytes() == site.kept(second).read_bytes() != program

    changed = bytearray(program)
    changed[program.index(b"console=ttyS0")] ^= 1
    site.served().write_bytes(changed)
    assert "plugnode/worker/grubx64.efi: content (sha256)" in site("verify", status=1)
    site.kept(second).write_bytes(site.kept(second).read_bytes()[:5000])
    assert f"{second}.efi: its kernel is another than the release's" in site("verify", status=1)
    site("deploy")
    assert "ok" in site("verify")

    at = site.kept(first).read_bytes().index(b"console=ttyS0")
    flip(site.kept(first), at)
    assert f"{first}.efi: it has changed since it was signed" in site("verify", status=1)
    flip(site.kept(first), at)

    away = site.kept(first).rename(site.folder / "away")
    assert f"{first}.efi is missing" in site("rollback", status=1)
    away.rename(site.kept(first))


def test_status_tells_who_has_signed_what_nodes_start_and_what_they_would_not(site):
    held = site.served().read_bytes()
    mark = fingerprint(certificate_of((site.folder / "secure-boot.crt").read_bytes()))
    (told,) = json.loads(site("status", "--json"))["servers"]["boot1"]["secure_boot"]
    assert told.pop("ends")[:10] in site("status")
    assert told == {"label": "worker", "release": site.release, "certificate": mark, "wrong": []}
    shown = f"Signed for Secure Boot\n  worker: {site.release}, by certificate {mark[:16]} until 20"
    assert shown in site("status")

    def wrong(text: str) -> None:
        assert f"! /tftpboot/plugnode/worker/grubx64.efi: {text}" in site("status", status=1)

    flip(site.served(), held.index(b"console=ttyS0"))
    wrong("it has changed since it was signed\n")
    site.served().write_bytes(uki.without_signature(held))
    wrong("nobody has signed it\n")
    (older,) = set(site.kept("x").parent.glob("*.efi")) - {site.kept(site.release)}
    site.served().write_bytes(older.read_bytes())
    wrong(f"it is of {older.stem}, and {site.release} is what nodes shall boot\n")
    site.served().unlink()
    wrong("missing\n")
    site.served().write_bytes(held)
    certify(site.folder, "short", days=20)
    site.write(before="secure-boot.crt", after="short.crt")
    wrong(f"signed by certificate {mark[:16]}, and `trust: secure_boot:` is ")
    again = "~ loader plugnode/worker/grubx64.efi (signed anew: another certificate)\n"
    assert again in site("plan")
    site("deploy")
    wrong("its certificate ends 20")
    site.write()
    assert again in site("plan")
    site("deploy")
    site("status")


def test_nodes_that_are_pinned_have_a_folder_of_their_own(site):
    site.write("console=ttyS0 third")
    site.doit()
    pinned = json.loads((site.doit.build / "worker/release.json").read_text())["id"]
    site("deploy")
    program = site.served().read_bytes()
    node = "ip: 172.24.10.10}"
    site.write(before=node, after=f"ip: 172.24.10.10, release: {pinned}}}")
    site("deploy")
    assert site.served(label=pinned).read_bytes() == program != site.served().read_bytes()
    assert site.served("shimx64.efi", pinned).exists()
    dhcp = (site.doit.build / "configs/dhcpd.conf").read_text()
    assert f'filename "plugnode/{pinned}/shimx64.efi"' in dhcp
    assert 'filename "plugnode/worker/shimx64.efi"' in dhcp
    site.write()
    site("deploy")
    assert not site.served(label=pinned).parent.exists()


def test_a_prune_takes_the_signed_files_of_releases_that_go(site):
    text = site.doit.site.read_text()
    site.doit.site.write_text(f"{text}deploy: {{keep: 1, keep_days: 0}}\n")
    folder = site.kept(site.release).parent
    before = {file.stem for file in folder.glob("worker-*.efi")}
    site("prune")
    left = {file.stem for file in folder.glob("worker-*.efi")}
    assert left < before and left == {file.stem for file in folder.glob("worker-*.json")}
    site.doit.site.write_text(text)


def test_an_image_that_is_none_any_more_leaves_no_file_that_shim_would_start(site):
    text = site.doit.site.read_text()
    site.doit.site.write_text(text.replace("    loader: uki\n", ""))
    site("deploy")
    assert not site.served().parent.exists()
    assert not list((site.dest / "tftpboot/plugnode").glob("*.site"))
    site.doit.site.write_text(text)
