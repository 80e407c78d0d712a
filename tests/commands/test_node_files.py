"""Files of a node's own: their paths are the release's, what is in them is site data."""

from __future__ import annotations

import json
import os

from tasks.core import site_data
from tasks.core.site.model import template_of
from tests.support import sample_site
from tests.support.commands import Doit


def test_a_path_makes_a_release_and_a_template_site_data_alone(built: Doit):
    doit = built
    release = doit.build / "worker/release.json"
    before = json.loads(release.read_text())["id"]
    template = doit.folder / "templates/nodes/own.conf"
    sample_site.put(template, b"{{ name }}\n")
    text = doit.site.read_text()
    with_file = text.replace(
        "    disk:", "    node_files: {etc/own/own.conf: templates/nodes/own.conf}\n    disk:"
    )
    doit.site.write_text(with_file)
    doit()
    first = json.loads(release.read_text())["id"]
    assert first != before
    root = doit.build / "worker/root"
    assert os.readlink(root / "etc/own/own.conf") == "../../run/plugnode/files/etc/own/own.conf"
    name = template_of("worker", "etc/own/own.conf")
    assert (root / "etc/plugnode/node_files").read_text() == f"etc/own/own.conf\t{name}\n"
    assert brought(doit)[f"plugnode/templates/{name}"] == b"{{ name }}\n"

    template.write_text("{{ ip }}\n")
    doit()
    assert json.loads(release.read_text())["id"] == first
    assert brought(doit)[f"plugnode/templates/{name}"] == b"{{ ip }}\n"

    template.write_text("{{ if }}\n")
    assert f"{template}:1:1: if: nothing that a node knows" in doit(status=3)
    assert f"{template}:1:1: if: nothing that a node knows" in doit("validate", status=3)
    template.unlink()
    template.symlink_to("/etc/shadow")
    assert "leads to /etc/shadow" in doit(status=3)
    assert "leads to /etc/shadow" in doit("validate", status=3)


def test_what_is_wrong_in_all_templates_is_said_before_anything_is_made(built: Doit):
    doit = built
    for name, text in (("one", "x {{ if }}\n"), ("two", "{{ interfaces.ib0.speed }}\n")):
        sample_site.put(doit.folder / f"templates/nodes/{name}", text.encode())
    wanted = "{etc/one: templates/nodes/one, etc/two: templates/nodes/two}"
    text = doit.site.read_text().replace("    disk:", f"    node_files: {wanted}\n    disk:")
    doit.site.write_text(text.replace("172.24.10.100", "172.24.10.99"))
    before = sample_site.contents(doit.build)
    said = doit(status=3)
    assert "templates/nodes/one:1:3: if: nothing that a node knows" in said
    assert "templates/nodes/two:1:1: interfaces.ib0.speed: nothing that a node knows" in said
    assert sample_site.contents(doit.build) == before


def brought(doit: Doit) -> dict[str, bytes]:
    return site_data.files_of((doit.build / "site.img").read_bytes())
