"""Reads and validates `site.yaml`: its text, each part by itself, then the rules across parts; all problems at once."""

from __future__ import annotations

import os
from typing import Any

from . import merge, models, nodes, rules, salvage
from .errors import BadInput, Problem
from .site import Site
from .tree import without_collection
from .yaml_source import Path, Source, shown


def read(path: str, folders: tuple[str, ...], content: bytes | None = None) -> tuple[Site, merge.Needs]:
    """The site, and what must exist on this machine for it to stay right."""
    with without_collection():
        source = Source(path, content)
        complaints = _Complaints(source)
        said = salvage.parse(models.Site, source.data, complaints)
        members = nodes.members(said.nodes or {}, complaints)
        folder = os.path.dirname(path) or "."
        rules.check(said, members, folder, folders, complaints)
        complaints.end()
        return merge.site(said, members, folder), merge.needs(said, folder, folders)


class _Complaints:
    """Collects problems; several of one kind at one place (the addresses of a range) become one line."""

    def __init__(self, source: Source):
        self.source = source
        self.found: dict[tuple[Path, bool, str], list[str]] = {}

    def __call__(self, path: Path, what: str, do: str, value: object = None, key: bool = False) -> None:
        shows = f" ({shown(value)})" if value and isinstance(value, str) else ""
        self.found.setdefault((path, key, do), []).append(f"{what}{shows}; {do}")

    def line(self, path: Path) -> int:
        """The line of a key, for messages that name two places."""
        return self.source.place(path, key=True)[0]

    def end(self) -> None:
        problems = [self._problem(*at, said) for at, said in self.found.items()]
        if problems or self.source.problems:
            raise BadInput([*self.source.problems, *problems])

    def _problem(self, path: Path, key: bool, _: str, said: list[str]) -> Problem:
        more = f" (and {len(said) - 1} more here)" if len(said) > 1 else ""
        return self.source.problem(path, said[0] + more, key)


def json_schema() -> dict[str, Any]:
    """See schema.json_schema."""
    schema = _plainer(models.Site.model_json_schema(ref_template="#/definitions/{model}"))
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Plugnode site.yaml", **schema}


def _plainer(value: Any) -> Any:
    """Without what draft 7 or its editors do not know: `$defs`, null as a choice, defaults of nothing, titles."""
    if isinstance(value, list):
        return [_plainer(one) for one in value]
    if not isinstance(value, dict):
        return value
    options = [option for option in value.get("anyOf", ()) if option != {"type": "null"}]
    value = {**value, **(options[0] if len(options) == 1 else {})}
    dropped = {"anyOf", "title"} | ({"default"} if value.get("default", 0) is None else set())
    if "patternProperties" in value:
        value["additionalProperties"] = False
    names = {"$defs": "definitions"}
    return {names.get(key, key): _plainer(part) for key, part in value.items() if key not in dropped}
