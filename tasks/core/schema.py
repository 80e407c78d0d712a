"""What editors know of `site.yaml`: completion, help and a first check while one types."""

from __future__ import annotations

from typing import Any

from .models import Site

HEAD = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Plugnode site.yaml"}
NAMES = {"$defs": "definitions"}  # of draft 7, as yaml-language-server knows it
NULL = {"type": "null"}


def json_schema() -> dict[str, Any]:
    """JSON Schema of `site.yaml`."""
    schema = Site.model_json_schema(ref_template="#/definitions/{model}")
    return {**HEAD, **_plainer(schema)}


def _plainer(value: Any) -> Any:
    """Without what draft 7 or its editors do not know.

    `$defs`, null as a choice, defaults of nothing, titles.
    """
    if isinstance(value, list):
        return [_plainer(one) for one in value]
    if not isinstance(value, dict):
        return value
    options = [option for option in value.get("anyOf", ()) if option != NULL]
    if len(options) == 1:
        value = {**value, **options[0]}
    if "patternProperties" in value:
        value = {**value, "additionalProperties": False}
    plainer = {}
    for key, part in value.items():
        if _is_known(key, part):
            plainer[NAMES.get(key, key)] = _plainer(part)
    return plainer


def _is_known(key: str, part: Any) -> bool:
    return key not in ("anyOf", "title") and (key, part) != ("default", None)
