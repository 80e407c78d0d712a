"""What the code stands on, and what the linters say of it; test_layers.py has its own arrows."""

from __future__ import annotations

import ast
import collections
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest

from tests.support import source_code
from tests.support.commands import REPOSITORY

MODULES = source_code.modules()
CORE = [module for name, module in MODULES.items() if name.startswith("tasks.core")]
HEAVY = {"pydantic", "yaml", "jinja2", "libarchive", "ClusterShell", "pytest"}
TESTS = sorted((REPOSITORY / "tests").rglob("*.py"))
BENCH = sorted((REPOSITORY / "bench").rglob("*.py"))


def is_shell(path: pathlib.Path) -> bool:
    """By its name, or by its first line: parts that another script reads in have none."""
    if path.is_symlink() or not path.is_file():
        return False
    return path.suffix == ".sh" or path.read_bytes()[:2] == b"#!"


OVERLAYS = filter(is_shell, (REPOSITORY / "overlays").rglob("*"))
SHELL = sorted([REPOSITORY / "doit", REPOSITORY / ".ci/run", *OVERLAYS])


def imported(tree: ast.Module) -> Iterator[str]:
    """The modules that a file imports by their full names, inside its functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(paths: Iterable[pathlib.Path]) -> Iterator[tuple[pathlib.Path, str]]:
    for path in paths:
        for name in imported(ast.parse(path.read_text())):
            yield path, name


# --- tasks


def test_the_core_imports_no_doit():
    found = [module.name for module in CORE if imports_doit(module.tree)]
    assert len(CORE) > 90 and found == []


def imports_doit(tree: ast.Module) -> bool:
    return any(name.partition(".")[0] == "doit" for name in imported(tree))


def test_a_module_of_the_core_imports_at_its_head_what_it_stands_on():
    """But the cache of a site, which is there so that the rest need not be loaded."""
    inside = [module.name for module in CORE if imports_later(module.tree)]
    assert inside == ["tasks.core.site.cache"]


def imports_later(tree: ast.Module) -> bool:
    """Whether a function imports a module of this repository."""
    within = (node for function in source_code.functions(tree) for node in ast.walk(function))
    return any(isinstance(node, ast.ImportFrom) and node.level for node in within)


def test_a_run_that_does_nothing_pays_for_no_heavy_import():
    probe = f"import sys, dodo; print([name for name in sys.modules if name in {HEAVY}])"
    assert printed(probe) == "[]"
    assert printed(probe, "list") == "[]", "commands are only looked at"


def test_a_run_of_the_pipeline_loads_no_command():
    probe = "import sys, dodo; print('tasks.deploy' in sys.modules)"
    assert printed(probe) == printed(probe, "build=build") == "False"
    assert printed(probe, "build=build", "plan") == "True"


def printed(program: str, *words: str) -> str:
    """What it prints once the site is known."""
    argv = [sys.executable, "-c", program, *words]
    for _ in ("reads the site", "knows the site"):
        done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return done.stdout.strip()


UNCHANGED = """
import gc, os, signal, sys, threading
def process():
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    hooks = sys.excepthook, sys.displayhook, threading.excepthook
    umask = os.umask(0o22)
    os.umask(umask)
    return handlers, hooks, gc.isenabled(), gc.get_threshold(), os.getcwd(), umask, dict(os.environ)
import asyncio, doit.cmd_base  # what others change is not ours
for name in sys.argv[1:]:
    before = process()
    __import__(name)
    if process() != before:
        print(name)
