"""docs/ci.md: its pipelines by their services' own schemas, its hook by pre-commit, completion in real shells."""

from __future__ import annotations

import http.server
import json
import os
import pathlib
import pty
import re
import select
import subprocess
import sys
import threading
import time
import urllib.parse

import pytest

from tests.support import sample_site
from tests.support.commands import REPOSITORY, Doit, as_nobody

CI = REPOSITORY / "docs/ci"
BIN = pathlib.Path(sys.executable).parent
GITLAB, GITHUB, HOOKS = (
    CI / name for name in ("gitlab-ci.yml", "github-workflow.yml", "pre-commit-config.yaml")
)


def load(path: pathlib.Path) -> dict:
    import yaml

    return yaml.load(path.read_text(), yaml.BaseLoader)  # `on:` is a word


@pytest.mark.parametrize(
    "path, schema", [(GITLAB, "vendor.gitlab-ci"), (GITHUB, "vendor.github-workflows")]
)
def test_a_pipeline_is_what_its_service_takes(path, schema):
    done = run("-m", "check_jsonschema", "--builtin-schema", schema, str(path))
    assert done.returncode == 0, done.stdout


def run(*words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, **options)


@pytest.mark.parametrize("path", [GITLAB, GITHUB, HOOKS], ids=lambda path: path.name)
def test_the_page_shows_the_files_as_they_are(path):
    assert f"```yaml\n{path.read_text()}```\n" in (REPOSITORY / "docs/ci.md").read_text()


def scripts() -> list[str]:
    """Every line of shell that the pipelines run."""
    gitlab = [line for job in load(GITLAB).values() if "script" in job for line in job["script"]]
    steps = [step for job in load(GITHUB)["jobs"].values() for step in job["steps"]]
    return gitlab + [step["run"] for step in steps if "run" in step]


def test_pipelines_run_commands_that_exist():
    listed = run("-m", "doit", "list", "--quiet", cwd=REPOSITORY).stdout.split()
    commands = {word for line in scripts() for word in re.findall(r"\./doit (\w+)", line)}
    assert {"check", "plan", "deploy", "verify"} <= commands <= {*listed, "list"}
    assert all(
        (REPOSITORY / path).is_file()
        for line in scripts()
        for path in re.findall(r"docs/ci/\w+", line)
    )


@pytest.mark.parametrize("line", scripts(), ids=lambda line: line.splitlines()[0])
def test_the_lines_of_pipelines_are_shell(line):
    done = subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_deploying_needs_a_hand_and_a_protected_branch():
    rule = load(GITLAB)["deploy"]["rules"]
    assert [one["when"] for one in rule] == ["manual"] and "CI_COMMIT_REF_PROTECTED" in rule[0][
        "if"
    ]
    job = load(GITHUB)["jobs"]["deploy"]
    assert job["if"].startswith(
        "github.event_name == 'workflow_dispatch' && github.ref == 'refs/heads/main'"
    )
    assert job["environment"] == load(GITLAB)["deploy"]["environment"] == "production"


PIPELINES = {
    "GitLab": load(GITLAB)["site"]["script"],
    "GitHub": [step["run"] for step in load(GITHUB)["jobs"]["build"]["steps"] if "run" in step],
}
IDS = "nobody:500000:65536\n"
# /etc/subuid of the run alone: with ids for nobody, or with none for anybody
WITH_IDS = 'for file in subuid subgid; do mount --bind "$0" /etc/$file; done; exec "$@"'


def test_root_runs_nothing_that_a_merge_request_brings():
    """Of the lines for merge requests only the first is by root, and that names no file of the repository."""
    asked = [line for lines in PIPELINES.values() for line in lines if "sudo" in line]
    (words,) = [line for text in asked for line in text.splitlines() if "sudo" in line]
    assert words == "sudo sysctl -q kernel.apparmor_restrict_unprivileged_userns=0"
    assert "sudo" not in GITLAB.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
@pytest.mark.parametrize("ids", [IDS, ""], ids=["subordinate ids", "one id"])
@pytest.mark.parametrize("service", PIPELINES)
def test_what_the_pipeline_of_a_merge_request_runs_works(service, ids, tmp_path):
    """The lines themselves, by an ordinary user, in a clone of a site, with `./doit` as in a checkout."""
    built = site_of_nobody(tmp_path)
    base = two_commits(built)
    (tmp_path / "ids").write_text(ids)
    lines = [line for line in PIPELINES[service] if "gh pr comment" not in line]
    script = "\n".join(lines).replace("sudo sysctl", ": sysctl")
    env = {
        **os.environ,
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
        "BASE": base,
        "HOME": str(tmp_path),
    }
    env["GITHUB_STEP_SUMMARY"] = str(built.folder / "summary.md")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", WITH_IDS, str(tmp_path / "ids")]
        + as_nobody("bash", "-eo", "pipefail", "-c", script),
        cwd=built.folder,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    plan = "build/plan.txt" if service == "GitLab" else "plan.txt"
    assert "  + 1 node: wn003\n" in (built.folder / plan).read_text()
    if service == "GitLab":
        counts = json.loads((built.build / "counts.json").read_text())
        assert counts == {"create": 0, "update": 7, "delete": 0}
    page = (built.build / "report.html").read_text()
    assert f"<code>{base}</code>" in page and "wn003" in page and 'class="badge ok"' in page


