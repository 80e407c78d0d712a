"""The reference worker node that an image's root is made of.

rsync, archive, bootstrap ── pull ──> build/references/<key>/tree   once, and whenever `doit pull` is asked for
path ───────────────────────────────> read where it is, never written to
"""

from __future__ import annotations

import os

from .console import say
from .core.site import Image
from .rule import command, rule
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


def snapshots() -> dict[str, Image]:
    """Each snapshot of the site once, by its folder: images may share one."""
    return {snapshot_of(image): image for image in site().images if image.reference.kind != "path"}


def task_snapshot():
    """take the references that are not there yet"""
    for folder, image in snapshots().items():
        yield {
            **rule(image.name, pull, image.name, output=[]),
            "targets": [pulled(image)],
            "uptodate": [os.path.exists(pulled(image))],  # `doit pull` takes it anew, and nothing else does
            "clean": [(forget, [folder])],
        }


def pull(image_name: str) -> None:
    from .core import reference

    image = site().image(image_name)
    reference.pull(image, snapshot_of(image), say)


def forget(folder: str) -> None:
    """`doit clean`: forget the snapshot."""
    from .core.reference import discard

    discard(folder)


def task_pull():
    """take the references anew: rsync, archive and bootstrap; `image=NAME` for that one alone"""
    return command(pull_all)


def pull_all() -> None:
    for image in snapshots().values():
        if settings().image in ("", image.name):
            pull(image.name)
