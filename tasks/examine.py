"""What each image will be, decided before anything of any image is made.

reference, overlays/ ── examine:<image> ──> build/.noted/<image>.state ── accept ──> root, initrd

One site, one answer: where one image cannot be, the others stay as they were, too, and all
complaints come at once.
"""

from __future__ import annotations

from functools import partial

from .base.complaints import placed
from .base.console import Progress, say
from .base.disk_layouts import refuse_layouts
from .base.paths import BuildPaths
from .base.rule import Reads, Writes, code, rule
from .base.settings import build_paths, site
from .configs import look_at_node_files, rendered, templates_digest, templates_of_nodes
from .core.base.errors import BadInput, Problem
from .core.base.files import content, write_atomic
from .core.image.source import ImageSource
from .core.site.model import Site


def task_examine():
    """decide what each image's root will hold, and whether a node could start from it"""
    paths = build_paths()
    for image in site().images:
        sources = paths.root_source(image), paths.initrd_source(image)
        task = rule(
            image.name,
            examine,
            *sources,
            paths,
            reads=Reads(paths.marks(image), partial(seen, *sources)),
            writes=Writes([paths.state(image)], leaves=[paths.noted]),
        )
        task["uptodate"].append((is_fine, [paths.state(image)]))
        yield task


def seen(root: ImageSource, initrd: ImageSource) -> str:
    """All that goes in."""
    from .core.image.seen import initrd_seen, root_seen

    return f"{root_seen(root)} {initrd_seen(initrd)}"


def is_fine(state: str) -> bool:
    """Nothing was found wrong with an image; where something was, the remedy may be anywhere."""
    from .core.image.state import load_state

    return not load_state(state, say).problems


def examine(root: ImageSource, initrd: ImageSource, paths: BuildPaths) -> None:
    from .core.image import decide
    from .core.image.state import load_state, save_state

    name = root.image.name
    tell = Progress(f"reading what {name} is made of, names")
    known = load_state(root.state, say)
    what = decide.Examined(root, initrd, paths.staged(root.image))
    found, index = decide.examine(what, known, code(), tell)
    problems = placed(name, found.problems, root.site)
    save_state(root.state, found._replace(problems=problems), index)


def task_accept():
    """refuse what cannot be, of every image and template at once"""
    paths, wanted = build_paths(), site()
    reads = Reads(templates_of_nodes(wanted), partial(decided, wanted, paths))
    return {**rule(None, accept, wanted, paths, reads=reads), "task_dep": ["examine"]}


def decided(wanted: Site, paths: BuildPaths) -> str:
    """What was decided of every image, and what templates hold."""
    from .core.image.state import load_state

    states = [load_state(paths.state(image), say) for image in wanted.images]
    return f"{states} {templates_digest(paths.folders)}"


def accept(wanted: Site, paths: BuildPaths) -> None:
    from .core.image.state import load_state

    problems: list[Problem] = []
    for image in wanted.images:
        problems += load_state(paths.state(image), say).problems
    checks = (
        partial(look_at_templates, paths),
        partial(look_at_node_files, wanted, paths.folders),
        partial(rendered, wanted, paths.folders),
        partial(refuse_layouts, wanted, paths),
    )
    for check in checks:
        try:
            check()
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)


def look_at_templates(paths: BuildPaths) -> None:
    """Raises BadInput with every template that is none; what was right is not parsed again."""
    from .core.config.templates import check_templates

    digest = f"{code()} {templates_digest(paths.folders)}\n".encode()
    check_templates(paths.templates, content(paths.right_templates) == digest)
    write_atomic(paths.right_templates, digest)
