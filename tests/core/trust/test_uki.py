"""A unified kernel image, by values, and in the eyes of the programs that sign and check it."""

from __future__ import annotations

import os
import signal
import random
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tasks.base.options import LOADERS
from tasks.core.base.boot_programs import certificate_of
from tasks.core.base.errors import Refused
from tasks.core.store.loaders import first_loader
from tasks.core.trust import secure_boot, uki
from tasks.core.trust.authenticode import NOT_SIGNED, fingerprint, read_signer
from tests.support.signed_site import certify

PARTS = {
    ".osrel": b"ID=plugnode\n",
    ".cmdline": b"console=ttyS0",
    ".initrd": bytes(range(256)) * 333,
    ".linux": b"MZ kernel" * 77_777,
}
PKCS11 = "pkcs11:object=nothing"


@pytest.fixture(scope="module")
def stub() -> bytes:
    return Path(first_loader(LOADERS, (uki.STUB,))).read_bytes()


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    certify(folder, "site")
    certify(folder, "stranger")
    return folder


@pytest.fixture(scope="module")
def signed(stub: bytes, keys: Path) -> bytes:
    whole = uki.assemble_uki(stub, PARTS)
    return secure_boot.sign_program(whole, str(keys / "site.crt"), str(keys / "site.key"))


def test_every_part_is_a_section_and_the_same_parts_are_the_same_bytes(stub, tmp_path):
    whole = uki.assemble_uki(stub, PARTS)
    assert whole == uki.assemble_uki(stub, dict(PARTS))
    for name, data in PARTS.items():
        assert uki.section_of(whole, name) == data
    assert uki.section_of(whole, ".sbat") == uki.section_of(stub, ".sbat")
    (tmp_path / "uki").write_bytes(whole)
    for name, data in PARTS.items():  # as binutils read it
        copy = tmp_path / name
        argv = ["objcopy", "-O", "binary", "--only-section", name, tmp_path / "uki", copy]
        subprocess.run(argv, check=True)
        assert copy.read_bytes().startswith(data)


def test_sbverify_takes_it_from_the_sites_key_alone_and_without_the_signature_it_is_as_before(
    stub, keys, signed
):
    whole = uki.assemble_uki(stub, PARTS)
    mine, other = str(keys / "site.crt"), str(keys / "stranger.crt")
    assert uki.without_signature(signed) == uki.without_signature(whole) == whole
    assert secure_boot.is_signed(signed, whole, mine)
    assert not secure_boot.is_signed(signed, whole, other)
    assert not secure_boot.is_signed(whole, whole, mine)


def test_it_tells_who_has_signed_it_as_openssl_does(stub, keys, signed):
    certificate = keys / "site.crt"
    words = ["x509", "-in", certificate, "-noout", "-fingerprint", "-sha256", "-enddate"]
    shown = subprocess.run(["openssl", *words], capture_output=True, text=True, check=True).stdout
    mark, _, end = shown.partition("\n")
    signer, why = read_signer(signed)
    assert signer.is_good and not why
    assert signer.certificate == mark.partition("=")[2].replace(":", "").lower()
    assert signer.certificate == fingerprint(certificate_of(certificate.read_bytes()))
    at = time.strptime(end.strip(), "notAfter=%b %d %H:%M:%S %Y GMT")
    assert signer.ends == time.strftime("%Y-%m-%dT%H:%M:%SZ", at)
    for program in (uki.assemble_uki(stub, PARTS), uki.without_signature(signed)):
        assert read_signer(program) == (None, NOT_SIGNED)


def test_debians_own_programs_are_signed_by_debian():
    """By a chain of certificates, and with other attributes than sbsign's."""
    found = first_loader(LOADERS, ("usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",))
    signer, why = read_signer(Path(found).read_bytes())
    assert signer.is_good and not why


