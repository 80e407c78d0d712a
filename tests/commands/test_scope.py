"""What a variable does to a command: image= and server= narrow it, and one that it has no use for is refused."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.support import sample_site
from tests.support.commands import Doit

ROWS = {"wn001": "worker", "wn002": "worker", "wn003": "worker", "wn004": "gpu", "wn005": "gpu"}


class TwoImages:
    """A site of two images, most nodes the worker's, that is deployed to a folder."""

    def __init__(self, doit: Doit, folder: pathlib.Path):
        self.doit, self.dest = doit, folder / "dest"
        self.tftp, self.nfs = self.dest / "tftpboot", self.dest / "opt/nfs_export"
        reference = {"path": str(sample_site.reference(folder / "reference", files=5))}
        image = {
            "reference": reference,
            "initrd": {"base": "none"},
            "disk": {"devices": ["/dev/vda"]},
        }
        self.site: dict = {
            "site": "two",
            "network": {"subnet": "172.24.10.0/24"},
            "servers": {"boot1": {"ip": "172.24.10.1"}},
            "images": {name: {**image, "cmdline": "console=ttyS0"} for name in ("worker", "gpu")},
            "nodes": {name: node(name, image) for name, image in ROWS.items()},
            "deploy": {"keep": 1, "keep_days": 0},
        }

    def __call__(self, *words: str, status: int = 0) -> str:
        self.doit.site.write_text(json.dumps(self.site, indent=1))
        return self.doit(*words, f"destdir={self.dest}", status=status)

    def plan(self, *words: str) -> dict:
        return json.loads(self("plan", "--json", *words).partition("{")[2].join(["{", ""]))

    def change(self, *images: str, cmdline: str) -> None:
        for image in images:
            self.site["images"][image]["cmdline"] = f"console=ttyS0 {cmdline}"

    def built(self, image: str) -> str:
        return json.loads((self.doit.build / image / "release.json").read_text())["id"]

    def boots(self, label: str) -> set[str]:
        """What the three boot files of an image, or of a pin, name: one release and one site data."""
        texts = [
            (self.tftp / f"plugnode/{label}.{kind}").read_text() for kind in ("cfg", "grub", "ipxe")
        ]
        ids = {*self.released(), *(path.name for path in self.tftp.glob("site-*"))}
        named = [frozenset(id for id in ids if id in text) for text in texts]
        assert len(set(named)) == 1, texts
        return set(named[0])

    def released(self) -> set[str]:
        return {path.name for path in self.nfs.iterdir() if not path.name.startswith(".")}

    def own_files(self) -> set[str]:
        """The boot files of nodes that differ, of pxelinux's."""
        return {path.name[-2:] for path in self.tftp.glob("pxelinux.cfg/01-*")}


def node(name: str, image: str) -> dict:
    number = int(name[2:])
    return {
        "mac": f"ae:d6:90:bb:00:{number:02x}",
        "ip": f"172.24.10.{number + 100}",
        "image": image,
    }


@pytest.fixture
def two(doit: Doit, tmp_path: pathlib.Path) -> TwoImages:
    return TwoImages(doit, tmp_path)


# --- what a command has no use for


EVERY = "site=, build="
USELESS = {
    "deploy node=wn001": f"node=: deploy has no use for it; it knows image=, server=, destdir=, key=, {EVERY}",
    "deploy release=gpu-0123456789ab firmware=uefi": (
        f"release=: deploy has no use for it; it knows image=, server=, destdir=, key=, {EVERY}\n"
        f"firmware=: deploy has no use for it; it knows image=, server=, destdir=, key=, {EVERY}"
    ),
    "plan power=keep": f"power=: plan has no use for it; it knows image=, server=, destdir=, key=, {EVERY}",
    "rollback node=wn001": f"node=: rollback has no use for it; it knows image=, release=, server=, destdir=, {EVERY}",
    "prune node=wn001": f"node=: prune has no use for it; it knows image=, server=, destdir=, {EVERY}",
    "verify release=x": f"release=: verify has no use for it; it knows image=, server=, destdir=, {EVERY}",
    "status image=gpu": f"image=: status has no use for it; it knows server=, node=, destdir=, {EVERY}",
    "push server=boot1": f"server=: push has no use for it; it knows node=, destdir=, {EVERY}",
    "nodes image=gpu": f"image=: nodes has no use for it; it knows node=, destdir=, {EVERY}",
    "boot server=boot1": f"server=: boot has no use for it; it knows node=, firmware=, dhcp=, power=, {EVERY}",
    "pull node=wn001": f"node=: pull has no use for it; it knows image=, {EVERY}",
    "plan deploy node=@all": f"node=: plan, deploy have no use for it; they know image=, server=, destdir=, key=, {EVERY}",
    "status push server=boot1": f"server=: push has no use for it; it knows node=, destdir=, {EVERY}",
    "root:gpu image=gpu": f"image=: root:gpu has no use for it; it knows {EVERY}",
    "image=gpu": f"image=: release, boot_files, configs, site_image, report have no use for it; they know {EVERY}",
}


