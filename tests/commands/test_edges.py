"""What goes wrong around a build: inputs that cannot start a node, folders, interruptions, readers that go away."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from tests.support import sample_site
from tests.support.commands import REPOSITORY, Doit, as_nobody


def without_kernel(reference: pathlib.Path) -> None:
    (reference / f"boot/vmlinuz-{sample_site.VERSION}").unlink()


def without_modules_dep(reference: pathlib.Path) -> None:
    (reference / f"lib/modules/{sample_site.VERSION}/modules.dep").unlink()


def with_a_key(reference: pathlib.Path) -> None:
    key = (
        b"-----BEGIN PRIVATE KEY-----\n"
        + b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" * 2
        + b"\n-----END PRIVATE KEY-----\n"
    )
    sample_site.put(reference / "opt/service/tls.pem", key)


@pytest.mark.parametrize("spoil", [without_kernel, without_modules_dep, with_a_key])
def test_a_reference_that_cannot_be_served_leaves_the_build_as_it_was(built, reference, spoil):
    before = sample_site.contents(built.build)
    spoil(reference)
    (reference / "usr/share/0/file1").write_bytes(b"and another change\n")
    out = built(status=3)
    lines = [line for line in out.splitlines() if not line.startswith((".  ", "   ", "ERROR: "))]
    assert lines and all(re.match(r"\S+:\d+:\d+: ", line) for line in lines), out
    assert sample_site.contents(built.build) == before


def test_a_missing_kernel_and_a_secret_are_said_at_once(doit, reference):
    sample_site.write(doit.site, reference)
    without_kernel(reference)
    with_a_key(reference)
    out = doit(status=3)
    assert "boot/vmlinuz" in out and "tls.pem" in out
    assert not list(doit.build.glob("worker/root*"))


@pytest.fixture
def two_images(doit, tmp_path) -> dict[str, pathlib.Path]:
    """A site of two images that is built: image -> its reference."""
    references = {name: sample_site.reference(tmp_path / name) for name in ("worker", "gpu")}
    sample_site.write(
        doit.site,
        references["worker"],
        ["{mac: 'ae:d6:90:bb:aa:1d', ip: 172.24.10.100, image: worker}"],
    )
    text = doit.site.read_text()
    image = text[text.index("  worker:\n") : text.index("nodes:\n")]
    second = image.replace("worker:", "gpu:", 1).replace(
        str(references["worker"]), str(references["gpu"])
    )
    doit.site.write_text(text.replace("nodes:\n", f"{second}nodes:\n"))
    doit()
    return references


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_image_that_cannot_be_keeps_every_other_as_it_was(doit, two_images, jobs):
    before = sample_site.contents(doit.build)
    (two_images["worker"] / "usr/share/0/file1").write_bytes(b"a change that is fine\n")
    with_a_key(two_images["gpu"])
    out = doit("-n", jobs, status=3)
    assert "tls.pem" in out and sample_site.contents(doit.build) == before
    (two_images["gpu"] / "opt/service/tls.pem").unlink()
    doit()
    assert (doit.build / "worker/root/usr/share/0/file1").read_bytes() == b"a change that is fine\n"


def test_complaints_about_every_image_come_at_once(doit, two_images):
    without_kernel(two_images["worker"])
    with_a_key(two_images["gpu"])
    out = doit(status=3)
    assert "images.worker: kernel: " in out and "tls.pem" in out
    assert sorted(doit(status=3).splitlines()) == sorted(
        out.splitlines()
    )  # nothing refused is taken as done


def test_a_broken_template_is_said_before_anything_is_made(doit, reference):
    sample_site.write(doit.site, reference)
    templates = doit.folder / "templates"
    templates.mkdir()
    (templates / "boot.ipxe").write_text("#!ipxe\n{% for node in %}\n")
    (templates / "hosts").write_text("{{ nobody.knows }}\n")
    out = doit(status=3)
    assert f"{templates}/boot.ipxe:2:1: " in out and f"{templates}/hosts:1:1: " in out
    assert [path.name for path in doit.build.iterdir() if not path.name.startswith(".")] == []


def test_clean_leaves_nothing_of_an_image_or_of_the_configuration(built):
    built("clean")
    assert [path.name for path in built.build.iterdir() if not path.name.startswith(".")] == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_ends_with_130_and_no_traceback(doit, tmp_path, how):
    sample_site.write(doit.site, sample_site.reference(tmp_path / "reference", files=3000))
    process = doit.start()
    assert process.stdout and process.stdout.readline().startswith(".  ")
    process.send_signal(how)
    out = process.communicate()[0]
    assert process.returncode == 130, out
    assert out.splitlines()[-1].startswith("interrupted") and "Traceback" not in out


@pytest.mark.parametrize("command", ["plan", "list"])
def test_a_reader_that_goes_away_is_no_bug(built, tmp_path, command):
    process = built.start(command, f"destdir={tmp_path}/there", stderr=subprocess.PIPE)
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.wait()


def test_a_build_folder_that_cannot_be_one_is_said_in_a_line(doit, reference):
    sample_site.write(doit.site, reference)
    doit.build.write_text("a file\n")
    assert doit(status=3).splitlines() == [
        f"ERROR: build={doit.build}: File exists; name a folder to build in"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
@pytest.mark.parametrize("more", ["", "# the site is another one now\n"])
def test_a_build_folder_of_somebody_else_is_said_in_a_line(more):
    with tempfile.TemporaryDirectory() as name:
        doit = Doit(pathlib.Path(name))
        doit.folder.chmod(0o755)
        sample_site.write(doit.site, sample_site.reference(doit.folder / "reference"))
        doit()
        doit.site.write_text(doit.site.read_text() + more)
        words = as_nobody(sys.executable, "-m", "doit", f"site={doit.site}", f"build={doit.build}")
        done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    said = f"ERROR: build={doit.build}: Permission denied; name a folder to build in"
    assert (done.returncode, done.stderr.strip()) == (3, said)


def test_what_a_stage_says_of_the_site_names_the_line_and_the_image(doit, reference):
    sample_site.write(doit.site, reference)
    text = doit.site.read_text()
    for key, inside in (
        ("kernel", "kernel: 9.9.9"),
        ("modules", "initrd: {base: none, modules: [nosuch]}"),
    ):
        doit.site.write_text(re.sub(r"    initrd: .*", f"    {inside}", text))
        line = next(
            number for number, row in enumerate(doit.site.read_text().splitlines(), 1) if key in row
        )
        assert f"{doit.site}:{line}:" in (out := doit(status=3)) and ": images.worker: " in out


def test_an_image_that_is_removed_leaves_nothing_in_the_build(built, reference):
    before = built.site.read_text()
    other = f"  other:\n    reference: {{path: {reference}}}\n    initrd: {{base: none}}\nnodes:"
    built.site.write_text(
        before.replace("nodes:", other).replace("172.24.10.100}", "172.24.10.100, image: other}")
    )
    built.site.write_text(
        built.site.read_text().replace("172.24.10.10}", "172.24.10.10, image: worker}")
    )
    built()
    (built.build / "kept").mkdir()
    assert (built.build / "other/root.mtree").exists()
    built.site.write_text(before)
    built()
    assert (
        not (built.build / "other").exists()
        and not (built.build / "configs/tftp/plugnode/other.cfg").exists()
    )
    assert (built.build / "kept").exists() and (built.build / "worker/root.mtree").exists()


def test_a_partition_filled_from_nothing_is_refused_before_a_node_stops_at_it(doit, reference):
    sample_site.write(doit.site, reference)
    disk = "disk: {partitions: [{mount: /var, size: 5G, fs: ext4, fill: /var.old}]}"
    doit.site.write_text(re.sub(r"disk: .*", disk, doit.site.read_text()))
    assert re.search(
        r"site.yaml:10:5: images.worker.disk: fill: no such folder .* /var.old;", doit(status=3)
    )


def test_check_warns_of_an_nfs_root_that_is_no_file_system_of_its_own(built, tmp_path):
    with built.site.open("a") as file:
        file.write(f"deploy: {{tftp_root: {tmp_path}/tftp, nfs_root: {tmp_path}/nfs}}\n")
    assert "of its own" not in built("check"), "there is nothing yet"
    (tmp_path / "nfs").mkdir()
    assert re.search(
        rf"^warning  deploy.nfs_root: {tmp_path}/nfs is not a file system of its own",
        built("check"),
        re.M,
    )


@pytest.mark.parametrize(
    "path", ["etc/passwd", "bin", "usr/share", "boot", f"boot/vmlinuz-{sample_site.VERSION}", "lib"]
)
def test_symlinks_in_a_circle_are_said_in_a_line_wherever_they_are(doit, reference, path):
    sample_site.write(doit.site, reference)
    shutil.rmtree(reference / path, ignore_errors=True)
    (reference / path).unlink(missing_ok=True)
    (reference / path).symlink_to(path.rpartition("/")[2])
    process = doit.start()
    out = process.communicate()[0]
    assert process.returncode in (0, 3) and "Traceback" not in out
    assert process.returncode == 0 or re.search(r"^\S+:\d+:\d+: .*(circle|symlinks)", out, re.M), (
        out
    )


def test_an_image_that_the_site_has_not_is_a_mistake_of_whoever_typed_it(built, tmp_path):
    for command in ("pull", "rollback"):
        out = built(command, "image=wroker", f"destdir={tmp_path}/there", status=3)
        assert out.startswith("ERROR: image=wroker: no such image") and "worker" in out


def test_a_log_that_is_emptied_is_not_read_however_large_and_is_read_when_it_is_kept(
    doit, reference
):
    log = reference / "var/log/lastlog"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as file:
        file.truncate(400 << 30)
        file.seek(399 << 30)
        file.write(b"here")
    sample_site.write(doit.site, reference)
    doit()
    assert (doit.build / "worker/root/var.ro/log/lastlog").stat().st_size == 0

    kept = doit.site.read_text().replace("overlays:", "keep: [/var/log/lastlog]\n    overlays:")
    doit.site.write_text(kept)
    assert f"{log}:1:1: has holes of 399 GiB; exclude it" in doit(status=3)

    os.truncate(log, 1 << 20)
    doit()
    assert (doit.build / "worker/root/var.ro/log/lastlog").stat().st_size == 1 << 20
    assert doit() == ""
