"""`doit plan --against`: what a change of the site does, seen without a look at any server."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess

import pytest

from tests.support import sample_site
from tests.support.commands import REPOSITORY, Doit

THIRD = "{mac: 'ae:d6:90:bb:aa:20', ip: 172.24.10.7}"


class Repository(Doit):
    """A site in a git repository of its own; what is not the site's is not in git."""

    def __init__(self, folder: pathlib.Path):
        super().__init__(folder)
        self.git("init", "-q", "-b", "main")
        (folder / ".gitignore").write_text("/build/\n/reference/\n/*.tar\n")

    def git(self, *words: str) -> str:
        argv = [
            "git",
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.org",
            "-C",
            str(self.folder),
            *words,
        ]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, subject: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def against(self, what: str, *words: str, status: int = 0) -> str:
        """What `plan` prints, what other tasks say aside."""
        done = self.start("plan", f"--against={what}", *words, stderr=subprocess.PIPE)
        out, said = done.communicate(timeout=600)
        assert done.returncode == status, out + said
        assert "Traceback" not in said
        self.said = "".join(
            line for line in said.splitlines(True) if not line.startswith(".  ")
        )  # of this build
        return out


@pytest.fixture
def site(tmp_path: pathlib.Path, reference: pathlib.Path) -> Repository:
    """A repository with one commit, and the same in its working tree."""
    found = Repository(tmp_path)
    sample_site.write(found.site, pathlib.Path("reference"))
    found.commit("site: begin")
    return found


