"""Messages: in our own words, one line, right in number, and silent where nobody listens."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from tests.support import sample_site
from tests.support.commands import REPOSITORY, Doit

CI = REPOSITORY / "docs/ci"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_a_command_says_how_it_is_used_without_a_site_and_builds_nothing(doit: Doit, option):
    assert doit("deploy", option).startswith(
        "./doit deploy: make the targets match what was built; "
    )
    out = doit("plan", "--json", option)
    assert "--against=" in out and "--detailed-exitcode" in out and "server=" in out
    assert not doit.build.exists()


def test_an_option_that_a_command_has_not_is_named_with_those_that_it_has(doit: Doit):
    out = doit("plan", "-x", status=3)
    assert (
        "plan -x: no such option; it has --json, --detailed-exitcode, --against, --again; ./doit"
        in out
    )
    assert "rollback --full: no such option; it has none" in doit("rollback", "--full", status=3)
    assert "verify --nodes: no such option; it has --full, --repair" in doit(
        "deploy", "verify", "--nodes", status=3
    )
    assert "parsing" not in out and not doit.build.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["deploy", "--plan"], "deploy --plan: of what? write --plan=…"),
        (["status", "--html"], "status --html: of what?"),
        (["plan", "--against="], "plan --against=: nothing is named; name what is meant"),
        (["discover", "--write="], "discover --write=: nothing is named; name what is meant"),
        (["plan", "--json=yes"], "plan --json=yes: it has no value; leave that out"),
        (["capacity", "--within=2h"], "capacity --within=2h: not a number"),
        (["capacity", "--nodes=1e3"], "capacity --nodes=1e3: not a whole number"),
    ],
)
def test_a_value_that_an_option_lacks_or_cannot_have_is_said_in_our_words(doit, words, said):
    out = doit(*words, status=3)  # site= and build= stand behind
    assert said in out and "parsing" not in out and not doit.build.exists()


def test_what_follows_an_option_is_its_value_and_no_command(doit: Doit):
    out = doit("bench", "--only", "configs", "--nope", status=3)
    assert "bench --nope: no such option" in out


def test_what_doit_itself_takes_is_left_to_it(built: Doit):
    built("-n", "2")
    built("run", "check")
    assert "deploy" in built("list")
    assert "no changes" not in built("plan", f"destdir={built.folder}/dest", "--det", status=2)


def closed_reader(built: Doit, *words: str, both: bool = False) -> tuple[int, str]:
    """Exit status and stderr of doit when whoever reads its output has gone before the first word."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        aside = writer if both else subprocess.PIPE
        run = built.start(*words, stdout=writer, stderr=aside)
        said = run.communicate(timeout=120)[1] or ""
        return run.returncode, "".join(
            line for line in said.splitlines(True) if not line.startswith((".  ", "   "))
        )
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    "words", [["plan"], ["plan", "--json"], ["status"], ["verify"], ["validate"], ["capacity"]]
)
def test_a_reader_that_goes_away_ends_a_command_in_silence(built: Doit, words):
    where = f"destdir={built.folder}/dest"
    built("deploy", where)
    if words[0] not in ("validate", "capacity"):
        words = [*words, where]
    status, said = closed_reader(built, *words)
    assert (status, said) == (141, "")
    assert closed_reader(built, *words, both=True)[0] == 141


def test_one_difference_is_one(built: Doit):
    where = f"destdir={built.folder}/dest"
    built("deploy", where)
    (root,) = (built.folder / "dest/opt/nfs_export").glob("worker-*")
    (root / "etc/added").touch()
    assert "ERROR: 1 difference from what was deployed" in built("verify", where, status=1)
    (root / "etc/more").touch()
    assert "ERROR: 2 differences from what was deployed" in built("verify", where, status=1)


def count(plan: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, CI / "counts"], input=plan, capture_output=True, text=True
    )


def test_the_changes_of_several_servers_are_counted_together():
    one = {"files": [{"action": "add"}, {"action": "change"}], "by_hand": []}
    two = {"files": [{"action": "remove"}], "by_hand": [{"action": "add"}]}
    done = count(json.dumps({"changed": True, "servers": {"boot1": one, "boot2": two}}))
    assert json.loads(done.stdout) == {"create": 2, "update": 1, "delete": 1}
    assert json.loads(count(json.dumps({"servers": {}})).stdout) == {
        "create": 0,
        "update": 0,
        "delete": 0,
    }


