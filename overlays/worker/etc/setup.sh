#!/bin/sh
# /etc/setup.sh: gives a diskless worker node its own disk and its own name. The same file on every site.
#
# Run once a boot, before anything uses /var: by rc.sysinit after start_udev, or by plugnode-setup.service.
# POSIX sh: dash, bash 3.2 of EL5 and busybox ash run it. What varies is data in /run/plugnode (site.img, the initrd)
# and on the kernel command line: plugnode.wipe=TOKEN (or force:SERIAL), plugnode.fsck=repair, plugnode.wait=SECONDS.
#
# What may destroy data: `provision`, and only after the disk was proved blank or its state sector says CLAIMING.
#   no state sector, all of the first and last MiB zero, no signature -> claim it, provision
#   CLAIMING  (a power cut while provisioning)                         -> provision again
#   COMMITTED (complete)                                               -> check, mount; a new wipe token -> claim it
#   anything else                                                      -> never written to; tmpfs instead
# The state sector is one 512-byte sector in the gap before the first partition, 4 KiB below the first MiB:
#   PLUGNODE1 SITE CLAIMING|COMMITTED TOKENS LAYOUT NODE CRC
set -eu
PATH=/sbin:/usr/sbin:/bin:/usr/bin
LC_ALL=C
export PATH LC_ALL
umask 022

ROOT=${ROOT:-} # tests: a folder in place of /
MOCK=${MOCK:-} # tests: `echo` in place of a reboot
DATA=$ROOT/run/plugnode
WORK=$DATA/setup
VAR=$ROOT/var
OWN=$VAR/lib/plugnode # what the node must not lose and others must not have
STEP=start

# --- words ----------------------------------------------------------------------------------------------------------

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
    say "$1 failed ($status): $* : $(tail -n 3 "$WORK/output" | tr '\n' ' ')"
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
  sleep "${PAUSE:-120}"
  $MOCK reboot -f
  exit 9
}

ended() { # STATUS: the EXIT trap
  [ "$1" -eq 0 ] || say "failed ($1) in: $STEP"
}

flush() { # to the disk, all of it; the tests have no power to lose
  ${SYNC:-sync}
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

# --- what site.img, the initrd and the kernel command line say ------------------------------------------------------

argument() { # NAME: the values of NAME=… on the kernel command line, a line each
  tr ' ' '\n' <"$ROOT/proc/cmdline" | sed -n "s/^$1=//p"
}

site_value() { # KEY
  sed -n "s/^$1=//p" "$DATA/site" 2>/dev/null | head -n 1
}

node_field() { # N: field N of this node's line, "-" if there is none
  awk -F '\t' -v address="$ADDRESS" -v n="$1" '
    $1 "" == address { sub(/\r$/, ""); value = $n; exit }
    END { print value == "" ? "-" : value }' "$DATA/nodes" 2>/dev/null || echo -
}

layout_values() { # KEY: what follows KEY in this node's layout, a line each
  sed -n "s/^$1[[:space:]][[:space:]]*//p" "$LAYOUT_FILE"
}

read_data() { # who this node is, and what its disk shall be; once, for this process and those that it starts
  INTERFACE=$(cat "$DATA/interface" 2>/dev/null || echo eth0)
  ADDRESS=$(cat "$DATA/address" 2>/dev/null || own_address)
  RELEASE=$(cat "$DATA/release" 2>/dev/null || root_name)
  SITE=$(site_value site | checksum)
  NODE=$(node_field 2)
  LAYOUT_FILE=$DATA/layouts/$(node_field 5) LAYOUT=''
  if [ -f "$LAYOUT_FILE" ]; then
    number_partitions
    LAYOUT=$(sed -n '/^table/p; /^partition/p' "$LAYOUT_FILE" | checksum)
  fi
  KNOWN=yes
  export KNOWN INTERFACE ADDRESS RELEASE SITE NODE LAYOUT_FILE LAYOUT
}

root_name() { # the last part of the path that the root was mounted from, which is the release
  awk '$2 == "/" { n = split($1, part, "/"); name = part[n] } END { print name }' /proc/mounts
}

own_address() { # of the interface that the node booted from
  { ip -4 -o addr show dev "$INTERFACE" 2>/dev/null || ifconfig "$INTERFACE" 2>/dev/null || :; } |
    sed -n 's/.*inet \(addr:\)\{0,1\}\([0-9.]*\).*/\2/p' | head -n 1
}

checksum() { # of the standard input, 8 hex digits
  sum=$(cksum)
  printf '%08x' "${sum%% *}"
}

table_kind() { # gpt, dos, or old: a dos table by EL5's sfdisk, which has no GPT
  if sfdisk --help 2>&1 | grep -q gpt; then layout_values table; else echo old; fi
}

number_partitions() { # NUMBER MOUNT MIB FS LABEL FILL; a dos table of more than four has logical ones from number 5
  awk -v kind="$(table_kind)" '
    $1 == "partition" { n++; line[n] = $2 " " $3 " " $4 " " $5 " " $6 }
    END { for (i = 1; i <= n; i++) print (kind != "gpt" && n > 4 && i > 3 ? i + 1 : i), line[i] }
  ' "$LAYOUT_FILE" >"$WORK/partitions"
}

each_partition() { # COMMAND…: with number, mount, MiB, fs, label and fill of each, parents first; stdin is free
  sort -k 2,2 "$WORK/partitions" >"$WORK/sorted"
  while read -r number mount mib fs label fill <&3; do
    "$@" "$number" "$mount" "$mib" "$fs" "$label" "$fill"
  done 3<"$WORK/sorted"
}

# --- disks ----------------------------------------------------------------------------------------------------------

sys_of() { # DISK: its folder in sysfs, where cciss/c0d0 is cciss!c0d0
  echo "/sys/block/$(echo "${1#/dev/}" | tr / '!')"
}

mib_of() { # DISK: its size; sysfs counts 512-byte sectors, whatever the disk does
  echo $(($(cat "$(sys_of "$1")/size") / 2048))
}

partition_node() { # DISK NUMBER: the kernel's own rule (disk_name in block/genhd.c)
  if [ -n "${NODES:-}" ]; then
    echo "$NODES/$2"
    return
  fi
  case $1 in
  *[0-9]) echo "$1p$2" ;;
  *) echo "$1$2" ;;
  esac
}

