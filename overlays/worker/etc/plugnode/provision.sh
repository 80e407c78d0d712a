# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: from a claim to a complete disk: the only part that destroys. Read in by /etc/setup.sh.

provision() { # TOKENS: from whatever is on all members to COMMITTED; a cut at any moment starts it over
  DISK=${MEMBERS%% *}
  for disk in $MEMBERS; do entitled "$disk" "$1"; done
  claim "$1"
  for disk in $MEMBERS; do
    discard "$disk"
    clear_ends "$disk"
  done
  [ -z "$LEVEL" ] || make_array
  make_table "$DISK"
  each_partition make_filesystem
  each_partition fill_filesystem
  [ -z "$LEVEL" ] || stop_array
  for disk in $MEMBERS; do note_maker "$disk"; done
  step "commit $MEMBERS"
  MARK=$(table_mark)
  each_state CLAIMING "$1" # once more, for its flush: all that was before is on the disks, not in their caches
  each_state COMMITTED "$1"
}

claim() { # TOKENS: nothing of any member is lost before all are claimed, and the one whose state is that of all comes first
  read_states
  ARRAY=$HAS_ARRAY
  # shellcheck disable=SC2086 # a list
  leader=$(leader_of $MEMBERS)
  MARK=$(table_mark)
  step "claim $MEMBERS"
  write_state "$leader" CLAIMING "$1"
  for disk in $MEMBERS; do [ "$disk" = "$leader" ] || write_state "$disk" CLAIMING "$1"; done
  undisputed
}

each_state() { # STATE TOKENS
  for disk in $MEMBERS; do write_state "$disk" "$1" "$2"; done
}

locked() { # COMMAND…: until it ends udev leaves the members alone, as systemd's block device locking asks
  for disk in $MEMBERS; do
    ! flock -V >/dev/null 2>&1 || set -- flock -w 30 "$disk" "$@" # busybox's cannot wait
  done
  "$@"
}

make_table() { # DISK: partitions of which nothing is left from before
  clear_partitions "$1"
  step "partition $1: $(mib_of "$1") MiB"
  write_table "$1"
  wait_for_partitions "$1"
}

entitled() { # DISK TOKENS: asks the disk itself once more, and takes down what stands on it
  read_present "$1"
  ! is_of_another "$1" || return 1
  case $(judge "$1") in
  BLANK | CLAIMING) ;;
  COMMITTED) read_state "$1" && [ "$2" != "$TOKENS" ] ;;
  *) forced "$1" || taken_by_group "$1" ;;
  esac || return 1
  ! in_use "$1" || take_down "$1"
}

discard() { # DISK: tell an SSD that all behind the state sector is free; one that cannot is as good
  blkdiscard -s -o 1048576 "$1" 2>/dev/null || blkdiscard -o 1048576 "$1" 2>/dev/null || :
}

clear_ends() { # DISK: no old table at either end, and no claim lost: the state sector's 4 KiB stay
  last=$(($(cat "$(sys_of "$1")/size") - 2048))
  run dd if=/dev/zero of="$1" bs=4096 count=255 conv=notrunc,fsync
  run dd if=/dev/zero of="$1" bs=512 seek="$last" count=2048 conv=notrunc,fsync
}

clear_partitions() { # DISK: what lies under the ends of partitions to be would come back with them: an old volume
  size_partitions "$1"
  while read -r number _ mib _ _ _ at <&3; do
    [ "$number" -lt 5 ] || clear_mib "$1" $((at - 1)) # a logical one's own table; else the end of the one before
    clear_mib "$1" "$at"
    clear_mib "$1" $((at + mib - 1))
  done 3<"$WORK/sized"
}

clear_mib() { # DISK MIB; never the first, where the state sector is
  [ "$2" -ge 1 ] && run dd if=/dev/zero of="$1" bs=1048576 seek="$2" count=1 conv=notrunc,fsync
}

