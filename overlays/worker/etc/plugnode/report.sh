# shellcheck shell=sh disable=SC2154 # of other parts
#
# Plugnode: the report of a boot, one datagram of syslog to the server that the node booted from, where the site keeps
# them: plugnode.report=ADDRESS:PORT. Nobody waits for an answer. Read in by /etc/setup.sh and /etc/tell.sh.

report() { # ready | stopped
  to=$(argument plugnode.report)
  only 0-9.: "$to" || return 0
  send "${to%:*}" "${to##*:}" "$1=$(seconds) $(report_words)" ||
    echo "plugnode: report: not sent: this root has neither a logger with -n (util-linux) nor bash" >>"$ROOT/dev/console"
}

seconds() { # since the kernel started
  cut -d ' ' -f 1 "$ROOT/proc/uptime"
}

report_words() { # release, when each stage began, and what the node lacks, as far as a datagram goes
  stages=$(tr ' \n' ':,' <"$DATA/stages" 2>/dev/null) || stages=
  words="release=$(cat "$DATA/release") stages=${stages%,}"
  [ ! -s "$DATA/degraded" ] || words="$words degraded=$(tr '\n' ';' <"$DATA/degraded" | tr -cd ' -~' | cut -c 1-400)"
  echo "$words"
}

# shellcheck disable=SC2016 # bash expands it
send() { # ADDRESS PORT TEXT: busybox's logger sends nothing anywhere
  logger -d -n "$1" -P "$2" -p daemon.info -t plugnode-boot "$3" 2>/dev/null ||
    bash -c 'printf "<30>plugnode-boot: %s" "$3" >"/dev/udp/$1/$2"' bash "$1" "$2" "$3" 2>/dev/null
}