candidates() { # every disk that the layout names and this script may look at, in the order of the patterns
  # shellcheck disable=SC2013 # words, and patterns among them, are meant to be expanded
  for path in $(layout_values device); do
    [ -b "$path" ] || continue
    disk=$(readlink -f "$path")
    why=$(unfit "$disk")
    if [ -z "$why" ]; then echo "$disk"; else echo "$disk $why" >>"$WORK/unfit"; fi
  done | awk '!seen[$0]++'
}

unfit() { # DISK: why it is none of ours to use, or nothing
  sys=$(sys_of "$1")
  if [ ! -e "$sys/size" ]; then
    echo "is no whole disk"
  elif [ "$(cat "$sys/removable")" != 0 ]; then
    echo "is removable"
  elif [ "$(blockdev --getro "$1")" != 0 ]; then
    echo "is read-only"
  elif [ "$(disk_transport "$1")" = usb ]; then
    echo "is on USB"
  elif in_use "$1"; then
    echo "is in use"
  else
    layout_values match | unmatched "$1"
  fi
}

in_use() { # DISK: mounted or swapped to, it or a partition of it, or part of a RAID or a volume group
  awk -v disk="$1" '
    BEGIN { partition = disk ~ /[0-9]$/ ? "^(p[0-9]+)?$" : "^([0-9]+)?$" }
    index($1, disk) == 1 && substr($1, length(disk) + 1) ~ partition { found = 1 }
    END { exit !found }' /proc/mounts /proc/swaps && return 0
  for holder in "$(sys_of "$1")"/holders/* "$(sys_of "$1")"/*/holders/*; do
    [ ! -e "$holder" ] || return 0
  done
  return 1
}

unmatched() { # DISK, wanted "KEY VALUE" lines on stdin: the first that the disk does not fulfil
  while read -r key value; do
    case $key in
    size) size_within "$(mib_of "$1")" "$value" || echo "has $(mib_of "$1") MiB, not $value" ;;
    serial | id | transport)
      is=$("disk_$key" "$1")
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

disk_serial() {
  for file in "${NODES:+$NODES/serial}" "$(sys_of "$1")/serial" "$(sys_of "$1")/device/serial"; do
    [ ! -s "$file" ] || { tr -d ' ' <"$file" && return; }
  done
  udev_value "$1" ID_SERIAL_SHORT || tail -c +5 "$(sys_of "$1")/device/vpd_pg80" 2>/dev/null | tr -cd '!-~'
}

disk_transport() { # as lsblk -o TRAN prints it, and what else it may be called
  transport_at "$1" "$(readlink -f "$(sys_of "$1")/device")"
}

transport_at() { # DISK PLACE: by its place in sysfs, where each transport has a name of its own
  case $1:$2 in
  /dev/nvme*) echo nvme ;;
  /dev/mmcblk*) echo mmc ;;
  /dev/hd*) echo ide ata ;;
  *:*/usb[0-9]*) echo usb ;;
  *:*/end_device-*) echo sas scsi ;;
  *:*/rport-*) echo fc scsi ;;
  *:*/session[0-9]*) echo iscsi scsi ;;
  *:*/host[0-9]*) transport_of_host "$2" ;;
  *:*/virtio[0-9]*) echo virtio ;;
  esac
}

