"""The signed file that nodes of a label start, with Secure Boot: what a server has of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import NamedTuple

from ..base.files import content
from ..plan.ukis import kept_program, labels_in, program_name
from ..release import Release
from ..store.boot_files import current, is_id
from ..store.ours import read_ours
from ..store.paths import Targets
from ..trust.authenticode import read_signer
from ..trust.uki import INITRD, LINUX, release_in, section_of

SOON = 30 * 86400  # seconds before its end that a certificate is told of
MISSING = "missing"
SHOWN = 16  # of a fingerprint's digits, where people read it


class SignedFile(NamedTuple):
    """What one is. The certificate is told by its fingerprint: sha256 as hex digits."""

    label: str  # an image, or a release that nodes are pinned to
    release: str  # "": it says of none that it is of it
    certificate: str  # "": nobody has signed it, or it is missing
    ends: str  # when that does: 2036-11-26T23:55:20Z
    wrong: list[str]  # why nodes do not start it, or soon may not


def signed_files(
    targets: Targets, files: Mapping[str, bytes], certificate: str, now: float
) -> Iterator[SignedFile]:
    """Those that deploys put behind the name that shim loads.

    `files`: the boot files. `certificate`: that of the site, its fingerprint; "": it has none.
    `now`: seconds since 1970.
    """
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + SOON))
    for label in labels_in(read_ours(targets)):
        wanted = label if is_id(label) else current(files, label)
        file = _signed_file(label, content(targets.served(program_name(label))))
        wrong = [*file.wrong, *_unwanted(file, wanted or "none", certificate, soon)]
        yield file._replace(wrong=wrong)


def _signed_file(label: str, program: bytes | None) -> SignedFile:
    """What it is, and what is wrong with it by itself."""
    if program is None:
        return SignedFile(label, "", "", "", [MISSING])
    signer, why = read_signer(program)
    by = (signer.certificate, signer.ends) if signer else ("", "")
    return SignedFile(label, release_in(program), *by, [why] if why else [])


def _unwanted(file: SignedFile, release: str, certificate: str, soon: str) -> Iterator[str]:
    """How it is not the one of this release and certificate."""
    if file.release != release and MISSING not in file.wrong:
        yield f"it is of {file.release or 'no release'}, and {release} is what nodes shall boot"
    if file.certificate and certificate not in ("", file.certificate):
        by = f"signed by certificate {file.certificate[:SHOWN]}"
        yield f"{by}, and `trust: secure_boot:` is {certificate[:SHOWN]}"
    if file.certificate and file.ends < soon:
        yield f"its certificate ends {file.ends[:10]}: have nodes trust another one"


def told(file: Mapping[str, str]) -> str:
    """A signed file, by its fields, in words."""
    what = f"{file['label']}: {file['release'] or 'none'}"
    if not file["certificate"]:
        return what
    return f"{what}, by certificate {file['certificate'][:SHOWN]} until {file['ends'][:10]}"


def kept_wrong(targets: Targets, release: Release) -> Iterator[str]:
    """What is wrong with the one that a server keeps of a release, if it keeps one."""
    program = content(kept_program(targets, release.id))
    if program is None:
        return
    parts = ("kernel", LINUX, release.kernel), ("initrd", INITRD, release.initrd)
    for part, section, wanted in parts:
        if _digest_in(program, section) != wanted:
            yield f"its {part} is another than the release's"
    _, why = read_signer(program)
    if why:
        yield why


def _digest_in(program: bytes, section: str) -> str:
    """The sha256 of a part of a signed file; "" where it has none."""
    try:
        return sha256(section_of(program, section)).hexdigest()
    except ValueError:
        return ""