write_table() { # DISK: EL5's sfdisk takes no names for units, has no GPT and starts at sector 63 unless told
  if [ "$TABLE" != old ]; then
    table_script "$1" "$TABLE" | run_input sfdisk -q --no-reread --force "$1"
  else
    [ "$(layout_values table)" = dos ] || say "this sfdisk writes no GPT, so $1 gets a dos table"
    table_script "$1" old | run_input sfdisk -q -uS -L --no-reread -f "$1"
  fi
  flush
}

table_script() { # DISK gpt|dos|old: every start and size in sectors, on whole MiB; the first at 1 MiB
  size_partitions "$1"
  [ "$2" = old ] || printf 'label: %s\nlabel-id: %s\n' "$2" "$(new_id "$2")"
  [ "$2" = gpt ] && linux=L swap=S raid=A19D880F-05FC-4D3B-A006-743F0F84911E || linux=83 swap=82 raid=fd
  sectors=$((1048576 / $(blockdev --getss "$1"))) end=$(($(mib_of "$1") - 1)) count=0
  while read -r number _ mib fs _ _ at; do
    count=$((count + 1))
    [ "$number" -ne 5 ] || [ "$count" -eq 5 ] || # the extended one, for all that are logical
      echo "$(((at - 1) * sectors)),$(((end - at + 1) * sectors)),5"
    case $fs in swap) type=$swap ;; raid) type=$raid ;; *) type=$linux ;; esac
    echo "$((at * sectors)),$((mib * sectors)),$type"
  done <"$WORK/sized"
}

wait_for_partitions() { # DISK: until the kernel has the new table, and no node of an older one
  step "wait for the partitions of $1"
  waited=0
  until reread "$1" && partitions_there "$1"; do
    [ "$waited" -lt 20 ] || { say "the kernel does not show the new partitions of $1" && return 1; }
    if in_use "$1"; then take_down "$1"; fi
    settle
    sleep 1
    waited=$((waited + 1))
  done
}

reread() { # DISK: the kernel's view of its table; udev may hold the disk for a moment
  [ -z "$NODES" ] || return 0
  blockdev --rereadpt "$1" 2>/dev/null || partx -u "$1" 2>/dev/null || partprobe "$1" 2>/dev/null
}

partitions_there() { # DISK: every node, of the size it shall have
  while read -r number _ mib _; do
    node=$(partition_node "$1" "$number")
    [ -b "$node" ] || return 1
    [ "$mib" = rest ] || [ "$(blockdev --getsize64 "$node")" -eq $((mib * 1048576)) ] || return 1
  done <"$WORK/partitions"
}

make_filesystem() { # NUMBER MOUNT MIB FS LABEL FILL; what took the partition in between is taken down, twice
  node=$(partition_node "$DISK" "$1") tries=0
  step "format $node: $4 for $2"
  until format "$node" "$4" "$5"; do
    tries=$((tries + 1))
    [ "$tries" -lt 3 ] || return 1
    in_use "$DISK" || return 1
    take_down "$DISK" || return 1
  done
}

format() { # NODE FS LABEL
  wipefs -a "$1" >/dev/null 2>&1 || : # of what was there before a forced wipe; EL5 has none
  case $2 in
  swap) run mkswap -L "$3" "$1" ;;
  xfs) run mkfs.xfs -q -f -L "$3" "$1" ;;
  *)
    run "mkfs.$2" -q -F -L "$3" "$1" || return
    tune2fs -c 0 -i 0 "$1" >/dev/null 2>&1 || : # a node's boot shall not take an hour every 180 days
    ;;
  esac
}

fill_filesystem() { # NUMBER MOUNT MIB FS LABEL FILL
  [ "$6" != - ] || return 0
  step "fill $2 from $6"
  mkdir -p "$WORK/mnt"
  run mount -n -t "$4" -o "$(mount_options "$4" "$2")" "$(partition_node "$DISK" "$1")" "$WORK/mnt"
  fill_from "$ROOT$6" "$WORK/mnt"
  write_synced "$WORK/mnt/.plugnode" "$RELEASE"
  run umount -n "$WORK/mnt"
}
