#!/usr/bin/env bash
# Checks the example configurations, those in the documentation, the systemd units and, with --images, the container images.
#
#   examples/check.sh [--images]
#
# MGROKS_BIN and MGROKC_BIN name the programs to check with, which are built otherwise.
# What needs a tool that is not there is SKIPPED, with the reason. --images packs static programs with buildah, and runs them in
# containers: those in the directory MGROK_STATIC, or else those that are built first, for release, which takes minutes.
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
    local server=${MGROKS_BIN:-} client=${MGROKC_BIN:-} file
    if [[ -z $server || -z $client ]]; then
        cargo build --quiet -p mgroks -p mgrokc
        local target=${CARGO_TARGET_DIR:-target}/debug
        server=${server:-$target/mgroks} client=${client:-$target/mgrokc}
    fi
    server=$(realpath "$server") client=$(realpath "$client")
    mkdir "$scratch/files"
    certificates
    for file in examples/*server.toml examples/transports/*server.toml examples/docker/quickstart/server.toml \
        packaging/etc/server.toml; do
        configuration "$server"
    done
    for file in examples/*client.{toml,yaml} examples/transports/*client.toml examples/docker/quickstart/client.toml \
        packaging/etc/client.toml; do
        configuration "$client"
    done
    for file in README.md docs/*.md; do
        document
    done
}

# Checks the configurations in $file: the blocks in TOML, YAML, INI or JSON whose first line names a file of the server or the client in a comment.
# Every block in TOML has to; what is not for mgrok is a block of text.
document() {
    local line kind='' first='' number=0 begin=0 program block
    while IFS= read -r line; do
        number=$((number + 1))
        if [[ -z $kind ]]; then
            if [[ $line =~ ^\ *\`\`\`(toml|yaml|ini|json)$ ]]; then
                kind=${BASH_REMATCH[1]} first='' begin=$number
                block=$scratch/files/block.$kind
                : >"$block"
            fi
        elif [[ $line =~ ^\ *\`\`\`$ ]]; then
            case $first in
                '# server.'*) program=$server ;;
                '# client.'*) program=$client ;;
                *) program= ;;
            esac
            if [[ -n $program ]]; then
                check "$file:$begin" verify "$program" "$block"
            elif [[ $kind == toml ]]; then
                failed "$file:$begin: its first line has to be # server.toml or # client.toml"
            fi
            kind=
        else
            first=${first:-$line}
            printf '%s\n' "$line" >>"$block"
        fi
    done <"$file"
}

# configuration PROGRAM: checks $file.
configuration() {
    if [[ $file == *tls-mutual* ]] && ! command -v openssl >/dev/null; then
        skipped "$file" "openssl is not installed, which makes its certificates"
    else
        check "$file" verify "$1" "$PWD/$file"
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

# log_lines: the lines of the log that docs/operating.md explains are written by the programs.
log_lines() {
    local line
    # A text that goes on in the next line of the source is one text.
    find crates mgroks mgrokc -path '*/src/*' -name '*.rs' -exec cat {} + | sed ':more; /\\$/ { N; s/\\\n *//; b more }' >"$scratch/sources"
    # shellcheck disable=SC2016 # No shell's.
    sed -n '/^## Troubleshooting by log line/,$ s/^| `\([^`]*\)` |.*/\1/p' docs/operating.md >"$scratch/lines"
    [[ -s $scratch/lines ]] || return 1
    while IFS= read -r line; do
        grep -qF "$line" "$scratch/sources" || { echo "nothing logs: $line"; return 1; }
    done <"$scratch/lines"
}

