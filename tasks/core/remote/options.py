"""Options: what each operation on a server is told, and how that travels as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..store.journal import Record

Values = dict[str, Any]  # of JSON


@dataclass(frozen=True)
class Options:
    """What an operation is told; each has a class of its own."""


@dataclass(frozen=True)
class AgeOptions(Options):
    """What a prune goes by."""

    keep: int
    keep_days: int
    site: str
    image: str  # "": all
    running: Mapping[str, str]  # release -> the nodes that report it


@dataclass(frozen=True)
class PlanOptions(AgeOptions):
    """What would a deploy change, and a prune remove?"""

    revision: Record  # of the site
    again: bool  # also what a rollback left


@dataclass(frozen=True)
class DeployOptions(Options):
    """Make the server hold what is wanted."""

    author: Record
    image: str
    again: bool  # also what a rollback left
    revision: Record
    seen: list[str]  # digests of what servers' plans did when they were seen
    nodes: list[str] | None = None  # those of the site, where all servers have to agree first


@dataclass(frozen=True)
class RollbackOptions(Options):
    """Point boot files back to an earlier release."""

    images: list[str]  # those of the site
    image: str
    release: str
    author: Record
    keys: Sequence[str] = ()  # of `trust:`


@dataclass(frozen=True)
class PruneOptions(AgeOptions):
    """Remove what nobody needs."""

    author: Record
    only_look: bool


@dataclass(frozen=True)
class VerifyOptions(Options):
    """Compare what is there with what was deployed."""

    full: bool
    image: str
    keys: Sequence[str]  # of `trust:`


@dataclass(frozen=True)
class RepairOptions(VerifyOptions):
    """Make published roots what their manifests say."""

    author: Record
    lent: Mapping[str, str]  # digest -> the bytes of a file, in base64
    built: Mapping[str, str]  # digest -> its path, where the build is on that machine


@dataclass(frozen=True)
class LendOptions(Options):
    """Give the bytes of files that another server lacks."""

    digests: list[str]


@dataclass(frozen=True)
class StatusOptions(Options):
    """Tell what is there."""

    certificate: str = ""  # the fingerprint of that of `trust: secure_boot:`


@dataclass(frozen=True)
class BootsOptions(Options):
    """Tell the last boot of each node."""

    site: str


@dataclass(frozen=True)
class AskedOptions(Options):
    """Tell which cards asked for an address."""


@dataclass(frozen=True)
class HistoryOptions(Options):
    """What changed from one release on the server to another?"""

    before: str
    after: str


@dataclass(frozen=True)
class SiteDataOptions(Options):
    """Give the site data that nodes get when they boot."""


@dataclass(frozen=True)
class RecordOptions(Options):
    """Note in the journal what was done to nodes of the server."""

    record: Record


KINDS: dict[str, type[Options]] = {  # by the name of the operation
    "plan": PlanOptions,
    "deploy": DeployOptions,
    "rollback": RollbackOptions,
    "prune": PruneOptions,
    "verify": VerifyOptions,
    "repair": RepairOptions,
    "lend": LendOptions,
    "status": StatusOptions,
    "boots": BootsOptions,
    "asked": AskedOptions,
    "history": HistoryOptions,
    "site_data": SiteDataOptions,
    "record": RecordOptions,
}
NAMES = {kind: name for name, kind in KINDS.items()}


def pack_options(options: Options) -> Values:
    """The part of a message that says what is to be done."""
    return {"do": NAMES[type(options)], "details": dataclasses.asdict(options)}


def unpack_options(message: Mapping[str, Any]) -> Options:
    """What `pack_options` made."""
    kind: Callable[..., Options] = KINDS[message["do"]]
    return kind(**message["details"])