transport_of_host() { # PLACE: libata's disks are SCSI disks, too; its drivers' names tell
  host=${1#*/host}
  case $1:$(cat "/sys/class/scsi_host/host${host%%/*}/proc_name" 2>/dev/null) in
  *:ahci | *:sata_*) echo sata ata ;;
  */ata[0-9]* | *:ata_* | *:pata_*) echo ata sata ;;
  *) echo scsi ;;
  esac
}

disk_id() { # its names below /dev/disk/by-id
  for link in "$ROOT"/dev/disk/by-id/*; do
    [ "$(readlink -f "$link")" != "$1" ] || echo "${link##*/}"
  done
}

udev_value() { # DISK KEY; EL5 calls the tool udevinfo
  { udevadm info --query=property --name="$1" || udevinfo -q env -n "$1"; } 2>/dev/null | sed -n "s/^$2=//p" | grep .
}

size_within() { # MIB LOW..HIGH: either end may be missing; units as in site.yaml
  awk -v mib="$1" -v range="$2" '
    function mib_of(text,  n) {
      n = text + 0
      return text ~ /T/ ? n * 1048576 : text ~ /G/ ? n * 1024 : n
    }
    BEGIN { split(range, end, /\.\./); exit !(mib >= mib_of(end[1]) && (end[2] == "" || mib <= mib_of(end[2]))) }'
}

find_disks() { # wait, bounded, for the first of them: SATA and SAS answer seconds after their module is in
  [ "$(layout_values required)" = no ] && limit=10 || limit=30
  limit=$(argument plugnode.wait | tail -n 1 | grep . || echo "${WAIT:-$limit}")
  settle
  until true >"$WORK/unfit" && candidates >"$WORK/disks" && [ -s "$WORK/disks" ]; do
    [ "${waited:=0}" -lt "$limit" ] || return 1
    [ "$waited" -ne 3 ] || say "waiting for a disk: $(layout_values device | tr '\n' ' ')"
    sleep 1
    waited=$((waited + 1))
  done
}

settle() { # let udev finish what it began
  { udevadm settle --timeout=10 || udevsettle --timeout=10; } >/dev/null 2>&1 || :
}

# --- the state sector -----------------------------------------------------------------------------------------------

read_state() { # DISK: sets STATE (none, CLAIMING, COMMITTED, other), TOKENS, HAS_LAYOUT, HAS_NODE
  STATE=none TOKENS=- HAS_LAYOUT=- HAS_NODE=-
  set -f
  # shellcheck disable=SC2046 # seven words
  set -- $(dd if="$1" bs=512 skip=2040 count=1 2>/dev/null | tr -cd 'A-Za-z0-9.,_ -')
  set +f
  [ "${1:-}" = PLUGNODE1 ] && [ $# -eq 7 ] || return 0
  [ "$(printf %s "$1 $2 $3 $4 $5 $6" | checksum)" = "$7" ] || return 0
  STATE=$3 TOKENS=$4 HAS_LAYOUT=$5 HAS_NODE=$6
  [ "$2" = "$SITE" ] || STATE=other
}

write_state() { # DISK STATE TOKENS: the one commit of a claim, and of a complete disk
  body="PLUGNODE1 $SITE $2 $3 $LAYOUT $NODE"
  flush
  cached=$(write_cached "$1")
  [ -z "$cached" ] || hdparm -q -W0 "$1" || :
  printf '%s %s' "$body" "$(printf %s "$body" | checksum)" |
    run_input dd of="$1" bs=512 seek=2040 count=1 conv=sync,notrunc,fsync
  flush
  blockdev --flushbufs "$1" 2>/dev/null || :
  [ -z "$cached" ] || hdparm -q -W1 "$1" || :
  read_state "$1"
  [ "$STATE" = "$2" ]
}

write_cached() { # DISK: whether an ATA disk's cache is on; fsync flushes it from Linux 2.6.33 on, turning it off always
  hdparm -I "$1" 2>/dev/null | grep '\*.*Write cache' || :
}

run_input() { # COMMAND…: as `run`, but with the standard input
  "$@" >"$WORK/output" 2>&1 || {
    status=$?
    say "$1 failed ($status): $(tail -n 2 "$WORK/output")"
    return "$status"
  }
}

judge() { # DISK: prints what it is, by evidence on the disk alone
  read_state "$1"
  case $STATE in
  CLAIMING | COMMITTED) echo "$STATE" ;;
  other) echo "FOREIGN: it is another site's" ;;
  *) if what=$(not_blank "$1"); then echo "FOREIGN: $what"; else echo BLANK; fi ;;
  esac
}

