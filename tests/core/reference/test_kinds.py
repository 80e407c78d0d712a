"""Kinds of reference: all that a site may name, and what each says of itself."""

from __future__ import annotations

import pytest

from tasks.core.reference.kinds import KINDS, describe, key, kind_of
from tasks.core.site.model import Image, Reference
from tasks.core.site.schema import ReferenceKeys

NODE = Reference("rsync", "root@wn01:/")
FOLDER = Reference("path", "/srv/private/worker/")
ARCHIVE = Reference("archive", "/srv/private/worker.tar.zst")
PACKAGES = Reference("bootstrap", suite="bookworm", packages=("openssh-server",))
ALL = [NODE, FOLDER, ARCHIVE, PACKAGES]


def test_every_kind_that_a_site_may_name_is_known():
    assert ReferenceKeys.__annotations__.keys() == set(KINDS)
    assert [kind_of(each).name for each in ALL] == [each.kind for each in ALL]


def test_only_a_folder_is_read_in_place():
    assert [each.kind for each in ALL if kind_of(each).is_in_place] == ["path"]


def test_only_a_change_of_an_archive_asks_for_another_snapshot():
    assert [kind_of(each).files(each) for each in ALL] == [[], [], [ARCHIVE.where], []]


def test_a_node_of_which_other_file_systems_are_named_is_another_snapshot():
    assert key(Image("a", NODE)) == key(Image("b", NODE, exclude=("/scratch",)))
    assert key(Image("a", NODE)) != key(Image("a", NODE, also=("/opt",)))
    assert key(Image("a", ARCHIVE)) == key(Image("a", ARCHIVE, also=("/opt",)))


@pytest.mark.parametrize("reference", ALL)
def test_an_admin_reads_where_it_is_and_everybody_the_last_part_of_a_path(reference):
    full, short = describe(Image("a", reference)), kind_of(reference).label(reference)
    assert full == (reference.where or "bootstrap of bookworm")
    assert "private" not in short and reference.kind in short
