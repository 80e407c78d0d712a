# shellcheck shell=sh disable=SC2034,SC2154 # of other parts
#
# Plugnode: what one disk is: its size, serial number, transport, names, partitions, and what is on it. Read in by /etc/setup.sh.

block_name() { # DISK: as sysfs has it, where cciss/c0d0 is cciss!c0d0
  set -- "${1#/dev/}"
  case $1 in
  */*) echo "${1%%/*}!${1#*/}" ;;
  *) echo "$1" ;;
  esac
}

sys_of() { # DISK: its folder in sysfs
  echo "/sys/block/$(block_name "$1")"
}

mib_of() { # DISK: its size; sysfs counts 512-byte sectors, whatever the disk does
  [ "$1" != array ] || { array_mib && return; }
  echo $(($(cat "$(sys_of "$1")/size" 2>/dev/null || echo 0) / 2048))
}

partition_node() { # DISK NUMBER: the kernel's own rule (disk_name in block/genhd.c)
  for folder in "$NODES/$(block_name "$1")" "$NODES"; do
    [ -z "$NODES" ] || [ ! -d "$folder" ] || { echo "$folder/$2" && return; }
  done
  case $1 in
  *[0-9]) echo "$1p$2" ;;
  *) echo "$1$2" ;;
  esac
}

disk_serials() { # DISK: each by which it can be meant: of a SCSI disk lsblk shows another than its name by-id ends with
  { disk_serial "$1" && echo && udev_value "$1" ID_SCSI_SERIAL | tr -d ' '; } | awk 'NF && !seen[$0]++'
}

has_serial() { # DISK SERIAL
  disk_serials "$1" | grep -Fqx -e "$2"
}

disk_serial() { # DISK: the one that it is told by
  for file in "${NODES:+$NODES/serial}" "$(sys_of "$1")/serial" "$(sys_of "$1")/device/serial"; do
    [ ! -s "$file" ] || { tr -d ' ' <"$file" && return; }
  done
  udev_value "$1" ID_SERIAL_SHORT || tail -c +5 "$(sys_of "$1")/device/vpd_pg80" 2>/dev/null | tr -cd '!-~'
}

place_of() { # DISK: where it is in sysfs; of a multipath device that of one of its paths
  place=$(sys_of "$1")
  for path in "$place"/slaves/*; do [ ! -e "$path/device" ] || place=$path; done
  readlink -f "$place/device"
}

disk_transport() { # as lsblk -o TRAN prints it, and what else it may be called
  transport_at "$1" "$(place_of "$1")"
}

transport_at() { # DISK PLACE: by its place in sysfs, where each transport has a name of its own
  network=$(network_at "$2")
  case $network:$1:$2 in
  fabrics:*) echo nvme fabrics && return ;;
  ?*:/dev/*) echo "$network scsi" && return ;;
  esac
  case $1:$2 in
  /dev/nvme*) echo nvme ;;
  /dev/mmcblk*) echo mmc ;;
  /dev/hd*) echo ide ata ;;
  *:*/usb[0-9]*) echo usb ;;
  *:*/end_device-*) echo sas scsi ;;
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

tag() { # NODE LABEL|TYPE; not from a cache of another node's
  "$(tool blkid)" -c /dev/null -s "$2" -o value "$1" 2>/dev/null
}

settle() { # let udev finish what it began
  { udevadm settle --timeout=10 || udevsettle --timeout=10; } >/dev/null 2>&1 || :
}
