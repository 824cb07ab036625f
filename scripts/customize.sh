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

case $name in
*[!a-z0-9-]* | -* | *- | '')
    echo "$0: '$name' is no name: it is made of a-z, 0-9 and '-', with no '-' at an end" >&2
    exit 2
    ;;
esac
# `image show` would take the beginning of a longer name too.
if banger --json image list | grep -q "\"name\": \"$name\""; then
    echo "$0: an image called '$name' exists already" >&2
    exit 1
fi

# The last part keeps the name from being the beginning of another one's.
vm=customize-$$-x
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/customize.XXXXXX")
kept=
clean_up() {
    if [ -n "$kept" ]; then
        echo "$0: '$name' is not saved, but the work is still there: in the VM '$vm'," >&2
        echo "and what was written down of it in $dir" >&2
        return
    fi
    rm -r -f "$dir"
    if banger vm show "$vm" >/dev/null 2>&1; then
        banger vm delete "$vm" || true
    fi
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

banger vm create --name "$vm" --image "$image" --no-start
# An emulated VM on a busy machine can take minutes.
banger vm start --timeout 300 "$vm"
if ! banger vm ssh "$vm" -- 'tar --version | grep -q GNU'; then
    echo "$0: GNU tar, which is to write down what is in the guest, is not found there" >&2
    exit 1
fi

code=0
if [ $# -gt 0 ]; then
    banger vm ssh "$vm" -- "$@"
else
    banger vm ssh "$vm" || code=$?
    [ $code = 0 ] || echo "the session ended with exit code $code" >&2
    while :; do
        printf "save it as the image '%s'? [y/n] " "$name" >&2
        read -r answer || answer=no
        case $answer in
        [Yy]*) break ;;
        [Nn]*)
            echo "'$name' is discarded" >&2
            exit 0
            ;;
        esac
    done
fi

# From here on there is work that nobody wants to do twice.
kept=yes
# A session that broke off may have been that of a guest that shuts down, and is not done with it yet.
[ $code != 255 ] || banger vm stop --timeout 300 "$vm"
banger vm start --timeout 300 "$vm"

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

banger image import "$dir/rootfs.tar" --name "$name"
kept=
