"""The reference worker node that an image's root is made of.

rsync, archive, bootstrap ── pull ──> build/references/<key>/tree   once, and whenever `doit pull` is asked for
path ───────────────────────────────> read where it is, never written to
"""

from __future__ import annotations

from .base.console import say
from .base.paths import is_read_in_place, pulled, snapshot_of
from .base.rule import command, perform, rule
from .base.settings import settings, site
from .core.site.model import Image


def snapshots() -> dict[str, list[Image]]:
    """Each snapshot's folder with the images that are made of it."""
    found: dict[str, list[Image]] = {}
    for image in site().images:
        if not is_read_in_place(image):
            found.setdefault(snapshot_of(image), []).append(image)
    return found


def task_snapshot():
    """take the references that are not there yet, and archives that changed"""
    from .core.reference.kinds import kind_of

    for folder, images in snapshots().items():
        image = images[0]
        files = kind_of(image.reference).files(image.reference)
        if files:
            task = rule(image.name, pull, folder, output=pulled(image), inputs=files)
        else:
            task = {
                "name": image.name,
                "actions": [(perform, [pull, folder])],
                "targets": [pulled(image)],
            }
        checks = [(serves, [folder]), *task.get("uptodate", [])]
        yield {**task, "uptodate": checks, "clean": [(forget, [folder])], "verbosity": 2}


def serves(folder: str) -> bool:
    """Whether a snapshot that is there has what the site wants of it; what its node is by now is for `doit pull`."""
    from .core.reference.snapshot import Snapshot

    snapshot = Snapshot(folder)
    snapshot.settle()
    return snapshot.is_as_wide(shared(folder))


def shared(folder: str) -> Image:
    """What all images that are made of a snapshot need of it: what not all of them exclude, and what some keep."""
    first, *others = snapshots()[folder]
    exclude = tuple(
        pattern for pattern in first.exclude if all(pattern in image.exclude for image in others)
    )
    keep = tuple(sorted({path for image in (first, *others) for path in image.keep}))
    return first._replace(exclude=exclude, keep=keep)


def pull(folder: str) -> None:
    """Take a snapshot anew. Raises Refused, with the old one as it was."""
    from .core.reference.kinds import describe
    from .core.reference.pull import pull_reference
    from .core.reference.snapshot import Snapshot

    wanted = shared(folder)
    if not Snapshot(folder).is_as_wide(wanted):
        say(f"{describe(wanted)}: once more, for what the last snapshot left out")
    pull_reference(wanted, folder, say)


def forget(folder: str) -> None:
    """`doit clean`: forget the snapshot."""
    from .core.reference.snapshot import Snapshot

    Snapshot(folder).discard()


def task_pull():
    """take the references anew: rsync, archive and bootstrap; `image=NAME` for that one alone"""
    return command(pull_all, knows="image")


def pull_all() -> None:
    for folder, images in snapshots().items():
        if settings().image in ("", *(image.name for image in images)):
            pull(folder)