not_blank() { # DISK: why it is not proved blank; fails if it is
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

pick_disk() { # of $WORK/disks: the one that is ours already, else the first; sets DISK
  DISK=$(head -n 1 "$WORK/disks") ours='' mine=''
  while read -r disk; do
    read_state "$disk"
    case $STATE in CLAIMING | COMMITTED) ours="$ours $disk" ;; *) continue ;; esac
    [ "$HAS_NODE" != "$NODE" ] || mine="$mine $disk"
  done <"$WORK/disks"
  # shellcheck disable=SC2086 # a list
  set -- ${mine:-$ours}
  [ $# -le 1 ] || { degrade "several disks are ours: $*; remove or wipe all but one" && return 1; }
  DISK=${1:-$DISK}
}

# --- provisioning: the only part that destroys ----------------------------------------------------------------------

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

entitled() { # DISK TOKENS: asks the disk itself once more
  if in_use "$1"; then say "$1 is in use" && return 1; fi
  case $(judge "$1") in
  BLANK | CLAIMING) ;;
  COMMITTED) read_state "$1" && [ "$2" != "$TOKENS" ] ;;
  *) forced ;;
  esac
}

fits() { # DISK: the layout has its tools, room on the disk, and room for what fills a partition; fails with a reason
  lacks=$({ need sfdisk "util-linux, or fdisk" && each_partition need_maker; } | head -n 1)
  [ -z "$lacks" ] || { echo "$lacks" && return 1; }
  need=$(awk '{ mib += $3 == "rest" ? 16 : $3 } END { print mib + NR + 2 }' "$WORK/partitions")
  more=$(($(mib_of "$1") - need))
  [ "$more" -ge 0 ] || { echo "$1 has $(mib_of "$1") MiB, the layout needs $need" && return 1; }
  while read -r _ _ mib _ _ fill; do
    [ "$fill" != - ] || continue
    [ "$mib" != rest ] || mib=$((16 + more))
    used=$(du -sk "$ROOT$fill" 2>/dev/null | awk '{ print int($1 / 1024) }')
    [ "$mib" -ge $((used + used / 16)) ] || { echo "$fill has $used MiB, its partition $mib" && return 1; }
  done <"$WORK/partitions"
}

need_maker() { # NUMBER MOUNT MIB FS …
  case $4 in
  swap) need mkswap util-linux ;;
  xfs) need mkfs.xfs xfsprogs ;;
  *) need "mkfs.$4" e2fsprogs ;;
  esac
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
  [ "$2" = old ] || echo "label: $2"
  [ "$2" = gpt ] && linux=L swap=S || linux=83 swap=82
  sectors=$((1048576 / $(blockdev --getss "$1"))) end=$(($(mib_of "$1") - 1)) at=1 count=0
  rest=$(rest_of "$1")
  while read -r number _ mib fs _; do
    count=$((count + 1))
    [ "$number" -ne 5 ] || [ "$count" -eq 5 ] || echo "$((at * sectors)),$(((end - at) * sectors)),5"
    [ "$number" -eq "$count" ] || at=$((at + 1)) # a logical one; its own table is in the MiB before
    [ "$mib" != rest ] || mib=$rest
    [ "$fs" = swap ] && type=$swap || type=$linux
    echo "$((at * sectors)),$((mib * sectors)),$type"
    at=$((at + mib))
  done <"$WORK/partitions"
}

