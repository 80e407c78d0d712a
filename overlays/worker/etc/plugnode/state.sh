# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: the state sector, and whether a disk is proved blank: the only permissions to destroy. Read in by /etc/setup.sh.

write_state() { # DISK STATE TOKENS: the one commit of a claim, and of a complete disk
  case ${LAYOUT_FILE##*/} in
  *..*) body="PLUGNODE2 $SITE $2 $3 $LAYOUT $NODE $SET ${ARRAY:--}" ;; # which no release of before takes for its own
  *) body="PLUGNODE1 $SITE $2 $3 $LAYOUT $NODE" ;;
  esac
  flush
  cached=$(write_cached "$1")
  [ -z "$cached" ] || hdparm -q -W0 "$1" || :
  printf '%s %s%s' "$body" "$(printf %s "$body" | checksum)" "$MARK" |
    run_input dd of="$1" bs=512 seek=2040 count=1 conv=sync,notrunc,fsync
  flush
  blockdev --flushbufs "$1" 2>/dev/null || :
  [ -z "$cached" ] || hdparm -q -W1 "$1" || :
  read_state "$1"
  [ "$STATE" = "$2" ]
}

note_maker() { # DISK: in the sector after, which decides nothing
  echo "made by $RELEASE" | run_input dd of="$1" bs=512 seek=2041 count=1 conv=sync,notrunc,fsync
}

is_of_set() { # whether the state just read is of the present layout; one without a set is of the first
  [ "$HAS_SET" = "$SET" ] || { [ "$HAS_SET" = - ] && [ "$LAYOUT_FILE" = "${LAYOUT_FILES%% *}" ]; }
}

leader_of() { # DISK…: the one whose state is that of all: a claim, unless it is one that was just being committed
  [ $# -gt 1 ] || { echo "$1" && return; }
  for disk; do
    read_state "$disk"
    echo "$STATE $TOKENS $disk"
  done | awk '
    NR == 1 { leader = $3 }
    $1 == "CLAIMING" { claim[++claims] = $3; wish[claims] = $2 }
    $1 == "COMMITTED" { complete = $3; done[$2] = 1 }
    END {
      if (complete) leader = complete
      for (i = claims; i > 0; i--) if (!(wish[i] in done)) leader = claim[i]
      print leader
    }'
}

read_states() { # of all members, as read_state of one
  # shellcheck disable=SC2086 # a list
  read_state "$(leader_of $MEMBERS)"
}

same_state() { # what a cut left of committing several: those that were not reached get it from one that was
  # shellcheck disable=SC2086 # a list
  from=$(leader_of $MEMBERS)
  for disk in $MEMBERS; do
    read_state "$disk"
    [ "$STATE" = CLAIMING ] || continue
    dd if="$from" bs=512 skip=2040 count=1 2>/dev/null |
      run_input dd of="$disk" bs=512 seek=2040 count=1 conv=notrunc,fsync
  done
  read_states
}

judge_all() { # as judge of one: what keeps one of them from being taken keeps all
  for disk in $MEMBERS; do
    read_state "$disk"
    ! made_anew "$disk" || { judge "$disk" && return; }
  done
  read_states
  case $STATE in CLAIMING | COMMITTED) echo "$STATE" && return ;; esac
  for disk in $MEMBERS; do
    what=$(judge "$disk")
    [ "$what" = BLANK ] || { echo "$what" && return; }
  done
  echo BLANK
}

made_by() { # DISK: the release that made its file systems
  dd if="$1" bs=512 skip=2041 count=1 2>/dev/null | tr -cd 'A-Za-z0-9.+_ -' | sed -n 's/^made by //p' |
    grep . || echo "an earlier release"
}

write_cached() { # DISK: whether an ATA disk's cache is on; fsync flushes it from Linux 2.6.33 on, turning it off always
  hdparm -I "$1" 2>/dev/null | grep '\*.*Write cache' || :
}

flush() { # to the disk, all of it; the tests have no power to lose
  ${SYNC:-sync}
}

signs() { # DISK: what blkid knows of the whole of it: nothing, ours, theirs; unknown where it cannot tell
  status=0
  found=$("$(tool blkid)" -p -s TYPE -s PTUUID -o value "$1" 2>/dev/null) || status=$?
  case $status:$found in
  2:) echo nothing ;;
  0:504c5547-4e4f-4445-* | 0:504c[0-9a-f][0-9a-f][0-9a-f][0-9a-f]) echo ours ;; # as new_id makes them
  0:?*) echo theirs ;;
  *) echo unknown ;; # EL5's blkid, and damage
  esac
}

new_id() { # gpt|dos: of a table: its beginning says whose it is, the rest is nobody else's
  id=$(new_uuid)
  case $1 in
  gpt) echo "504c5547-4e4f-4445-${id#*-*-*-}" ;; # PLUGNODE
  *) echo "0x504c${id%"${id#????}"}" ;;
  esac
}

new_uuid() {
  cat "$ROOT/proc/sys/kernel/random/uuid" 2>/dev/null || cat /proc/sys/kernel/random/uuid
}

table_mark() { # for a state, where no table but one with an id of ours can be on a member from then on, until somebody makes it
  [ "$TABLE" != old ] || return 0
  for disk in $MEMBERS; do
    case $(signs "$disk") in nothing | ours) ;; *) return 0 ;; esac
  done
  echo '~' # behind the state: what is no letter of it no release reads, and one that writes a state of its own drops it
}

made_anew() { # DISK, of which the state was just read: it has the mark, and yet somebody else's table or file system stands there
  [ -n "$HAS_MARK" ] && [ "$(signs "$1")" = theirs ]
}

read_present() { # DISK: as read_state, but for what somebody else made anew
  read_state "$1"
  ! made_anew "$1" || STATE=none
}

judge() { # DISK: prints what it is, by evidence on the disk alone
  read_state "$1"
  ! made_anew "$1" || STATE=anew
  case $STATE in
  anew) echo "FOREIGN: somebody else has partitioned or formatted it since it was ours" ;;
  CLAIMING | COMMITTED) echo "$STATE" ;;
  other) echo "FOREIGN: it is another site's" ;;
  *) if what=$(not_blank "$1"); then echo "FOREIGN: $what"; else echo BLANK; fi ;;
  esac
}

not_blank() { # DISK: why it is not proved blank; fails if it is
  if in_use "$1"; then echo "it is in use: $(users_of "$1")" && return 0; fi
  last=$(($(cat "$(sys_of "$1")/size") - 2048))
  all_zero "$1" 0 || { echo "its first MiB is not empty, or not readable" && return 0; }
  all_zero "$1" "$last" || { echo "its last MiB is not empty, or not readable" && return 0; }
  status=0
  "$(tool blkid)" -p "$1" >/dev/null 2>&1 || status=$?
  case $status in
  0 | 8) echo "it has a signature (see blkid -p)" ;; # EL5's and busybox's blkid end with 4 and 1: they cannot tell
  *) return 1 ;;
  esac
}

all_zero() { # DISK SECTOR: the MiB from there on; what cannot be read is not zero
  [ "$(dd if="$1" bs=512 skip="$2" count=2048 2>/dev/null | wc -c)" -eq 1048576 ] &&
    [ "$(dd if="$1" bs=512 skip="$2" count=2048 2>/dev/null | tr -d '\000' | wc -c)" -eq 0 ]
}
