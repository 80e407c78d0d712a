"""What comes after a deploy: verify, rollback, prune, status, and the journal that they go by."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import tempfile
import time

import pytest

from tasks.core.base.errors import Refused
from tasks.core.deploy.prune import (
    DAY,
    Rules,
    Verdict,
    last_used,
    prune_server,
    release_verdicts,
)
from tasks.core.deploy.rollback import RollbackChoice, rollback_server
from tasks.core.inspect import verify
from tasks.core.inspect.status import server_status, status_text
from tasks.core.release import Release
from tasks.core.scan.ctimes import note_ctime, read_ctimes, write_ctimes
from tasks.core.store import journal
from tasks.core.store.kept import published, seen_of
from tasks.core.store.paths import Targets
from tests.support.deploy_kit import (
    AUTHOR,
    NODES,
    boot_files,
    build,
    finish,
    python,
    run,
    served,
    want,
)

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="makes owners and devices")


@pytest.fixture
def targets(tmp_path: pathlib.Path) -> Targets:
    return Targets("/tftpboot", "/opt/nfs_export", str(tmp_path / "dest"))


@pytest.fixture
def three(tmp_path, targets) -> list[Release]:
    """Three releases of one image, deployed one after the other."""
    return [deployed(tmp_path, targets, n) for n in range(3)]


def deployed(tmp_path, targets, number: int) -> Release:
    built = build(tmp_path / str(number), files=10, file7=b"%d\n" % number)
    run(targets, want(built, site_img=b"site %d" % number))
    return built.release


# --- verify


def add(root, targets, id):
    (root / "usr/lib0/new").touch()


def edit_keeping_the_size(root, targets, id):
    (root / "usr/lib0/file8").write_bytes((root / "usr/lib0/file8").read_bytes()[::-1])


def relink(root, targets, id):
    (root / "bin").unlink()
    (root / "bin").symlink_to("/elsewhere")


def retype(root, targets, id):
    (root / "usr/lib0/file8").unlink()
    (root / "usr/lib0/file8").mkdir()


def other_device(root, targets, id):
    (root / "etc/null").unlink()
    os.mknod(root / "etc/null", 0o20666, os.makedev(1, 5))
    os.chmod(root / "etc/null", 0o666)


def mtime_back(root, targets, id):
    """An edit that hides: verify finds it only by reading everything."""
    path = root / "usr/lib0/file8"
    before = path.stat().st_mtime_ns
    edit_keeping_the_size(root, targets, id)
    os.utime(path, ns=(before, before))


ROOT = "/opt/nfs_export/ID"
DRIFT = {
    (lambda root, targets, id: (root / "empty folder/new").touch()): f"{ROOT}/empty folder/new: added",
    add: f"{ROOT}/usr/lib0/new: added",
    (lambda root, targets, id: (root / "usr/lib0/file8").unlink()): f"{ROOT}/usr/lib0/file8: missing",
    edit_keeping_the_size: f"{ROOT}/usr/lib0/file8: content (sha256)",
    (lambda root, targets, id: (root / "usr/lib0/file8").write_bytes(b"")): f"{ROOT}/usr/lib0/file8: size 0, not 100",
    (lambda root, targets, id: (root / "usr/lib0/file8").chmod(0o600)): f"{ROOT}/usr/lib0/file8: mode 0600, not 0644",
    (lambda root, targets, id: os.chown(root / "etc", 3, 4)): f"{ROOT}/etc: owner 3:4, not 0:0",
    (lambda root, targets, id: root.chmod(0o700)): f"{ROOT}: mode 0700, not 0755",
    relink: f"{ROOT}/bin: link to /elsewhere, not usr/lib0",
    retype: f"{ROOT}/usr/lib0/file8: dir, not file",
    other_device: f"{ROOT}/etc/null: device 1:5, not 1:3",
    (lambda root, targets, id: os.unlink(targets.boot(id) + "/vmlinuz")): "/tftpboot/ID/vmlinuz: missing",
    (lambda root, targets, id: pathlib.Path(targets.boot(id) + "/initrd.img").write_bytes(b"x")): (
        "/tftpboot/ID/initrd.img: content (sha256)"
    ),
    (lambda root, targets, id: pathlib.Path(targets.served("boot.ipxe")).write_bytes(b"x")): (
        "/tftpboot/boot.ipxe: content (sha256)"
    ),
    (lambda root, targets, id: os.chmod(targets.served("boot.ipxe"), 0o600)): (
        "/tftpboot/boot.ipxe: mode 0600, not 0644"
    ),
    (lambda root, targets, id: os.rename(targets.root(id), targets.root("gone"))): (
        "/tftpboot/plugnode/worker.cfg: names ID, which is not there"
    ),
}  # fmt: skip


@root_only
@pytest.mark.parametrize("harm", DRIFT, ids=lambda harm: DRIFT[harm])
def test_verify_finds_every_kind_of_drift(tmp_path, targets, harm):
    id = deployed(tmp_path, targets, 0).id
    assert not list(verify.of_server(targets)) and not list(verify.of_server(targets, full=True))
    harm(pathlib.Path(targets.root(id)), targets, id)
    assert DRIFT[harm].replace("ID", id) in map(str, verify.of_server(targets))


def test_verify_does_not_call_a_place_right_where_nothing_is(targets):
    assert [*map(str, verify.of_server(targets))] == ["/opt/nfs_export: nothing is deployed there"]


def test_verify_says_that_it_cannot_compare_and_compares_the_rest(tmp_path, targets):
    id = deployed(tmp_path, targets, 0).id
    pathlib.Path(targets.kept(f"{id}.mtree")).write_bytes(b"#mtree\n")
    os.unlink(targets.boot(id) + "/vmlinuz")
    first, second = map(str, verify.of_server(targets))
    assert (
        first.startswith(f"/opt/nfs_export/{id}: not compared: ")
        and second == f"/tftpboot/{id}/vmlinuz: missing"
    )


@root_only
def test_verify_reads_everything_when_asked(tmp_path, targets):
    id = deployed(tmp_path, targets, 0).id
    root = pathlib.Path(targets.root(id))
    mtime_back(root, targets, id)
    os.setxattr(root / "usr/lib0/file9", "user.note", b"added")
    ctimes = read_ctimes(targets.ctimes)  # as of a disk that rots: no ctime moved
    for name in ("file8", "file9"):
        note_ctime(ctimes, os.lstat(root / "usr/lib0" / name))
    write_ctimes(targets.ctimes, ctimes)
    told: list[str] = []
    assert not list(verify.of_server(targets, tell=told.append)) and not told  # no byte is read
    assert [
        str(found).rpartition("/")[2] for found in verify.of_server(targets, True, told.append)
    ] == [
        "file8: content (sha256)",
        "file9: extended attributes",
    ]
    assert (
        told[0].startswith(f"{id}: 1 of ")
        and told[-1] == f"{id}: {len(told)} of {len(told)} names read"
    )


def test_what_a_deploy_that_was_not_roots_and_was_killed_said_of_itself_is_not_believed_of_roots(
    tmp_path, targets
):
    built = build(tmp_path / "1")
    note = pathlib.Path(targets.kept(f"{built.release.id}.note"))
    note.parent.mkdir(parents=True)
    note.write_text("not root")
    run(targets, want(built))
    assert not list(verify.of_server(targets, full=True))


def test_a_deploy_that_fails_leaves_known_what_it_had_linked(tmp_path, targets):
    id = deployed(tmp_path, targets, 0).id
    built = build(tmp_path / "more", file5=b"another")
    (pathlib.Path(built.folder) / "root/usr/lib0/file5").write_bytes(b"edited!")
    with pytest.raises(Refused, match="changed after it was staged"):
        run(targets, want(built))
    known = verify.KnownFiles(targets)
    assert not list(verify.of_release(targets, id, known=known))
    assert known.sound.keys() | {b""} == seen_of(targets, id, known.ctimes).folders.keys()


def test_verify_digests_what_is_kept_where_it_changed_or_when_asked(tmp_path, targets):
    id = deployed(tmp_path, targets, 0).id
    manifest = pathlib.Path(targets.kept(f"{id}.mtree"))
    manifest.write_bytes(manifest.read_bytes() + b"#\n")
    (found,) = verify.of_server(targets)
    assert found.what.startswith("not compared: ")
    ctimes = read_ctimes(targets.ctimes)
    note_ctime(ctimes, os.lstat(manifest))
    write_ctimes(targets.ctimes, ctimes)
    assert not list(verify.of_server(targets))
    assert list(verify.of_server(targets, True)) == [found]


AS_NOBODY = """
import os, pathlib, sys
from tasks.core.inspect import verify
from tasks.core.store.paths import Targets
from tests.support.deploy_kit import build, run, want
if os.geteuid() == 0:  # here, for an ordinary user may be unable to read root's Python
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
folder, said = pathlib.Path(sys.argv[1]), []
targets = Targets("/tftpboot", "/opt/nfs_export", str(folder / "dest"))
wanted = want(build(folder / "build"))
run(targets, wanted, said)
print(run(targets, wanted).changed, *verify.of_server(targets, full=True), *said)
"""


def test_a_deploy_without_rights_works_says_so_in_one_line_and_verifies():
    """As an ordinary user, whole: stage, deploy twice, verify."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        deploying = python(AS_NOBODY, folder, stdout=subprocess.PIPE, text=True)
        out = deploying.communicate()[0]
        targets = Targets("/tftpboot", "/opt/nfs_export", f"{folder}/dest")
        assert not list(verify.of_server(targets, full=True))  # as who runs the tests, too
    assert deploying.returncode == 0
    assert out.startswith("False not root: ") and out.count("\n") == 1, out