rest_of() { # DISK: the MiB that `rest` has; counted by the shell, for mawk prints what is over 2^31 as 2.14748e+09
  rest=$(($(mib_of "$1") - 2)) count=0
  while read -r number _ mib _; do
    count=$((count + 1))
    [ "$number" -eq "$count" ] || rest=$((rest - 1))
    [ "$mib" = rest ] || rest=$((rest - mib))
  done <"$WORK/partitions"
  echo "$rest"
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

write_synced() { # FILE TEXT: what was there or TEXT, whenever the power goes, and TEXT only after all that was before
  flush
  echo "$2" >"$1.new"
  flush
  mv -f "$1.new" "$1"
  flush
}

# --- using what is there --------------------------------------------------------------------------------------------

use_disk() { # the state machine
  if mounted "$VAR"; then say "/var is mounted, so the disks are done" && return; fi
  [ -f "$LAYOUT_FILE" ] || { degrade "site.img has no disk layout for ${ADDRESS:-this node}" && return; }
  find_disks || { without_disk && return; }
  pick_disk || return 0
  verdict=$(judge "$DISK")
  say "$DISK: $(mib_of "$DISK") MiB, $verdict"
  read_state "$DISK"
  if [ "$verdict" = BLANK ] || [ "$verdict" = CLAIMING ]; then
    provision_then_mount
  elif [ "$verdict" = COMMITTED ]; then
    if [ -n "$(asked)" ]; then provision_then_mount; else mount_all; fi
  elif forced; then
    provision_then_mount
  else
    degrade "$DISK is not touched, $verdict"
  fi
}

without_disk() {
  sort -u "$WORK/unfit" | while read -r why; do say "$why"; done
  [ "$(layout_values required)" = no ] || stop_node "no disk: none of $(layout_values device | tr '\n' ' ')"
  say "no disk; all is kept in memory, as the site allows"
}

provision_then_mount() {
  why=$(fits "$DISK") || { degrade "$why; $DISK is not touched" && return 0; }
  if again provision "$DISK" "$(remembered)"; then
    read_state "$DISK"
    mount_all
  else
    umount -n "$WORK/mnt" 2>/dev/null || :
    degrade "$DISK could not be provisioned; the next boot tries again"
  fi
}

mount_all() {
  lacks=$(need blkid "util-linux, or e2fsprogs on EL5")
  [ -z "$lacks" ] || { degrade "$lacks; $DISK is not used" && return 0; }
  echo "$DISK" >"$WORK/disk"
  [ "$HAS_LAYOUT" = "$LAYOUT" ] ||
    say "$DISK has another layout than the site wants; what matches by label is used, nothing is changed"
  each_partition mount_partition
  [ ! -e "$VAR/wipe" ] || wipe_on_request
}

mount_partition() { # NUMBER MOUNT MIB FS LABEL FILL
  node=$(node_of "$1" "$4" "$5") || { degrade "$2: no sound $4 labelled $5 on $DISK" && return 0; }
  if [ "$4" = swap ]; then
    run swapon "$node" || degrade "$node: no swap"
    return
  fi
  if ! check_filesystem "$node" "$4" || ! run mount -n -t "$4" -o "$(mount_options "$4")" "$node" "$ROOT$2"; then
    degrade "$2: $node cannot be used, and stays as it is"
    return
  fi
  [ "$6" = - ] || accept_filled "$ROOT$2" "$6" "$node"
}

mount_options() { # FS: with barriers, which ext3 has off by default before Linux 3.1
  [ "$1" = ext3 ] && echo rw,barrier=1 || echo rw
}

accept_filled() { # FOLDER FILL NODE: it has its mark, and what a newer release brings
  [ -f "$1/.plugnode" ] || { umount -n "$1" && degrade "$3 lacks the mark of a complete one" && return 0; }
  [ "$(cat "$1/.plugnode")" != "$RELEASE" ] || return 0
  step "add to $1 what is new in $2"
  again add_new "$ROOT$2" "$1" || degrade "$1 lacks what is new in $2"
}

node_of() { # NUMBER FS LABEL: the partition with that label; by its number when an admin asks for a repair
  number=0
  while [ "$number" -lt 16 ]; do
    number=$((number + 1))
    node=$(partition_node "$DISK" "$number")
    [ -b "$node" ] && [ "$(tag "$node" LABEL)" = "$3" ] && [ "$(tag "$node" TYPE)" = "$2" ] && echo "$node" && return
  done
  [ "$(argument plugnode.fsck)" = repair ] && [ "$HAS_LAYOUT" = "$LAYOUT" ] && partition_node "$DISK" "$1"
}

tag() { # NODE LABEL|TYPE; not from a cache of another node's
  "$(tool blkid)" -c /dev/null -s "$2" -o value "$1" 2>/dev/null
}

check_filesystem() { # NODE FS; e2fsck: 0 clean, 1 repaired, 2 repaired and reboot if it is the root; xfs has its log
  case $2 in ext*) ;; *) return 0 ;; esac
  lacks=$(need "fsck.$2" e2fsprogs)
  [ -z "$lacks" ] || { say "$lacks" && return 1; }
  "fsck.$2" -p "$1" >"$WORK/output" 2>&1 </dev/null || {
    status=$?
    [ "$status" -ge 4 ] || { say "$1: repaired" && return 0; }
    [ "$(argument plugnode.fsck)" = repair ] || { say "$1: fsck -p gives $status; plugnode.fsck=repair?" && return 1; }
    step "$1: fsck -y, as the kernel command line says"
    "fsck.$2" -y "$1" >"$WORK/output" 2>&1 </dev/null || [ $? -lt 4 ]
  }
}

