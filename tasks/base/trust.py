"""Whom this run's site trusts, and what of the build they have signed: build/signatures.

A build has no use for either: it is the same with and without.
"""

from __future__ import annotations

import os
from functools import lru_cache

from ..core.base.errors import BadInput, Refused
from ..core.base.files import content, mirror, read
from ..core.base.ssh import public_keys
from ..core.trust.signatures import NOBODY, Trusted, is_at_hand, is_good, sign
from .desired import this_build
from .settings import settings, site

SUFFIX = ".sig"


@lru_cache(maxsize=None)
def keys() -> tuple[str, ...]:
    """Each public key of `trust:`, as a line."""
    found: list[str] = []
    for path in _files():
        found += public_keys(read(path))
    return tuple(found)


def _files() -> tuple[str, ...]:
    trust = site().trust
    return trust.key if trust else ()


def trusted() -> Trusted:
    """What servers are told: whose signatures they must see, and those of this build."""
    if not keys():
        _refuse_key()
        return NOBODY
    return Trusted(keys(), _signatures(), bool(_at_hand()))


def _refuse_key() -> None:
    """Raises BadInput for a key that is named on the command line alone."""
    if settings().key:
        remedy = "name its public half there: `trust: {key: site.pub}`"
        what = f"key={settings().key}: the site has no `trust:`, so nothing is signed"
        raise BadInput.at(settings().site, f"{what}; {remedy}")


def sign_build() -> list[str]:
    """Sign what of this build is not, where this machine can: what was signed now, by its id.

    Raises Refused where the key is none of the site's, or cannot be used.
    """
    if not keys():
        _refuse_key()
        return []
    things, known, key = this_build().signable, _signatures(), _at_hand()
    missing = {id: data for id, data in things.items() if id not in known}
    if not missing or not key:
        return []
    made = sign(missing, key)
    for id, signature in made.items():
        if not is_good(things[id], signature, keys()):
            raise Refused(f"{key}: `trust:` names another key; nothing is signed")
    files = {id + SUFFIX: signature for id, signature in (known | made).items()}
    mirror(_folder(), files)
    return sorted(made)


def must_sign() -> list[str]:
    """The same for who asks for nothing else: raises Refused where this machine cannot."""
    if not keys():
        remedy = "name a public key there: `trust: {key: site.pub}`"
        raise BadInput.at(settings().site, f"no `trust:`, so nothing is signed; {remedy}")
    if not _at_hand() and _signatures().keys() != this_build().signable.keys():
        places = ", ".join(file.removesuffix(".pub") for file in _files())
        remedy = "bring it there, or into ssh-agent, or name it with key="
        raise Refused(f"no private key here ({places}); {remedy}")
    return sign_build()


def _signatures() -> dict[str, bytes]:
    """Those of this build by keys of the site, by the id of what is signed."""
    found = {}
    for id, data in this_build().signable.items():
        signature = content(os.path.join(_folder(), id + SUFFIX))
        if signature and is_good(data, signature, keys()):
            found[id] = signature
    return found


def _at_hand() -> str:
    """The key to sign with: the one that was named, else the first that is here; "" for none."""
    return settings().key or next(filter(is_at_hand, _files()), "")


def _folder() -> str:
    return settings().path("signatures")