def test_a_byte_changed_anywhere_in_a_program_its_certificate_or_its_signature_is_seen(
    signed, keys
):
    """All but what changes by signing it, and the words around who has signed it."""
    chance, size = random.Random(17), len(signed) - len(uki.signature_of(signed))
    certificate = certificate_of((keys / "site.crt").read_bytes())
    at, end = signed.index(certificate), len(signed.rstrip(b"\0"))
    places = [
        *range(1024),
        *chance.sample(range(1024, size), 99),
        *range(at, at + len(certificate), 3),
    ]
    known, bare = read_signer(signed)[0].certificate, uki.without_signature(signed)
    for place in [*places, *range(end - 200, end, 3)]:
        changed = flipped(signed, place)
        if seen_by(changed) == (known, ""):
            assert uki.without_signature(changed) == bare and place < 1024
    assert read_signer(signed[: size // 2])[1] and read_signer(b"")[1]


def seen_by(program: bytes) -> tuple[str, str]:
    signer, why = read_signer(program)
    return signer.certificate if signer else "", why


def flipped(program: bytes, at: int) -> bytes:
    return program[:at] + bytes([program[at] ^ 1]) + program[at + 1 :]


@pytest.mark.parametrize("name", PARTS)
def test_a_byte_changed_in_any_part_is_no_good_signature(signed, stub, keys, name):
    at = signed.index(PARTS[name])
    changed = bytearray(signed)
    changed[at + len(PARTS[name]) // 2] ^= 1
    whole = uki.without_signature(bytes(changed))
    assert not secure_boot.is_signed(bytes(changed), whole, str(keys / "site.crt"))
    assert not secure_boot.is_same_program(bytes(changed), uki.assemble_uki(stub, PARTS))


def test_a_key_that_is_not_the_certificates_or_is_none_signs_nothing(stub, keys, tmp_path):
    whole, mine = uki.assemble_uki(stub, PARTS), str(keys / "site.crt")
    (tmp_path / "junk.key").write_text("junk\n")
    for key in (keys / "stranger.key", tmp_path / "junk.key", tmp_path / "none.key", PKCS11):
        with pytest.raises(Refused, match="nothing is signed"):
            secure_boot.sign_program(whole, mine, str(key))


def test_a_key_on_a_token_signs_the_same(stub, keys, tmp_path, monkeypatch):
    """SoftHSM's, through OpenSSL's engine, with the PIN from a file that the URI names.

    Ubuntu 24.04's sbsign crashes with any such key, whoever calls it: that is said there, and nothing is signed.
    """
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm.conf").write_text(f"directories.tokendir = {tmp_path}/tokens\n")
    (tmp_path / "pin").write_text("4321")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm.conf"))
    monkeypatch.setenv("PKCS11_MODULE_PATH", "/usr/lib/softhsm/libsofthsm2.so")
    token = ["--label", "site", "--so-pin", "1234", "--pin", "4321"]
    subprocess.run(["softhsm2-util", "--init-token", "--free", *token], check=True)
    words = ["--token", "site", "--label", "key", "--id", "01", "--pin", "4321"]
    subprocess.run(["softhsm2-util", "--import", keys / "site.key", *words], check=True)
    whole, mine = uki.assemble_uki(stub, PARTS), str(keys / "site.crt")
    key = f"pkcs11:token=site;object=key?pin-source={tmp_path}/pin"
    (tmp_path / "program").write_bytes(whole)
    bare = ["sbsign", "--engine", "pkcs11", "--key", key, "--cert", mine, tmp_path / "program"]
    if subprocess.run(bare).returncode == -signal.SIGSEGV:
        with pytest.raises(Refused, match="sbsign was ended by SIGSEGV; nothing is signed"):
            secure_boot.sign_program(whole, mine, key)
        return
    assert secure_boot.is_signed(secure_boot.sign_program(whole, mine, key), whole, mine)


def test_where_sbsign_crashes_it_is_said(stub, keys, tmp_path, monkeypatch):
    """As Ubuntu 24.04's does with a key on a token."""
    crashing = tmp_path / "sbsign"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    mine, key = str(keys / "site.crt"), str(keys / "site.key")
    with pytest.raises(Refused, match=f"{key}: sbsign was ended by SIGSEGV; nothing is signed"):
        secure_boot.sign_program(stub, mine, key)


def test_a_stub_that_is_none_or_is_full_is_refused(stub):
    for junk in (b"", b"MZ", stub[:200], b"\x7fELF" + stub[4:100], stub[:0x80] + bytes(999)):
        with pytest.raises(ValueError):
            uki.assemble_uki(junk, PARTS)
    full = bytearray(stub)
    at = struct.unpack_from("<I", stub, 0x3C)[0] + 24 + 60
    struct.pack_into("<I", full, at, 700)  # the size of all headers
    with pytest.raises(ValueError, match="no room"):
        uki.assemble_uki(bytes(full), PARTS)
