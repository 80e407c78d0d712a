"""The reference worker node that an image's root is made of.

rsync, archive, bootstrap ── pull ──> build/references/<key>/tree   once, and at each `doit pull`
path ───────────────────────────────> read where it is, never written to
"""

from __future__ import annotations

from .base.console import say
from .base.paths import is_read_in_place
from .base.rule import Aside, Reads, Writes, command, perform, rule
from .base.settings import Run, this_run
from .core.site.model import Image


def snapshots(run: Run) -> dict[str, list[Image]]:
    """Each snapshot's folder with the images that are made of it."""
    found: dict[str, list[Image]] = {}
    for image in run.site.images:
        if not is_read_in_place(image):
            found.setdefault(run.paths.snapshot(image), []).append(image)
    return found


def task_snapshot():
    """take the references that are not there yet, and archives that changed"""
    from .core.reference.kinds import kind_of

    run = this_run()
    for folder, images in snapshots(run).items():
        image, wanted = images[0], Aside(shared(images))
        files = kind_of(image.reference).files(image.reference)
        if files:
            task = rule(
                image.name,
                pull,
                folder,
                wanted,
                reads=Reads(files),
                writes=Writes([run.paths.pulled(image)]),
            )
        else:
            task = {
                "name": image.name,
                "actions": [(perform, [pull, folder, wanted])],
                "targets": [run.paths.pulled(image)],
            }
        yield {
            **task,
            "uptodate": [(serves, [folder, wanted]), *task.get("uptodate", [])],
            "clean": [(forget, [folder])],
            "verbosity": 2,
        }


def serves(folder: str, wanted: Aside) -> bool:
    """Whether a snapshot that is there has what the site wants of it.

    What its node is by now is for `doit pull`.
    """
    from .core.reference.snapshot import Snapshot

    snapshot = Snapshot(folder)
    snapshot.settle()
    return snapshot.is_as_wide(wanted.value)


def shared(images: list[Image]) -> Image:
    """What all images made of a snapshot need of it: what one does not exclude, what one keeps."""
    first, *others = images
    exclude, keep = first.exclude, set(first.keep)
    for image in others:
        exclude = tuple(pattern for pattern in exclude if pattern in image.exclude)
        keep |= set(image.keep)
    return first._replace(exclude=exclude, keep=tuple(sorted(keep)))


def pull(folder: str, wanted: Aside) -> None:
    """Take a snapshot anew. Raises Refused, with the old one as it was.

    What is wanted of it decides nothing here: whether it is as wide as that `serves` says.
    """
    from .core.reference.kinds import describe
    from .core.reference.pull import pull_reference
    from .core.reference.snapshot import Snapshot

    image = wanted.value
    if not Snapshot(folder).is_as_wide(image):
        say(f"{describe(image)}: once more, for what the last snapshot left out")
    pull_reference(image, folder, say)


def forget(folder: str) -> None:
    """`doit clean`: forget the snapshot."""
    from .core.reference.snapshot import Snapshot

    Snapshot(folder).discard()


def task_pull():
    """take the references anew: rsync, archive and bootstrap; `image=NAME` for that one alone"""
    return command(pull_all, this_run, knows="image")


def pull_all(run: Run) -> None:
    for folder, images in snapshots(run).items():
        if run.settings.image in ("", *(image.name for image in images)):
            pull(folder, Aside(shared(images)))