# --- rollback


def render(release: Release, site: str) -> dict[str, bytes]:
    return boot_files(release, site)


def back(targets, image="", release="") -> list:
    return rollback_server(targets, RollbackChoice(["worker"], image, release), render, AUTHOR)


def test_rollback_goes_back_one_release_and_keeps_the_newest_site_data(targets, three):
    site = served(targets)[1]
    moved = back(targets)
    assert [(one.before, one.after) for one in moved] == [(three[2].id, three[1].id)]
    assert served(targets) == (three[1].id, site)


def test_a_second_rollback_goes_further_back_and_a_third_has_nowhere_to_go(targets, three):
    back(targets)
    back(targets, image="worker")
    assert served(targets)[0] == three[0].id
    with pytest.raises(Refused, match="nothing to roll back to"):
        back(targets)
    assert served(targets)[0] == three[0].id


def test_rollback_to_a_release_by_name_works_forth_too(targets, three):
    back(targets, release=three[0].id)
    assert served(targets)[0] == three[0].id
    back(targets, release=three[2].id)
    assert served(targets)[0] == three[2].id
    with pytest.raises(Refused, match="worker-000000000000 is not on the server; there: worker-"):
        back(targets, release="worker-000000000000")
    with pytest.raises(Refused, match="is a release of worker, not of gpu"):
        back(targets, image="gpu", release=three[0].id)


