"""Secrets as a node takes them: the real setup.sh, age, a server of HTTP, disks that are loop devices, a TPM of swtpm's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.core.nodes.ask import TAKE
from tasks.core.node_secrets.blobs import encrypt, pack_secrets
from tasks.core.site.model import Secret, SecretSource
from tests.support import node_tpm
from tests.support.loop_disk import Node

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")

KEY, TAB = b"the key of munge\0\xff\n", b"the keytab\n"
SECRETS = (
    Secret("tab", "etc/krb5.keytab", SecretSource("tab"), "root", "0440", on_disk=True),
    Secret("munge", "etc/munge/munge.key", SecretSource("munge"), "nobody", "0400"),
)
PLACES = "etc/krb5.keytab\tdisk\netc/munge/munge.key\tmemory\n"
SITE = (
    "servers=127.0.0.1\nblobs=http\nsecret=etc/krb5.keytab\t-\nsecret=etc/munge/munge.key\tgpu,-\n"
)
LISTED = "stat -c '%n %U %G %a %s' etc/krb5.keytab etc/munge/munge.key; cat etc/krb5.keytab; cmp etc/munge/munge.key munge"
GOT = "plugnode: setup: secrets: got"


class Served(Node):
    """A node whose release has two places, and the folder of the server that it asks."""

    def prepared(self) -> Served:
        for path in PLACES.split("\n")[:-1]:
            file = self.root / path.split("\t")[0]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        (self.root / "etc/plugnode").mkdir()
        (self.root / "etc/plugnode/secrets").write_text(PLACES)
        (self.root / "munge").write_bytes(KEY)
        (self.folder / "served/secrets").mkdir(parents=True)
        self.serve(True)
        return self

    def serve(self, is_up: bool) -> None:
        there = f"busybox httpd -p 127.0.0.1:80 -h {self.folder}/served" if is_up else ":"
        self.before = f"ip link set lo up; {there}; umask 022"

    def site_data(self, disk: str) -> None:
        super().site_data(disk)
        with (self.data / "site").open("a") as file:
            file.write(SITE)

    def blob(self, recipient: str) -> None:
        texts = {"tab": TAB, "munge": KEY}
        blob = encrypt(pack_secrets(SECRETS, lambda secret: texts[secret.name]), recipient)
        (self.folder / f"served/secrets/{self.name}.age").write_bytes(blob)

    def start(self, then: str = LISTED, **how) -> str:
        return self.boot(then, env={"WAITS": "0", **how.pop("env", {})}, **how)

    @property
    def public(self) -> str:
        return (self.data / "age.pub").read_text().strip()


@pytest.fixture
def node(tmp_path: Path) -> Served:
    return Served(tmp_path).prepared()


def test_a_node_opens_what_is_its_own_and_says_which_it_got(node: Served):
    looked = "stat -c '%a' var/lib/plugnode/age.key run/plugnode/secrets run/plugnode/degraded; "
    looked += "stat -c '%s' etc/munge/munge.key"
    assert node.start(looked) == "600\n700\n644\n0\n"
    assert "secrets: made this node's key" in node.console and f"{GOT} none" in node.console
    assert (
        "secrets: without /etc/krb5.keytab /etc/munge/munge.key: no server has any for it: enroll it"
        in node.degraded
    )
    key = node.public
    assert key.startswith("age1") and "AGE-SECRET" not in node.console

    node.blob(key)
    all = (
        "etc/krb5.keytab root root 440 11\netc/munge/munge.key nobody nogroup 400 19\nthe keytab\n"
    )
    assert node.start() == all.replace("nogroup", "root")
    assert f"{GOT} /etc/krb5.keytab /etc/munge/munge.key\n" in node.console and not node.degraded
    assert node.public == key, "it keeps its key"

    node.serve(False)
    said = node.start(
        "cat etc/krb5.keytab; stat -c '%s' etc/munge/munge.key; mount | grep -c ' type tmpfs.*secrets' || :"
    )
    assert said.startswith("the keytab\n0\n"), "what is on the disk is there without a server"
    assert "secrets: without /etc/munge/munge.key: no server has any for it" in node.degraded


def test_a_secret_that_is_withdrawn_or_new_is_so_on_a_node_that_runs(node: Served):
    node.start(":")
    node.blob(node.public)
    again = "$SH $PARTS/../setup.sh take_secrets"
    withdrawn = "sed -i /^secret=etc.krb5/d run/plugnode/site; unset KNOWN; "
    look = "; stat -c '%s' etc/krb5.keytab etc/munge/munge.key; ls var/lib/plugnode/secrets/etc"
    assert node.start(f"{withdrawn}{again}{look}") == "0\n19\n"
    assert node.start(f"{again}{look}") == "11\n19\nkrb5.keytab\n"


def test_a_disk_that_moves_to_another_node_opens_nothing_there(node: Served):
    node.start(":")
    node.blob(node.public)
    key = node.public
    assert "the keytab" in node.start()
    blob = node.folder / "served/secrets/wn001.age"
    node.name = "wn002"
    blob.rename(blob.with_name("wn002.age"))  # a server that is fooled, too
    assert node.start("stat -c '%s' etc/krb5.keytab; ls var/lib/plugnode") == (
        "0\nage.key\nnode\nssh\n"
    )
    assert node.public != key
    assert (
        "this disk was wn001's; its keys, secrets and files of its own are deleted" in node.console
    )
    assert "what the server has is not for this node's key" in node.degraded


def test_a_node_without_disk_and_tpm_comes_up_without_and_says_so(node: Served):
    node.required = "no"
    node.start(":", disk=False)
    assert "neither a disk nor a TPM keeps a key of its own" in node.degraded
    assert "setup: done: wn001" in node.console


def test_a_node_without_a_disk_keeps_its_key_in_its_tpm(node: Served):
    node.required = "no"
    with node_tpm.reached(node.folder / "tpm") as tpm:
        node.start(":", disk=False, env=tpm)
        key = node.public
        node.blob(key)
        assert "the keytab" in node.start(disk=False, env=tpm)
    assert node.public == key and not node.degraded


def test_what_a_blob_has_besides_goes_nowhere(node: Served):
    """Whoever knows a node's public key can encrypt for it: only the release says what may be where."""
    node.start(":")
    evil = Secret("evil", "etc/passwd", SecretSource("evil"))
    blob = encrypt(pack_secrets([*SECRETS, evil], lambda secret: b"evil"), node.public)
    (node.folder / "served/secrets/wn001.age").write_bytes(blob)
    assert node.start("cat etc/munge/munge.key; ls etc; find run/plugnode/secrets -type f") == (
        "evilkrb5.keytab\nmunge\nplugnode\nrun/plugnode/secrets/held/etc/munge/munge.key\n"
    )


def test_a_push_has_a_node_that_runs_fetch_what_is_its_own(node: Served):
    """As ssh runs it there: the node's root is this machine's, with folders of its own."""
    node.start(":")
    node.blob(node.public)
    (node.root / "take").write_text(TAKE)
    blob = node.folder / "served/secrets/wn001.age"
    later = blob.rename(node.folder / "later")
    becomes = (
        "cp -a /etc/alternatives /etc/passwd $PARTS/../setup.sh etc; cp $PARTS/*.sh etc/plugnode; "
    )
    becomes += "tar -C run/plugnode -cf pushed site nodes hosts layouts; "
    becomes += "for name in etc run var; do mount --rbind $name /$name; done; "
    pushed = (
        f"mv {later} {blob}; env -i PATH=$PATH WAITS=0 sh -e take <pushed; cat /etc/krb5.keytab"
    )
    assert node.start(f"stat -c %s etc/krb5.keytab; {becomes}{pushed}") == f"0\n{TAB.decode()}"
    assert not node.degraded, "nor does it say so any more"
