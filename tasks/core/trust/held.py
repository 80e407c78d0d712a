"""The signatures that a server holds, beside what they are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..base.files import content, write_atomic
from ..store.kept import is_site_data
from ..store.paths import Targets
from .signatures import is_good

UNSIGNED = "not signed by a key of `trust:`"


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


def write_signatures(targets: Targets, signatures: Mapping[str, bytes]) -> None:
    for id, signature in signatures.items():
        write_atomic(_signature(targets, id), signature, durable=True)


def _signature(targets: Targets, id: str) -> str:
    return targets.kept(f"{id}.sig")