@pytest.mark.parametrize(
    "plan",
    ["", "{}", "[]", "null", "ERROR: boot1: it cannot be reached\n", '{"servers": {"a": 1}}'],
)
def test_what_is_no_plan_is_one_line(plan):
    done = count(plan)
    assert done.returncode == 1 and done.stdout == "" and len(done.stderr.splitlines()) == 1, (
        done.stderr
    )


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/api/v4", "http://gitlab.invalid/api/v4"])
def test_a_note_that_nobody_takes_is_one_line_without_the_token(tmp_path, address):
    (tmp_path / "plan.txt").write_text("no changes\n")
    job = {
        "CI_API_V4_URL": address,
        "CI_PROJECT_ID": "7",
        "CI_MERGE_REQUEST_IID": "3",
        "PLUGNODE_TOKEN": "s3cret",
    }
    argv = [sys.executable, CI / "note", tmp_path / "plan.txt"]
    done = subprocess.run(
        argv, env={**os.environ, **job, "no_proxy": "*"}, capture_output=True, text=True
    )
    assert (
        done.returncode == 1 and done.stderr.count("\n") == 1 and "was not written" in done.stderr
    ), done.stderr
    assert address in done.stderr and "s3cret" not in done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="gives rights away")
@pytest.mark.parametrize("command", ["deploy", "status", "verify", "prune", "plan"])
def test_what_this_user_may_not_is_one_line_with_the_path(built: Doit, command):
    closed = built.folder / "dest/opt"
    closed.mkdir(parents=True, mode=0o700)
    os.chown(closed, 65534, 65534)
    less = (
        "--bounding-set=-dac_override,-dac_read_search",
        "--inh-caps=-dac_override,-dac_read_search",
    )
    argv = ["setpriv", *less, "--", sys.executable, "-m", "doit", command, f"site={built.site}"]
    where = [f"build={built.build}", f"destdir={built.folder}/dest"]
    done = subprocess.run([*argv, *where], cwd=REPOSITORY, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    assert "Traceback" not in done.stderr and done.returncode, done.stdout + done.stderr
    assert (
        len(said) == 1 and "Permission denied" in said[0] and str(built.folder / "dest") in said[0]
    ), done.stderr


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ lipsum.__globals__['os'].popen('touch ESCAPED').read() }}",
    "{% for node in nodes %}{{ node.__class__.__init__ }}{% endfor %}",
    "{{ nodes.append(1) }}",
    "{{ '{0.__class__}'.format(site) }}",
    "{{ range(999999999) | list }}",
]


WRONG = {
    "{{ 1 / 0 }}": "ZeroDivisionError: division by zero",
    "{{ 'x' * 10**14 }}": "MemoryError",
    "{{ site + 1 }}": "TypeError: ",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}": "RecursionError: ",
    "{{ 'x' | int(base=99) }}{{ nodes | sum }}": "TypeError: ",
}


@pytest.mark.parametrize("text", WRONG)
def test_an_expression_of_a_template_that_comes_to_nothing_is_named_with_its_line(
    doit: Doit, reference, text
):
    sample_site.write(doit.site, reference)
    sample_site.put(doit.folder / "templates/hosts", f"\n{text}\n".encode())
    out = doit(status=3)
    assert re.search(f"^{doit.folder}/templates/hosts:2:1: {WRONG[text]}", out, re.MULTILINE), out


def test_a_template_that_was_right_is_looked_at_again_when_it_is_another(doit: Doit, reference):
    """One that nothing is rendered by, too; whatever was right or wrong before."""
    sample_site.write(doit.site, reference)
    part = doit.folder / "templates/part"
    for text, status in {b"right": 0, b"{% if %}": 3, b"right ": 0, b"{% for %}": 3}.items():
        sample_site.put(part, text)
        assert (f"{part}:1:1: " in doit(status=status)) == bool(status)
    doit.site.write_text(doit.site.read_text().replace("ttyS0", "ttyS1"))
    assert f"{part}:1:1: " in doit(status=3)


def test_a_template_that_leads_out_of_the_site_is_refused_though_its_bytes_were_right(
    doit: Doit, reference, tmp_path_factory
):
    sample_site.write(doit.site, reference)
    part, away = doit.folder / "templates/part", tmp_path_factory.mktemp("away") / "part"
    sample_site.put(part, b"right")
    doit()
    part.rename(away)
    part.symlink_to(away)
    doit.site.write_text(doit.site.read_text().replace("ttyS0", "ttyS1"))
    assert f"{part}:1:1: leads to {away}" in doit(status=3)


@pytest.mark.parametrize("text", ESCAPES)
def test_a_template_of_the_site_reaches_nothing_but_values(doit: Doit, reference, text):
    sample_site.write(doit.site, reference)
    escaped = doit.folder / "escaped"
    sample_site.put(
        doit.folder / "templates/hosts",
        b"\n" + text.replace("ESCAPED", str(escaped)).encode() + b"\n",
    )
    out = doit(status=3)
    assert f"{doit.folder}/templates/hosts:2:1: " in out, out
    assert not escaped.exists() and not (doit.build / "configs").exists()
