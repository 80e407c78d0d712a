"""The example site, and what editors know of it."""

from __future__ import annotations

from tasks.core.site.load import read_site
from tasks.develop import schema_text
from tests.support.commands import REPOSITORY


def test_the_schema_for_editors_is_current():
    assert (REPOSITORY / "site.schema.json").read_bytes() == schema_text(), "run ./doit schema"


def test_the_example_names_its_schema_in_its_first_line():
    first = (REPOSITORY / "site.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=./site.schema.json"


def test_the_example_is_a_site_of_nodes():
    site, _ = read_site(str(REPOSITORY / "site.yaml"), (str(REPOSITORY),))
    assert len(site.nodes) == 4 and site.images[0].reference.kind == "bootstrap"