# links FILE: the files that it links to are there.
links() {
    local link
    while IFS= read -r link; do
        [[ -e ${1%/*}/$link ]] || { echo "there is no $link"; return 1; }
    done < <(grep -o '](\([a-zA-Z0-9_./-]*\)[)#]' "$1" | sed 's/^](//; s/[)#]$//' | grep .)
}

documentation() {
    local file
    check "docs/operating.md, log lines" log_lines
    for file in ./README.md docs/*.md; do
        check "${file#./}, links" links "$file"
    done
}

units() {
    local unit file program
    for program in mgroks mgrokc; do
        # systemd wants the programs to be there, and here they are not installed.
        install -m 0755 /dev/stdin "$scratch/$program" <<<'#!/bin/sh'
    done
    mkdir "$scratch/units"
    for unit in examples/systemd/*.{service,socket}; do
        sed "s#/usr/local/bin/#$scratch/#" "$unit" >"$scratch/units/${unit##*/}"
    done
    for unit in examples/systemd/*.{service,socket}; do
        if ! command -v systemd-analyze >/dev/null; then
            skipped "$unit" "systemd-analyze is not installed"
            continue
        fi
        # A template is checked by the unit of one name.
        file=$scratch/units/${unit##*/}
        check "$unit" complains_of_nothing \
            systemd-analyze verify --man=no "${file/@./@office.}"
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
    local programs=${MGROK_STATIC:-} program
    if [[ -z $programs ]]; then
        local host
        host=$(rustc -vV | sed -n 's/^host: //p')
        cargo static --quiet --target "$host"
        programs=${CARGO_TARGET_DIR:-target}/$host/release
    fi
    for program in mgroks mgrokc; do
        check "$dockerfile, $program" image_runs "$dockerfile" "$program" "$programs"
    done
    if [[ $EUID != 0 ]] || ! command -v ip >/dev/null || ! command -v python3 >/dev/null; then
        skipped "examples/docker/quickstart, in images" "it takes root, ip and python3"
    else
        check "examples/docker/quickstart, in images" quickstart
    fi
}

build_tool() {
    buildah --root "$scratch/images" --runroot "$scratch/run" --storage-driver vfs "$@"
}

# Builds an image, and asks the program in it for its version and its opinion of a configuration.
image_runs() {
    local dockerfile=$1 program=$2 context=$3
    # Only this format knows health checks.
    build_tool build --format docker --isolation chroot -f "$dockerfile" --target "$program" -t "$program" \
        "$context" || return 1
    [[ $(build_tool inspect --type image --format '{{.Docker.Config.Healthcheck}}' "$program") == *health* ]] || return 1
    local file=examples/client.toml
    [[ $program == mgroks ]] && file=examples/server.toml
    [[ $(in_image "$program" "$file" --version) == "$program "* ]] || return 1
    in_image "$program" "$file" verify -c /etc/mgrok/config.toml
}

# in_image PROGRAM FILE ARGUMENT...: runs the program in a container of its image, where the file is /etc/mgrok/config.toml.
in_image() {
    local program=$1 file=$2 container
    shift 2
    container=$(build_tool from "$program") || return 1
    build_tool run --isolation chroot -v "$(realpath "$file"):/etc/mgrok/config.toml:ro" "$container" -- "/usr/bin/$program" "$@"
}

# Runs what compose.yaml runs, in a network of its own, where all have one address, until a user has the website's page.
quickstart() {
    local network=mgrok-example-$$
    ip netns add "$network" || return 1
    # shellcheck disable=SC2016 # Expanded in there.
    ip netns exec "$network" bash -c 'ip link set lo up && . "$1" && in_network' -- <(
        declare -p scratch
        declare -f build_tool in_image in_network
    )
    local result=$?
    # The containers, and all that is in them. They unmount what they have mounted.
    local tries
    for tries in {1..50}; do
        [[ -n $(ip netns pids "$network") ]] || break
        ((tries % 10 != 1)) || ip netns pids "$network" | xargs --no-run-if-empty kill
        sleep 0.2
    done
    ip netns del "$network"
    return "$result"
}

in_network() {
    local result=1 tries client=$scratch/quickstart.toml
    sed 's/"server"/"127.0.0.1"/; s/"website"/"127.0.0.1"/; s/^localPort = 80$/localPort = 8000/' examples/docker/quickstart/client.toml >"$client"
    chmod 644 "$client"
    mkdir "$scratch/website"
    echo hello >"$scratch/website/index.html"
    python3 -m http.server --directory "$scratch/website" 8000 &
    in_image mgroks examples/docker/quickstart/server.toml -c /etc/mgrok/config.toml &
    in_image mgrokc "$client" -c /etc/mgrok/config.toml &
    for tries in {1..20}; do
        sleep 1
        # As the health checks of the images do it.
        in_image mgroks examples/docker/quickstart/server.toml health -c /etc/mgrok/config.toml || continue
        in_image mgrokc "$client" health -c /etc/mgrok/config.toml || continue
        [[ $(curl --silent --header 'Host: hello.localhost' http://127.0.0.1:8080/) == hello ]] && result=0
        break
    done
    echo "after $tries tries: $result"
    return "$result"
}

configurations
documentation
units
images "$@"
printf '%d passed, %d failed, %d skipped\n' "$checked" "$failed" "$skipped"
[[ $failed == 0 ]]
