"""The pipeline, as a table of contents. `doit list` prints it; docs/how-it-works.md draws it."""

from tasks.base.console import Reporter, begin

begin()  # before all that follows can be interrupted

from tasks.base.rule import DependencyChecker
from tasks.base.settings import names_a_task, site, state
from tasks.configs import task_configs, task_site_image  # DHCP, PXE, hosts, exports; build/site.img
from tasks.examine import task_accept, task_examine  # can all of it be? nothing is made before
from tasks.initrd import task_initrd  # build/<image>/vmlinuz, initrd.img
from tasks.references import task_pull, task_snapshot  # the node that the others are copies of
from tasks.release import task_boot_files, task_release  # what runs; the files that name it
from tasks.report import task_report  # build/report.html: what a reviewer looks at
from tasks.root import task_root  # build/<image>/root and its manifest
from tasks.root_file import task_root_file  # the same as one file, for nodes that fetch it

if names_a_task():  # a run of the pipeline alone loads no command
    from tasks.bench import task_bench  # Plugnode beside its peers
    from tasks.boot import task_boot  # one node as a virtual machine, served by what is deployed
    from tasks.capacity import task_capacity  # are the servers enough for all nodes at once
    from tasks.check import task_check, task_validate  # is it right, by the servers' own word
    from tasks.completion import complete, task_completion  # of commands and names, in the shell
    from tasks.deploy import task_deploy, task_prune, task_rollback, task_verify
    from tasks.develop import task_schema, task_test  # for who works on Plugnode itself
    from tasks.discover import task_discover  # cards that are no node's yet
    from tasks.enroll import task_enroll  # nodes' public keys, for their secrets
    from tasks.importing import import_at_once, task_import  # a first site.yaml, of others' files
    from tasks.nodes import task_nodes  # each node's values, and the lines that gave them
    from tasks.plan import task_plan  # what a deploy would change, and whom it touches
    from tasks.power import task_console, task_power  # nodes by their BMCs
    from tasks.push import task_push  # new site data for nodes that run
    from tasks.sign import task_sign  # what was built, with the site's key
    from tasks.status import task_status  # what servers hold, what nodes run, how they booted
    from tasks.upgrade import task_upgrade  # nodes led to the release that they would boot
    from tasks.usage import usage

    complete(globals())  # what a shell asks for is all that it gets
    usage(globals())  # a word that no command knows, and -h, are answered first
    import_at_once()  # needs no site

site()  # what is wrong with it is said before anything runs

DOIT_CONFIG = {
    "backend": "sqlite3",
    "dep_file": state(),
    "check_file_uptodate": DependencyChecker,
    "reporter": Reporter,
    "default_tasks": ["release", "boot_files", "configs", "site_image", "report"],
    "verbosity": 2,
}