def test_rollback_passes_over_what_was_pruned(targets, three):
    prune_server(targets, Rules(0, 0, time.time()), AUTHOR)
    with pytest.raises(Refused, match="nothing to roll back to"):
        back(targets)


def test_rollback_to_a_release_without_its_kernel_is_refused(targets, three):
    os.unlink(targets.boot(three[1].id) + "/vmlinuz")
    with pytest.raises(Refused, match="vmlinuz is missing"):
        back(targets)
    assert served(targets)[0] == three[2].id


def test_rollback_where_nothing_was_deployed_is_refused(targets):
    with pytest.raises(Refused, match="nothing was deployed there"):
        back(targets)
    assert not os.path.exists(targets.destdir)


def test_verify_finds_nothing_wrong_after_a_rollback(targets, three):
    back(targets)
    assert not list(verify.of_server(targets))


# --- prune


def prune(targets, keep: int, days: int, ahead: float = 0, running=()) -> dict[str, Verdict]:
    """What a prune so many seconds from now decides, and does, by id."""
    rules = Rules(keep, days, time.time() + ahead, dict(running))
    return {verdict.id: verdict for verdict in prune_server(targets, rules, AUTHOR)}


def pruned(targets, *how, **more) -> list[str]:
    """The ids of what it removes."""
    return [id for id, verdict in prune(targets, *how, **more).items() if verdict.removed]


