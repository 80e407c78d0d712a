# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: which disks could be the node's. Read in by /etc/setup.sh.

named_disks() { # every one that the layout names, in the order of the patterns
  # shellcheck disable=SC2013 # words, and patterns among them, are meant to be expanded
  for path in $(layout_values device); do
    [ ! -b "$path" ] || readlink -f "$path"
  done | awk '!seen[$0]++'
}

every_disk() { # those of $WORK/named, and whatever else this machine has, whatever it is called today
  {
    cat "$WORK/named"
    for place in "$ROOT"/sys/block/*; do
      [ ! -e "$place/device" ] || echo "${place##*/}" | tr '!' / | sed 's,^,/dev/,'
    done
  } | awk '!seen[$0]++' | while read -r disk; do [ ! -b "$disk" ] || echo "$disk"; done
}

candidates() { # into $WORK/disks what is named and fit, those in use last; into $WORK/ours what is ours, named or not
  named_disks >"$WORK/named"
  : >"$WORK/ours"
  every_disk | while read -r disk; do
    ! grep -Fqx "$disk" "$WORK/taken" 2>/dev/null || continue
    [ -z "$(unfit "$disk")" ] || continue
    read_present "$disk"
    note_ours "$disk"
    if ! grep -Fqx "$disk" "$WORK/named" || is_of_another "$disk"; then continue; fi
    if in_use "$disk"; then echo "2 $disk"; else echo "1 $disk"; fi
  done | sort -s -k 1,1 | sed 's/^. //' >"$WORK/disks"
}

note_ours() { # DISK: of this layout, with its state, and the array that it is of, or itself
  case $STATE in CLAIMING | COMMITTED) is_of_set && ! has_other_node "$1" || return 0 ;; *) return 0 ;; esac
  [ "$HAS_ARRAY" != - ] || HAS_ARRAY=$1
  if [ "$HAS_NODE" = "$NODE" ]; then whose=mine; else whose=ours; fi
  echo "$whose $1 $STATE $HAS_ARRAY" >>"$WORK/ours"
}

is_of_another() { # DISK: ours, but of another layout or another node's, and nobody asks for it
  case $STATE in CLAIMING | COMMITTED) ;; *) return 1 ;; esac
  { ! is_of_set || has_other_node "$1"; } && ! forced "$1"
}

has_other_node() { # DISK, of which the state was just read: on a network, where that node works with it
  is_anothers "$(place_of "$1")" "$DATA/nodes" "$NODE"
}

undisputed() { # where other nodes see a disk, too, the last claim counts: two may have found it blank at once
  for disk in $MEMBERS; do network_at "$(place_of "$disk")"; done | grep -q . || return 0
  sleep "${PAUSE:-10}"
  for disk in $MEMBERS; do
    blockdev --flushbufs "$disk"
    read_state "$disk"
    [ "$HAS_NODE" = "$NODE" ] || { say "$disk was claimed by $HAS_NODE as well, and is left to it" && return 1; }
  done
}

unfit() { # DISK: why it is none of ours to use, or nothing
  sys=$(sys_of "$1")
  if [ ! -e "$sys/size" ]; then
    echo "is no whole disk"
  elif [ "$(cat "$sys/removable")" != 0 ] && ! layout_values allow | grep -qx removable; then
    echo "is removable; match: {removable: true} allows that"
  elif [ "$(blockdev --getro "$1")" != 0 ]; then
    echo "is read-only"
  elif [ "$(disk_transport "$1")" = usb ]; then
    echo "is on USB"
  else
    { layout_values match | unmatched "$1"; not_meant "$1"; } | head -n 1
  fi
}

not_meant() { # DISK: on a network, which the layout does not mean, and none that this node has worked with
  network=$(network_at "$(place_of "$1")")
  [ -n "$network" ] && ! layout_values match | grep -Fqx "transport $network" || return 0
  read_present "$1"
  case $STATE:$HAS_NODE in
  CLAIMING:"$NODE" | COMMITTED:"$NODE") ;;
  *) echo "is on a network; match: {transport: $network} allows that" ;;
  esac
}

unmatched() { # DISK, wanted "KEY VALUE" lines on stdin: the first that the disk does not fulfil
  while read -r key value; do
    case $key in
    size) size_within "$(mib_of "$1")" "$value" || echo "has $(mib_of "$1") MiB, not $value" ;;
    serial | id | transport)
      if [ "$key" = serial ]; then is=$(disk_serials "$1" | on_one_line); else is=$("disk_$key" "$1"); fi
      like "$is" "$value" || echo "has $key \"$is\", not \"$value\""
      ;;
    *) echo "cannot be matched by $key" ;;
    esac
  done | head -n 1
}

like() { # WORDS PATTERN: one of the words is like the pattern
  for word in $1; do
    # shellcheck disable=SC2254 # a pattern is what it is
    case $word in $2) return 0 ;; esac
  done
  return 1
}

size_within() { # MIB LOW..HIGH: either end may be missing; units as in site.yaml
  awk -v mib="$1" -v range="$2" '
    function mib_of(text,  n) {
      n = text + 0
      return text ~ /T/ ? n * 1048576 : text ~ /G/ ? n * 1024 : n
    }
    BEGIN { split(range, end, /\.\./); exit !(mib >= mib_of(end[1]) && (end[2] == "" || mib <= mib_of(end[2]))) }'
}
