#!/usr/bin/env bash
# Checks the packages that packaging/build.sh has left in target/packages: what is in them, and that they can be installed into an
# empty root, that the installed programs run as their units run them, and that nothing stays behind when they are removed.
#
#   packaging/check.sh [--debootstrap]
#
# The empty root has no shell: scripts of packages run outside of it, told where it is. With --debootstrap it is a Debian, fetched
# from its mirror, in which everything runs as on a real machine. What needs root or a tool that is missing is SKIPPED, with the reason.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=target/packages
scratch=$(mktemp -d)
started=()
# The programs listen on the ports that their files name: a network of its own keeps them apart from everybody else's.
network=mgrok-check-$$
in_network=()
clean_up() {
    local pid
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    [[ ${#in_network[@]} == 0 ]] || ip netns del "$network"
    rm -rf "$scratch"
}
trap clean_up EXIT

checked=0
failed=0
skipped=0
ok() { printf 'ok       %s\n' "$1"; checked=$((checked + 1)); }
failed() { printf 'FAILED   %s\n' "$1"; failed=$((failed + 1)); }
skipped() { printf 'SKIPPED  %s: %s\n' "$1" "$2"; skipped=$((skipped + 1)); }

# check NAME COMMAND...: the command's output is shown only if it fails.
check() {
    local name=$1
    shift
    if "$@" >"$scratch/output" 2>&1; then
        ok "$name"
    else
        failed "$name"
        sed 's/^/         /' "$scratch/output"
    fi
}

# The files that the package of a program has to have, and their modes. What else there is, is documentation.
expected() {
    local program=$1 file=$2
    cat <<END
-rwxr-xr-x /usr/bin/$program
-rw-r--r-- /usr/lib/systemd/system/$program.service
-rw-r--r-- /usr/lib/sysusers.d/$program.conf
-rw-r--r-- /usr/share/man/man1/$program.1.gz
-rw-r--r-- /usr/share/bash-completion/completions/$program
-rw-r--r-- /usr/share/fish/vendor_completions.d/$program.fish
-rw-r--r-- /usr/share/doc/$program/copyright
-rw-r--r-- /usr/share/doc/$program/README.md
-rw-r--r-- /usr/share/doc/$program/examples/$file
-rw-r----- /etc/mgrok/$file
END
}

# has_all PROGRAM FILE: the listing on standard input, as `ls -l` has it, names all that is expected.
has_all() {
    awk '{ sub(/^\.?\/?/, "/", $NF); print $1, $NF }' | sort >"$scratch/listing"
    expected "$@" | sort | comm -23 - "$scratch/listing" >"$scratch/missing"
    sed 's/^/is not in it: /' "$scratch/missing"
    [[ ! -s $scratch/missing ]]
}

deb_contents() { dpkg-deb -c "$1" | has_all "$2" "$3"; }
deb_conffiles() { [[ $(dpkg-deb -I "$1" conffiles | grep -v '^$') == "/etc/mgrok/$2" ]]; }
rpm_contents() { rpm -qplv "$1" | has_all "$2" "$3"; }
rpm_conffiles() { [[ $(rpm -qpc "$1") == "/etc/mgrok/$2" ]]; }

# All files of a root, but for what a package manager and a shell's run leave, and for the users, who stay.
files_of() {
    (cd "$1" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./tmp -o -path ./var/lib/dpkg -o -path ./var/log \
        -o -path ./var/lib/rpm -o -path ./etc/.pwd.lock -o -path ./etc/passwd\* -o -path ./etc/group\* -o -path ./etc/shadow\* -o -path ./etc/gshadow\* -o -path ./usr/lib/sysimage -o -path ./run \) -prune -o ! -type d -print | sort)
}

# unit_command ROOT PROGRAM: the command line of a unit.
unit_command() {
    sed -n 's/^ExecStart=//p' "$1/usr/lib/systemd/system/$2.service"
}

# await FILE TEXT PID: waits until a process has written a text, as long as it lives and for half a minute at most.
await() {
    local file=$1 text=$2 pid=$3 end=$((SECONDS + 30))
    until grep -qF "$text" "$file"; do
        if ! kill -0 "$pid" 2>/dev/null || ((SECONDS > end)); then
            cat "$file"
            return 1
        fi
        sleep 0.1
    done
}

# run_installed ROOT: the server and the client, each as its unit runs it, as the unit's user, in a network of their own, where the client
# logs in to the server. Both end when they are asked to.
run_installed() {
    local root=$1 program text log pid ids pids=()
    ids=$(sed -n 's/^mgrok:[^:]*:\([0-9]*:[0-9]*\):.*/\1/p' "$root/etc/passwd")
    mkdir "$root/var/lib/mgrok-check"
    chown "$ids" "$root/var/lib/mgrok-check"
    for program in mgroks mgrokc; do
        grep -qx 'User=mgrok' "$root/usr/lib/systemd/system/$program.service" || return 1
        text='frps started successfully'
        [[ $program == mgroks ]] || text='login to server success'
        log=$scratch/$program.log
        : >"$log"
        # shellcheck disable=SC2046 # The words of the command line.
        "${in_network[@]}" env -i PATH="$PATH" STATE_DIRECTORY=/var/lib/mgrok-check \
            chroot --userspec="$ids" "$root" $(unit_command "$root" "$program") >"$log" 2>&1 &
        pid=$!
        pids+=("$pid")
        started+=("$pid")
        await "$log" "$text" "$pid" || return 1
    done
    for pid in "${pids[1]}" "${pids[0]}"; do
        kill "$pid"
        wait "$pid" || return 1
    done
    started=()
    rm -rf "$root/var/lib/mgrok-check"
}

# installs_and_removes KIND ROOT
installs_and_removes() {
    local kind=$1 root=$2
    files_of "$root" >"$scratch/before"
    "${kind}_install" "$root" || return 1
    run_installed "$root" || return 1
    "${kind}_remove" "$root" || return 1
    files_of "$root" >"$scratch/after"
    diff "$scratch/before" "$scratch/after"
}

bare_dpkg() {
    # Of a package that is for another machine nobody could run the program.
    dpkg --root="$1" --force-script-chrootless --log=/dev/null "${@:2}"
}
bare_install() { bare_dpkg "$1" -i "$packages"/*.deb; }
bare_remove() {
    bare_dpkg "$1" -r mgroks mgrokc || return 1
    # Configuration stays until it is purged.
    [[ -f $1/etc/mgrok/server.toml ]] || return 1
    bare_dpkg "$1" -P mgroks mgrokc
}
debian_install() { cp "$packages"/*.deb "$1/tmp/" && chroot "$1" sh -c 'dpkg -i /tmp/*.deb'; }
debian_remove() { chroot "$1" dpkg -r mgroks mgrokc && chroot "$1" dpkg -P mgroks mgrokc; }
rpm_install() {
    rpm --root "$1" --nodeps --noscripts -i "$packages"/*.rpm || return 1
    # As the script does it, for which this root has no shell.
    systemd-sysusers --root="$1" mgroks.conf || return 1
    chgrp "$(sed -n 's/^mgrok:[^:]*:\([0-9]*\):.*/\1/p' "$1/etc/group")" "$1"/etc/mgrok/*
}
rpm_remove() { rpm --root "$1" --noscripts -e mgroks mgrokc; }

debs() {
    local deb
    if ! compgen -G "$packages/*.deb" >/dev/null; then
        skipped "Debian packages" "there are none: packaging/build.sh builds them"
        return
    fi
    if ! command -v dpkg-deb >/dev/null; then
        skipped "Debian packages" "dpkg is not installed"
        return
    fi
    for deb in "$packages"/*.deb; do
        local program=mgroks file=server.toml
        [[ $deb != */mgrokc* ]] || program=mgrokc file=client.toml
        check "${deb##*/}: files" deb_contents "$deb" "$program" "$file"
        check "${deb##*/}: configuration files" deb_conffiles "$deb" "$file"
    done
    if [[ $EUID != 0 ]]; then
        skipped "installation of Debian packages" "it takes root"
        return
    fi
    local root=$scratch/bare
    mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/dev"
    mkdir -p "$root/etc"
    touch "$root/etc/passwd" "$root/etc/group"
    touch "$root/var/lib/dpkg/status" "$root/var/lib/dpkg/available" "$root/dev/null"
    check "Debian packages in an empty root" installs_and_removes bare "$root"
    if [[ ${1:-} != --debootstrap ]]; then
        skipped "Debian packages in a Debian" "only with --debootstrap"
    elif ! command -v debootstrap >/dev/null; then
        skipped "Debian packages in a Debian" "debootstrap is not installed"
    else
        check "a Debian" debootstrap --variant=minbase stable "$scratch/debian"
        check "Debian packages in a Debian" installs_and_removes debian "$scratch/debian"
    fi
}

