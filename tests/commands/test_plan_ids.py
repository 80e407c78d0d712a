"""A plan is done as it was seen, by its id, or nothing is; and some plans are done in no other way."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess

import pytest

from tests.support import sample_site
from tests.support.commands import Doit
from tests.support.deploy_kit import snapshot

ID = re.compile(
    r"^To do this and nothing else: doit deploy (?:--again )?--plan=([0-9a-f]{12})", re.M
)


def node(number: int) -> str:
    return f"{{mac: 'ae:d6:90:bb:00:{number:02x}', ip: 172.24.10.{number + 100}}}"


class Place:
    """A site in a repository of git, deployed to a folder."""

    def __init__(self, folder: pathlib.Path):
        self.doit, self.dest = Doit(folder), folder / "dest"
        self.reference = sample_site.reference(folder / "reference", files=5)
        self.git("init", "-q")
        self.first = self.commit(range(1, 31))
        self("deploy")

    def write(self, numbers) -> None:
        sample_site.write(self.doit.site, self.reference, list(map(node, numbers)))

    def commit(self, numbers) -> str:
        self.write(numbers)
        self.git("add", "site.yaml")
        self.git("commit", "-q", "--allow-empty", "-m", "site: another")
        return self.git("rev-parse", "HEAD")

    def git(self, *words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        argv = ["git", *who, "-C", str(self.doit.folder), *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def __call__(self, *words: str, status: int = 0) -> str:
        return self.doit(*words, f"destdir={self.dest}", status=status)

    def plan(self, *words: str) -> str:
        """The id of the plan."""
        return ID.search(self("plan", *words))[1]

    def refused(self, *words: str) -> str:
        """Why a deploy refuses, which changes nothing."""
        before = snapshot(f"{self.dest}/tftpboot")
        why = self("deploy", *words, status=1).partition("ERROR: ")[2]
        assert snapshot(f"{self.dest}/tftpboot") == before
        return why

    def journal(self) -> dict:
        path = self.dest / "opt/nfs_export/.plugnode/journal.jsonl"
        return json.loads(path.read_text().splitlines()[-1])


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    return Place(tmp_path_factory.mktemp("site"))


def test_a_plan_has_an_id_by_which_deploy_does_it_once(place):
    place.commit(range(1, 32))
    id = place.plan()
    said = json.loads(place.doit.start("plan", "--json", f"destdir={place.dest}",
                                       stderr=subprocess.DEVNULL).communicate()[0])  # fmt: skip
    assert said["id"] == id and place.plan() == id
    place("deploy", f"--plan={id}")
    assert place.journal()["plan"] == id
    assert "no changes" in place("deploy", f"--plan={id}")  # a job that is run again
    assert ID.search(place("plan")) is None


def test_a_site_that_changed_since_is_refused_with_what_is_different(place):
    place.write(range(1, 33))
    id = place.plan()
    place.write(range(1, 34))
    why = place.refused(f"--plan={id}")
    assert why.startswith(f"--plan={id} is not what a deploy would do now: it would be --plan=")
    assert "seen, and not done now: publish site-" in why
    assert "not seen, and done now: write /tftpboot/plugnode/worker.cfg: " in why


def test_so_is_a_server_that_changed_since_and_a_plan_that_nobody_made(place):
    place.write(range(1, 33))
    id = place.plan()
    with open(place.dest / "tftpboot/boot.ipxe", "a") as file:
        file.write("# by hand\n")
    assert "not seen, and done now: write /tftpboot/boot.ipxe: " in place.refused(f"--plan={id}")
    assert "no plan of that id was made" in place.refused("--plan=0123456789ab")
    assert "twelve hex digits" in place("deploy", "--plan=latest", status=3)
    assert place.plan("image=worker") != ""
    place("deploy", f"--plan={place.plan()}")


def test_more_than_a_tenth_of_the_nodes_goes_by_the_id_alone(place):
    place.commit(range(1, 31))
    place("deploy")
    place.commit(range(1, 21))
    assert "by --plan=ID alone" not in place("plan")  # ten
    place.commit(range(1, 20))
    line = "11 of 30 nodes are removed; deploy does that by --plan=ID alone"
    assert f"  ! {line}\n" in place("plan")
    assert place.refused() == f"{line}\n"
    place("deploy", f"--plan={place.plan()}")


def test_so_does_an_older_commit(place):
    newer = place.commit(range(1, 41))
    place("deploy")
    place.git("checkout", "-q", place.first)
    line = f"! commit {place.first[:12]} is older than {newer[:12]}, which "
    assert line in place("plan")
    assert place.refused().startswith(line[2:])
    place.git("checkout", "-q", newer)
    place.git("checkout", "-q", "-b", "beside")
    place.commit(range(1, 42))
    assert "is older" not in place("plan")
    place.git("checkout", "-q", place.first)
    place("deploy", f"--plan={place.plan()}")
    place.git("checkout", "-q", newer)
    place("deploy")  # back to what is newer needs nothing
