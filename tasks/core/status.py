"""Status: what a server holds and boots, and who did what there last."""

from __future__ import annotations

import os
import time
from typing import Any, Iterator

from . import journal
from .plan import current, published, read_files, site_named
from .prune import last_used, named
from .space import human
from .targets import Targets

LAST = 5  # records of the journal that are shown


def status(targets: Targets, now: float) -> dict[str, Any]:
    """The state as plain values, for scripts; `now` in seconds since 1970."""
    released, files = published(targets), read_files(targets)
    records = journal.read(targets.kept("journal.jsonl"))
    names = named(targets, released)
    return {
        "current": {image: current(files, image) for image in sorted({one.image for one in released.values()})},
        "site": site_named(files),
        "releases": [
            {
                "id": id,
                "image": release.image,
                "kernel": release.kernel_version,
                "entries": release.entries,
                "bytes": release.bytes,
                "named_by": names.get(id),
                "days_since_use": round((now - last_used(targets, id, records, now)) / 86400, 1),
            }
            for id, release in released.items()
        ],
        "free": {folder: _free(folder) for folder in (targets.tftp_root, targets.nfs_root) if os.path.isdir(folder)},
        "journal": _ended(records)[-LAST:],
    }


def _ended(records: list[journal.Record]) -> list[journal.Record]:
    """Without the record that each piece of work began with, unless it was the last of one that was killed."""
    following = [*records[1:], {"result": journal.STARTED}]
    pairs = zip(records, following)
    return [one for one, then in pairs if one.get("result") != journal.STARTED or then.get("result") == journal.STARTED]


def _free(folder: str) -> int:
    """Bytes."""
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


def text(targets: Targets) -> str:
    """The state for people."""
    return "\n".join(_lines(status(targets, time.time())))


def _lines(state: dict[str, Any]) -> Iterator[str]:
    if not state["releases"] and not state["journal"]:
        yield "nothing is deployed"
        return
    for image, release in state["current"].items():
        yield f"{image} boots {release or 'nothing'}, with {state['site'] or 'no site data'}"
    yield "Releases"
    for release in state["releases"]:
        named = f"named by {release['named_by']}" if release["named_by"] else ""
        size = f"{release['entries']} paths, {human(release['bytes'])}"
        yield f"  {release['id']}  kernel {release['kernel']}, {size}, {named or _idle(release['days_since_use'])}"
    for folder, free in state["free"].items():
        yield f"  {human(free)} free at {folder}"
    yield "Journal"
    for record in state["journal"]:
        yield f"  {_record(record)}"


def _idle(days: float) -> str:
    return f"not used for {days:g} days"


def _record(record: journal.Record) -> str:
    what = ", ".join(record.get("releases", {}).values()) or ", ".join(record.get("removed", []))
    dirty = " with local changes" if record.get("dirty") else ""
    revision = f" at {record['git'][:12]}{dirty}" if "git" in record else ""
    words = (record.get(key, "?") for key in ("time", "who", "action"))
    return f"{' '.join(words)} {what}{revision}: {record.get('result', '?')}"
