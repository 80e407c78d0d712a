"""Complaints about an image, placed where the site file speaks of what they are about."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from ..core.base.errors import BadInput, Problem


@contextlib.contextmanager
def about(image_name: str, site_file: str) -> Iterator[None]:
    """Complaints about an image get the place where the site file speaks of what they are about."""
    try:
        yield
    except BadInput as error:
        raise BadInput(placed(image_name, error.problems, site_file)) from None


def placed(image_name: str, problems: Iterable[Problem], site_file: str) -> tuple[Problem, ...]:
    """The problems, those of the site file at the key of the image that each is about."""
    return tuple(_placed(image_name, problem, site_file) for problem in problems)


def _placed(image_name: str, problem: Problem, site_file: str) -> Problem:
    from ..core.site.strict_yaml import YamlSource

    if problem[:3] != (site_file, 1, 1):
        return problem
    key = ("images", image_name, *problem.subject)
    line, column = YamlSource(problem.file).place(key, key=True)
    message = problem.message.removeprefix(f"{image_name}: ")
    return Problem(problem.file, line, column, f"images.{image_name}: {message}")
