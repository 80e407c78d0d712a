# shellcheck shell=sh disable=SC2154 # of other parts
#
# Plugnode: what this node may have and nobody else: fetched as one file, which its own key alone opens, and laid where
# the release has a place for it. Read in by /etc/setup.sh.

take_secrets() { # again at any time: sh /etc/setup.sh take_secrets
  umask 077
  mkdir -p "$DATA/secrets"
  wanted_secrets >"$WORK/secrets"
  forget_withdrawn
  [ -s "$WORK/secrets" ] || return 0
  reason=$(why_no_key)
  [ -n "$reason" ] || reason=$(why_no_blob "$WORK/blob" "$DATA/secrets/new")
  rm -rf "$WORK/blob" "$DATA/secrets/new.tar"
  [ -n "$reason" ] || keep_secrets "$DATA/secrets/new"
  rm -rf "$DATA/secrets/new"
  umask 022 # what it says is for all
  lay_secrets "${reason:-this release has no place for it, or it was not encrypted for this node yet}"
}

wanted_secrets() { # PATH and disk|memory of each that the site has for this node, and this release a place for
  [ -s "$ROOT/etc/plugnode/secrets" ] && [ -s "$DATA/site" ] || return 0
  awk -F "$tab" -v groups=",$(own_field 4)," '
    NR == FNR { where[$1] = $2; next }
    sub(/^secret=/, "") && $1 in where {
      count = split($2, group, ",")
      for (i = 1; i <= count; i++)
        if (group[i] == "-" || index(groups, "," group[i] ",")) { print $1, where[$1]; next }
    }' "$ROOT/etc/plugnode/secrets" "$DATA/site"
}

secret_file() { # PATH WHERE: what is mounted on a secret's place
  case $2 in
  disk) echo "$OWN/secrets/$1" ;;
  *) echo "$DATA/secrets/held/$1" ;;
  esac
}

forget_withdrawn() { # what earlier runs said, and what of secrets on the disk is not this node's any more
  [ ! -s "$DATA/degraded" ] || {
    sed '/^secrets: /d' "$DATA/degraded" >"$WORK/degraded"
    cat "$WORK/degraded" >"$DATA/degraded"
  }
  { held_files "$OWN/secrets" disk && held_files "$DATA/secrets/held" memory; } >"$WORK/held"
  while read -r path where; do
    grep -Fqx "$path $where" "$WORK/secrets" || { bare "$ROOT/$path" && rm -f "$(secret_file "$path" "$where")"; }
  done <"$WORK/held"
}

held_files() { # FOLDER WHERE
  [ ! -d "$1" ] || (cd "$1" && find . -type f) | sed "s,^\./,,; s,\$, $2,"
}

bare() { # PLACE: nothing is mounted on it any more
  while mounted "$1"; do umount -n "$1" || umount -n -l "$1" || return 1; done
}

# ---- the blob

blob_urls() { # by HTTP where the root came so or the site says so, else by TFTP; from this node's own server first
  scheme=tftp own=
  case $(argument root) in *:http://*) scheme=http ;; esac
  [ "$(site_value blobs)" != http ] || scheme=http
  from="$(argument nfsroot) $(argument root)"
  for server in $(site_value servers | tr , ' '); do
    case $from in "$server":* | *[/:]"$server"[:/]*) own=$server ;; esac
  done
  for server in $own $(site_value servers | tr , ' '); do echo "$scheme://$server/secrets/$NODE.age"; done
}

fetch() { # URL FILE: by curl, which does both, else by busybox
  part=${1#*://}
  if command -v curl >/dev/null; then
    curl -sf --connect-timeout 5 --max-time 60 -o "$2" "$1"
  elif [ "${1%%:*}" = tftp ]; then
    busybox tftp -g -r "${part#*/}" -l "$2" "${part%%/*}" 2>/dev/null
  else
    { wget -q -T 10 -O "$2" "$1" || busybox wget -q -O "$2" "$1"; } 2>/dev/null
  fi && [ -s "$2" ]
}

why_no_blob() { # FILE FOLDER: fetch it and open it there; why not, if so
  for wait in ${WAITS:-0 3}; do
    sleep "$wait"
    for url in $(blob_urls); do
      fetch "$url" "$1" && break 2
    done
  done
  [ -s "$1" ] || { echo "no server has any for it: enroll it and deploy, key $(fingerprint)" && return; }
  open_blob "$1" "$2" || echo "what the server has is not for this node's key, $(fingerprint): enroll it anew"
}

open_blob() { # FILE FOLDER: of the tar in it the files that are wanted, and nothing else
  rm -rf "$2" && mkdir -p "$2"
  node_key | age -d -i - "$1" >"$2.tar" 2>"$WORK/output" || return 1
  set -f
  # shellcheck disable=SC2046 # a word each
  tar -xpf "$2.tar" -C "$2" $(cut -d ' ' -f 1 "$WORK/secrets") 2>"$WORK/output" || :
  set +f
}

# ---- where they go

keep_secrets() { # FOLDER: each to its file; what is mounted from it now stays as it was until it is laid anew
  while read -r path where; do
    from=$1/$path to=$(secret_file "$path" "$where")
    if [ -f "$from" ] && [ ! -L "$from" ]; then
      mkdir -p "${to%/*}"
      cp -p "$from" "$to.new" && flush && mv -f "$to.new" "$to"
    else
      rm -f "$to"
    fi
  done <"$WORK/secrets"
}

lay_secrets() { # REASON: each on its place, and which this node got; a node without one of them is not as it shall be
  got='' lacks=''
  while read -r path where; do
    file=$(secret_file "$path" "$where")
    bare "$ROOT/$path"
    if [ -s "$file" ] && run lay_secret "$ROOT/$path" "$file"; then got="$got /$path"; else lacks="$lacks /$path"; fi
  done <"$WORK/secrets"
  say "secrets: got${got:- none}"
  [ -z "$lacks" ] || degrade "secrets: without$lacks: $1"
}

lay_secret() { # PLACE FILE: by a mount, for programs refuse a symlink
  [ -e "$1" ] || { mkdir -p "${1%/*}" && : >"$1"; }
  mount -n -o bind "$2" "$1"
}
