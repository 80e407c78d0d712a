"""Whom this run's site trusts, and what of the build they have signed: build/signatures.

A build has no use for either: it is the same with and without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from ..core.base.boot_programs import certificate_of
from ..core.base.errors import BadInput, Refused
from ..core.base.files import content, mirror, read
from ..core.base.ssh import public_keys
from ..core.trust.signatures import NOBODY, Trusted, is_at_hand, is_by, is_good, merged, sign
from .desired import build_of
from .options import LOADERS
from .settings import Run

if TYPE_CHECKING:
    from ..core.desired.signed_files import SignedFiles
    from ..core.plan.state import Desired

SUFFIX = ".sig"


@lru_cache(maxsize=None)
def keys(run: Run) -> tuple[str, ...]:
    """Each public key of `trust:`, as a line."""
    found: list[str] = []
    for path in _files(run):
        found += public_keys(read(path))
    return tuple(found)


def _files(run: Run) -> tuple[str, ...]:
    trust = run.site.trust
    return trust.key if trust else ()


def certificate(run: Run) -> str:
    """The fingerprint of that of Secure Boot; "" of a site without."""
    said = run.site.trust.secure_boot if run.site.trust else None
    if said is None:
        return ""
    from ..core.trust.authenticode import fingerprint

    return fingerprint(certificate_of(read(said.certificate)))


def trusted(run: Run) -> Trusted:
    """What servers are told: whose signatures they must see, and those of this build."""
    if not keys(run):
        _refuse_key(run)
        return NOBODY
    signatures = _signatures(run)
    return Trusted(keys(run), signatures, bool(_at_hand(run)), certificate(run))


@lru_cache(maxsize=2)
def signed_files(run: Run) -> SignedFiles | None:
    """The releases of this build as signed files; None of a site without Secure Boot."""
    said = run.site.trust.secure_boot if run.site.trust else None
    if said is None:
        return None
    from ..core.desired.signed_files import SignedFiles

    return SignedFiles(build_of(run.site, run.paths), said, LOADERS)


def with_signed_files(run: Run, desired: Desired) -> Desired:
    """What is desired, with what nodes with Secure Boot start."""
    files = signed_files(run)
    return files.served(desired) if files else desired


def _refuse_key(run: Run) -> None:
    """Raises BadInput for a key that is named on the command line alone."""
    if key := run.settings.key:
        remedy = "name its public half there: `trust: {key: site.pub}`"
        what = f"key={key}: the site has no `trust:`, so nothing is signed"
        raise BadInput.at(run.settings.site, f"{what}; {remedy}")


def sign_build(run: Run) -> list[str]:
    """Sign what of this build is not, where this machine can: what was signed now, by its id.

    Raises Refused where the key is none of the site's, or cannot be used.
    """
    if not keys(run):
        _refuse_key(run)
        return []
    known, made = _signatures(run), set[str]()
    for key in _at_hand(run):
        for id, signature in _sign_missing(run, key, known).items():
            known[id] = merged(known.get(id, b""), signature)
            made.add(id)
    if made:
        mirror(_folder(run), {id + SUFFIX: signature for id, signature in known.items()})
    return sorted(made)


def _sign_missing(run: Run, key: str, known: Mapping[str, bytes]) -> dict[str, bytes]:
    """What nobody has signed, signed by this key; and site data, which each that is here signs.

    Releases know the keys of their time, and boot with the newest site data. Raises Refused.
    """
    build = build_of(run.site, run.paths)
    missing = {id: data for id, data in build.signable.items() if id not in known}
    if not is_by(key, known.get(build.site_id, b"")):
        missing[build.site_id] = build.site_img
    made = sign(missing, key) if missing else {}
    for id, signature in made.items():
        if not is_good(missing[id], signature, keys(run)):
            raise Refused(f"{key}: `trust:` names another key; nothing is signed")
    return made


def must_sign(run: Run) -> list[str]:
    """The same for who asks for nothing else: raises Refused where this machine cannot."""
    if not keys(run):
        remedy = "name a public key there: `trust: {key: site.pub}`"
        raise BadInput.at(run.settings.site, f"no `trust:`, so nothing is signed; {remedy}")
    if (
        not _at_hand(run)
        and _signatures(run).keys() != build_of(run.site, run.paths).signable.keys()
    ):
        places = ", ".join(file.removesuffix(".pub") for file in _files(run))
        remedy = "bring it there, or into ssh-agent, or name it with key="
        raise Refused(f"no private key here ({places}); {remedy}")
    return sign_build(run)


def _signatures(run: Run) -> dict[str, bytes]:
    """Those of this build by keys of the site, by the id of what is signed."""
    found = {}
    for id, data in build_of(run.site, run.paths).signable.items():
        signature = content(os.path.join(_folder(run), id + SUFFIX))
        if signature and is_good(data, signature, keys(run)):
            found[id] = signature
    return found


def _at_hand(run: Run) -> list[str]:
    """The keys to sign with: the one that was named, else all that are here."""
    return [run.settings.key] if run.settings.key else list(filter(is_at_hand, _files(run)))


def _folder(run: Run) -> str:
    return run.paths.path("signatures")
