"""Nodes' public keys, by which their secrets are encrypted: collected, shown, kept.

nodes ── ssh ──> /run/plugnode/age.pub ──> confirmed ──> secrets_store/recipients
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .base.console import say
from .base.options import flag
from .base.rule import command
from .base.settings import Run, this_run
from .core.base.errors import BadInput, Refused
from .core.base.text import counted

if TYPE_CHECKING:
    from .core.node_secrets.store import SecretsStore

OPTIONS = (
    {"name": "yes", "long": "yes", "help": "ask nobody whether fingerprints are right", **flag},
    {
        "name": "changed",
        "long": "changed",
        "help": "take a node's key that is another than it was enrolled with, too",
        **flag,
    },
    {
        "name": "forget",
        "long": "forget",
        "help": "take back that nodes may have secrets; no node is asked",
        **flag,
    },
)
CHANGED = (
    "it shows {0}, and was enrolled with {1}: its disk was made anew, or another machine answers;"
    " make sure, then ./doit enroll --changed node={2}"
)


def task_enroll():
    """collect nodes' public keys, by which secrets are encrypted for each; `node=wn[003-007]`"""
    return command(enroll, this_run, params=OPTIONS, knows="node")


def enroll(run: Run, yes: bool, changed: bool, forget: bool) -> None:
    if not run.site.has_secrets:
        what = "the site has neither `secrets:` nor `ssh_host_keys: kept`, so nobody is enrolled"
        raise BadInput.at(run.settings.site, f"{what}; docs/node-secrets.md")
    from .core.node_secrets.of_site import store_of

    store = store_of(run.site)
    store.begin(run.paths.build)
    with store.locked():
        if forget:
            take_back(run, store)
        else:
            collect(run, store, yes, changed)


def take_back(run: Run, store: SecretsStore) -> None:
    """Forget the public keys of the nodes that `node=` names."""
    from .core.base.nodeset import fold_nodes

    if not run.settings.node:
        raise BadInput.at(run.settings.site, "--forget: name the nodes: node=wn[003-007]")
    names = {node.name for node in run.nodes}
    known = store.recipients
    gone = fold_nodes(sorted(names & known.keys()))
    store.write_recipients({name: key for name, key in known.items() if name not in names})
    if not gone:
        print("none of them is enrolled")
        return
    print(f"{gone}: not enrolled any more; the next deploy takes away what servers have for them")
    print("what they were given they may know: change it where it comes from")


def collect(run: Run, store: SecretsStore, yes: bool, changed: bool) -> None:
    """Ask nodes for their keys, and keep what is confirmed. Raises Refused where any is missed."""
    from .core.node_secrets.enroll import PUBLIC, compared_keys
    from .core.nodes import ask

    asked, known_hosts = run.nodes, run.paths.known_hosts
    known = known_keys(run, store)
    say(f"asking {counted(len(asked), 'node')} for their public keys")
    replies = ask.ask(asked, ask.ENTER + PUBLIC, known_hosts)
    shown = compared_keys(replies.said, known)
    taken = {**shown.new, **(shown.changed if changed else {})}
    failed = {**replies.failed, **shown.wrong}
    if not changed:
        failed |= told_of_changed(shown.changed, known)
    if taken:
        show(taken, known)
        confirm(yes)
        store.write_recipients({**known, **taken})
    tell_enrolled(taken, shown.same, ask.folded(failed, known_hosts))
    if failed:
        raise Refused(f"{len(failed)} of {counted(len(asked), 'node')} not enrolled")


def known_keys(run: Run, store: SecretsStore) -> dict[str, str]:
    """Without those of names that the site has no more: such a key is another's now."""
    keys = store.recipients
    return {node.name: keys[node.name] for node in run.site.nodes if node.name in keys}


def told_of_changed(changed: Mapping[str, str], known: Mapping[str, str]) -> dict[str, str]:
    from .core.node_secrets.enroll import fingerprint

    return {
        name: CHANGED.format(fingerprint(key), fingerprint(known[name]), name)
        for name, key in changed.items()
    }


def show(taken: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Print the fingerprint of each key that would be kept."""
    from .core.node_secrets.enroll import fingerprint

    for name, key in taken.items():
        before = f", in place of {fingerprint(known[name])}" if name in known else ""
        print(f"{name}: {fingerprint(key)}{before}")


def confirm(yes: bool) -> None:
    """Raises Refused where nobody says that these are the nodes' own."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("nobody to confirm these fingerprints: nothing is kept; --yes takes them so")
    print("Does each node's console show its own (setup: secrets: made this node's key)? [y/N] ")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("nothing is kept")


def tell_enrolled(taken: Iterable[str], same: Mapping[str, str], failures: Iterable[str]) -> None:
    from .core.base.nodeset import fold_nodes

    if taken:
        print(f"enrolled {fold_nodes(taken)}; ./doit deploy encrypts for them")
    if same:
        print(f"{fold_nodes(same)}: enrolled already")
    for line in failures:
        print(line)
