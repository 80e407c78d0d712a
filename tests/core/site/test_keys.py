"""A key of site.yaml is written down once, as a row; what follows from the row follows."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.site import load, manual, schema, values
from tasks.core.site.keys import INITRD, ROOT, ListOf, MapOf, Text, recipe
from tasks.core.site.model import Image
from tasks.develop import manual_text
from tests.support.commands import REPOSITORY

SITE = """\
site: small
network: {subnet: 172.24.10.0/24}
servers: {boot1: {ip: 172.24.10.1}}
images:
  worker: {reference: {bootstrap: {suite: bookworm}}%s}
  gpu: {reference: {bootstrap: {suite: bookworm}}}
groups:
  rack1: {CONSOLE: ttyS1}
nodes:
  wn1: {mac: 52:54:00:00:00:01, ip: 172.24.10.101, image: gpu}
  wn2: {mac: 52:54:00:00:00:02, ip: 172.24.10.102, image: worker}
  wn3: {mac: 52:54:00:00:00:03, ip: 172.24.10.103, image: worker, groups: [rack1]}
  wn4: {mac: 52:54:00:00:00:04, ip: 172.24.10.104, image: gpu, groups: [rack1], CONSOLE: ttyS2}
"""


def image(folder: Path, said: str = "") -> Image:
    """An image of which that is said, too."""
    text = "".join(
        line for line in SITE.splitlines(True) if "CONSOLE" not in line and "groups:" not in line
    )
    (folder / "site.yaml").write_text(text % said)
    return load.read_site(str(folder / "site.yaml"), ())[0].images[0]


# Recipes


def changed(folder: Path, said: str) -> set[str]:
    """Which recipes of an image another setting changes."""
    before, after = image(folder), image(folder, f", {said}")
    return {which for which in (ROOT, INITRD) if recipe(which, before) != recipe(which, after)}


@pytest.mark.parametrize(
    "said",
    [
        "exclude: [/scratch/*]",
        "local_files: [etc/adjtime]",
        "keep: [etc/some.key]",
        "also: [/boot]",
        "disk: {partitions: [{mount: /var, size: rest, fs: ext4, fill: /srv}]}",
        "disk: {partitions: [{mount: /scratch, size: rest, fs: ext4}]}",
    ],
)
def test_what_is_in_the_root_alone_changes_the_roots_recipe_alone(
    tmp_path: Path, said: str
) -> None:
    assert changed(tmp_path, said) == {ROOT}


@pytest.mark.parametrize("said", ["kernel: 6.1.0", "initrd: {compression: xz}", "interface: eno1"])
def test_what_is_in_the_initrd_alone_changes_the_initrds_recipe_alone(
    tmp_path: Path, said: str
) -> None:
    assert changed(tmp_path, said) == {INITRD}


@pytest.mark.parametrize(
    "said",
    [
        "cmdline: quiet",
        "loaders: {pxelinux.0: /srv/pxelinux.0}",
        "disk: {devices: [/dev/vda], required: false, table: dos, match: {size: 1G..}}",
        # other sizes and file systems of the partitions that are the default's
        "disk: {partitions: [{mount: /var, size: 1G, fs: ext4}, {mount: /tmp, size: 1G, fs: xfs},"
        " {mount: /home, size: rest, fs: ext4, label: homes}]}",
    ],
)
def test_what_nodes_are_only_told_is_in_no_recipe(tmp_path: Path, said: str) -> None:
    assert changed(tmp_path, said) == set()


# The manual


def test_the_tables_of_the_manual_are_current() -> None:
    assert (REPOSITORY / "docs/site.md").read_bytes() == manual_text(), "run ./doit schema"


def test_every_mapping_has_its_table_in_the_manual() -> None:
    page = (REPOSITORY / "docs/site.md").read_text()
    assert sorted(name for _, name, _ in manual.TABLE.findall(page)) == sorted(schema.ROWS)


# A new setting


NEW_ROW = """\
    CONSOLE: Annotated[
        str,
        Key(Text("name"), "the serial line", "the serial line that tells", merge=REPLACE, of_image=True),
    ] = "tty0"