def test_prune_keeps_what_is_named_what_is_newest_and_what_is_young(targets, three):
    assert not pruned(targets, 2, 0)
    assert not pruned(targets, 1, 90)
    verdicts = prune(targets, 1, 90, ahead=91 * DAY)
    assert verdicts[three[2].id].why == "named by /tftpboot/plugnode/worker.cfg"
    assert verdicts[three[1].id].why == "among the 1 newest of its image besides those in use"
    assert set(published(targets)) == {three[1].id, three[2].id}

    prune(targets, 0, 90, ahead=91 * DAY)
    assert set(published(targets)) == {three[2].id}
    names = os.listdir(targets.tftp_root)
    left = [name for name in names if name.startswith(("worker-", "site-"))]
    assert sorted(left) == sorted(served(targets))
    assert not [name for name in os.listdir(targets.kept("")) if three[0].id in name]
    assert not list(verify.of_server(targets, full=True))


def test_prune_forgets_what_it_removes(targets, three):
    prune(targets, 0, 90, ahead=91 * DAY)
    there = {path.lstat().st_ino for path in pathlib.Path(targets.nfs_root).rglob("*")}
    assert read_ctimes(targets.ctimes).keys() < there


def test_prune_counts_age_from_when_a_release_was_last_booted_and_not_from_when_it_came():
    year, now = 365 * DAY, 1e9
    release = Release("worker-1", "worker", "", "", "", "", "", "", "", 0, 0)
    released, rules = {"worker-1": release}, Rules(0, 90, now)
    (replaced_yesterday,) = release_verdicts(released, {"worker-1": now - DAY}, {}, rules)
    assert not replaced_yesterday.removed and "nodes may run it still" in replaced_yesterday.why
    (replaced_last_year,) = release_verdicts(released, {"worker-1": now - year}, {}, rules)
    assert replaced_last_year.removed


def test_prune_never_removes_what_any_file_of_tftp_root_names(targets, three):
    pathlib.Path(targets.served("pxelinux.cfg/01-00-00-00-00-00-99")).write_text(
        f"KERNEL {three[0].id}/vmlinuz\n"
    )
    removed = pruned(targets, 0, 0)
    assert three[1].id in removed and three[0].id not in removed


def test_prune_counts_each_image_for_itself(tmp_path, targets):
    worker, gpu = build(tmp_path / "1", files=5), build(tmp_path / "2", files=5, image="gpu")
    run(targets, want(worker, gpu))
    for cmdline in ("quiet", "debug"):
        run(targets, want(finish(pathlib.Path(worker.folder), cmdline=cmdline), gpu))
    assert not pruned(targets, 2, 0)
    (removed,) = pruned(targets, 1, 0, ahead=DAY / 2)
    assert removed.startswith("worker-")


def test_keep_counts_neither_what_is_named_nor_what_nodes_run(targets, three):
    running = {three[1].id: "wn007"}
    assert not pruned(targets, 1, 0, running=running)
    verdicts = prune(targets, 0, 0, running=running)
    assert verdicts[three[1].id].why == "run by wn007"
    assert set(published(targets)) == {three[1].id, three[2].id}


