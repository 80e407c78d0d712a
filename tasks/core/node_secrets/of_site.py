"""A site's secrets: encrypted by deploy, before any server is asked; looked at by all else.

secrets: ── from: ──> secrets_store/blobs/ ── deploy ──> tftp_root/secrets/NODE.age
"""

from __future__ import annotations

from functools import lru_cache, partial

from ..base.nodeset import fold_nodes
from ..site.model import Site
from .blobs import needs, not_enrolled, pending, renew, served
from .host_keys import make_host_keys
from .source import read_secret
from .store import SecretsStore


def store_of(site: Site) -> SecretsStore:
    """The site's store, which need not be there yet. Raises Refused where others may enter it."""
    store = SecretsStore(site.secrets_store or "")
    store.refuse_open()
    return store


def served_blobs(site: Site) -> dict[str, bytes]:
    """The blobs that servers shall hold, as they are made: path below tftp_root -> bytes."""
    store = store_of(site)
    return dict(served(needs(site, store), store))


def encrypt_secrets(site: Site, folder: str, build: str) -> list[str]:
    """Read each secret, its commands in `folder`, and encrypt what is new: the nodes of it.

    Raises Refused; then nothing is another than before.
    """
    store = store_of(site)
    store.begin(build)
    with store.locked():
        if site.ssh_host_keys:
            make_host_keys(store, [node.name for node in site.nodes])
        read = lru_cache(maxsize=None)(partial(read_secret, folder=folder))
        return renew(needs(site, store), store, read)


def foreseen_secrets(site: Site) -> list[str]:
    """What deploy encrypts whatever the secrets are, and who gets none: a line each."""
    store = store_of(site)
    by_names: dict[str, list[str]] = {}
    for node, names in pending(needs(site, store), store).items():
        by_names.setdefault(names, []).append(node)
    lines = []
    for names, nodes in by_names.items():
        lines.append(f"secrets: {names}: to be encrypted for {fold_nodes(nodes)}")
    return [*lines, *without_key(site)]


def without_key(site: Site) -> list[str]:
    """That nodes are not enrolled, in a line; none where all are that shall have secrets."""
    nodes = not_enrolled(site, store_of(site))
    what = "not enrolled, so they get none; ./doit enroll"
    return [f"secrets: {fold_nodes(nodes)}: {what}"] if nodes else []
