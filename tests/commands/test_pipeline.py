"""The build as an admin runs it: what it makes, what it makes again, and what it does not."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support import sample_site
from tests.support.commands import REPOSITORY, Doit, as_nobody
from tests.support.initrd_images import kernel_files

OUTPUTS = ["root.mtree", "root.xattrs", "initrd.img", "vmlinuz", "release.json"]


def settle() -> None:
    """Let the clock of the file system move on from what was just written: younger files are looked at again."""
    time.sleep(0.05)


def ran(out: str) -> set[str]:
    return {line.split()[1] for line in out.splitlines() if line.startswith(".  ")}


def made(doit: Doit) -> dict[str, tuple[int, str]]:
    """What a build made, its private notes aside."""
    private = ("worker/root.index",)
    return {
        name: held for name, held in sample_site.contents(doit.build).items() if name not in private
    }


def release(doit: Doit) -> dict:
    return json.loads((doit.build / "worker/release.json").read_text())


def test_the_first_build_makes_all_and_the_second_prints_nothing(built):
    assert all((built.build / "worker" / name).exists() for name in OUTPUTS)
    assert (built.build / "configs/dhcpd.conf").exists() and (built.build / "site.img").exists()
    assert built() == ""


def test_nothing_outside_the_build_folder_is_touched(doit, reference):
    sample_site.write(doit.site, reference)
    before = sample_site.contents(reference), {path.name for path in doit.folder.iterdir()}
    doit()
    assert sample_site.contents(reference) == before[0]
    assert {path.name for path in doit.folder.iterdir()} == before[1] | {"build"}


def test_a_comment_rebuilds_nothing(built):
    built.site.write_text(
        "# reviewed\n" + built.site.read_text().replace("nodes:", "nodes:   # all of them")
    )
    assert built() == ""


def test_a_new_node_makes_no_new_release(built, reference):
    before = release(built), (built.build / "worker/initrd.img").stat().st_mtime_ns
    sample_site.write(
        built.site, reference, [*sample_site.NODES, "{mac: 'ae:d6:90:bb:aa:20', ip: 172.24.10.7}"]
    )
    assert ran(built()) == {"accept", "configs", "site_image", "boot_files", "report"}
    assert (release(built), (built.build / "worker/initrd.img").stat().st_mtime_ns) == before
    assert "172.24.10.7 wn003" in (built.build / "configs/hosts").read_text()


def test_a_root_that_was_removed_is_made_again(built):
    clean = made(built)
    shutil.rmtree(built.build / "worker/root")
    built()
    assert made(built) == clean
    assert built() == ""


@pytest.mark.parametrize("held", [None, b"", b"{"], ids=["removed", "empty", "broken"])
def test_what_was_noted_and_is_removed_or_damaged_is_noted_again(built, held):
    clean, path = made(built), built.build / ".noted/worker.state"
    if held is None:
        path.unlink()
    else:
        path.write_bytes(held)
    built()
    assert made(built) == clean
    assert built() == ""


def test_after_a_refused_build_that_was_mended_nothing_is_left_to_do(built, reference):
    kernel = next((reference / "boot").glob("vmlinuz*"))
    kernel.rename(reference / "etc/away")
    assert "no boot/vmlinuz-*" in built(status=3)
    (reference / "etc/away").rename(kernel)
    built()
    assert built() == ""


def test_what_is_left_of_an_image_that_the_site_no_longer_has_is_removed(built):
    (built.build / "worker/root.mtree").unlink()  # killed while it was staged
    built.site.write_text(built.site.read_text().replace("  worker:", "  other:"))
    built()
    assert not (built.build / "worker").exists()


def test_a_removed_node_leaves_no_file_behind(built, reference):
    own = "{mac: 'ae:d6:90:bb:aa:20', ip: 172.24.10.7, cmdline: debug}"
    sample_site.write(built.site, reference, [*sample_site.NODES, own])
    built()
    named = built.build / "configs/tftp/pxelinux.cfg/01-ae-d6-90-bb-aa-20"
    assert named.exists()
    sample_site.write(built.site, reference)
    built()
    assert not named.exists()
    assert not [
        path for path in built.build.rglob("*") if "20" in path.name and "configs" in path.parts
    ]


def test_kernel_arguments_are_part_of_the_release_and_of_nothing_else(built, reference):
    before = release(built)
    sample_site.write(built.site, reference, cmdline="console=ttyS1")
    assert not ran(built()) & {"root:worker", "initrd:worker"}
    assert release(built)["id"] != before["id"] and release(built)["root"] == before["root"]


def test_a_changed_file_of_the_reference_makes_a_new_release(built, reference):
    before = release(built)["id"]
    (reference / "usr/share/0/file1").write_bytes(b"X\n")  # same size
    assert "root:worker" in ran(built())
    assert release(built)["id"] != before


def test_an_initrd_is_made_again_for_what_is_in_it_and_for_nothing_else(built, reference):
    initrd, before = (built.build / "worker/initrd.img").read_bytes(), release(built)
    sample_site.put(reference / "usr/share/0/one-more", b"1\n")
    assert {"root:worker", "release:worker"} <= (
        done := ran(built())
    ) and "initrd:worker" not in done
    now = release(built)
    assert (now["entries"] - before["entries"], now["bytes"] - before["bytes"]) == (1, 2)
    assert (built.build / "worker/initrd.img").read_bytes() == initrd
    with open(reference / "bin/busybox", "ab") as busybox:
        busybox.write(b"\0")
    assert "initrd:worker" in ran(built())
    assert (built.build / "worker/initrd.img").read_bytes() != initrd


BUSYBOX_HERE = """
import os, sys
from tasks.core.initrd import busybox
busybox.HERE = (os.environ["HERE"],)
from doit.__main__ import main
sys.exit(main())
"""


def test_an_initrd_is_made_again_for_another_busybox_of_this_machine(doit, reference, tmp_path):
    (reference / "bin/busybox").rename(tmp_path / "busybox")
    sample_site.write(doit.site, reference)
    words = [sys.executable, "-c", BUSYBOX_HERE, f"site={doit.site}", f"build={doit.build}"]
    here = {**os.environ, "HERE": str(tmp_path / "busybox")}

    def build() -> set[str]:
        done = subprocess.run(
            words, cwd=REPOSITORY, env=here, capture_output=True, text=True, check=True
        )
        return ran(done.stdout + done.stderr)

    assert "initrd:worker" in build()
    assert build() == set()
    with open(tmp_path / "busybox", "ab") as busybox:
        busybox.write(b"\0")
    assert "initrd:worker" in build()


def test_a_touched_reference_makes_nothing_new(built, reference):
    before = release(built)
    settle()
    os.utime(reference / "usr/share/0/file1")
    settle()
    assert ran(built()) <= {"examine:worker", "root:worker"}
    assert release(built) == before


def overlaid(doit: Doit, reference: pathlib.Path) -> pathlib.Path:
    folder = doit.folder / "overlays/mine"
    sample_site.put(folder / "etc/tool", b"#!/bin/sh\n")
    sample_site.put(folder / "etc/link", "tool")
    sample_site.write(doit.site, reference, overlays="mine")
    doit()
    return folder


def test_a_chmod_in_an_overlay_is_seen(doit, reference):
    folder = overlaid(doit, reference)
    assert (doit.build / "worker/root/etc/tool").stat().st_mode & 0o777 == 0o644
    (folder / "etc/tool").chmod(0o755)
    assert "root:worker" in ran(doit())
    assert (doit.build / "worker/root/etc/tool").stat().st_mode & 0o777 == 0o755


def test_a_changed_link_in_an_overlay_is_seen(doit, reference):
    folder = overlaid(doit, reference)
    (folder / "etc/link").unlink()
    (folder / "etc/link").symlink_to("hosts")
    doit()
    assert os.readlink(doit.build / "worker/root/etc/link") == "hosts"


def test_the_same_inputs_elsewhere_give_the_same_bytes(tmp_path, reference):
    """Another folder, user's mask, locale, time zone, and times of the reference."""
    first, other = Doit(tmp_path), Doit(tmp_path / "somewhere else")
    other.folder.mkdir()
    copy = other.folder / "reference"
    shutil.copytree(reference, copy, symlinks=True)
    for path in copy.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    sample_site.write(first.site, reference)
    sample_site.write(other.site, copy)
    first()
    environment = {**os.environ, "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    assert not other.start(
        preexec_fn=lambda: os.umask(0o077), env=environment, stdout=subprocess.DEVNULL
    ).wait()
    assert made(first) == made(other)