def test_a_release_is_in_use_while_what_is_recorded_is_of_other_images(tmp_path, targets):
    worker, gpu = build(tmp_path / "1", files=5), build(tmp_path / "2", files=5, image="gpu")
    run(targets, want(worker, gpu))
    records = journal.read_journal(targets.kept("journal.jsonl"))
    day = {"action": "deploy", "result": "done", "pinned": [], "time": "2026-01-02T00:00:00Z"}
    ends = {
        **day,
        "releases": {"worker": "worker-2", "gpu": gpu.release.id},
        "time": "2026-01-03T00:00:00Z",
    }
    for of_some in ({"image": "gpu"}, {"action": "rollback"}):
        records[-1]["time"] = "2026-01-01T00:00:00Z"
        past = [records[-1], {**day, **of_some, "releases": {"gpu": "gpu-2"}}, ends]
        assert last_used(targets, worker.release.id, past, 1e10) == journal.seconds(ends["time"])
    gone = {
        **day,
        "releases": {"gpu": gpu.release.id},
    }  # the whole site, which has no such image any more
    assert last_used(
        targets, worker.release.id, [records[-1], gone, ends], 1e10
    ) == journal.seconds(day["time"])


def test_prune_stops_at_a_mount_point(tmp_path, targets, three):
    place = pathlib.Path(targets.root(three[0].id), "empty folder")
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        (place / "precious").touch()
        with pytest.raises(Refused, match="is a mount point"):
            prune_server(targets, Rules(0, 0, time.time()), AUTHOR)
    finally:
        found = subprocess.run(["findmnt", "-rno", "TARGET"], capture_output=True, text=True).stdout
        mounted = [
            line.replace("\\x20", " ") for line in found.splitlines() if str(tmp_path) in line
        ]
        assert os.path.exists(mounted[0] + "/precious")
        subprocess.run(["umount", mounted[0]], check=True)


# --- journal and status


def test_the_journal_says_who_did_what_when_and_how_it_ended(targets, three):
    back(targets)
    records = journal.read_journal(targets.kept("journal.jsonl"))
    ended = [record for record in records if record["result"] == journal.DONE]
    assert [record["action"] for record in ended] == ["deploy"] * 3 + ["rollback"]
    assert ended[-1]["releases"] == {"worker": three[1].id} and ended[-1]["who"] == "admin"
    assert ended[0]["boot_files"].keys() == {
        "plugnode/worker.cfg",
        "plugnode/worker.grub",
        "plugnode/worker.ipxe",
    }
    assert abs(journal.seconds(ended[-1]["time"]) - time.time()) < 60


def test_a_torn_line_of_the_journal_is_passed_over_and_not_continued(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"action": "deploy", "result": "do')
    journal.append(str(path), {"action": "prune"})
    assert [record["action"] for record in journal.read_journal(str(path))] == ["prune"]


def test_a_line_of_the_journal_that_is_none_of_ours_is_passed_over(targets, three):
    with open(targets.kept("journal.jsonl"), "a") as file:
        file.write('{"releases": null}\n{"releases": {"worker": 5}}\n[]\n')
    assert back(targets) and server_status(targets, time.time())


def test_the_author_is_the_person_behind_sudo_and_the_revision_that_of_the_checkout(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SUDO_USER", "alice")
    folder = str(tmp_path)
    assert journal.commit(folder) == {}
    author = journal.author(folder, {})
    assert author["who"] == "alice" and "git" not in author
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "site.yaml").touch()
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "site: begin"], check=True)
    commit = journal.commit(folder)
    assert len(commit["git"]) == 40 and commit["committed"].endswith("Z")
    clean = journal.author(folder, commit)
    (tmp_path / "site.yaml").write_text("site: x\n")
    assert clean["git"] == commit["git"] and not clean["dirty"]
    assert journal.author(folder, commit)["dirty"]


def test_status_says_what_is_booted_and_what_is_there(targets, three):
    assert (
        status_text(server_status(Targets("/a", "/b", targets.destdir), 0)) == "nothing is deployed"
    )
    state = server_status(targets, time.time())
    assert state["current"] == {"worker": three[2].id} and len(state["releases"]) == 3
    json.dumps(state)
    shown = status_text(state)
    assert (
        f"worker boots {three[2].id}, with site-" in shown
        and "named by /tftpboot/plugnode/worker.cfg" in shown
    )
    assert "admin deploy" in shown and len(NODES) == 40