"""


def test_an_import_changes_nothing_of_the_process_that_imports():
    """The handler of SIGPIPE was one of them: a test that wrote to a program that had ended was killed by it."""
    names = sorted({*MODULES} - {"tasks.__main__", "dodo"})
    words = [sys.executable, "-c", UNCHANGED, *names]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


BEFORE_DOIT = ("tasks.completion", "tasks.importing", "tasks.usage")


def test_no_action_asks_for_the_site_or_the_command_line():
    """It is given what decides whether it runs: only what makes a task takes that from the run.

    Beside them doit's reporter does, which is no action, and what answers before doit runs.
    """
    found = []
    for place in asked_of_the_run():
        if place.module not in BEFORE_DOIT:
            found.append(f"{place.module}.{place.function}")
    assert [name for name in found if ".task_" not in name] == [
        "tasks.base.console.Reporter",
        "tasks.base.console.refuse_useless",
    ]
    assert len(found) > 20


class Place(NamedTuple):
    module: str
    function: str  # or the class


def asked_of_the_run() -> list[Place]:
    """Where a name is used that tells of this run: its site, its variables, its paths."""
    settings = MODULES["tasks.base.settings"]
    values = {node.name for node in settings.tree.body if isinstance(node, ast.FunctionDef)}
    found = set()
    for module in MODULES.values():
        taken = {each.name for each in source_code.imports(module, MODULES)} & values
        if module is not settings:
            found |= {Place(module.name, name) for name in users(module.tree, taken)}
    return sorted(found)


def users(tree: ast.Module, names: set[str]) -> Iterator[str]:
    """The definitions of a module that use one of the names; "" for what runs as it is read."""
    for node in tree.body:
        inside = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        if inside & names:
            yield getattr(node, "name", "")


def test_the_table_of_contents_is_only_that():
    """Its one condition is whether a command is asked for: else none is loaded."""
    body = ast.parse((REPOSITORY / "dodo.py").read_text()).body
    kinds = [type(node).__name__ for node in body]
    assert {*kinds} <= {"Expr", "ImportFrom", "Assign", "If"}
    assert kinds.count("If") == 1


# --- tests and bench


def test_no_test_imports_a_test():
    every = importers([*TESTS, *BENCH])
    tests = [f"{path}: {name}" for path, name in every if name.startswith("tests.")]
    assert [told for told in tests if ".test_" in told] == []


def test_no_two_modules_of_tests_and_bench_share_a_name():
    """But tests: test_apply.py is that of its package."""
    names = [path.name for path in [*TESTS, *BENCH] if path.name != "__init__.py"]
    count = collections.Counter(name for name in names if not name.startswith("test_"))
    assert [name for name, number in count.items() if number > 1] == []


def test_nothing_is_put_into_the_path_of_modules():
    """Everything is imported by its name from the repository's root, by programs of a test too."""
    change = "sys.path" + ".insert", "sys.path" + ".append"
    found = [path for path in [*TESTS, *BENCH] if any(word in path.read_text() for word in change)]
    assert found == []


CAMPAIGNS = sorted(path.stem for path in (REPOSITORY / "tests/stress").glob("[!_]*.py"))


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_every_campaign_says_how_it_is_run(name):
    done = run_module(f"tests.stress.{name}", "--help")
    assert done.returncode == 0, done.stderr
    assert f"-m tests.stress.{name}" in done.stdout


def test_one_command_lists_the_campaigns():
    lines = run_module("tests.stress").stdout.splitlines()
    assert [line.split()[0] for line in lines] == CAMPAIGNS
    assert all(len(line.split()) > 5 for line in lines)


def run_module(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", name, *words]
    return subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True)


# --- linters


def test_the_linter_finds_nothing():
    run("ruff", "check", ".")


def test_the_formatter_changes_nothing():
    run("ruff", "format", "--check", "--diff", ".")


def test_the_types_hold():
    run("mypy", "tasks")


def test_scripts_that_others_read_in_are_checked_too():
    parts = set((REPOSITORY / "overlays/worker/etc/plugnode").iterdir())
    assert parts and parts <= set(SHELL)


@pytest.mark.parametrize("path", SHELL, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_shellcheck_finds_nothing(path):
    assert shutil.which("shellcheck"), "apt install shellcheck"
    done = subprocess.run(["shellcheck", "-f", "gcc", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def run(program: str, *words: str) -> None:
    done = run_module(program, *words)
    assert done.returncode == 0, done.stdout + done.stderr
