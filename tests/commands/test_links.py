"""What a site is built from lies in its folder: no link of a merge request reads the builder's own files."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Callable

import pytest

from tests.support import sample_site
from tests.support.commands import Doit

WORD = b"only for this machine\n"
OUT = "out of the site's folder; put a copy in its place"
Links = Callable[[pathlib.Path, pathlib.Path], str]


def all_overlays(site: pathlib.Path, away: pathlib.Path) -> str:
    (site / "overlays").symlink_to(away)
    return "overlays/own"


def one_overlay(site: pathlib.Path, away: pathlib.Path) -> str:
    sample_site.put(site / "overlays/own", str(away / "own"))
    return "overlays/own"


def by_way_of_another(site: pathlib.Path, away: pathlib.Path) -> str:
    (site / "way").symlink_to(away)
    sample_site.put(site / "overlays/own", "../way/own")
    return "overlays/own"


def modes(site: pathlib.Path, away: pathlib.Path) -> str:
    sample_site.put(site / "overlays/own/etc/motd", b"hello\n")
    sample_site.put(site / "overlays/own/MODES", str(away / "word"))
    return "overlays/own/MODES"


def a_dangling_one(site: pathlib.Path, away: pathlib.Path) -> str:
    sample_site.put(site / "overlays/own/etc/motd", b"hello\n")
    sample_site.put(site / "overlays/own/MODES", str(away / "not-yet"))
    return "overlays/own/MODES"


def of_git(site: pathlib.Path, away: pathlib.Path) -> str:
    sample_site.put(site / ".git/config", WORD)
    sample_site.put(site / "overlays/own", "../.git")
    return "overlays/own"


def all_templates(site: pathlib.Path, away: pathlib.Path) -> str:
    (site / "overlays/own").mkdir(parents=True)
    (site / "templates").symlink_to(away)
    return "templates"


def one_template(site: pathlib.Path, away: pathlib.Path) -> str:
    (site / "overlays/own").mkdir(parents=True)
    sample_site.put(site / "templates/hosts", str(away / "word"))
    return "templates/hosts"


REFUSED = [
    all_overlays, one_overlay, by_way_of_another, modes, a_dangling_one, of_git, all_templates,
    one_template,
]  # fmt: skip


@pytest.fixture
def away(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("away")
    sample_site.fill(folder, {"word": WORD, "own/etc/word": WORD, "hosts": WORD})
    return folder


@pytest.mark.parametrize("link", REFUSED)
def test_a_link_that_the_build_would_read_through_is_refused_and_nothing_is_built(
    doit: Doit, reference: pathlib.Path, away: pathlib.Path, link: Links
):
    sample_site.write(doit.site, reference, overlays="own")
    place = link(doit.folder, away)
    for words in (["validate"], []):
        out = doit(*words, status=3)
        first = next(line for line in out.splitlines() if OUT in line)
        assert f"{doit.folder}/{place}:1:1: leads to " in first, out
        assert WORD.decode().strip() not in out
    assert not list(doit.build.glob("worker/root*"))


def test_a_site_file_of_a_checkout_is_no_link_elsewhere_and_nothing_of_that_is_said(
    doit: Doit, reference: pathlib.Path, away: pathlib.Path
):
    """What is wrong with a site is said with its values: a log of CI, which who opens it reads."""
    (away / "tokens.yaml").write_text("token: glpat-1\nnetwork: for-this-machine-alone\n")
    doit.site.symlink_to(away / "tokens.yaml")
    assert "for-this-machine-alone" in doit("validate", status=3), "whose folder it is meant it"
    (doit.folder / ".git").mkdir()
    for words in (["validate"], []):
        out = doit(*words, status=3)
        assert f"{doit.site}:1:1: leads to {away}/tokens.yaml, {OUT}" in out, out
        assert "glpat" not in out and "alone" not in out
    doit.site.unlink()
    sample_site.write(doit.folder / "common.yaml", reference)
    doit.site.symlink_to("common.yaml")
    doit("validate")


def test_a_script_of_the_initrd_is_no_link_elsewhere(doit: Doit, reference, away):
    sample_site.write(doit.site, reference)
    sample_site.put(doit.folder / "overlays/initrd/init", str(away / "word"))
    out = doit(status=3)
    assert f"overlays/initrd/init:1:1: leads to {away}/word, {OUT}" in out, out


def test_a_template_includes_nothing_from_elsewhere(doit: Doit, reference, away):
    sample_site.write(doit.site, reference)
    sample_site.put(doit.folder / "templates/hosts", b'{% include "word" %}\n')
    sample_site.put(doit.folder / "templates/word", str(away / "word"))
    out = doit(status=3)
    assert f"templates/word:1:1: leads to {away}/word, {OUT}" in out, out
    (doit.folder / "templates/word").unlink()
    sample_site.put(doit.folder / "templates/more/word", WORD)
    assert "templates/more/word:1:1: a template in a folder of its own; put" in doit(status=3)


def test_links_among_what_lies_in_the_site_s_folder_or_its_checkout_are_followed(
    doit: Doit, reference: pathlib.Path
):
    """Two sites of a repository share an overlay; its entries that are links are staged as links."""
    sample_site.fill(
        doit.folder,
        {
            ".git/HEAD": b"ref: refs/heads/main\n",
            "shared/modes": b"etc/motd 0600 root root\n",
            "shared/own/etc/motd": b"hello\n",
            "shared/own/etc/localtime": "/usr/share/zoneinfo/UTC",
            "shared/own/MODES": "../modes",
            "sites/one/overlays": None,
            "sites/one/overlays/own": "../../../shared/own",
        },
    )
    doit.site = doit.folder / "sites/one/site.yaml"
    sample_site.write(doit.site, reference, overlays="own")
    doit("validate")
    doit()
    root = doit.build / "worker/root/etc"
    assert (root / "motd").stat().st_mode & 0o777 == 0o600
    assert (root / "localtime").readlink() == pathlib.Path("/usr/share/zoneinfo/UTC")
    shutil.rmtree(doit.folder / ".git")
    assert OUT in doit("validate", status=3)
