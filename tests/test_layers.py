"""Which way the arrows point: each package imports only what lies below it, and nothing in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tasks.core.remote.core_zip import pack
from tests.support import source_code
from tests.support.commands import REPOSITORY
from tests.support.source_code import Imported, Module

# From the ground up; packages of one line know nothing of each other.
LAYERS = [
    ["tasks.core.base", "tasks.core.release", "tasks.core.outputs"],
    ["tasks.core.tree", "tasks.core.capacity", "tasks.core.dhcp"],
    ["tasks.core.scan", "tasks.core.archive", "tasks.core.site"],
    ["tasks.core.checkout", "tasks.core.rootfs", "tasks.core.initrd", "tasks.core.site_data"],
    ["tasks.core.store", "tasks.core.secret_scan", "tasks.core.root_file", "tasks.core.unpack"],
    ["tasks.core.services", "tasks.core.reference", "tasks.core.trust", "tasks.core.node_secrets"],
    ["tasks.core.config", "tasks.core.plan", "tasks.core.image"],
    ["tasks.core.cluster", "tasks.core.importer", "tasks.core.discover"],
    ["tasks.core.deploy", "tasks.core.desired", "tasks.core.report", "tasks.core.lab"],
    ["tasks.core.inspect", "tasks.core.history"],
    ["tasks.core.disclosure"],
    ["tasks.core.remote"],
    ["tasks.core.nodes"],
    ["tasks.core.power"],
    ["tasks.core.operate"],
    ["tasks.base"],
    ["tasks"],
]
AGENT = pack.PACKAGES  # what a boot server is sent, and can run
MOST = 12  # modules of a package

MODULES = source_code.modules()
IMPORTS = [each for module in MODULES.values() for each in source_code.imports(module, MODULES)]
FLOOR = {name: floor for floor, names in enumerate(LAYERS) for name in names}


def package(module: str) -> str:
    """The package, or the module of the core that lies beside them, that a module belongs to."""
    parts = module.split(".")
    if parts[:2] == ["tasks", "core"]:
        return ".".join(parts[:3])
    return ".".join(parts[:2]) if parts[:2] == ["tasks", "base"] else "tasks"


def told(found: Imported) -> str:
    return f"{MODULES[found.importer].path}:{found.line}: {found.module} {found.name}"


def is_package_of(module: Module) -> bool:
    return module.path.name == "__init__.py"


def test_every_package_has_its_floor():
    names = {package(name) for name, module in MODULES.items() if not is_package_of(module)}
    assert names == FLOOR.keys()


def test_a_package_imports_only_packages_below_it():
    upward = []
    for each in IMPORTS:
        importer, imported = package(each.importer), package(each.module)
        if importer != imported and FLOOR[importer] <= FLOOR[imported]:
            upward.append(told(each))
    assert upward == []


def test_no_module_imports_itself_by_way_of_others():
    edges: dict[str, set[str]] = {name: set() for name in MODULES}
    for each in IMPORTS:
        edges[each.importer].add(each.module)
    assert source_code.circles(edges) == []


def test_what_is_private_stays_in_its_module():
    private = [each for each in IMPORTS if each.name.startswith("_")]
    assert list(map(told, private)) == []


def test_a_package_has_a_dozen_modules_at_the_most():
    held: dict[str, list[str]] = {}
    for module in MODULES.values():
        if module.name.startswith("tasks.") and not is_package_of(module):
            held.setdefault(module.package, []).append(module.name)
    del held["tasks"]  # the stages, as many as there are
    large = {name: len(names) for name, names in held.items() if len(names) > MOST}
    assert large == {}


def test_a_boot_server_is_sent_these_packages_and_no_others():
    names = [name.split("/") for name in pack.core_files()]
    sent = {parts[2].removesuffix(".py") for parts in names if parts[:2] == ["tasks", "core"]}
    assert sent == {*AGENT, "__init__"}


def test_what_a_boot_server_is_sent_imports_nothing_else():
    sent = {f"tasks.core.{name}" for name in AGENT}
    others = []
    for each in IMPORTS:
        if package(each.importer) in sent and package(each.module) not in sent:
            others.append(told(each))
    assert others == []


def test_no_two_public_classes_share_a_name():
    owners: dict[str, list[str]] = {}
    for module in MODULES.values():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                owners.setdefault(node.name, []).append(module.name)
    assert {name: where for name, where in owners.items() if len(where) > 1} == {}


@pytest.mark.parametrize("name", AGENT)
def test_what_a_boot_server_is_sent_runs_on_python_3_9(name):
    place = REPOSITORY / "tasks/core" / name
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    words = ["-q", "-t=3.9-", "--no-tips", "--eval-annotations"]
    vermin = [sys.executable, "-c", "import vermin; vermin.main()", *words]
    done = subprocess.run([*vermin, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
