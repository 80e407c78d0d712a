"""The pipeline, as a table of contents. `doit list` prints it; docs/how-it-works.md draws it."""

from tasks.rule import Checker
from tasks.console import Reporter
from tasks.settings import site, state
from tasks.usage import usage

from tasks.references import task_snapshot, task_pull  # the node that the others are copies of
from tasks.examine import task_examine, task_accept  # can all of it be? nothing is made before
from tasks.root import task_root  # build/<image>/root and its manifest
from tasks.initrd import task_initrd  # build/<image>/vmlinuz, initrd.img
from tasks.configs import task_configs, task_site_image  # DHCP, PXE, hosts, exports; build/site.img
from tasks.release import task_release, task_boot_files  # what runs, by its id; the files that name it
from tasks.report import task_report  # build/report.html: what a reviewer looks at
from tasks.check import task_check, task_validate  # is all of it right, by the servers' own word
from tasks.plan import task_plan  # what a deploy would change, and whom it touches
from tasks.deploy import task_deploy, task_rollback, task_prune, task_verify, task_status
from tasks.push import task_push  # new site data for nodes that run
from tasks.boot import task_boot  # one node as a virtual machine, served by what would be deployed
from tasks.capacity import task_capacity  # are the servers enough for all nodes at once
from tasks.develop import task_schema, task_test  # for who works on Plugnode itself
from tasks.bench import task_bench  # Plugnode beside its peers

usage(globals())  # a word that no command knows, and -h, are answered first
site()  # what is wrong with it is said before anything runs

DOIT_CONFIG = {
    "backend": "sqlite3",
    "dep_file": state(),
    "check_file_uptodate": Checker,
    "reporter": Reporter,
    "default_tasks": ["release", "boot_files", "configs", "site_image", "report"],
    "verbosity": 2,
}
