"""What a rollback left stays left: the next deploy says so, and brings site data alone until it is told otherwise."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

from tests.support import sample_site
from tests.support.killed_steps import boots, listed, wrong


class Cluster:
    """A small site that was deployed twice, from two references, and rolled back."""

    def __init__(self, doit, reference: pathlib.Path):
        self.doit, self.reference = doit, reference
        self.dest = doit.folder / "dest"
        self("deploy")
        self.old = self.boots()
        sample_site.put(reference / "etc/new", b"a change that turned out badly\n")
        self("deploy")
        self.bad = self.boots()
        self("rollback")

    def __call__(self, *words: str, **options) -> str:
        return self.doit(*words, f"destdir={self.dest}", **options)

    def boots(self) -> str:
        """The release that nodes boot; everything is as it was written down."""
        ((release, _),) = boots(self.dest)
        assert not wrong(self.dest) and not listed(self.dest)
        return release


@pytest.fixture
def cluster(built, reference) -> Cluster:
    return Cluster(built, reference)


def left(cluster: Cluster) -> str:
    return rf"worker stays at {cluster.old}; deploy --again would go back to {cluster.bad}, which \S+ from \S+ left by"


def test_the_next_deploy_does_not_go_back_to_what_a_rollback_left_and_says_so(cluster):
    for command in ("plan", "deploy"):
        out = cluster(command)
        assert re.search(
            rf"^no changes\n  ! {left(cluster)} a rollback at 20\d\d-", out, re.MULTILINE
        ), out
    assert cluster.boots() == cluster.old
    assert json.loads(cluster("plan", "--json"))["held"], "scripts hear of it, too"


def test_site_data_goes_on_being_deployed_meanwhile(cluster):
    sample_site.write(
        cluster.doit.site,
        cluster.reference,
        [*sample_site.NODES, "{ip: 172.24.10.12, mac: 'ae:d6:90:bb:aa:1f'}"],
    )
    out = cluster("deploy")
    assert "+ 1 node: wn003" in out and re.search(f"! {left(cluster)}", out), out
    assert cluster.boots() == cluster.old
    ((_, site),) = boots(cluster.dest)
    assert site in out, "with the newest site data"
    assert re.search(f"! {left(cluster)}", cluster("deploy")), "it is said as long as it is so"
    cluster("verify")


def test_deploy_again_goes_back_to_it(cluster):
    out = cluster("deploy", "--again")
    assert re.search(rf"! worker goes back to {cluster.bad}, which \S+ from \S+ left", out), out
    assert cluster.boots() == cluster.bad
    assert cluster("deploy").endswith("no changes\n")


def test_another_release_is_deployed_as_ever_and_a_rollback_from_it_goes_to_what_the_first_one_chose(
    cluster,
):
    sample_site.put(cluster.reference / "etc/mended", b"and its remedy\n")
    assert "!" not in cluster("deploy")
    assert cluster.boots() not in (cluster.old, cluster.bad)
    cluster("rollback")
    assert cluster.boots() == cluster.old


def test_a_build_that_goes_back_to_where_the_rollback_went_is_no_news(cluster):
    (cluster.reference / "etc/new").unlink()
    assert cluster("deploy").endswith("no changes\n")


def test_a_rollback_forth_again_leaves_the_other_release(cluster):
    cluster("rollback", f"release={cluster.bad}")
    assert cluster("deploy").endswith("no changes\n") and cluster.boots() == cluster.bad
    (cluster.reference / "etc/new").unlink()
    assert f"worker stays at {cluster.bad}" in cluster("deploy") and cluster.boots() == cluster.bad


def test_a_journal_of_an_earlier_version_says_what_was_left_too(cluster):
    path = cluster.dest / "opt/nfs_export/.plugnode/journal.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        record.pop("left", None)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert re.search(left(cluster), cluster("deploy")) and cluster.boots() == cluster.old


def test_an_image_that_was_rolled_back_holds_up_no_other(doit, tmp_path):
    references = {
        name: sample_site.reference(tmp_path / name, files=5) for name in ("worker", "gpu")
    }
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
    dest, ends = tmp_path / "dest", []
    for number in range(3):
        for reference in references.values():
            sample_site.put(reference / f"etc/{number}", b"new\n")
        out = doit("deploy", f"destdir={dest}")
        ends.append({name: next(iter(boots(dest, name)))[0] for name in references})
        if number == 1:
            doit("rollback", "image=gpu", f"destdir={dest}")
            doit("deploy", f"destdir={dest}")
            assert next(iter(boots(dest, "gpu")))[0] == ends[0]["gpu"]
    assert "stays" not in out and ends[2]["gpu"] not in (ends[0]["gpu"], ends[1]["gpu"])
