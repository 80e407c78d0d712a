"""What the tests share: the repository, and doit as an admin runs it."""

from __future__ import annotations

import pathlib
import signal

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support import sample_site
from tests.support.commands import Doit

pytest.register_assert_rewrite("tests.support.el5_site", "tests.support.vm_site")
pytest_plugins = ["tests.support.vm_times"]  # says how long each virtual machine took

# A shell's background job ignores SIGINT, and what nohup starts SIGHUP, and so would all that the tests start, and
# interrupt, from there. What is caught here is not handed down (execve(2)).
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes first: none must be the last, with nothing to run beside it."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> tuple[bool, bool]:
    """Virtual machines come first, then daemons and servers, and disks of nodes."""
    is_long = item.nodeid.startswith(("tests/system/", "tests/overlays/"))
    return "vm" not in item.keywords, not is_long


HALF = ("tests/vm/test_boot_example.py", "tests/vm/test_vm_cuts.py")  # take as long as all others


class ByFile(LoadScopeScheduling):
    """Tests of a file run one after the other, and of those with virtual machines two at a time.

    A machine takes a whole processor; all other tests mostly wait, so that four of them keep two processors busy.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if not file.startswith("tests/vm/"):
            return file
        return "half of the machines" if file in HALF else "machines"


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    return ByFile(config, log)


@pytest.fixture
def doit(tmp_path: pathlib.Path) -> Doit:
    return Doit(tmp_path)


@pytest.fixture
def reference(tmp_path: pathlib.Path) -> pathlib.Path:
    """A small worker node's root."""
    return sample_site.reference(tmp_path / "reference")


@pytest.fixture
def built(doit: Doit, reference: pathlib.Path) -> Doit:
    """A small site, built once."""
    sample_site.write(doit.site, reference)
    doit()
    return doit
