"""./doit: what it does before it is doit, and that it does nothing the second time."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.support.commands import NOBODY, REPOSITORY, as_nobody

DODO = "def task_hello():\n    return {'actions': ['echo hello from $PWD'], 'verbosity': 2}\n"
LISTS = ("packages.txt", "requirements.txt", "requirements-test.txt")


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """A checkout that holds only the launcher, its lists, and a dodo.py of one task."""
    folder = tmp_path / "check out"
    folder.mkdir()
    for name in ("doit", *LISTS):
        shutil.copy2(REPOSITORY / name, folder)
    (folder / "dodo.py").write_text(DODO)
    (folder / "tasks").mkdir()
    shutil.copy2(REPOSITORY / "tasks/__main__.py", folder / "tasks")
    return folder


@pytest.fixture
def ready(checkout: pathlib.Path) -> pathlib.Path:
    """One that is set up: with a .venv that borrows this one's packages."""
    site = next(path for path in sys.path if path.endswith("site-packages"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
    borrowed = next((checkout / ".venv/lib").glob("python3*")) / "site-packages/borrowed.pth"
    borrowed.write_text(site + "\n")
    sums = subprocess.run(
        ["cksum", "doit", *LISTS], cwd=checkout, check=True, capture_output=True
    ).stdout
    (checkout / ".venv/ready-run").write_bytes(sums)
    return checkout


def start(*words: str, cwd: pathlib.Path, **options) -> subprocess.CompletedProcess[str]:
    options = {"text": True, "capture_output": True, "timeout": 300, **options}
    return subprocess.run(words, cwd=cwd, **options)


def only(folder: pathlib.Path, *programs: str) -> dict[str, str]:
    """An environment in which there are just these programs, and those that every system has."""
    folder.mkdir()
    every = "cat cksum cmp cut echo env find flock grep head id mkdir mktemp mv paste printf readlink rm sed sh sleep"
    for name in (*every.split(), "sort", "tail", "tee", "tr", *programs):
        os.symlink(shutil.which(name) or f"/no/{name}", folder / name)
    return {"PATH": str(folder), "HOME": "/root", "LC_ALL": "C"}


def without_sbin(checkout: pathlib.Path) -> None:
    """Let the launcher see nothing but PATH: it adds the sbin folders by itself."""
    path = checkout / "doit"
    path.write_text(path.read_text().replace("PATH=$PATH:/usr/sbin:/sbin", "PATH=$PATH"))


def test_a_second_start_is_doit_without_a_word_of_its_own(ready):
    done = start("./doit", cwd=ready)
    assert (done.returncode, done.stderr) == (
        0,
        "",
    ) and done.stdout == f".  hello\nhello from {ready}\n"


def test_a_second_start_touches_no_network_and_needs_no_rights(ready):
    for folder in (ready, *ready.parents):
        if str(folder).startswith("/tmp/"):
            os.chmod(folder, 0o755)
    os.chmod(ready, 0o777)  # doit's own state
    alone = ["unshare", "--net"] if os.geteuid() == 0 else []
    done = start(*alone, *as_nobody("./doit", "list"), cwd=ready)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("hello")


def test_a_second_start_asks_no_package_manager(ready, tmp_path):
    for name in ("apt-get", "dpkg-query", "dnf", "rpm", "sudo"):
        tell_tale(tmp_path / "called" / name)
    env = only(tmp_path / "bin")
    done = start(
        "./doit", "list", cwd=ready, env=env | {"PATH": f"{tmp_path}/called:{env['PATH']}"}
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["hello"], "")


def tell_tale(path: pathlib.Path) -> None:
    """A program that says that it was called, and fails."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\necho $0 was called >&2\nexit 9\n")
    path.chmod(0o755)


def test_it_runs_at_its_own_place_from_anywhere_and_paths_stay_the_callers(ready, tmp_path):
    (ready / "dodo.py").write_text(
        "from doit import get_var\n"
        "def task_say():\n"
        "    return {'actions': [f\"echo {get_var('site')} {get_var('destdir')} $PWD\"], 'verbosity': 2}\n"
    )
    os.symlink(ready / "doit", tmp_path / "link")
    for name in (str(ready / "doit"), str(tmp_path / "link"), "check out/doit"):
        done = start(name, "site=my.yaml", "destdir=/abs", cwd=tmp_path)
        assert done.stdout == f".  say\n{tmp_path}/my.yaml /abs {ready}\n", done.stderr


def test_a_folder_to_compare_with_is_the_callers_and_a_revision_is_not(ready, tmp_path):
    (ready / "dodo.py").write_text(
        "option = {'name': 'against', 'long': 'against', 'default': ''}\n"
        "def task_plan():\n"
        "    return {'actions': ['echo %(against)s'], 'params': [option], 'verbosity': 2}\n"
    )
    (tmp_path / "other").mkdir()
    for given, meant in (
        ("other", f"{tmp_path}/other"),
        ("origin/main", "origin/main"),
        ("/abs", "/abs"),
    ):
        done = start(str(ready / "doit"), "plan", f"--against={given}", cwd=tmp_path)
        assert done.stdout == f".  plan\n{meant}\n", done.stderr


def test_exit_status_and_arguments_are_doits(ready):
    (ready / "dodo.py").write_text(
        "def task_no():\n    return {'actions': ['exit 7'], 'verbosity': 2}\n"
    )
    assert (
        start("./doit", cwd=ready).returncode
        == start(".venv/bin/python", "-m", "doit", cwd=ready).returncode
        != 0
    )
    assert start("./doit", "list", "a b", cwd=ready).returncode == 3
    done = start("./doit", "upgrade", "", cwd=ready)
    empty = "ERROR: one of the words is empty, as of a variable that is not set; leave it out\n"
    assert (done.returncode, done.stderr) == (3, empty)


def test_a_system_with_neither_apt_nor_dnf_is_one_line(checkout, tmp_path):
    without_sbin(checkout)
    done = start("./doit", cwd=checkout, env=only(tmp_path / "bin"))
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(r"plugnode: this system has neither apt-get nor dnf: .*\n", done.stderr)


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="dpkg's part")
def test_without_root_and_without_sudo_the_missing_packages_are_named_in_one_line(
    checkout, tmp_path
):
    without_sbin(checkout)
    (checkout / "packages.txt").write_text("run no-such-package-at-all - - # for this test\n")
    for folder in (checkout, *checkout.parents):
        if str(folder).startswith("/tmp/"):
            os.chmod(folder, 0o777)
    done = start(
        *NOBODY,
        "./doit",
        cwd=checkout,
        env=only(tmp_path / "bin", "apt-get", "dpkg-query", "setpriv"),
    )
    assert done.returncode == 1
    assert (
        "neither root nor may it sudo: no-such-package-at-all" in done.stderr
        and done.stderr.count("\n") == 1
    )


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="dpkg's part")
@pytest.mark.parametrize("key", ["ID", "VERSION_CODENAME"])
def test_a_package_has_the_name_of_this_release_or_distribution(checkout, tmp_path, key):
    without_sbin(checkout)
    os_release = pathlib.Path("/etc/os-release").read_text()
    here = re.search(rf'(?m)^{key}="?(\w+)', os_release)[1]
    line = (
        f"run no-such,other=no-such-there,{here}=no-such-here,more=no-such-more - - # of a test\n"
    )
    (checkout / "packages.txt").write_text(line + f"run nor-this,{here}=- - - # of a test\n")
    for folder in (checkout, *checkout.parents):
        if str(folder).startswith("/tmp/"):
            os.chmod(folder, 0o777)
    programs = ("apt-get", "dpkg-query", "setpriv")
    done = start(*NOBODY, "./doit", cwd=checkout, env=only(tmp_path / "bin", *programs))
    assert done.stderr.endswith("may it sudo: no-such-here\n"), done.stderr


OLD_PYTHON = """\
#!/bin/sh
[ "$1" = --version ] && exec echo "Python 3.9.2"
exit 1
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("apt-cache"), reason="mounts; apt's part")
def test_a_host_whose_python_is_too_old_is_told_what_to_install(checkout, tmp_path):
    without_sbin(checkout)
    (checkout / "packages.txt").write_text("run dpkg - - # is there\n")
    fake = tmp_path / "python3"
    fake.write_text(OLD_PYTHON)
    fake.chmod(0o755)
    hide = f"mount --bind {fake} $(readlink -f /usr/bin/python3); exec ./doit"
    programs = ("apt-get", "apt-cache", "dpkg-query", "mount")
    words = [shutil.which("unshare") or "", "--mount", "sh", "-c", hide]
    done = start(*words, cwd=checkout, env=only(tmp_path / "bin", *programs))
    assert done.returncode == 1 and done.stdout == ""
    why = "Plugnode needs Python 3.11 or newer, and this system has Python 3.9.2"
    remedy = r": apt install python3\.1\d python3\.1\d-venv, then ./doit again|, as do its packages: use .*"
    assert re.match(f"plugnode: {re.escape(why)}({remedy})", done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


def test_two_first_starts_at_once_wait_for_each_other(checkout):
    words = ["flock", "packages.txt", "sh", "-c", "echo held; sleep 100"]
    holder = subprocess.Popen(
        words, cwd=checkout, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert holder.stdout and holder.stdout.readline() == "held\n"
    waiting = subprocess.Popen(["./doit"], cwd=checkout, stderr=subprocess.PIPE, text=True)
    assert "another ./doit is installing here; waiting for it" in waiting.stderr.readline()
    waiting.terminate()
    waiting.communicate()
    os.killpg(holder.pid, signal.SIGKILL)
    holder.wait()


def test_every_line_of_the_package_list_is_of_its_form():
    lines = [
        line
        for line in (REPOSITORY / "packages.txt").read_text().splitlines()
        if line and line[0] != "#"
    ]
    assert len(lines) > 20
    for line in lines:
        assert re.fullmatch(r"(run|load|boot|test) +\S+ +\S+ +\S+ +# \S.*", line), line
    names = [line.split()[1] for line in lines]
    assert len(names) == len(set(names))


def test_requirements_are_hashed_pinned_and_name_no_address():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = {
        "requirements.txt": project["dependencies"],
        "requirements-test.txt": project["dependencies"] + project["optional-dependencies"]["test"],
    }
    for name, requirements in wanted.items():
        text = (REPOSITORY / name).read_text()
        assert "://" not in text and "/" not in text
        lines = re.sub(r"(?m)^#.*\n", "", text)
        blocks = re.split(r"\n(?=\S)", lines.strip())
        pins = dict(block.split()[0].split("==") for block in blocks)
        assert all("--hash=sha256:" in block for block in blocks)
        for requirement in map(Requirement, requirements):
            pin = pins[requirement.name.lower()]
            assert requirement.specifier.contains(pin), f"{name}: {requirement.name} {pin}"


def test_what_is_imported_is_what_is_required():
    """Every module that tasks/ imports from outside is of requirements.txt or of Python."""
    provided = {"yaml": "pyyaml", "libarchive": "libarchive-c", "ClusterShell": "clustershell"}
    pins = set(re.findall(r"(?m)^([a-z0-9-]+)==", (REPOSITORY / "requirements.txt").read_text()))
    for path in (REPOSITORY / "tasks").rglob("*.py"):
        for module in re.findall(r"(?m)^\s*(?:import|from) ([A-Za-z_]\w*)", path.read_text()):
            known = module in sys.stdlib_module_names or module in ("tasks", "templates")
            assert known or provided.get(module, module).replace("_", "-") in pins, (
                f"{path}: {module}"
            )