def test_the_manifest_is_what_bsdtar_and_mtree_say(built):
    manifest = built.build / "worker/root.mtree"
    listed = subprocess.run(["bsdtar", "-tf", manifest], capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == release(built)["entries"]
    checked = subprocess.run(
        ["mtree", "-f", manifest, "-p", built.build / "worker/root"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout


def test_an_edited_output_is_made_again(built):
    hosts = built.build / "configs/hosts"
    right = hosts.read_bytes()
    hosts.write_text("127.0.0.1 edited\n")
    assert "configs" in ran(built())
    assert hosts.read_bytes() == right


@pytest.mark.parametrize(
    "place", ["tftp/extra", "tftp/plugnode/extra.cfg", "tftp/pxelinux.cfg/01-aa", ".hosts.new"]
)
@pytest.mark.parametrize("make", [pathlib.Path.touch, os.mkfifo], ids=["file", "fifo"])
def test_what_no_stage_wrote_is_not_left_where_deploy_would_serve_it(built, place, make):
    make(built.build / "configs" / place)
    assert ran(built()) & {"configs", "boot_files"}
    assert not os.path.lexists(built.build / "configs" / place)
    assert built() == ""


def test_what_a_killed_run_was_writing_is_gone_after_the_next(built):
    cut = [
        built.build / name
        for name in (".site.img.new", "worker/.initrd.img.new", ".noted/.worker.state.new")
    ]
    for path in cut:
        path.write_bytes(b"half")
    assert built() == ""
    assert not any(path.exists() for path in cut)


def test_an_initrd_is_never_made_of_bytes_that_its_manifest_does_not_say(built, reference):
    before = sample_site.contents(built.build)["worker/initrd.img"]
    with open(built.build / "worker/root/bin/busybox", "r+b") as file:
        file.write(b"edited")
    sample_site.write(built.site, reference, compression="xz")
    assert "worker/root/bin/busybox:1:1: changed since it was read" in built(status=3)
    assert sample_site.contents(built.build)["worker/initrd.img"] == before
    (built.build / "worker/root.mtree").unlink()
    built()
    assert (built.build / "worker/root/bin/busybox").read_bytes() == (
        reference / "bin/busybox"
    ).read_bytes()


def test_a_second_build_says_who_holds_the_lock(built, reference):
    (reference / "usr/share/0/file1").write_bytes(b"X\n")
    words = ["flock", "-x", built.build / ".lock", "sh", "-c", "echo held; sleep 100"]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        (built.build / ".lock").write_text("pid 4711 on boot1\n")
        out = built(status=1)
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()
    assert "pid 4711 on boot1" in out and len(out.splitlines()) == 1
    assert "root:worker" in ran(built()), "and what it kept from running runs afterwards"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_build_that_was_ended_at_any_moment_is_finished_by_the_next(doit, reference, how):
    sample_site.write(doit.site, reference)
    doit()
    whole, seconds = made(doit), 1.2
    for part in range(4):
        shutil.rmtree(doit.build)
        process = doit.start(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.3 + part * seconds / 4)
        process.send_signal(how)
        process.wait()
        doit()
        assert made(doit) == whole


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_of_a_build_by_two_outlives_it(doit, reference, how):
    sample_site.write(doit.site, reference)
    doit()
    for moment in range(6):
        shutil.rmtree(doit.build)
        process = doit.start("-n", "2", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.3 + moment * 0.2)
        process.send_signal(how)
        process.wait()
        doit()


def test_an_input_changed_during_a_killed_build_and_changed_back_gives_a_clean_build(
    doit, reference
):
    sample_site.write(doit.site, reference)
    doit()
    clean = made(doit)
    for part in range(5):
        sample_site.write(
            doit.site, reference, ["{mac: 'ae:d6:90:bb:aa:77', ip: 172.24.10.77}"], compression="xz"
        )
        process = doit.start(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.3 + part * 0.2)
        process.kill()
        process.wait()
        sample_site.write(doit.site, reference)
        doit()
        assert made(doit) == clean


def test_two_jobs_at_once_build_the_same(doit, reference):
    sample_site.write(doit.site, reference)
    doit()
    one = made(doit)
    shutil.rmtree(doit.build)
    doit("-n", "2")
    assert made(doit) == one
    assert doit("-n", "2") == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
@pytest.mark.parametrize("kind", ["path", "archive", "rsync"])
def test_an_ordinary_user_builds_what_root_builds(kind, doit, reference):
    sample_site.fill(reference, kernel_files(sample_site.VERSION, sample_site.MODULES | OF_FILE))
    with_rights(reference, everybody=kind == "path")
    with served(kind, reference, doit) as where:
        sample_site.write(doit.site, reference)
        text = doit.site.read_text().replace(f"path: {reference}", where)
        doit.site.write_text(text.replace("    initrd:", "    root: ram\n    initrd:"))
        doit()
        truth = {name: (doit.build / "worker" / name).read_bytes() for name in SAME}
        shutil.rmtree(doit.build)
        done = by_nobody(doit)
        assert done.returncode == 0, done.stdout + done.stderr
        assert {name: (doit.build / "worker" / name).read_bytes() for name in SAME} == truth
        assert "as root makes them" in done.stderr, "one line says so"
        for words in (("pull",), ()):  # rsync goes on from what came before
            done = by_nobody(doit, *words)
            assert done.returncode == 0, done.stdout + done.stderr
        assert {name: (doit.build / "worker" / name).read_bytes() for name in SAME} == truth


def with_rights(reference: pathlib.Path, everybody: bool) -> None:
    """Owners, devices, attributes; `everybody`: as far as an ordinary user may read."""
    os.chown(reference / "var/lib/data", 1234, 5678)
    os.mknod(reference / "usr/disk", stat.S_IFBLK | 0o640, os.makedev(8, 0))
    os.mkfifo(reference / "usr/fifo", 0o620)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw+ep
    os.setxattr(reference / "usr/share/0/file1", "security.capability", capability)
    (reference / "usr/share/0/file2").chmod(0o4755 if everybody else 0o4711)
    os.link(reference / "usr/share/0/file2", reference / "usr/share/0/other name")
    os.lchown(reference / "sbin/init", 7, 8)
    os.chown(reference / "usr/share/0/file3", 65534, 65534)
    os.chown(reference / "usr/share/0/file4", 65534, 65534)
    (reference / "usr/share/0/file4").chmod(0o600 if not everybody else 0o644)
    (reference / "var/mine").mkdir(mode=0o755)
    os.chown(reference / "var/mine", 65534, 65534)
    for words in (["-m", "u:1234:rx,g:55:r"], ["-m", "u:77:-"], ["-m", "m::r"]):
        file = reference / f"usr/share/0/file{5 + len(words[1]) % 3}"
        subprocess.run(["setfacl", *words, file], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:7:rwx", reference / "var/mine"], check=True)
    if everybody:
        (reference / "etc/shadow").chmod(0o644)


@contextlib.contextmanager
def served(kind: str, reference: pathlib.Path, doit) -> Iterator[str]:
    """The reference as site.yaml names it."""
    if kind == "path":
        yield f"path: {reference}"
    elif kind == "archive":
        words = ["tar", "--acls", "--xattrs", "--xattrs-include=*", "-czf", "../root.tgz", "."]
        subprocess.run(words, cwd=reference, check=True)
        yield "archive: root.tgz"
    else:
        config = doit.folder / "rsyncd.conf"
        config.write_text(f"[root]\npath = {reference}\nuid = 0\ngid = 0\nuse chroot = no\n")
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        words = ["--daemon", "--no-detach", f"--port={port}", "--address=127.0.0.1"]
        with subprocess.Popen(["rsync", *words, f"--config={config}"]) as daemon:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            yield f"rsync: 'rsync://127.0.0.1:{port}/root'"
            daemon.terminate()


SAME = ("root.mtree", "root.xattrs", "initrd.img", "vmlinuz", "release.json", "root.erofs")
OF_FILE = {"drivers/block/loop.ko": "", "fs/overlayfs/overlay.ko": "", "fs/erofs/erofs.ko": ""}


def by_nobody(doit, *more: str) -> subprocess.CompletedProcess:
    doit.folder.chmod(0o777)
    for above in doit.folder.parents:
        if above != pathlib.Path("/") and above.stat().st_uid == os.getuid():
            above.chmod(above.stat().st_mode | 0o055)
    words = as_nobody("python", "-m", "doit", *more, f"site={doit.site}", f"build={doit.build}")
    words[words.index("python")] = sys.executable
    return subprocess.run(
        words,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": "/nonexistent"},
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
@pytest.mark.parametrize(
    "reference, why",
    [
        ("{bootstrap: {suite: el9}}", "takes more users than one: run ./doit as root"),
    ],
)
def test_what_takes_root_is_refused_to_others_in_a_line(doit, reference, why):
    sample_site.write(doit.site, "/nowhere")
    text = doit.site.read_text().replace("{path: /nowhere}", reference)
    doit.site.write_text(text)
    done = by_nobody(doit)
    assert done.returncode == 1 and why in done.stderr and "Traceback" not in done.stderr


def test_a_build_in_the_folder_that_it_is_made_from_is_no_part_of_it(doit, reference):
    """As with `path: /`, a machine being its own reference."""
    doit.build = reference / "root/grid [1]/build"
    doit.build.parent.mkdir(parents=True)
    (doit.build.parent / "notes").write_text("of the admin's\n")
    sample_site.write(doit.site, reference)
    doit()
    assert os.listdir(doit.build / "worker/root/root/grid [1]") == ["notes"]
    assert doit() == ""


def test_what_a_machine_serves_is_no_part_of_the_root_that_is_made_of_it(doit, reference):
    """As with `path: /` on the boot server itself: each release would hold all before it."""
    sample_site.write(doit.site, reference)
    roots = f"{{tftp_root: {reference}/tftpboot, nfs_root: {reference}/opt/nfs_export}}"
    doit.site.write_text(f"{doit.site.read_text()}deploy: {roots}\n")
    sample_site.put(reference / "opt/nfs_export/worker-0123456789ab/etc/motd", b"of a release\n")
    sample_site.put(reference / "opt/tools/tool", b"of the machine\n")
    sample_site.put(reference / "tftpboot/boot.ipxe", b"#!ipxe\n")
    doit()
    root = doit.build / "worker/root"
    assert os.listdir(root / "opt") == ["tools"] and not (root / "tftpboot").exists()


def test_an_unknown_variable_is_an_error_that_names_the_nearest(doit):
    out = doit("stie=x", status=3)
    assert "stie=" in out and "site=" in out


def test_a_bad_site_says_all_that_is_wrong_and_leaves_the_build_alone(built):
    before = made(built)
    built.site.write_text(
        built.site.read_text()
        .replace("172.24.10.100", "172.24.11.100")
        .replace("site: small", "sit: small")
    )
    out = built(status=3)
    lines = out.splitlines()
    assert lines[0].startswith("ERROR:")
    assert sum(line.startswith(f"{built.site}:") for line in lines) >= 2
    assert made(built) == before


def test_clean_takes_away_what_was_built(built):
    built("clean")
    assert not (built.build / "worker/root.mtree").exists()
    built()
    assert built() == ""


@pytest.mark.parametrize(
    "words",
    [["list"], ["list", "--all"], ["info", "configs"], ["help"], ["check"], ["plan", "--json"]],
)
def test_doits_own_commands_work(built, words):
    assert built(*words)


def test_plan_for_scripts_is_nothing_but_json(built, tmp_path):
    assert json.loads(built("plan", "--json", f"destdir={tmp_path}/there"))


def test_plan_deploy_plan(built, tmp_path):
    there = f"destdir={tmp_path}/there"
    assert "wn[001-002]" in built("plan", "--detailed-exitcode", there, status=2)
    assert not (tmp_path / "there").exists()
    built("deploy", there)
    assert built("plan", "--detailed-exitcode", there).strip() == "no changes"
    assert "ok" in built("verify", "--full", there)
    id = release(built)["id"]
    assert id in (tmp_path / "there/tftpboot/plugnode/worker.cfg").read_text()
    assert (tmp_path / f"there/opt/nfs_export/{id}/etc/hosts").is_symlink()
