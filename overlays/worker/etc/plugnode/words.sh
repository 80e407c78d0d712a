# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: what it says on the console and in the log, and how it runs what may fail. Read in by /etc/setup.sh.

say() { # TEXT: one line on the console, and in a file for later
  echo "plugnode: setup: $*" >>"$ROOT/dev/console" 2>/dev/null || :
  echo "$*" >>"$DATA/setup.log" 2>/dev/null || :
}

step() { # TEXT: what the node is about to do; the trap names it when it fails
  STEP=$*
  say "$@"
}

run() { # COMMAND…: do it, and say what it said if it fails
  "$@" >"$WORK/output" 2>&1 </dev/null || {
    status=$?
    say "$1 failed ($status): $* : $(output)"
    cat "$WORK/output" >>"$DATA/setup.log"
    return "$status"
  }
}

tell_output() { # OF WHAT: the first and last lines of what was run, and all of them in the log
  awk 'NF { line[++n] = $0 } END { for (i = 1; i <= n; i++) if (i < 5 || i > n - 4) print line[i] }' "$WORK/output" |
    while read -r line; do say "$1: $line"; done
  cat "$WORK/output" >>"$DATA/setup.log"
}

output() { # the last words of what was run, on one line
  tail -n 3 "$WORK/output" | tr '\n\t' '  ' | sed 's/  */ /g; s/ $//'
}

run_input() { # COMMAND…: as `run`, but with the standard input
  "$@" >"$WORK/output" 2>&1 || {
    status=$?
    say "$1 failed ($status): $(output)"
    return "$status"
  }
}

degrade() { # REASON: the node comes up, but not as it should: on the console, in syslog, in a file for health checks
  say "DEGRADED: $*"
  echo "<4>plugnode: setup: DEGRADED: $*" >>"$ROOT/dev/kmsg" 2>/dev/null || :
  echo "$*" >>"$DATA/degraded"
}

stop_node() { # REASON: a node that must not take work; it looks again after a while
  say "FAILED: $*; this node stops here and starts again in ${PAUSE:-120} s"
  echo "$*" >>"$DATA/degraded"
  report stopped || :
  sleep "${PAUSE:-120}"
  $MOCK reboot -f
  exit 9
}

ended() { # STATUS: the EXIT trap
  [ "$1" -eq 0 ] || say "failed ($1) in: $STEP"
}

tool() { # NAME: its path; some builds of busybox prefer their own, which know fewer options
  for folder in /sbin /usr/sbin /bin /usr/bin; do
    [ ! -x "$folder/$1" ] || { echo "$folder/$1" && return; }
  done
  echo "$1"
}

need() { # PROGRAM PACKAGE: what this root lacks, if it does
  command -v "$1" >/dev/null || echo "this root lacks $1: add $2 to the reference"
}

again() { # VERB…: in a process of its own, where `set -e` holds even if the status is asked for
  ${SH:-/bin/sh} "$0" "$@"
}