rpms() {
    local rpm
    if ! compgen -G "$packages/*.rpm" >/dev/null; then
        skipped "RPM packages" "there are none: packaging/build.sh builds them"
        return
    fi
    if ! command -v rpm >/dev/null; then
        skipped "RPM packages" "rpm is not installed"
        return
    fi
    for rpm in "$packages"/*.rpm; do
        local program=mgroks file=server.toml
        [[ $rpm != */mgrokc* ]] || program=mgrokc file=client.toml
        check "${rpm##*/}: files" rpm_contents "$rpm" "$program" "$file"
        check "${rpm##*/}: configuration files" rpm_conffiles "$rpm" "$file"
    done
    if [[ $EUID != 0 ]]; then
        skipped "installation of RPM packages" "it takes root"
        return
    fi
    local root=$scratch/rpm
    mkdir -p "$root/dev" "$root/etc" && touch "$root/dev/null"
    rpm --root "$root" --initdb
    check "RPM packages in an empty root" installs_and_removes rpm "$root"
}

if [[ $EUID == 0 ]] && command -v ip >/dev/null && ip netns add "$network" 2>/dev/null; then
    in_network=(ip netns exec "$network")
    "${in_network[@]}" ip link set lo up
fi
debs "$@"
rpms
printf '%d passed, %d failed, %d skipped\n' "$checked" "$failed" "$skipped"
[[ $failed == 0 ]]