add_new() { # FROM TO: what FROM has and TO lacks; what TO has stays, and a cut leaves no half file
  rm -rf "$2/.plugnode-new"
  mkdir "$2/.plugnode-new"
  # shellcheck disable=SC2086 # a shell may be two words
  (cd "$1" && find . ! -name . -exec ${SH:-/bin/sh} "$0" stage_new "$2" '{}' +) 2>"$WORK/output" || {
    say "$(head -n 1 "$WORK/output")"
    rm -rf "$2/.plugnode-new"
    return 1
  }
  flush
  move_new "$2"
  write_synced "$2/.plugnode" "$RELEASE"
}

stage_new() { # TO PATH…: copies of what TO lacks, each with a note of its folder; a lacking folder is copied whole
  to=$1 number=0
  shift
  for path; do
    if [ -e "$to/$path" ] || [ -L "$to/$path" ] || [ ! -d "$to/${path%/*}" ]; then continue; fi
    number=$((number + 1))
    new=$to/.plugnode-new/$$.$number
    mkdir "$new"
    cp -a "$path" "$new/"
    echo "${path%/*}" >"$new.to"
  done
}

move_new() { # TO: each by a rename
  for to in "$1"/.plugnode-new/*.to; do
    [ -f "$to" ] || continue
    find "${to%.to}" ! -path "${to%.to}" -prune -exec mv -f '{}' "$1/$(cat "$to")/" ';'
  done
  rm -rf "$1/.plugnode-new"
}

# --- wipe: a token that the disk does not remember is done once -----------------------------------------------------

tokens() { # all that are asked for, a line each: by site.yaml, the kernel command line, /var/wipe
  { node_field 6; argument plugnode.wipe; var_token; } | grep -v '^-*$'
}

var_token() { # what is in /var/wipe; an empty one is a new wish each time it is made
  if ! mounted "$VAR" || [ ! -e "$VAR/wipe" ]; then return 0; fi
  token=$(tr '\n' ' ' 2>/dev/null <"$VAR/wipe" || :)
  [ -n "${token% }" ] || token=$(stat -c 'made %Y %i' "$VAR/wipe")
  echo "$token"
}

hashes() { # of the tokens, a line each
  tokens | while read -r token; do
    printf %s "$token" | checksum
    echo
  done
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

forced() { # a disk that is not ours: only by its serial number, force:SERIAL
  serial=$(disk_serial "$DISK")
  [ -n "$serial" ] && tokens | grep -Fqx "force:$serial"
}

wipe_on_request() { # /var/wipe: ours, and only if it was not done before
  [ -n "$(asked)" ] || { say "/var/wipe was done before" && rm -f "$VAR/wipe" && return 0; }
  say "/var/wipe asks for a wipe of $DISK"
  read_state "$DISK"
  TOKENS=$(remembered)
  each_partition leave_swap
  sort -r -k 2,2 "$WORK/partitions" >"$WORK/reversed"
  while read -r _ mount _; do
    if mounted "$ROOT$mount"; then run umount -n "$ROOT$mount"; fi
  done <"$WORK/reversed"
  provision_then_mount
}

leave_swap() { # NUMBER MOUNT MIB FS LABEL FILL
  [ "$4" != swap ] || swapoff "$(node_of "$1" "$4" "$5")" 2>/dev/null || :
}

# --- without a disk -------------------------------------------------------------------------------------------------

mounted() { # FOLDER
  awk -v folder="$1" '$2 == folder { found = 1 } END { exit !found }' /proc/mounts
}

fill_gaps() { # whatever the layout wants and no disk gives, and what no node can be without, in memory
  { awk '$4 != "swap" { print $2, $6 }' "$WORK/partitions" 2>/dev/null || :; echo "/var /var.ro"; echo "/tmp -"; } |
    sort -k 1,1 -s | awk '!seen[$1]++' >"$WORK/gaps"
  while read -r folder fill <&3; do
    mounted "$ROOT$folder" || in_memory "$folder" "$fill"
  done 3<"$WORK/gaps"
  chmod 1777 "$ROOT/tmp" || degrade "/tmp is not writable"
}

in_memory() { # FOLDER FILL: a quarter of the memory at most
  [ -d "$ROOT$1" ] || { degrade "no folder $1 in this root to mount on" && return 0; }
  step "$1 in memory"
  run mount -n -t tmpfs -o size=25%,mode=755 plugnode "$ROOT$1" || { degrade "$1 is not writable" && return 0; }
  if [ "$2" = - ] || [ ! -d "$ROOT$2" ]; then return 0; fi
  run cp -a "$ROOT$2/." "$ROOT$1/" || {
    degrade "$1 lacks a part of $2"
    (cd "$ROOT$2" && find . -type d) | while read -r folder; do mkdir -p "$ROOT$1/$folder" || return 0; done
  }
}

# --- identity -------------------------------------------------------------------------------------------------------

name_node() { # by the exact address: the node at .10 is not the one at .100
  NAME=$(own_name)
  step "name $NAME, address ${ADDRESS:-none}"
  echo "$NAME" >"$ROOT/proc/sys/kernel/hostname" || degrade "the kernel does not take the name $NAME"
  write_network || bind_network || degrade "/var/network cannot be written"
}

own_name() { # from hosts, else nodes, else what DHCP or the initrd gave, else one made of the address
  for name in $(hosts_name) "$NODE" "$(cat "$ROOT/proc/sys/kernel/hostname" 2>/dev/null)"; do
    is_name "$name" && echo "$name" && return
  done
  say "no name for ${ADDRESS:-a node without address} in site.img"
  echo "node-$(echo "${ADDRESS:-unknown}" | tr . -)"
}

hosts_name() {
  awk -v address="$ADDRESS" '
    { sub(/\r$/, ""); sub(/#.*/, "") }
    $1 "" == address && NF >= 2 { print $2; exit }' "$DATA/hosts" 2>/dev/null
}

