"""Git repositories of other users: looked at as git itself would, and nothing that they name ever runs."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest

from tasks.core.base import git
from tasks.core.store import journal
from tests.support import sample_site
from tests.support.commands import Doit

ALICE = 65533
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")


class Trap:
    """A repository of another user's that names a program wherever git would run one."""

    def __init__(self, folder: pathlib.Path, ran: pathlib.Path):
        self.folder, self.ran = folder, ran
        self.git("init", "-q", "-b", "main")

    def git(self, *words: str) -> str:
        argv = [
            "git",
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.org",
            "-c",
            "safe.directory=*",
        ]
        done = subprocess.run(
            [*argv, "-C", str(self.folder), *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def arm(self) -> str:
        """Commit all, then name the programs; the commit."""
        (self.folder / ".gitattributes").write_text(
            "*.yaml filter=evil diff=evil\n*.txt filter=a=b.c\n"
        )
        (self.folder / "notes.txt").write_text("notes\n")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "site: begin")
        hooks, included = self.folder / "hooks", self.folder / ".git/more"
        hooks.mkdir()
        names = (
            "post-index-change",
            "post-checkout",
            "fsmonitor-watchman",
            "reference-transaction",
        )
        for place in [self.folder / "program", *(hooks / name for name in names)]:
            place.write_text(f"#!/bin/sh\necho $0 >>{self.ran}\ncat\n")
            place.chmod(0o755)
        program = self.folder / "program"
        config = {
            "filter.evil.smudge": program, "filter.evil.required": "true", "filter.a=b.c.process": program,
            "filter.a=b.c.required": "true", "core.fsmonitor": program, "core.hooksPath": hooks,
            "core.pager": program, "pager.status": "true", "diff.external": program, "diff.evil.textconv": program,
            "alias.status": f"!{program}", "alias.rev-parse": f"!{program}", "core.sshCommand": program,
            "include.path": included,
        }  # fmt: skip
        included.write_text(f'[filter "evil"]\n\tclean = {program}\n')
        for name, value in config.items():
            self.git("config", name, str(value))
        subprocess.run(["chown", "-R", f"{ALICE}:{ALICE}", self.folder], check=True)
        self.ran.unlink(missing_ok=True)
        return (self.folder / ".git/refs/heads/main").read_text().strip()


def author_of(folder: pathlib.Path) -> journal.Record:
    """Who is at work on a checkout, as the journal notes it."""
    return journal.author(str(folder), journal.commit(str(folder)))


@pytest.fixture
def trap(tmp_path: pathlib.Path) -> Trap:
    (tmp_path / "shared").mkdir()
    return Trap(tmp_path / "shared", tmp_path / "ran")


def test_the_trap_is_one(trap: Trap):
    commit = trap.arm()
    (trap.folder / "notes.txt").write_text("other\n")
    subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", trap.folder, "status"], capture_output=True
    )
    assert trap.ran.exists() and len(commit) == 40


def test_the_commit_of_a_repository_of_somebody_else_is_unknown(trap: Trap, monkeypatch):
    trap.arm()
    monkeypatch.delenv("SUDO_UID", raising=False)
    author = author_of(trap.folder)
    assert author["git"] == "unknown" and "dirty" not in author
    assert not trap.ran.exists()


def test_the_user_behind_sudo_is_trusted_as_git_does_and_still_nothing_of_his_runs(
    trap: Trap, monkeypatch
):
    (trap.folder / "site.yaml").write_text("site: a\n")
    commit, index = trap.arm(), trap.folder / ".git/index"
    (trap.folder / "site.yaml").write_text("site: b\n")
    before = index.stat()
    monkeypatch.setenv("SUDO_UID", str(ALICE))
    author = author_of(trap.folder)
    assert (author["git"], author["dirty"]) == (commit, True)
    assert not trap.ran.exists()
    after = index.stat()
    assert (after.st_uid, after.st_mtime_ns) == (ALICE, before.st_mtime_ns), (
        "the index is still hers"
    )
    monkeypatch.setenv("SUDO_UID", str(ALICE - 1))
    assert author_of(trap.folder)["git"] == "unknown"


SIGNATURE = """\
gpgsig -----BEGIN PGP SIGNATURE-----
 abc
 -----END PGP SIGNATURE-----
"""


