"""The reference worker node that an image's root is made of.

rsync, archive, bootstrap ── pull ──> build/references/<key>/tree   once, and whenever `doit pull` is asked for
path ───────────────────────────────> read where it is, never written to
"""

from __future__ import annotations

import os

from .console import say
from .core.site import Image
from .rule import command, perform
from .settings import settings, site


def tree_of(image: Image) -> str:
    """The folder that is the image's reference, pulled or in place."""
    if image.reference.kind == "path":
        return image.reference.where
    return os.path.join(snapshot_of(image), "tree")


def snapshot_of(image: Image) -> str:
    from .core.reference import key

    return settings().path("references", key(image))


def pulled(image: Image) -> str:
    """What says that the snapshot is whole, and which one it is."""
    from .core.reference import COMPLETE

    return os.path.join(snapshot_of(image), COMPLETE)


def snapshots() -> dict[str, list[Image]]:
    """Each snapshot's folder with the images that are made of it."""
    found: dict[str, list[Image]] = {}
    for image in site().images:
        if image.reference.kind != "path":
            found.setdefault(snapshot_of(image), []).append(image)
    return found


def task_snapshot():
    """take the references that are not there yet, and archives that changed"""
    for folder, images in snapshots().items():
        image = images[0]
        yield {
            "name": image.name,
            "actions": [(perform, [pull, folder])],
            "file_dep": [image.reference.where] if image.reference.kind == "archive" else [],
            "targets": [pulled(image)],
            "uptodate": [os.path.exists(pulled(image))],  # `doit pull` takes it anew, and nothing else does
            "clean": [(forget, [folder])],
            "verbosity": 2,
        }


def pull(folder: str) -> None:
    """Take what all images that share the snapshot need of it: what none excludes, and what some keep."""
    from .core import reference

    first, *others = snapshots()[folder]
    exclude = tuple(pattern for pattern in first.exclude if all(pattern in image.exclude for image in others))
    keep = tuple(sorted({path for image in (first, *others) for path in image.keep}))
    reference.pull(first._replace(exclude=exclude, keep=keep), folder, say)


def forget(folder: str) -> None:
    """`doit clean`: forget the snapshot."""
    from .core.reference import discard

    discard(folder)


def task_pull():
    """take the references anew: rsync, archive and bootstrap; `image=NAME` for that one alone"""
    return command(pull_all)


def pull_all() -> None:
    for folder, images in snapshots().items():
        if settings().image in ("", *(image.name for image in images)):
            pull(folder)