def everything(folder: pathlib.Path) -> dict[str, tuple[int, str]]:
    """All that is in a folder, git's own too, the build aside."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not name.startswith("build/"):
            found[name] = (path.stat().st_mode, sample_site.shown(path.read_bytes()))
    return found


def test_a_revision_that_says_the_same_is_no_changes(site: Repository):
    site.site.write_text("# in other words\n" + site.site.read_text())
    assert site.against("HEAD", "--detailed-exitcode") == "no changes\n"


def test_a_merge_request_shows_its_own_effect_and_touches_nothing(site: Repository):
    sample_site.write(
        site.site, pathlib.Path("reference"), [*sample_site.NODES, THIRD], cmdline="console=ttyS1"
    )
    (site.folder / "reference/usr/share/0/file1").write_bytes(b"of both\n")
    before = everything(site.folder)
    text = site.against("main", "--detailed-exitcode", status=2)
    assert everything(site.folder) == before
    assert "  + 1 node: wn003\n" in text and "    +172.24.10.7 wn003\n" in text
    assert "    ~ arguments 'console=ttyS0' -> 'console=ttyS1'\n    root: as in worker-" in text
    assert "Files that no deploy installs (build/configs)\n  ~ dhcpd.conf\n" in text
    assert f"compared with main, {site.git('rev-parse', 'main')[:12]}" in site.said


def test_an_overlay_is_that_of_the_revision(site: Repository):
    sample_site.write(site.site, pathlib.Path("reference"), overlays="motd")
    sample_site.put(site.folder / "overlays/motd/etc/motd", b"old\n")
    site.commit("site: greet")
    (site.folder / "overlays/motd/etc/motd").write_bytes(b"new\n")
    found = json.loads(site.against("HEAD", "--json"))
    assert found["roots"][0]["changed"] == ["etc/motd"] and found["roots"][0]["added"] == []
    assert found["releases"][0]["nodes"] == ["wn002", "wn001"]


def test_what_is_the_same_is_not_built_again(site: Repository):
    sample_site.write(site.site, pathlib.Path("reference"), [*sample_site.NODES, THIRD])
    site.against("HEAD")
    assert "root:worker" in site.said
    site.against("HEAD")
    assert site.said.splitlines()[1:] == []
    site.commit("site: a third node")
    assert site.against("HEAD") == "no changes\n"
    assert "root:worker" not in site.said and "configs" in site.said


def test_a_reference_is_taken_once_for_both(site: Repository, reference: pathlib.Path):
    subprocess.run(["tar", "-C", reference, "-cf", site.folder / "node.tar", "."], check=True)
    site.site.write_text(
        site.site.read_text().replace("{path: reference}", f"{{archive: {site.folder}/node.tar}}")
    )
    site.commit("site: from an archive")
    assert site.against("HEAD") == "no changes\n"
    assert "unpacking" not in site.said.partition("compared with")[2]
    assert len(list((site.build / "references").iterdir())) == 1


def test_what_git_does_not_have_is_the_same_for_both(site: Repository, reference: pathlib.Path):
    subprocess.run(["tar", "-C", reference, "-cf", site.folder / "node.tar", "."], check=True)
    site.site.write_text(site.site.read_text().replace("{path: reference}", "{archive: node.tar}"))
    site.commit("site: from an archive beside it")
    assert site.against("HEAD") == "no changes\n"


def test_where_there_was_no_site_everything_is_new(site: Repository):
    site.git("rm", "-q", "--cached", "site.yaml")
    site.git("commit", "-q", "-m", "site: gone")
    text = site.against("HEAD", "--detailed-exitcode", status=2)
    assert "  + worker: worker-" in text and "  + 2 nodes: wn[001-002]\n" in text
    assert "everything is new" in site.said


@pytest.mark.parametrize("what", ["nope", "HEAD~7", "--all", "main:site.yaml"])
def test_what_is_no_revision_is_one_clear_line(site: Repository, what):
    site.against(what, status=3)
    said = [line for line in site.said.splitlines() if not line.startswith("   ")]
    assert said == [
        "ERROR: ",
        f"{site.folder}:1:1: --against={what}: neither a folder nor a revision of its repository; fetch it first",
    ]


def test_a_site_without_git_says_what_can_be_done(built: Doit):
    out = built("plan", "--against=main", status=3)
    assert f"{built.folder}:1:1: no revision to compare with: not a git repository" in out
    assert "name a folder instead" in out


def test_a_revision_that_cannot_be_built_is_told_with_the_place_of_its_mistake(site: Repository):
    good = site.site.read_text()
    site.site.write_text(good.replace("mac:", "mcc:", 1))
    site.commit("site: a mistake")
    site.site.write_text(good)
    site.against("HEAD", status=3)
    assert f"{site.build}/.against/checkout/site.yaml:12:11: " in site.said


def test_another_checkout_can_be_compared_with(
    site: Repository, tmp_path_factory: pytest.TempPathFactory
):
    other = tmp_path_factory.mktemp("other")
    sample_site.write(other / "site.yaml", site.folder / "reference", [*sample_site.NODES, THIRD])
    before = everything(other)
    assert "  - 1 node: wn003\n" in site.against(str(other))
    assert everything(other) == before


def test_a_folder_that_was_deployed_to_can_be_compared_with(site: Repository):
    site("deploy", f"destdir={site.folder}/build/dest")
    assert site.against(f"{site.folder}/build/dest") == "no changes\n"
    sample_site.write(site.site, pathlib.Path("reference"), [*sample_site.NODES, THIRD])
    assert "  + 1 node: wn003\n" in site.against(f"{site.folder}/build/dest")


def test_a_folder_with_neither_is_one_clear_line(
    site: Repository, tmp_path_factory: pytest.TempPathFactory
):
    empty = tmp_path_factory.mktemp("empty")
    site.against(str(empty), status=3)
    assert (
        f"{empty}:1:1: --against: neither site.yaml nor anything deployed to /opt/nfs_export is in it"
        in site.said
    )


def test_several_servers_are_compared_by_all_that_their_nodes_load(site: Repository):
    two = site.site.read_text().replace(
        "{boot1: {ip: 172.24.10.1}}", "{a: {ip: 172.24.10.1}, b: {ip: 172.24.10.2}}"
    )
    site.site.write_text(two)
    site.commit("site: two servers")
    assert site.against("HEAD") == "no changes\n"
    site.site.write_text(two.replace("172.24.10.2}", "172.24.10.3}"))
    text = site.against("HEAD")
    changed = [
        line
        for line in text.splitlines()
        if "nfsroot=172.24.10.3" in line and line.startswith("    +")
    ]
    assert "  ~ /tftpboot/plugnode/b/worker.cfg\n" in text and len(changed) == 3


def test_a_pin_to_the_release_of_the_revision_shows_the_files_that_it_needs(site: Repository):
    site("release")
    old = json.loads((site.build / "worker/release.json").read_text())["id"]
    nodes = [sample_site.NODES[0], sample_site.NODES[1].replace("}", f", release: {old}}}")]
    sample_site.write(site.site, pathlib.Path("reference"), nodes, cmdline="console=ttyS1")
    text = site.against("HEAD")
    assert (
        "    1 node at the next boot: wn001\n" in text and "  ~ 1 node: wn002 (release)\n" in text
    )
    assert f"  + /tftpboot/plugnode/{old}.cfg\n" in text


def test_an_upgrade_of_plugnode_is_a_change_like_any_other(
    tmp_path: pathlib.Path, reference: pathlib.Path
):
    """A site in a fork: each side is built by its own code and overlays."""
    for name in ("tasks", "overlays", "templates"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, symlinks=True)
    shutil.copy2(REPOSITORY / "dodo.py", tmp_path)
    fork = Repository(tmp_path)
    (tmp_path / ".gitignore").write_text("/build/\n/reference/\n__pycache__/\n")
    sample_site.write(fork.site, reference)
    fork.commit("plugnode: as it is")
    templates = tmp_path / "templates/hosts"
    templates.write_text(templates.read_text() + "# by a newer Plugnode\n")
    argv = ["plan", "--against=HEAD"]
    done = fork.start(*argv, cwd=tmp_path, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    out = done.communicate(timeout=600)[0]
    assert done.returncode == 0, out
    assert "    +# by a newer Plugnode\n" in out
    assert fork.git("status", "--porcelain").split() == ["M", "templates/hosts"]
