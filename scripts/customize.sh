#!/bin/sh
# Makes an image by hand: a VM, work in it, and an archive of it that is imported.
#
#   scripts/customize.sh IMAGE NAME               you work in it, and are asked whether to save it
#   scripts/customize.sh IMAGE NAME COMMAND...    a command works in it, and has to succeed
#
# It is an example of what public commands can do; the daemon never calls it. `banger image customize`
# takes less time and room, keeps a kernel that IMAGE has of its own, and writes a manifest
# (docs/images.md).
set -eu

if [ $# -lt 2 ]; then
    echo "usage: $0 IMAGE NAME [COMMAND...]" >&2
    exit 2
fi
image=$1
name=$2
shift 2

# `image show` would take the beginning of a longer name too.
if banger --json image list | grep -q "\"name\": \"$name\""; then
    echo "$0: an image called '$name' exists already" >&2
    exit 1
fi

vm=customize-$$
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/customize.XXXXXX")
made=
clean_up() {
    rm -r -f "$dir"
    if [ -n "$made" ]; then
        banger vm delete "$vm"
    fi
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

banger vm create --name "$vm" --image "$image" --no-start
made=yes
# An emulated VM on a busy machine can take minutes.
banger vm start --timeout 300 "$vm"

if [ $# -gt 0 ]; then
    banger vm ssh "$vm" -- "$@"
else
    banger vm ssh "$vm" || echo "the session ended with exit code $?" >&2
    printf "save it as the image '%s'? [y/N] " "$name" >&2
    read -r answer || answer=
    [ "$answer" = y ] || exit 0
fi

# The root disk, and the work disk in /root, without what is this guest's alone. `tar` ends with 1 when
# a file changes while it is read, as a log may.
banger vm ssh "$vm" -- "
    set --
    for path in etc/hostname etc/machine-id etc/resolv.conf 'etc/ssh/ssh_host_*' 'root/lost+found' \\
        lost+found 'tmp/*' 'var/cache/apt/archives/*.deb' 'var/lib/apt/lists/*' \\
        var/lib/dbus/machine-id var/lib/systemd/random-seed 'var/log/journal/*'; do
        set -- \"\$@\" --exclude=\"./\$path\"
    done
    sync
    tar -C / -c -f - --one-file-system --xattrs --xattrs-include='*' \"\$@\" . ./root || [ \$? = 1 ]
" >"$dir/rootfs.tar"

banger vm delete "$vm"
made=
banger image import "$dir/rootfs.tar" --name "$name"
