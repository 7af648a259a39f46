#!/usr/bin/env bash
# Builds the packages, .deb and .rpm, of both programs into target/packages.
#
#   packaging/build.sh [--target TRIPLE] [--programs DIR] [--host-programs DIR]
#
# --target is what the programs are for: this machine, unless it is given.
# --programs names a directory with both programs, which are built otherwise, static and for release.
# --host-programs names a directory with programs that this machine can run, for the manual pages and completions, which the programs
# make themselves: needed if --target is another machine.
#
# A package is made of a tree in target/packages/root, which this script lays out; the lists of its files are in the Cargo.toml of
# each program. cargo-deb and cargo-generate-rpm pack it. Where one of them is missing, its packages are SKIPPED.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(rustc -vV | sed -n 's/^host: //p')
programs=
host_programs=
while [[ $# -gt 0 ]]; do
    case $1 in
        --target) target=$2 ;;
        --programs) programs=$2 ;;
        --host-programs) host_programs=$2 ;;
        *) echo "unknown argument $1" >&2; exit 2 ;;
    esac
    shift 2
done

if [[ -z $programs ]]; then
    cargo static --locked --target "$target"
    programs=${CARGO_TARGET_DIR:-target}/$target/release
fi
programs=$(realpath "$programs")
host_programs=$(realpath "${host_programs:-$programs}")

out=$PWD/target/packages
rm -rf "$out"
mkdir -p "$out/root"

# copy MODE FILE DESTINATION, below the tree of $program.
copy() {
    install -D -m "$1" "$2" "$out/root/$program/$3"
}

# lay_out: makes the tree of $program, whose configuration is $file.
lay_out() {
    local page shell name unit
    copy 755 "$programs/$program" "usr/bin/$program"
    copy 640 "packaging/etc/$file" "etc/mgrok/$file"

    for unit in examples/systemd/"$program"*; do
        # Packages put programs elsewhere than their administrator does.
        sed 's#/usr/local/bin/#/usr/bin/#' "$unit" >"$out/unit"
        copy 644 "$out/unit" "usr/lib/systemd/system/${unit##*/}"
    done
    rm "$out/unit"
    copy 644 examples/systemd/mgrok.sysusers "usr/lib/sysusers.d/$program.conf"

    "$host_programs/$program" man --dir "$out/man"
    for page in "$out"/man/*; do
        gzip -9n "$page"
        copy 644 "$page.gz" "usr/share/man/man1/${page##*/}.gz"
    done
    rm -r "$out/man"

    for shell in bash zsh fish; do
        "$host_programs/$program" completion "$shell" >"$out/completion"
        case $shell in
            bash) name=bash-completion/completions/$program ;;
            zsh) name=zsh/site-functions/_$program ;;
            fish) name=fish/vendor_completions.d/$program.fish ;;
        esac
        copy 644 "$out/completion" "usr/share/$name"
    done
    rm "$out/completion"

    local doc=usr/share/doc/$program
    {
        printf 'mgrok\n\nCopyright: mgrok contributors\nLicense: Apache-2.0\n\n'
        cat LICENSE
        [[ ! -f target/licenses.txt ]] || { printf '\n\n'; cat target/licenses.txt; }
    } >"$out/copyright"
    copy 644 "$out/copyright" "$doc/copyright"
    rm "$out/copyright"
    for page in README.md CHANGELOG.md docs/*.md; do
        copy 644 "$page" "$doc/${page##*/}"
    done
    for page in examples/*"${file%.toml}".*; do
        copy 644 "$page" "$doc/examples/${page##*/}"
    done
    for page in examples/transports/*"${file%.toml}".toml; do
        copy 644 "$page" "$doc/examples/transports/${page##*/}"
    done
}

# pack TOOL ARGUMENTS...
pack() {
    local tool=$1
    shift
    if ! command -v "cargo-$tool" >/dev/null; then
        printf 'SKIPPED  packages by cargo-%s, which is not installed\n' "$tool"
        return
    fi
    "cargo-$tool" "$tool" "$@"
}

for program in mgroks mgrokc; do
    file=server.toml
    [[ $program == mgroks ]] || file=client.toml
    lay_out
    pack deb --no-build --no-strip --target "$target" -p "$program" -o "$out"
    pack generate-rpm --target "$target" -p "$program" -o "$out"
done
ls -l "$out"