is_name() { # RFC 1123
  case $1 in localhost | localhost.* | *[!A-Za-z0-9.-]*) return 1 ;; esac
  label='[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?'
  echo "$1" | grep -Eqx "$label(\.$label)*" && [ ${#1} -le 253 ]
}

write_network() { # what RHEL's scripts read as /etc/sysconfig/network; an admin's other lines stay
  {
    printf 'NETWORKING=yes\nHOSTNAME=%s\n' "$NAME"
    sed '/^NETWORKING=/d; /^HOSTNAME=/d' "$VAR/network" 2>/dev/null || :
  } >"$DATA/network"
  [ "$(cat "$DATA/network")" != "$(cat "$VAR/network" 2>/dev/null)" ] || return 0
  cp "$DATA/network" "$VAR/network.new" 2>/dev/null && flush && mv -f "$VAR/network.new" "$VAR/network"
}

bind_network() { # a full /var: over the old one
  rm -f "$VAR/network.new" || :
  [ -f "$VAR/network" ] && run mount -n --bind "$DATA/network" "$VAR/network"
}

own_identity() { # ssh host keys, once for this node on this disk; the shared root has symlinks to them
  mkdir -p "$OWN/ssh"
  forget_other
  [ -d "$ROOT/etc/ssh" ] && command -v ssh-keygen >/dev/null || return 0
  for type in rsa ecdsa ed25519; do host_key "ssh_host_${type}_key" "$type"; done
  [ -x "$ROOT/etc/rc.d/init.d/sshd" ] || return 0 # it makes what is missing, and gives up where /etc is read-only
  host_key ssh_host_key rsa1
  host_key ssh_host_dsa_key dsa
}

forget_other() { # what was of the node that this disk was in before; its local files begin anew
  was=$(cat "$OWN/node" 2>/dev/null || :)
  [ "$was" != "$NODE" ] || return 0
  if [ -n "$was" ]; then
    say "this disk was $was's; its ssh host keys and files of its own are deleted"
    rm -rf "$OWN/ssh" "$OWN/files"
    [ ! -d "$ROOT/var.ro/lib/plugnode" ] || run cp -a "$ROOT/var.ro/lib/plugnode/." "$OWN/"
    mkdir -p "$OWN/ssh"
  fi
  write_synced "$OWN/node" "$NODE"
}

host_key() { # FILE TYPE; a type that this ssh does not know is none
  [ ! -s "$OWN/ssh/$1" ] || return 0
  rm -f "$OWN/ssh/new" "$OWN/ssh/new.pub"
  ssh-keygen -q -t "$2" -N '' -C '' -f "$OWN/ssh/new" >/dev/null 2>&1 </dev/null || return 0
  flush
  mv -f "$OWN/ssh/new.pub" "$OWN/ssh/$1.pub"
  mv -f "$OWN/ssh/new" "$OWN/ssh/$1"
  say "made ssh host key: $2"
}

name_servers() { # the site's, where DHCP gave none: /etc/resolv.conf of the shared root leads here
  [ ! -s "$DATA/resolv.conf" ] || return 0
  {
    site_value domain | sed -n 's/^./search &/p'
    site_value dns | tr ',' '\n' | sed -n 's/^./nameserver &/p'
  } >"$DATA/resolv.conf"
}

keep_network_up() { # the root is on it: whoever manages networks leaves this interface alone
  keep_address
  [ -d "$ROOT/run/systemd/system" ] || return 0
  manager=$ROOT/run/NetworkManager/conf.d
  mkdir -p "$ROOT/run/systemd/network" "$manager"
  printf '[Match]\nName=%s\n[Link]\nUnmanaged=yes\n' "$INTERFACE" >"$ROOT/run/systemd/network/00-plugnode.network"
  printf '[keyfile]\nunmanaged-devices=interface-name:%s\n' "$INTERFACE" >"$manager/00-plugnode.conf"
  script=$ROOT/etc/sysconfig/network-scripts/ifcfg-$INTERFACE # of EL's network service, which starts a DHCP client
  [ ! -f "$script" ] || mask_script "$script"
}

keep_address() { # for good, as the initrd did; but NetworkManager, in dracut's, may have renewed its lease since
  ip -4 -o addr show dev "$INTERFACE" dynamic 2>/dev/null | while read -r _ _ _ address _; do
    run ip addr change "$address" dev "$INTERFACE" valid_lft forever preferred_lft forever ||
      degrade "the address $address ends with its lease"
  done
}

mask_script() { # FILE: as if the admin had said that the card is not brought up
  printf 'DEVICE=%s\nONBOOT=no\n' "$INTERFACE" >"$DATA/ifcfg"
  run mount -n --bind "$DATA/ifcfg" "$1"
}

# --- the whole ------------------------------------------------------------------------------------------------------

boot() { # each part in a process of its own: what fails in one leaves the node the others
  for part in keep_network_up name_servers use_disk fill_gaps name_node own_identity; do
    status=0
    again "$part" || status=$?
    [ "$status" -ne 9 ] || exit 9 # stopped
    [ "$status" -eq 0 ] || degrade "$part failed; see /run/plugnode/setup.log"
  done
  say "done: $(cat "$ROOT/proc/sys/kernel/hostname"), ${ADDRESS:-no address}," \
    "$(cat "$WORK/disk" 2>/dev/null || echo "no disk")$([ ! -s "$DATA/degraded" ] || echo ", DEGRADED")"
}

main() { # [VERB…]
  trap 'ended $?' EXIT
  [ -d "$WORK" ] || mkdir -p "$WORK" 2>/dev/null || { mount -n -t tmpfs plugnode "$ROOT/run" && mkdir -p "$WORK"; }
  DISK=${2:-} STATE=none HAS_LAYOUT=- TOKENS=-
  NODES=${NODES:-} # tests: a folder with the partitions' nodes, by number
  [ -n "${KNOWN:-}" ] || read_data
  [ $# -gt 0 ] || set -- boot
  "$@"
}

main "$@"