"""


@pytest.fixture
def with_a_new_setting(tmp_path: Path) -> Path:
    """The code, with one row more; and a site that says it at every layer."""
    shutil.copytree(
        REPOSITORY / "tasks", tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__")
    )
    add_row(tmp_path, NEW_ROW, before="class Deploy")
    (tmp_path / "site.yaml").write_text(SITE % ", CONSOLE: ttyS0")
    return tmp_path


def add_row(folder: Path, row: str, before: str) -> None:
    """A row more, as the last one of the class that stands before that."""
    module = folder / "tasks/core/site/model.py"
    text = module.read_text()
    last = text.index(f"\n\n{before}")
    module.write_text(text[:last] + row + text[last:])


def said_by(folder: Path, program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_row_more_is_a_setting_of_images_groups_and_nodes(with_a_new_setting: Path) -> None:
    program = (
        "from tasks.core.site import load\n"
        "site, _ = load.read_site('site.yaml', ())\n"
        "print(*(node.CONSOLE for node in site.nodes))"
    )
    assert said_by(with_a_new_setting, program) == ["tty0 ttyS0 ttyS1 ttyS2"]


def test_a_row_more_is_checked_and_known_to_editors_and_the_manual(
    with_a_new_setting: Path,
) -> None:
    site = with_a_new_setting / "site.yaml"
    site.write_text(site.read_text().replace("ttyS2", "a/b"))
    program = (
        "from tasks.core.site import load, manual, schema\n"
        "from tasks.core.base.errors import BadInput\n"
        "try: load.read_site('site.yaml', ())\n"
        "except BadInput as error: print(error.problems[0])\n"
        "parts = schema.json_schema()['definitions']\n"
        "print(*(name for name in parts if 'CONSOLE' in parts[name]['properties']))\n"
        "print(manual.table('Group').splitlines()[-1])"
    )
    complaint, known, line = said_by(with_a_new_setting, program)
    assert (
        complaint.startswith("site.yaml:13:") and "nodes.wn4.CONSOLE: not a name (a/b)" in complaint
    )
    assert known == "Group Image Node"
    assert line == "| `CONSOLE` | the serial line that tells |"


def test_a_list_may_grow_from_layer_to_layer(with_a_new_setting: Path) -> None:
    row = """\
    LINES: Annotated[
        tuple[str, ...],
        Key(ListOf(Text("name")), "serial lines", merge=APPEND, of_image=True),
    ] = ("tty0",)
"""
    add_row(with_a_new_setting, row, before="class Deploy")
    site = with_a_new_setting / "site.yaml"
    site.write_text(site.read_text().replace("CONSOLE: ttyS", "LINES: [a, b], CONSOLE: ttyS"))
    program = (
        "from tasks.core.site import load\n"
        "site, _ = load.read_site('site.yaml', ())\n"
        "for node in site.nodes: print(*node.LINES)"
    )
    assert said_by(with_a_new_setting, program) == [
        "tty0",
        "tty0 a b",
        "tty0 a b a b",
        "tty0 a b a b",
    ]


def test_a_row_more_is_a_key_of_partitions(with_a_new_setting: Path) -> None:
    row = """\
    OPTIONS: Annotated[
        tuple[str, ...],
        Key(ListOf(Text("name")), "mount options", recipe=ROOT),
    ] = ()
"""
    add_row(with_a_new_setting, row, before="TRANSPORTS =")
    site = with_a_new_setting / "site.yaml"
    disk = "disk: {partitions: [{mount: /var, size: rest, fs: ext4, OPTIONS: [noatime, nodev]}]}"
    site.write_text(site.read_text().replace("CONSOLE: ttyS0", disk))
    program = (
        "from tasks.core.site import keys, load\n"
        "site, _ = load.read_site('site.yaml', ())\n"
        "print(*site.image('worker').disk.partitions[0].OPTIONS)\n"
        "print(keys.recipe(keys.ROOT, site.image('worker'))[3])"
    )
    options, recipe_of_partition = said_by(with_a_new_setting, program)
    assert options == "noatime nodev"
    assert recipe_of_partition == "('/var', '/var.ro', ('noatime', 'nodev'))"


# Patterns for editors


def texts(kind: object) -> list[Text]:
    """The kinds of text that a kind is made of."""
    if isinstance(kind, Text):
        return [kind]
    if isinstance(kind, (ListOf, MapOf)):
        return [text for part in vars(kind).values() for text in texts(part)]
    return []


CHECKS = {
    text.check
    for found in schema.ROWS.values()
    for row in found.values()
    for text in texts(row.key.kind)
}
WITH_PATTERN = sorted(name for name in CHECKS if hasattr(getattr(values, name), "pattern"))


@pytest.mark.parametrize(
    "name", [name for name in WITH_PATTERN if getattr(values, name) not in values.LATER]
)
def test_an_editor_takes_what_the_check_takes(name: str) -> None:
    """A pattern may be laxer than its check, never stricter."""
    check = getattr(values, name)
    near = st.from_regex(re.compile(check.pattern, re.ASCII)) | st.text(
        "aZ09.-_:/@+,[]=% *", max_size=12
    )

    @settings(max_examples=60, deadline=None, database=None)
    @given(near)
    def holds(text: str) -> None:
        try:
            check(text)
        except values.InvalidValue:
            return
        assert re.search(check.pattern, text)

    holds()