def site_of_nobody(folder: pathlib.Path) -> Doit:
    """A site whose reference is an archive, as a runner has it: all of it is the runner's own."""
    built = Doit(folder / "site")
    built.folder.mkdir()
    tree = sample_site.reference(folder / "tree", files=3)
    words = ["tar", "-C", tree, "-czf", built.folder / "root.tgz", "."]
    subprocess.run(words, check=True)
    write_site(built, sample_site.NODES)
    return built


def write_site(built: Doit, nodes: list[str]) -> None:
    sample_site.write(built.site, pathlib.Path("/reference"), nodes)
    text = built.site.read_text().replace("path: /reference", "archive: root.tgz")
    built.site.write_text(text)


def two_commits(built: Doit) -> str:
    """A node more in the second, by git; then all is an ordinary user's. The first one's id."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(built.folder)]
    for words in (["init", "-q"], ["add", "site.yaml"], ["commit", "-q", "-m", "site: begin"]):
        subprocess.run([*git, *words], check=True)
    write_site(built, [*sample_site.NODES, "{mac: 'ae:d6:90:bb:aa:20', ip: 172.24.10.7}"])
    subprocess.run([*git, "commit", "-q", "-a", "-m", "site: a node"], check=True)
    launcher(built)
    (built.folder / "docs").symlink_to(REPOSITORY / "docs")
    for above in built.folder.parents:
        if above != pathlib.Path("/") and above.stat().st_uid == os.getuid():
            above.chmod(above.stat().st_mode | 0o055)
    subprocess.run(["chown", "-hR", "65534:65534", built.folder], check=True)
    asked = ["git", "-c", "safe.directory=*", "-C", built.folder, "rev-parse", "HEAD~1"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def launcher(doit: Doit) -> None:
    """`./doit` beside a site, which is that of this checkout without its set-up."""
    path = doit.folder / "doit"
    path.write_text(
        f'#!/bin/sh\ncd {REPOSITORY} && exec {sys.executable} -m doit "$@" site={doit.site} build={doit.build}\n'
    )
    path.chmod(0o755)


def test_a_plan_becomes_a_note_on_the_merge_request(tmp_path):
    heard: list[tuple[str, str, str]] = []

    class GitLab(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            heard.append(
                (self.path, self.headers["PRIVATE-TOKEN"], urllib.parse.parse_qs(body)["body"][0])
            )
            self.send_response(201)
            self.end_headers()

        def log_message(self, *words):
            pass

    (tmp_path / "plan.txt").write_text("+ 1 node: wn003\n")
    with http.server.HTTPServer(("127.0.0.1", 0), GitLab) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        job = {
            "CI_API_V4_URL": f"http://127.0.0.1:{server.server_port}/api/v4",
            "CI_PROJECT_ID": "7",
        }
        for more in (
            {},
            {"CI_MERGE_REQUEST_IID": "3"},
            {"CI_MERGE_REQUEST_IID": "3", "PLUGNODE_TOKEN": "secret"},
        ):
            env = {**os.environ, **job, **more, "no_proxy": "127.0.0.1"}
            done = run(str(CI / "note"), str(tmp_path / "plan.txt"), env=env)
            assert done.returncode == 0 and "secret" not in done.stdout + done.stderr, done.stderr
        server.shutdown()
    assert heard == [
        ("/api/v4/projects/7/merge_requests/3/notes", "secret", "```diff\n+ 1 node: wn003\n\n```\n")
    ]


# --- before the commit


def test_validate_finds_mistakes_of_people_and_builds_nothing(doit, reference):
    sample_site.write(doit.site, reference)
    assert "site.yaml: 2 nodes, 1 image" in doit("validate")
    assert not [path for path in doit.build.iterdir() if not path.name.startswith(".")]
    sample_site.put(doit.folder / "templates/hosts", b"{% for node in nodes %}\n")
    assert f"{doit.folder}/templates/hosts:1:1: " in doit("validate", status=3)


def test_the_hook_keeps_a_mistake_from_being_committed(doit, reference, tmp_path):
    sample_site.write(doit.site, reference)
    launcher(doit)
    (doit.folder / ".pre-commit-config.yaml").write_text(HOOKS.read_text())
    (doit.folder / ".gitignore").write_text("/build/\n/reference/\n/doit\n/cache/\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(doit.folder)]
    env = {
        **os.environ,
        "PRE_COMMIT_HOME": str(tmp_path / "cache"),
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }

    def git(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", *who, *words], env=env, capture_output=True, text=True)

    assert git("init", "-q").returncode == 0
    subprocess.run(
        [BIN / "pre-commit", "install"], cwd=doit.folder, env=env, check=True, capture_output=True
    )
    git("add", ".")
    assert (done := git("commit", "-m", "site: begin")).returncode == 0, done.stderr
    doit.site.write_text(doit.site.read_text().replace("mac:", "mcc:", 1))
    done = git("commit", "-a", "-m", "site: a mistake")
    assert done.returncode == 1 and re.search(rf"^{doit.site}:\d+:\d+: .*mcc", done.stderr, re.M), (
        done.stderr
    )


def test_the_hooks_for_other_repositories_are_well_formed():
    done = run("-m", "pre_commit", "validate-manifest", str(REPOSITORY / ".pre-commit-hooks.yaml"))
    assert done.returncode == 0, done.stdout
    hook = load(REPOSITORY / ".pre-commit-hooks.yaml")[0]
    assert os.access(REPOSITORY / hook["entry"], os.X_OK) and hook["args"] == [
        "validate",
        "site=site.yaml",
    ]


# --- completion, in real shells

SHELLS = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}
ASK = """
source "$1"
COMP_WORDBREAKS=$' \\t\\n"><=;|&(:' COMP_LINE=$2 COMP_POINT=${#2}
_plugnode
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def completion(tmp_path_factory) -> pathlib.Path:
    """A site with groups and two servers, beside it the script and a `./doit`."""
    doit = Doit(tmp_path_factory.mktemp("completion"))
    nodes = [node.replace("}", ", groups: [gpu]}") for node in sample_site.NODES]
    sample_site.write(doit.site, sample_site.reference(doit.folder / "node", files=3), nodes)
    text = doit.site.read_text().replace("nodes:", "groups: {gpu: {}, rack2: {}}\nnodes:")
    doit.site.write_text(text.replace("172.24.10.1}", "172.24.10.1}, boot2: {ip: 172.24.10.2}"))
    launcher(doit)
    doit("deploy", "server=boot1", f"destdir={doit.folder}/dest")
    (doit.folder / "script").write_text(doit("completion"))
    return doit.folder


@pytest.mark.parametrize(
    "typed, words",
    [
        ("ver", {"verify"}),
        ("deploy --", {"--again", "--help", "--plan="}),
        ("verify --re", {"--repair"}),
        ("deploy im", {"image=", "import"}),
        ("deploy node", {"nodes"}),  # it has no use for node=
        ("deploy image=", {"worker"}),
        ("plan server=b", {"boot1", "boot2"}),
        ("status node=w", {"wn001", "wn002"}),
        ("status node=wn001,", {"wn001,wn001", "wn001,wn002", "wn001,@gpu", "wn001,@*"}),
        ("boot firmware=u", {"uefi"}),
        ("boot site=/nowhere.yaml node=", set()),
    ],
)
def test_bash_completes_commands_options_variables_and_names(completion, typed, words):
    argv = ["bash", "-c", ASK, "bash", "./script", f"./doit {typed}"]
    done = subprocess.run(argv, cwd=completion, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == words, done.stderr


def test_releases_are_those_on_this_machine_and_sites_are_files(completion):
    (release,) = (path.name for path in completion.glob("dest/opt/nfs_export/worker-*"))
    for typed, word in (
        (f"destdir={completion}/dest release=w", release),
        (f"site={completion}/s", f"{completion}/site.yaml"),
    ):
        argv = ["bash", "-c", ASK, "bash", "./script", f"./doit rollback {typed}"]
        done = subprocess.run(argv, cwd=completion, capture_output=True, text=True, check=True)
        assert word in done.stdout.split()


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_completes_what_is_typed(completion, shell):
    shown = seen_after(
        SHELLS[shell],
        f". {completion}/script",
        "./doit status node=wn00\t1,@g\t",
        "@gpu",
        completion,
    )
    assert "@gpu" in shown, shown


def seen_after(argv: list[str], ready: str, typed: str, wanted: str, home: pathlib.Path) -> str:
    """What a terminal shows after a shell was made ready and something was typed, until that is `wanted`."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(home)
        os.execvpe(
            argv[0],
            argv,
            {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", "PS1": "$ "},
        )
    try:
        os.write(terminal, f'{ready}; echo made-r"ead"y\n'.encode())
        read_until(terminal, "made-ready")
        os.write(terminal, typed.encode())
        return read_until(terminal, wanted)
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def read_until(terminal: int, words: str, seconds: float = 30) -> str:
    """Everything shown until `words`, or for so long."""
    seen, end = "", time.monotonic() + seconds
    while words not in seen and (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            seen += os.read(terminal, 4096).decode(errors="replace")
    return seen
