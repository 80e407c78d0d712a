"""Unified kernel images on a server: the file behind the one name that shim loads, of each label.

plugnode/<label>/shimx64.efi ──> plugnode/<label>/grubx64.efi, the same as .plugnode/<release>.efi
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping

from ..base.files import content, read, write_atomic
from ..store.paths import BOOT_FILES, Targets
from ..trust.authenticode import read_signer
from ..trust.secure_boot import is_same_program
from .state import Desired, Standing

SHIM = "shimx64.efi"
SECOND = "grubx64.efi"  # by this name shim knows what it starts


def program_name(label: str, name: str = SECOND) -> str:
    """A file of a label's own folder, below tftp_root."""
    return f"{BOOT_FILES}{label}/{name}"


def labels_in(names: Iterable[str]) -> Iterator[str]:
    """The labels whose nodes shim starts such an image for."""
    for name in sorted(names):
        folder, _, file = name.removeprefix(BOOT_FILES).rpartition("/")
        if file == SHIM and folder:
            yield folder


def with_ukis(targets: Targets, desired: Desired) -> Desired:
    """What is desired, with the images of releases that the server has already.

    Of one that is built its own is taken again, where only the time of its signature would differ.
    """
    loaders, anew = dict(desired.loaders), dict[str, str]()
    stays = [built.release.image for built in desired.releases if isinstance(built, Standing)]
    for label in labels_in(desired.loaders):
        name, is_built = program_name(label), label in desired.ids_by_image and label not in stays
        new = loaders.pop(name, "") if is_built else ""
        held = kept_program(targets, desired.ids_by_image.get(label, label))
        why = _why_anew(held, new, desired) if is_built else ""
        if os.path.isfile(held) and not why:
            loaders[name] = held
        elif new:
            loaders[name] = new
            anew |= {name: why} if why else {}
        else:
            loaders.pop(name, None)
    return dataclasses.replace(desired, loaders=loaders, signed_anew=anew)


def _why_anew(held: str, new: str, desired: Desired) -> str:
    """Why what the server has of a release is not as good as the new one; "" where it is."""
    program = content(held)
    if program is None:
        return ""
    signer, harm = read_signer(program)
    if not signer or harm:
        return f"of the one that is kept: {harm}"
    if not new:
        return "nobody here can sign it"
    if not is_same_program(program, read(new)):
        return "other stub or arguments"
    return "" if signer.certificate == desired.trust.certificate else "another certificate"


def unsigned_labels(desired: Desired) -> list[str]:
    """The releases that nodes are to start as one signed file, and of which there is none."""
    labels = labels_in(desired.loaders)
    missing = [label for label in labels if program_name(label) not in desired.loaders]
    return [desired.ids_by_image.get(label, label) for label in missing]


def kept_program(targets: Targets, release: str) -> str:
    """Where a server keeps the image of a release, for rollbacks and pins."""
    return targets.kept(f"{release}.efi")


def keep_programs(targets: Targets, desired: Desired) -> None:
    """Keep each image that is put behind its name."""
    for image, id in desired.ids_by_image.items():
        source, kept = desired.loaders.get(program_name(image)), kept_program(targets, id)
        if source and source != kept:
            program = read(source)
            if content(kept) != program:
                write_atomic(kept, program, durable=True)


def program_files(targets: Targets, image: str, release: str) -> Mapping[str, bytes]:
    """What a rollback puts behind an image's name; nothing where its nodes start none."""
    if not os.path.isfile(targets.served(program_name(image))):
        return {}
    return {program_name(image): read(kept_program(targets, release))}
