# shellcheck shell=sh disable=SC2154 # of other parts
#
# Plugnode: this node's own key pair, which age opens its secrets with: made at its first boot, in its TPM where it has
# one and tpm2-tools, else on its disk. The private half is in no argument and on no console. Read in by /etc/setup.sh.

TPM_INDEX=0x18070f1 # of the range that the TCG leaves to a TPM's owner
KEY_BYTES=74        # AGE-SECRET-KEY-1 and what follows it

why_no_key() { # make one where there is none, and say for `doit enroll` which; why not, if so
  lacks=$(need age age)
  [ -z "$lacks" ] || { echo "$lacks" && return; }
  if ! node_key >/dev/null 2>&1; then
    has_tpm || on_disk || { echo "neither a disk nor a TPM keeps a key of its own" && return; }
    { has_tpm && make_tpm_key; } || { on_disk && make_disk_key; } || { echo "it cannot keep a key: $(output)" && return; }
    say "secrets: made this node's key, $(fingerprint)"
  fi
  node_key | age-keygen -y >"$WORK/age.pub" && chmod 644 "$WORK/age.pub" && mv -f "$WORK/age.pub" "$DATA/age.pub"
}

fingerprint() { # as `doit enroll` shows it
  node_key | age-keygen -y | tr -d '\n' | sha256sum | cut -c 1-32
}

node_key() { # the private half, on the standard output
  if [ -s "$OWN/age.key" ]; then cat "$OWN/age.key"; else has_tpm && tpm_key; fi
}

on_disk() { # whether what is on /var is there after a reboot
  case $(mounted_type "$VAR") in '' | tmpfs | ramfs) return 1 ;; esac
}

make_disk_key() {
  age-keygen 2>/dev/null >"$OWN/age.key.new" && flush && mv -f "$OWN/age.key.new" "$OWN/age.key" && flush
}

has_tpm() {
  [ -c "$ROOT/dev/tpmrm0" ] || [ -n "${TPM2TOOLS_TCTI:-}" ] || return 1
  command -v tpm2_nvread >/dev/null
}

tpm() { # COMMAND…: through the kernel's resource manager
  TPM2TOOLS_TCTI=${TPM2TOOLS_TCTI:-device:/dev/tpmrm0} "$@"
}

tpm_key() {
  tpm tpm2_nvread "$TPM_INDEX" -C o -s "$KEY_BYTES" 2>/dev/null | grep '^AGE-SECRET-KEY-1'
}

make_tpm_key() { # one that a power cut left without its content is written again
  tpm tpm2_nvdefine "$TPM_INDEX" -C o -s "$KEY_BYTES" -a "ownerread|ownerwrite|no_da" >"$WORK/output" 2>&1 || :
  age-keygen 2>/dev/null | sed -n '/^AGE-SECRET-KEY-1/p' | tr -d '\n' |
    run_input tpm tpm2_nvwrite "$TPM_INDEX" -C o -i - && tpm_key >/dev/null
}
