# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: what a root over NFS has not, and one that is written above can have. Read in by /etc/setup.sh.

give_capabilities() { # to files of a root that came over NFS: it carries none, the layer above it does
  list=$ROOT/etc/plugnode/capabilities
  [ -s "$list" ] && is_above_nfs || return 0
  lacks=$(need setcap "libcap2-bin, or libcap")
  [ -z "$lacks" ] || { degrade "$lacks; programs have no file capabilities" && return 0; }
  while IFS="$tab" read -r capabilities path <&3; do
    run setcap "$capabilities" "$ROOT$path" || degrade "$path has no $capabilities"
  done 3<"$list"
}

is_above_nfs() { # the initrd names the layer after what is below: SERVER:/PATH
  awk -v root="${ROOT:-/}" '
    $2 == root { found = $1 ~ /:\// && $3 == "overlay" }
    END { exit !found }' /proc/mounts
}