def test_no_signature_is_shown_to_a_program_of_the_repository(trap: Trap, monkeypatch):
    trap.arm()
    fields, message = trap.git("cat-file", "commit", "HEAD").split("\n\n", 1)
    signed = trap.folder / "signed"
    signed.write_text(f"{fields}\n{SIGNATURE}\n{message}\n")
    commit = trap.git("hash-object", "-t", "commit", "-w", str(signed))
    trap.git("update-ref", "HEAD", commit)
    trap.git("config", "log.showSignature", "true")
    trap.git("config", "gpg.program", str(trap.folder / "program"))
    trap.ran.unlink(missing_ok=True)
    monkeypatch.setenv("SUDO_UID", str(ALICE))
    assert author_of(trap.folder)["git"] == commit
    assert not trap.ran.exists()


def test_a_submodule_runs_nothing_either(trap: Trap, tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    inner = Trap(tmp_path / "inner", tmp_path / "ran")
    (inner.folder / "site.yaml").write_text("site: a\n")
    inner.git("add", "-A")
    inner.git("commit", "-q", "-m", "inner: begin")
    trap.git(
        "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner.folder), "inside"
    )
    trap.arm()
    program = trap.folder / "program"
    for name in ("core.fsmonitor", "filter.more.clean"):
        trap.git(
            "config", "-f", str(trap.folder / ".git/modules/inside/config"), name, str(program)
        )
    (trap.folder / ".git/modules/inside/info/attributes").write_text("* filter=more\n")
    (trap.folder / "inside/site.yaml").write_text("site: b\n")
    trap.ran.unlink(missing_ok=True)
    monkeypatch.setenv("SUDO_UID", str(ALICE))
    assert len(author_of(trap.folder)["git"]) == 40
    assert not trap.ran.exists()


def test_a_bare_repository_among_the_files_of_a_checkout_is_none(tmp_path):
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "site"], check=True)
    assert git.ask(str(tmp_path / "site"), "rev-parse", "--git-dir").returncode
    assert "git" not in author_of(tmp_path / "site")


def test_deploy_and_plan_below_somebody_elses_repository_run_nothing_of_it(
    trap: Trap, reference, monkeypatch
):
    doit = Doit(trap.folder)
    sample_site.write(doit.site, reference)
    (trap.folder / ".gitignore").write_text("/build/\n/dest/\n")
    trap.arm()
    monkeypatch.delenv("SUDO_UID", raising=False)
    doit("deploy", f"destdir={trap.folder}/dest")
    journals = list((trap.folder / "dest").rglob("journal.jsonl"))
    records = [json.loads(line) for line in journals[0].read_text().splitlines()]
    assert {record["git"] for record in records} == {"unknown"}
    assert " at unknown: done" in doit("status", f"destdir={trap.folder}/dest")
    said = doit("plan", "--against=HEAD", status=3)
    assert (
        "dubious ownership" in said and "safe.directory" in said and "name a folder instead" in said
    ), said
    assert not trap.ran.exists()


def test_a_revision_of_the_user_behind_sudo_is_compared_with_and_runs_nothing(
    trap: Trap, reference, monkeypatch
):
    doit = Doit(trap.folder)
    sample_site.write(doit.site, reference)
    (trap.folder / ".gitignore").write_text("/build/\n")
    trap.arm()
    sample_site.write(doit.site, reference, cmdline="console=ttyS1")
    monkeypatch.setenv("SUDO_UID", str(ALICE))
    assert "~ arguments 'console=ttyS0' -> 'console=ttyS1'" in doit("plan", "--against=HEAD")
    assert not trap.ran.exists()


def test_a_commit_and_a_branch_are_seen_without_a_program_and_nothing_else_is(tmp_path):
    place = tmp_path / "site"
    (place / "inside").mkdir(parents=True)
    assert git.head(str(place)) == "" and git.revision(str(place)) is None

    def run(*words: str) -> None:
        who = ["-c", "user.name=Alice", "-c", "user.email=alice@example.org"]
        subprocess.run(["git", *who, "-C", place, *words], check=True, capture_output=True)

    seen = []

    def after(*words: str) -> str:
        run(*words)
        seen.append(git.head(str(place / "inside")))
        return seen[-1]

    run("init", "--initial-branch=main")
    after("commit", "--allow-empty", "-m", "one")
    (place / "file").write_text("1")
    run("add", "file")
    assert after("status") == seen[0]
    assert git.revision(str(place))["author"] == "Alice"
    assert git.revision(str(place))["dirty"]
    after("commit", "-m", "two")
    after("checkout", "-b", "other")
    after("pack-refs", "--all")
    after("commit", "--allow-empty", "-m", "three")
    after("checkout", "--detach")
    assert len(set(seen)) == len(seen) - 1
    run("worktree", "add", tmp_path / "beside", "main")
    assert "refs/heads/main" in git.head(str(tmp_path / "beside"))
