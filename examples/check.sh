#!/usr/bin/env bash
# Checks the example configurations, the systemd units and, with --images, the container images.
#
#   examples/check.sh [--images]
#
# MGROKS_BIN and MGROKC_BIN name the programs to check with, which are built otherwise.
# What needs a tool that is not there is SKIPPED, with the reason. --images builds static release
# programs first, which takes minutes, and packs and runs them with buildah.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

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

configurations() {
    local server=${MGROKS_BIN:-} client=${MGROKC_BIN:-} examples=$PWD/examples file
    if [[ -z $server || -z $client ]]; then
        cargo build --quiet -p mgroks -p mgrokc
        local target=${CARGO_TARGET_DIR:-target}/debug
        server=${server:-$target/mgroks} client=${client:-$target/mgrokc}
    fi
    server=$(realpath "$server") client=$(realpath "$client")
    mkdir "$scratch/files"
    certificates
    for file in examples/*server.toml examples/transports/*server.toml; do
        configuration "$server"
    done
    for file in examples/*client.{toml,yaml} examples/transports/*client.toml; do
        configuration "$client"
    done
}

# configuration PROGRAM: checks $file.
configuration() {
    if [[ $file == *tls-mutual* ]] && ! command -v openssl >/dev/null; then
        skipped "$file" "openssl is not installed, which makes its certificates"
    else
        check "$file" verify "$1" "$examples/${file#examples/}"
    fi
}

# The certificates that examples name, which have to be there.
certificates() {
    command -v openssl >/dev/null || return 0
    local name
    for name in ca client server; do
        openssl req -x509 -newkey rsa:2048 -nodes -subj "/CN=$name" \
            -keyout "$scratch/files/$name.key" -out "$scratch/files/$name.crt" 2>"$scratch/output"
    done
}

# verify PROGRAM FILE: the file as seen from where the files are that it names.
verify() {
    (cd "$scratch/files" && SERVER=127.0.0.1 TOKEN=token "$1" verify -c "$2")
}

units() {
    local unit program
    for program in mgroks mgrokc; do
        unit=examples/systemd/$program.service
        if ! command -v systemd-analyze >/dev/null; then
            skipped "$unit" "systemd-analyze is not installed"
            continue
        fi
        # systemd wants the program to be there, and here it is not installed.
        install -m 0755 /dev/stdin "$scratch/$program" <<<'#!/bin/sh'
        sed "s#/usr/local/bin/#$scratch/#" "$unit" >"$scratch/$program.service"
        check "$unit" complains_of_nothing \
            systemd-analyze verify --man=no "$scratch/$program.service"
    done
}

# systemd-analyze exits with 0 even if it has ignored lines that it does not know.
complains_of_nothing() {
    "$@" >"$scratch/complaints" 2>&1 || { cat "$scratch/complaints"; return 1; }
    cat "$scratch/complaints"
    [[ ! -s $scratch/complaints ]]
}

images() {
    local dockerfile=examples/docker/prebuilt.Dockerfile
    if [[ ${1:-} != --images ]]; then
        skipped "$dockerfile" "only with --images"
        return
    fi
    if ! command -v buildah >/dev/null; then
        skipped "$dockerfile" "buildah is not installed"
        return
    fi
    local host program
    host=$(rustc -vV | sed -n 's/^host: //p')
    cargo static --quiet --target "$host"
    for program in mgroks mgrokc; do
        check "$dockerfile, $program" \
            image_runs "$dockerfile" "$program" "${CARGO_TARGET_DIR:-target}/$host/release"
    done
}

# Builds an image, and asks the program in it for its version and its opinion of a configuration.
image_runs() {
    local dockerfile=$1 program=$2 context=$3
    local buildah=(buildah --root "$scratch/images" --runroot "$scratch/run" --storage-driver vfs)
    "${buildah[@]}" build --isolation chroot -f "$dockerfile" --target "$program" -t "$program" \
        "$context" || return 1
    local container file=examples/client.toml
    [[ $program == mgroks ]] && file=examples/server.toml
    container=$("${buildah[@]}" from "$program") || return 1
    local run=("${buildah[@]}" run --isolation chroot
        -v "$PWD/$file:/etc/mgrok/config.toml:ro" "$container" -- "/usr/bin/$program")
    [[ $("${run[@]}" --version) == "$program "* ]] || return 1
    "${run[@]}" verify -c /etc/mgrok/config.toml
}

configurations
units
images "$@"
printf '%d passed, %d failed, %d skipped\n' "$checked" "$failed" "$skipped"
[[ $failed == 0 ]]
