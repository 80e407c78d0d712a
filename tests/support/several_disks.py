"""Nodes of several disks in a virtual machine: real arrays, a udev that starts them, disks that go and come back.

One power-on boots the node's disks again and again, as tests/support/last_life.py does.
"""

from __future__ import annotations

from tests.support.loop_disk import CUT as KILLED

RAID_DISKS = {
    "vda": "1G",
    "vdb": "900M",
    "vdc": "600M",
    "vdd": "600M",
    "vde": "500M",
    "vdf": "700M",
}
CUT_DISKS = {"vda": "400M", "vdb": "500M"}
CUTS = 8  # of the first boot, and of a wipe
SINGLE_DISKS = {"vda": "1G", "vdb": "1G", "vdc": "2T"}

BOOT = """\
site() { # LAYOUT…: what the initrd leaves, with that many of the layouts
  rm -rf /run/plugnode
  mkdir -p /run/plugnode/layouts
  number=0
  for layout; do
    number=$((number + 1))
    cp $layout /run/plugnode/layouts/default..$number
  done
  printf '10.0.0.1\\twn1\\t52:54:00:00:00:01\\t-\\tdefault\\t%s\\n' "$wipe" >/run/plugnode/nodes
  for fact in site=site=grid release=w-1 address=10.0.0.1 interface=eth0; do
    echo ${fact#*=} >/run/plugnode/${fact%%=*}
  done
}
down() {
  swapoff -a
  for folder in /scratch /home /tmp /var; do umount $folder 2>/dev/null; done
  for array in /sys/block/md*; do [ ! -d $array ] || mdadm -q --stop /dev/${array##*/}; done
}
boot() { # TITLE LAYOUT…
  echo "=== $1"
  shift
  down
  udevadm trigger --action=add --subsystem-match=block
  udevadm settle
  site "$@"
  echo "before: $(ls -d /sys/block/md* 2>/dev/null | tr '\\n' ' ')"
  /etc/setup.sh
  told
}
told() {
  for disk in /dev/vd[a-z]; do
    echo "state $disk $(dd if=$disk bs=512 skip=2040 count=1 2>/dev/null | tr -d '\\000' | cut -d ' ' -f 1,3,4,7)"
  done
  awk '$2 ~ "^/(var|tmp|home|scratch)$" { print "mounted", $2, $1, $3 }' /proc/mounts
  cat /var/lib/own /scratch/own 2>/dev/null | sed 's/^/own /'
  sed -n '/^md/,/^ /p' /proc/mdstat | sed 's/^/array /'
}
away() { # DISK…: unplugged
  for disk; do
    basename $(readlink -f /sys/block/$disk/device) >/$disk.at
    cat /$disk.at >/sys/bus/virtio/drivers/virtio_blk/unbind
  done
}
back() { # DISK…: plugged in, in that order: the first gets the first name that is free
  for disk; do cat /$disk.at >/sys/bus/virtio/drivers/virtio_blk/bind; done
  sleep 1
  udevadm settle
}
udev() {
  mkdir -p /var /tmp /home /scratch /var.ro/lib /run/lock /etc/mdadm
  echo kept >/var.ro/lib/file
  $(ls /usr/lib/systemd/systemd-udevd /lib/systemd/systemd-udevd 2>/dev/null | head -n 1) --daemon
  udevadm trigger --action=add
  udevadm settle
}
wipe=-
foreign() { cksum /dev/vde /dev/vdf | cut -d ' ' -f 1,3 | sed 's/^/bytes /'; }
"""

