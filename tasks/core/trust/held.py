"""The signatures that a server holds, beside what they are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..base.files import content, write_atomic
from ..release import Release
from ..store.kept import is_site_data
from ..store.paths import Targets
from .signatures import accepts, by_signer, is_good, merged

UNSIGNED = "not signed by a key of `trust:`"
NOT_TAKEN = (
    "takes no site data but what {} has signed, and that has not: name its public key in `trust:`,"
    " too, and sign with it (./doit sign key=FILE), or go to another release"
)


def signed(targets: Targets, ids: Iterable[str], keys: Iterable[str]) -> Iterator[str]:
    """Those of these releases and site data that one of the keys has signed, as they are there."""
    keys = list(keys)
    for id in ids:
        data, signature = content(place(targets, id)), content(_signature(targets, id))
        if data is not None and signature and is_good(data, signature, keys):
            yield id


def unsigned(targets: Targets, ids: Iterable[str], keys: Iterable[str]) -> list[str]:
    """The others; none where there are no keys."""
    keys, ids = list(keys), list(ids)
    if not keys:
        return []
    good = set(signed(targets, ids, keys))
    return [id for id in ids if id not in good]


def place(targets: Targets, id: str) -> str:
    """The file that is signed of a release, or of site data."""
    if is_site_data(id):
        return f"{targets.boot(id)}/site.img"
    return targets.kept(f"{id}.json")


def with_held(targets: Targets, id: str, signature: bytes) -> bytes:
    """A signature with those of other keys that are there: of releases that know those alone."""
    return merged(content(_signature(targets, id)) or b"", signature)


def has_all(targets: Targets, id: str, signature: bytes) -> bool:
    """Whether a signature of each key that has signed it is there."""
    held = by_signer(content(_signature(targets, id)) or b"")
    return by_signer(signature).keys() <= held.keys()


def write_signatures(targets: Targets, signatures: Mapping[str, bytes]) -> None:
    for id, signature in signatures.items():
        both = with_held(targets, id, signature)
        write_atomic(_signature(targets, id), both, durable=True)


def taken_by(targets: Targets, release: Release, site: str) -> bool:
    """Whether nodes of a release take site data as it is signed there."""
    return accepts(release.keys, content(_signature(targets, site)) or b"")


def _signature(targets: Targets, id: str) -> str:
    return targets.kept(f"{id}.sig")
