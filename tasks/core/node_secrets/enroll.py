"""Public keys of nodes: which are new, which are known, and which are another than it was."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

PUBLIC_KEY = re.compile(r"age1[02-9ac-hj-np-z]{58}", re.ASCII)  # bech32 (BIP 173)
# What a node is asked, in /run/plugnode; without a key it says why
PUBLIC = (
    "[ ! -s age.pub ] || { cat age.pub; exit 0; }; "
    "[ -s /etc/plugnode/secrets ] || echo 'its release has no place for a secret' >&2; "
    "sed -n 's/^secrets: /it has no key: /p' degraded 2>/dev/null | tail -n 1 >&2; exit 1"
)


class Shown(NamedTuple):
    """What nodes show, by what it is to the store: each name with its public key."""

    new: dict[str, str]
    same: dict[str, str]
    changed: dict[str, str]
    wrong: dict[str, str]  # name -> why it cannot be


def compared_keys(said: Mapping[str, str], known: Mapping[str, str]) -> Shown:
    """Sort what nodes said. A key is one node's: two with the same are copies of one disk."""
    shown = Shown({}, {}, {}, {})
    owners: dict[str, list[str]] = {}
    for name, key in {**known, **said}.items():
        owners.setdefault(key, []).append(name)
    for name, key in said.items():
        others = [other for other in owners[key] if other != name]
        if known.get(name) == key:
            shown.same[name] = key
        elif not PUBLIC_KEY.fullmatch(key):
            shown.wrong[name] = "what it says is no public key"
        elif others:
            shown.wrong[name] = f"{others[0]} has the same key: is its disk a copy?"
        else:
            (shown.changed if name in known else shown.new)[name] = key
    return shown


def fingerprint(key: str) -> str:
    """As the node's console has it: 32 hex digits of its sha256."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]
