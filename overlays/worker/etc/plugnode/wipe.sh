# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: a token that the disk does not remember is done once. Read in by /etc/setup.sh.

tokens() { # all that are asked for, a line each: by site.yaml, the kernel command line, /var/wipe
  { own_field 6; own_field 7; line_tokens; var_token; } | grep -v '^-*$'
}

line_tokens() { # of the kernel command line: whoever answers DHCP says that, so where site data is signed it counts for nothing
  [ -s "$DATA/signed" ] || arguments plugnode.wipe
}

doubt_line() { # that it asks for something all the same
  [ ! -s "$DATA/signed" ] || [ -z "$(arguments plugnode.wipe)" ] ||
    say "plugnode.wipe= of the kernel command line does not count: site data is signed, and that is not"
}

var_token() { # what is in /var/wipe, for the layout with /var; an empty one is a new wish each time it is made
  if ! mounted "$VAR" || [ ! -e "$VAR/wipe" ] || ! has_var; then return 0; fi
  token=$(tr '\n' ' ' 2>/dev/null <"$VAR/wipe" || :)
  [ -n "${token% }" ] || token=$(stat -c 'made %Y %i' "$VAR/wipe")
  echo "$token"
}

has_var() {
  awk '$2 == "/var" { found = 1 } END { exit !found }' "$WORK/partitions"
}

hashes() { # of the tokens that are for these disks, a line each
  tokens | while read -r token; do
    is_meant "$token" || continue
    printf %s "$token" | checksum
    echo
  done
}

is_meant() { # TOKEN: what is for foreign disks is no wish for ours, nor is one disk's serial number for others
  case $1:$STATE in
  foreign:*:CLAIMING | foreign:*:COMMITTED) return 1 ;;
  force:*) ;;
  *) return 0 ;;
  esac
  for disk in $MEMBERS; do
    ! has_serial "$disk" "${1#force:}" || { [ -z "$(sharing "${1#force:}")" ] && return; }
  done
  return 1
}

asked() { # the hashes that the disk does not remember
  hashes | while read -r hash; do
    case ,$TOKENS, in *,"$hash",*) ;; *) echo "$hash" ;; esac
  done
}

remembered() { # TOKENS, and all that is asked for now: the sector has room for 32
  { echo "$TOKENS" | tr ',' '\n'; asked; } | awk '
    $0 != "-" { token[++n] = $0 }
    END {
      for (i = n > 32 ? n - 31 : 1; i <= n; i++) all = all "," token[i]
      print all == "" ? "-" : substr(all, 2)
    }'
}

forced() { # DISK: one that is not ours, or of several that are: only by its serial number, force:SERIAL
  for serial in $(disk_serials "$1"); do
    tokens | grep -Fqx "force:$serial" || continue
    [ -z "$(sharing "$serial")" ] || continue
    ! needs_new_wish "$1" || ! remembers "$1" "force:$serial" || continue
    return 0
  done
  return 1
}

needs_new_wish() { # DISK: its state is not what says whose it is today; one of another node is that node's wish
  (read_state "$1" && { made_anew "$1" || has_other_node "$1"; })
}

remembers() { # DISK TOKEN: one that was done when the disk was ours is no wish for what somebody else has made there since
  case ,$(read_state "$1" && echo "$TOKENS"), in *,"$(printf %s "$2" | checksum)",*) ;; *) return 1 ;; esac
}

sharing() { # SERIAL: the disks that have it, on one line, where it is not one's own: namespaces of NVMe, dual actuators
  {
    cat "$WORK/named"
    awk '{ print $2 }' "$WORK/ours"
  } 2>/dev/null | awk '!seen[$0]++' | while read -r disk; do
    ! has_serial "$disk" "$1" || [ -n "$(unfit "$disk")" ] || echo "$disk"
  done | awk '{ all = all " " $0 } END { if (NR > 1) print substr(all, 2) }'
}

refuse_shared() { # a wish that could mean several disks is done to none
  tokens | sed -n 's/^force://p' | while read -r serial; do
    disks=$(sharing "$serial")
    [ -z "$disks" ] || degrade "force:$serial is of several disks, $disks: devices or match: {id: …} picks one"
  done
}

taken_by_group() { # DISK: foreign:WORD, for machines that had another life, takes what nobody can call ours
  tokens | grep -q '^foreign:' || return 1
  why=$(kept_from_group "$1")
  [ -z "$why" ] || { say "$1 is not taken by foreign:, it $why" && return 1; }
}

kept_from_group() { # DISK: why only its own serial number could take it
  read_state "$1"
  if [ "$STATE" != none ]; then
    echo "is a disk of Plugnode"
  elif [ "$(wc -l <"$WORK/disks")" -ne "$COUNT" ]; then
    echo "is not the only one that devices and match mean"
  elif [ "$(made_by "$1")" != "an earlier release" ] || has_label "$1"; then
    echo "was a disk of Plugnode"
  elif [ -n "$(network_at "$(place_of "$1")")" ]; then
    echo "is on a network"
  elif above "$(block_name "$1")" | while read -r name; do cat "/sys/block/$name/dm/uuid"; done 2>/dev/null |
    grep -q '^mpath-'; then
    echo "is one of several paths"
  fi
}

has_label() { # DISK: a file system with a label of this layout is on it
  DISK=$1
  while read -r number _ _ fs label _; do
    ! node_of "$number" "$fs" "$label" >/dev/null || return 0
  done <"$WORK/partitions"
  return 1
}

wipe_on_request() { # /var/wipe: ours, and only if it was not done before
  [ -n "$(asked)" ] || { say "/var/wipe was done before" && rm -f "$VAR/wipe" && return 0; }
  say "/var/wipe asks for a wipe of $MEMBERS"
  read_states
  TOKENS=$(remembered)
  each_partition leave_swap
  sort -r -k 2,2 "$WORK/partitions" >"$WORK/reversed"
  if mounted "$DATA/image" && ! root_stands_on "$DISK"; then run umount -n "$DATA/image"; fi
  while read -r _ mount _; do
    set_aside "$mount"
    if mounted "$ROOT$mount"; then run umount -n "$ROOT$mount"; fi
  done <"$WORK/reversed"
  provision_then_mount
}

leave_swap() { # NUMBER MOUNT MIB FS LABEL FILL
  [ "$4" != swap ] || swapoff "$(node_of "$1" "$4" "$5")" 2>/dev/null || :
}