RAID = (
    BOOT
    + """\
cat >/mirror <<LAYOUT
table gpt
required yes
device /dev/vd[ab]
raid 1 2
partition /var 64 ext4 pn-var /var.ro
partition /tmp 128 ext4 pn-tmp -
partition swap 64 swap pn-swap -
partition /home rest ext4 pn-home -
LAYOUT
cat >/stripe <<LAYOUT
table gpt
required no
device /dev/vd?
match size 550M..650M
raid 0 2
partition /scratch rest ext4 pn-scratch -
LAYOUT
mdadm -q -C /dev/md9 --force --run -l1 -n2 --metadata=1.2 --assume-clean --homehost=pn-other /dev/vde missing
mdadm -q -S /dev/md9
mkswap -q /dev/vdf
udev
down
echo "=== what is foreign"
foreign
boot "first" /mirror /stripe
echo mine >/var/lib/own
echo data >/scratch/own
boot "second, with udev's arrays" /mirror /stripe
boot "the lists turned round" /stripe /mirror
cp /mdadm.conf /etc/mdadm.conf
rm /etc/udev/rules.d/99-last-life.rules
udevadm control --reload
boot "nothing is started by itself" /mirror /stripe
down
away vdb
boot "a half of the mirror is missing" /mirror /stripe
echo newer >/var/lib/own
down
back vdb
boot "it is back" /mirror /stripe
sleep 3
echo "=== it is whole"
told
down
away vda
boot "the other half is missing" /mirror /stripe
down
back vda
boot "both again" /mirror /stripe
sleep 3
down
away vdc
boot "a stripe's disk is missing" /mirror /stripe
down
back vdc
wipe=t1
boot "a wipe" /mirror /stripe
wipe=-
boot "after it" /mirror /stripe
down
echo "=== what is foreign, later"
foreign
leave() { # STATE DISK…: as a cut leaves it
  state=$1
  shift
  for disk; do
    words=$(dd if=/dev/$disk bs=512 skip=2040 count=1 2>/dev/null | tr -d '\\000')
    set -- $words
    body="$1 $2 $state $4 $5 $6 $7 $8"
    sum=$(printf %s "$body" | cksum)
    printf '%s %08x' "$body" ${sum%% *} | dd of=/dev/$disk bs=512 seek=2040 count=1 conv=sync,notrunc,fsync 2>/dev/null
  done
}
boot "own again" /mirror /stripe
echo mine >/var/lib/own
down
leave CLAIMING vdb
boot "one half is committed" /mirror /stripe
down
leave CLAIMING vda vdb
boot "both are claimed" /mirror /stripe
down
dd if=/dev/zero of=/dev/vdb bs=1M count=4 conv=notrunc 2>/dev/null
dd if=/dev/zero of=/dev/vdb bs=1M seek=896 count=4 conv=notrunc 2>/dev/null
boot "a blank disk in place of a half" /mirror /stripe
wipe=t2
boot "a wipe with a blank disk" /mirror /stripe
echo "=== LAST"
"""
)

SINGLE = (
    BOOT
    + """\
cat >/one <<LAYOUT
table gpt
required yes
device /dev/vd[ab]
partition /var 64 ext4 pn-var /var.ro
partition /home rest ext4 pn-home -
LAYOUT
cat >/large <<LAYOUT
table gpt
required yes
device /dev/vdc
partition /scratch rest ext4 pn-scratch -
LAYOUT
udev
boot "first" /one /large
echo mine >/var/lib/own
echo data >/scratch/own
df -kP /scratch | awk 'NR == 2 { print "room " ($2 > 2000000000 ? "two TiB" : $2) }'
down
away vda vdb
back vdb vda
boot "names swapped" /one /large
down
away vdb
(sleep 8; cat /vdb.at >/sys/bus/virtio/drivers/virtio_blk/bind) &
boot "a late disk" /one /large
echo "=== LAST"
"""
)

# setup.sh is killed with all that it has started, before some command of `provision`
CUT = (
    BOOT
    + f"""\
cat >/cut.bash <<'BASH'
{KILLED}BASH
cat >/mirror <<LAYOUT
table gpt
required yes
device /dev/vda
device /dev/vdb
raid 1 2
partition /var 64 ext4 pn-var /var.ro
partition /home rest ext4 pn-home -
LAYOUT
killed() {{ # AT: killed before that command; 0: never
  down
  site /mirror
  echo 0 >/count
  CUT_COUNT=/count CUT_AT=$1 BASH_ENV=/cut.bash SH=bash setsid -w bash /etc/setup.sh >/dev/null 2>&1
  umount /run/plugnode/setup/mnt 2>/dev/null
}}
udev
cp /mdadm.conf /etc/mdadm.conf
rm /etc/udev/rules.d/99-last-life.rules
udevadm control --reload
killed 0
all=$(cat /count)
round=0
while [ $round -lt {CUTS} ]; do
  round=$((round + 1))
  down
  for disk in /dev/vda /dev/vdb; do
    for mib in 0 $(($(blockdev --getsize64 $disk) / 1048576 - 1)); do
      dd if=/dev/zero of=$disk bs=1M seek=$mib count=1 conv=notrunc 2>/dev/null
    done
  done
  wipe=-
  killed $((all * round / ({CUTS} + 1)))
  boot "first, cut $round" /mirror
  echo mine >/var/lib/own
  wipe=t$round
  killed $((all * round / ({CUTS} + 1)))
  boot "wipe, cut $round" /mirror
done
echo "=== LAST"
"""
)
