# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: from a claim to a complete disk: the only part that destroys. Read in by /etc/setup.sh.

provision() { # DISK TOKENS: from whatever is there to COMMITTED; a cut at any moment starts it over
  entitled "$1" "$2"
  step "claim $1"
  write_state "$1" CLAIMING "$2"
  discard "$1"
  clear_ends "$1"
  step "partition $1: $(mib_of "$1") MiB"
  write_table "$1"
  wait_for_partitions "$1"
  each_partition make_filesystem
  each_partition fill_filesystem
  step "commit $1"
  write_state "$1" CLAIMING "$2" # once more, for its flush: all that was before is on the disk, not in its cache
  write_state "$1" COMMITTED "$2"
}

entitled() { # DISK TOKENS: asks the disk itself once more, and takes down what stands on it
  case $(judge "$1") in
  BLANK | CLAIMING) ;;
  COMMITTED) read_state "$1" && [ "$2" != "$TOKENS" ] ;;
  *) forced ;;
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

write_table() { # DISK: EL5's sfdisk takes no names for units, has no GPT and starts at sector 63 unless told
  kind=$(table_kind)
  if [ "$kind" != old ]; then
    table_script "$1" "$kind" | run_input sfdisk -q --no-reread --force "$1"
  else
    [ "$(layout_values table)" = dos ] || say "this sfdisk writes no GPT, so $1 gets a dos table"
    table_script "$1" old | run_input sfdisk -q -uS -L --no-reread -f "$1"
  fi
  flush
}

table_script() { # DISK gpt|dos|old: every start and size in sectors, on whole MiB; the first at 1 MiB
  size_partitions "$1"
  [ "$2" = old ] || echo "label: $2"
  [ "$2" = gpt ] && linux=L swap=S || linux=83 swap=82
  sectors=$((1048576 / $(blockdev --getss "$1"))) end=$(($(mib_of "$1") - 1)) at=1 count=0
  while read -r number _ mib fs _; do
    count=$((count + 1))
    [ "$number" -ne 5 ] || [ "$count" -eq 5 ] || echo "$((at * sectors)),$(((end - at) * sectors)),5"
    [ "$number" -eq "$count" ] || at=$((at + 1)) # a logical one; its own table is in the MiB before
    [ "$fs" = swap ] && type=$swap || type=$linux
    echo "$((at * sectors)),$((mib * sectors)),$type"
    at=$((at + mib))
  done <"$WORK/sized"
}

wait_for_partitions() { # DISK: until the kernel has the new table, and no node of an older one
  step "wait for the partitions of $1"
  waited=0
  until reread "$1" && partitions_there "$1"; do
    [ "$waited" -lt 20 ] || { say "the kernel does not show the new partitions of $1" && return 1; }
    sleep 1
    waited=$((waited + 1))
  done
}

reread() { # DISK: the kernel's view of its table; udev may hold the disk for a moment
  [ -z "$NODES" ] || return 0
  blockdev --rereadpt "$1" 2>/dev/null || partx -u "$1" 2>/dev/null || partprobe "$1" 2>/dev/null || return 1
  settle
}

partitions_there() { # DISK: every node, of the size it shall have
  while read -r number _ mib _; do
    node=$(partition_node "$1" "$number")
    [ -b "$node" ] || return 1
    [ "$mib" = rest ] || [ "$(blockdev --getsize64 "$node")" -eq $((mib * 1048576)) ] || return 1
  done <"$WORK/partitions"
}

make_filesystem() { # NUMBER MOUNT MIB FS LABEL FILL
  node=$(partition_node "$DISK" "$1")
  step "format $node: $4 for $2"
  wipefs -a "$node" >/dev/null 2>&1 || : # of what was there before a forced wipe; EL5 has none
  case $4 in
  swap) run mkswap -L "$5" "$node" ;;
  xfs) run mkfs.xfs -q -f -L "$5" "$node" ;;
  *)
    run "mkfs.$4" -q -F -L "$5" "$node"
    tune2fs -c 0 -i 0 "$node" >/dev/null 2>&1 || : # a node's boot shall not take an hour every 180 days
    ;;
  esac
}

fill_filesystem() { # NUMBER MOUNT MIB FS LABEL FILL
  [ "$6" != - ] || return 0
  step "fill $2 from $6"
  mkdir -p "$WORK/mnt"
  run mount -n -t "$4" -o "$(mount_options "$4")" "$(partition_node "$DISK" "$1")" "$WORK/mnt"
  run cp -a "$ROOT$6/." "$WORK/mnt/"
  write_synced "$WORK/mnt/.plugnode" "$RELEASE"
  run umount -n "$WORK/mnt"
}