@pytest.mark.parametrize("words", USELESS)
def test_a_variable_that_a_command_would_ignore_is_refused_with_those_that_it_knows(
    two: TwoImages, words: str
):
    two.doit.site.write_text(json.dumps(two.site))
    assert two.doit(*words.split(), status=3) == f"ERROR: {USELESS[words]}\n"
    assert not (two.doit.build / "configs").exists() and not two.dest.exists()


def test_a_variable_that_is_given_twice_is_refused_and_none_of_both_ignored(two: TwoImages):
    two.doit.site.write_text(json.dumps(two.site))
    for words, both in (
        ("nodes node=wn001 node=wn002", "node=wn001,wn002"),
        ("plan image=gpu image=cpu", "one of them"),
    ):
        given = words.partition(" ")[2]
        wrong = f"ERROR: {given}: one would be ignored; write {both}\n"
        assert two.doit(*words.split(), status=3) == wrong
    script, caller = f"destdir={two.dest}/none", f"destdir={two.dest}"
    two.doit("plan", script, caller)


def test_a_variable_of_nothing_means_nothing_rather_than_all(two: TwoImages):
    """As from a script whose own variable is not set: `doit deploy image=$IMAGE`."""
    two.doit.site.write_text(json.dumps(two.site))
    lack = "nothing is named; name what is meant, or leave it out"
    for words, name in (
        ("deploy image=", "image"),
        ("upgrade node=", "node"),
        ("push node=", "node"),
    ):
        assert two.doit(*words.split(), status=3) == f"ERROR: {name}=: {lack}\n"
    assert not (two.doit.build / "configs").exists() and not two.dest.exists()
    two.doit("list", "destdir=")


def test_what_doit_itself_shows_takes_every_variable_that_there_is(two: TwoImages):
    two.doit.site.write_text(json.dumps(two.site))
    two.doit()
    for words in (["help"], ["list"], ["info", "configs"]):
        two.doit(*words, "node=wn001", "image=gpu", "server=boot1", "firmware=uefi")
    for word in ("clean", "forget"):  # of one image, it would be of all
        assert f"image=: {word} has no use for it" in two.doit(word, "image=gpu", status=3)
    assert (two.doit.build / "gpu/release.json").exists()
    assert "no such variable" in two.doit("list", "nodes=wn001", status=3)


# --- node=


def test_boot_takes_the_first_of_several_nodes_and_says_so(two: TwoImages):
    two.site["groups"] = {"second": {"cmdline": "debug"}}
    for name in ("wn004", "wn002"):
        two.site["nodes"][name]["groups"] = ["second"]
    two.site["nodes"]["wn002"]["release"] = "worker-0123456789ab"  # so that none is booted here
    two.doit.site.write_text(json.dumps(two.site))
    assert "wn002, the first of the 2 nodes that node=@second names" in two.doit(
        "boot", "node=@second", status=1
    )
    assert "node=wn02: no such node; did you mean wn002?" in two.doit("boot", "node=wn02", status=3)
    assert "node=@third: @third: no such group; there is @second" in two.doit(
        "boot", "node=@third", status=3
    )


# --- image=


def test_a_deploy_of_one_image_moves_that_and_gives_the_others_the_new_site_data(two: TwoImages):
    two("deploy")
    old = {image: two.built(image) for image in ("worker", "gpu")}
    before = two.boots("worker") - {old["worker"]}
    two.change("worker", "gpu", cmdline="quiet")
    two.site["nodes"]["wn006"] = node("wn006", "gpu")
    told = two.plan("image=gpu")
    assert [move["image"] for move in told["releases"]] == ["gpu"] and told["nodes"]["added"] == [
        "wn006"
    ]
    assert "remove" not in {file["action"] for file in told["files"]}, told["files"]
    two("deploy", "image=gpu")
    new = {image: two.built(image) for image in ("worker", "gpu")}
    assert two.released() == {*old.values(), new["gpu"]} and new["worker"] not in two.released()
    (site,) = two.boots("gpu") - {new["gpu"]}
    assert (
        two.boots("gpu") == {new["gpu"], site}
        and two.boots("worker") == {old["worker"], site} != before
    )
    assert two.own_files() == {"04", "05", "06"}
    assert "wn006" in (two.doit.build / "configs/hosts").read_text()
    assert "no changes" in two("plan", "image=gpu") and "ok" in two("verify")
    assert [move["image"] for move in two.plan()["releases"]] == ["worker"]
    two("deploy")
    assert two.boots("worker") == {new["worker"], site} and "no changes" in two("plan")


def test_an_image_of_which_nothing_is_there_does_not_come_with_another(two: TwoImages):
    out = two("deploy", "image=gpu")
    assert (
        "worker: nothing of it is on the server; its nodes boot as before until it is deployed, too"
        in out
    )
    assert two.released() == {two.built("gpu")} and two.own_files() == {"04", "05"}
    assert (
        not list(two.tftp.glob("plugnode/worker.*"))
        and not (two.tftp / "pxelinux.cfg/default").exists()
    )
    assert "ok" in two("verify") and "no changes" in two("plan", "image=gpu")
    two("deploy", "image=worker")
    assert (two.tftp / "pxelinux.cfg/default").exists() and "no changes" in two("plan")


