"""A node with two disks, each with a layout of its own: the halves of one image, so that a cut is one of both."""

from __future__ import annotations

from pathlib import Path

from tests.support.crash_replay import LoggedNode
from tests.support.loop_disk import LAYOUT, MIB, Node, command

HALF = 64  # MiB
SCRATCH = (
    ("/scratch", "24", "ext4", "pn-scratch", "-"),
    ("/spool", "rest", "ext4", "pn-spool", "-"),
)
MOUNTS = "grep $ROOT/ /proc/mounts | sed \"s,$ROOT,,g\" | cut -d' ' -f2,3 | sort | tr '\\n' ' '; "
ALL_MOUNTED = "/home ext4 /scratch ext4 /spool ext4 /tmp ext3 /var ext4 "


class TwoDisks(Node):
    """`several` is what its site says of its disks, in that order: which half has which layout."""

    several: tuple[int, ...] = (0, 1)
    layouts = (LAYOUT, SCRATCH)

    def __post_init__(self) -> None:
        self.mib = 2 * HALF
        super().__post_init__()
        for name in ("scratch", "spool"):
            (self.root / name).mkdir(exist_ok=True)

    def attach(self) -> str:
        return " ".join(self._half(at) for at in range(2))

    def _half(self, at: int) -> str:
        disk = self._loop(at * HALF, HALF)
        nodes = self.root / "nodes" / disk.rpartition("/")[2]
        command("rm", "-rf", nodes)
        nodes.mkdir()
        begin = at * HALF + 1
        for number, row in enumerate(self.layouts[at], 1):
            size = (at + 1) * HALF - 1 - begin if row[1] == "rest" else int(row[1])
            (nodes / str(number)).symlink_to(self._loop(begin, size))
            begin += size
        return disk

    def _loop(self, begin: int, size: int) -> str:
        """Of so many MiB of the image, from there on."""
        words = ("-o", str(begin * MIB), "--sizelimit", str(size * MIB), self.image)
        self.loops.append(command("losetup", "-f", "--show", *words).strip())
        return self.loops[-1]

    def site_data(self, disk: str) -> None:
        super().site_data(disk)
        if not self.several:
            return
        (self.data / "layouts/default").unlink()
        for number, at in enumerate(self.several, 1):
            lines = ["table gpt", "required yes", f"device {disk.split()[at]}"]
            lines += ["partition " + " ".join(row) for row in self.layouts[at]]
            (self.data / f"layouts/default..{number}").write_text("\n".join(lines) + "\n")

    @property
    def states(self) -> list[list[str]]:
        """The words of both state sectors."""
        found = []
        with open(self.image, "rb") as file:
            for at in range(2):
                file.seek((at * HALF + 1) * MIB - 4096)
                found.append(file.read(512).rstrip(b"\0").decode("latin-1").split())
        return found


class LoggedTwoDisks(TwoDisks, LoggedNode):
    """And what both are told is logged."""

    @property
    def image(self) -> Path:
        return self.folder / "exported.img"

    def fresh(self) -> None:
        """The exported file is made by the daemon."""
