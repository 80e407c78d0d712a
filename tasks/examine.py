"""What each image will be, decided before anything of any image is made.

reference, overlays/ ── examine:<image> ──> build/.noted/<image>.json ── accept ──> root, initrd

One site, one answer: where one image cannot be, the others stay as they were, too, and all
complaints come at once.
"""

from __future__ import annotations

from functools import partial

from .base.console import Progress, say
from .base.disk_layouts import refuse_layouts
from .base.paths import initrd_source, root_source, snapshot, state_of, templates
from .base.rule import Aside, Reads, Writes, code, rule
from .base.settings import NOTED, placed, settings, site
from .configs import rendered, templates_digest
from .core.base.errors import BadInput, Problem
from .core.image.source import ImageSource
from .core.site.model import Site


def task_examine():
    """decide what each image's root will hold, and whether a node could start from it"""
    for image in site().images:
        sources = root_source(image), initrd_source(image)
        state = state_of(image)
        task = rule(
            image.name,
            examine,
            *sources,
            Aside(state),
            reads=Reads(snapshot(image), partial(seen, *sources)),
            writes=Writes([state], leaves=[settings().path(NOTED)]),
        )
        task["uptodate"].append((is_fine, [state]))
        yield task


def seen(root: ImageSource, initrd: ImageSource) -> str:
    """All that goes in."""
    from .core.image.seen import initrd_seen, root_seen

    return f"{root_seen(root)} {initrd_seen(initrd)}"


def is_fine(state: str) -> bool:
    """Nothing was found wrong with an image; where something was, the remedy may be anywhere."""
    from .core.image.state import load_state

    return not load_state(state, say).problems


def examine(root: ImageSource, initrd: ImageSource, state: Aside) -> None:
    from .core.image import decide
    from .core.image.state import load_state, save_state

    name = root.image.name
    tell = Progress(f"reading what {name} is made of, names")
    known = load_state(state.value, say)
    found = decide.examine(root, initrd, known, code(), tell)
    save_state(state.value, found._replace(problems=placed(name, found.problems)))


def task_accept():
    """refuse what cannot be, of every image and template at once"""
    states = [state_of(image) for image in site().images]
    return rule(None, accept, site(), reads=Reads(states, templates_digest))


def accept(wanted: Site) -> None:
    from .core.config.templates import check_templates
    from .core.image.state import load_state

    problems: list[Problem] = []
    for image in wanted.images:
        problems += load_state(state_of(image), say).problems
    templates_are_right = partial(check_templates, templates())
    for check in (templates_are_right, partial(rendered, wanted), partial(refuse_layouts, wanted)):
        try:
            check()
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