def test_a_node_boots_as_before_until_the_image_that_it_moves_to_is_deployed(two: TwoImages):
    later = {name: row for name, row in two.site["nodes"].items() if row["image"] == "gpu"}
    image = two.site["images"].pop("gpu")
    two.site["nodes"] = {name: row for name, row in two.site["nodes"].items() if name not in later}
    two.site["nodes"]["wn003"]["cmdline"] = "debug"
    two("deploy")
    mine = two.tftp / "pxelinux.cfg/01-ae-d6-90-bb-00-03"
    before = mine.read_text()
    two.site["images"]["gpu"] = image
    two.site["nodes"]["wn003"]["image"] = "gpu"
    two("deploy", "image=worker")
    assert mine.read_text() == before and "ok" in two("verify")
    two("deploy")
    assert "INCLUDE plugnode/gpu.cfg" in mine.read_text() and "no changes" in two("plan")


def test_what_was_not_named_is_not_removed(two: TwoImages):
    """Boot files of an image that the site has no longer, and of a release that nodes were pinned to."""
    two("deploy")
    pinned = two.built("gpu")
    two.site["nodes"]["wn005"]["release"] = pinned
    two.change("gpu", cmdline="quiet")
    two("deploy")
    del two.site["nodes"]["wn005"]["release"]
    two("deploy", "image=worker")
    assert pinned in two.boots(pinned) and "ok" in two("verify")
    del two.site["images"]["gpu"], two.site["nodes"]["wn004"], two.site["nodes"]["wn005"]
    two("deploy", "image=worker")
    gone = two.boots("gpu") & two.released()
    assert gone and two.boots("gpu") - gone == two.boots("worker") - two.released(), (
        "with the newest site data"
    )
    two("deploy")
    assert not list(two.tftp.glob("plugnode/gpu*")) and not two.own_files()


def test_one_image_alone_can_be_compared_with_what_was_deployed_to_a_folder(two: TwoImages):
    two("deploy")
    two.change("worker", "gpu", cmdline="quiet")
    told = two.plan("image=gpu", f"--against={two.dest}")
    assert [move["image"] for move in told["releases"]] == ["gpu"]
    assert {file["path"] for file in told["files"]} == {
        f"/tftpboot/plugnode/gpu.{kind}" for kind in LOADERS
    }
    out = two("plan", "server=boot1", f"--against={two.dest}", status=3)
    assert "server=boot1: --against looks at no server; leave it out" in out


LOADERS = ("cfg", "grub", "ipxe")


def test_prune_and_plan_of_one_image_leave_the_releases_of_the_others(two: TwoImages):
    for number in range(3):
        two.change("worker", "gpu", cmdline=f"a={number}")
        two("deploy")
    spare = {id for id in two.released() if id.startswith("worker-")}
    (announced,) = two.plan("image=gpu")["prunable"]
    assert announced["release"].startswith("gpu-") and len(two.plan()["prunable"]) == 2
    out = two("prune", "image=gpu")
    assert (
        "worker-" not in out and "site-" not in out and f"removed {announced['release']}" in out
    ), out
    assert spare <= two.released() and len(two.released()) == 5
    assert "removed worker-" in two("prune") and len(two.released()) == 4


def test_verify_of_one_image_looks_at_nothing_else(two: TwoImages):
    two("deploy")
    worker, gpu = two.built("worker"), two.built("gpu")
    (two.nfs / worker / "etc/added").touch()
    (two.tftp / "plugnode/worker.cfg").chmod(0o600)
    assert two("verify", "image=gpu") == "ok: as it was deployed\n"
    assert f"{worker}/etc/added: added" in two("verify", "image=worker", status=1)
    (two.tftp / gpu / "initrd.img").write_bytes(b"x")
    (two.tftp / "plugnode/gpu.grub").unlink()
    out = two("verify", "image=gpu", status=1)
    assert f"/tftpboot/{gpu}/initrd.img" in out and "/tftpboot/plugnode/gpu.grub: missing" in out, (
        out
    )
    assert "worker" not in out


def test_verify_does_not_call_an_image_right_of_which_nothing_is_there(two: TwoImages):
    two("deploy", "image=worker")
    assert "/opt/nfs_export: nothing of gpu is deployed there" in two(
        "verify", "image=gpu", status=1
    )


def test_a_rollback_of_one_image_leaves_the_others(two: TwoImages):
    two("deploy")
    old = two.built("gpu")
    two.change("worker", "gpu", cmdline="quiet")
    two("deploy")
    before = two.boots("worker")
    assert "worker" not in two("rollback", "image=gpu")
    assert old in two.boots("gpu") and two.boots("worker") == before


def test_a_rollback_of_all_names_those_that_have_nothing_to_go_back_to(two: TwoImages):
    two("deploy")
    old = two.built("gpu")
    two.change("gpu", cmdline="quiet")
    two("deploy")
    new = two.built("gpu")
    assert two("rollback") == (
        f"gpu: nodes boot {old} from now on, not {new}\n"
        "worker: no earlier release is there, it stays as it is\n"
    )
