#!/usr/bin/env bash
# Collects the licences of everything that is linked into the programs in target/licenses.txt, and fails if there is one that deny.toml
# does not allow. Needs cargo alone, so that it can be part of every check; `cargo deny check` looks at more.
set -euo pipefail
cd "$(dirname "$0")/.."

# The texts of `allow` in deny.toml.
allowed=$(sed -n '/^allow = \[/,/^\]/ s/^ *"\(.*\)",$/\1/p' deny.toml)

# is_allowed EXPRESSION: an expression of SPDX, or of its older form with slashes, becomes one of the shell's.
is_allowed() {
    local expression=${1//\// OR } words license
    expression=${expression// WITH /-WITH-}
    # Before what they are part of.
    while read -r license; do
        words+=" ${license// WITH /-WITH-}"
    done <<<"$allowed"
    words+=" "
    local result='' word
    expression=${expression//(/ ( }
    for word in ${expression//)/ ) }; do
        case $word in
            AND) result+=' && ' ;;
            OR) result+=' || ' ;;
            '(' | ')') result+=$word ;;
            *) [[ $words == *" $word "* ]] && result+=1 || result+=0 ;;
        esac
    done
    ((result))
}

mkdir -p target
out=target/licenses.txt
registries=("${CARGO_HOME:-$HOME/.cargo}"/registry/src/*)
refused=0
count=0
# The packages of each text, and the file that has it, by its checksum.
declare -A packages files
while IFS='|' read -r package expression; do
    read -r name version _ <<<"$package"
    # What is ours has the licence of all.
    [[ -n $name && $name != mgrok* ]] || continue
    count=$((count + 1))
    line="$name ${version#v} ($expression)"
    if ! is_allowed "$expression"; then
        printf 'the licence of %s is not allowed\n' "$line" >&2
        refused=$((refused + 1))
    fi
    sums=none
    for registry in "${registries[@]}"; do
        for text in "$registry/$name-${version#v}"/{LICEN[CS]E,COPYING,COPYRIGHT,NOTICE,license}*; do
            [[ -f $text ]] || continue
            sum=$(cksum <"$text")
            files[$sum]=$text
            packages[$sum]+=$line$'\n'
            sums=some
        done
    done
    # Its licence is one of those whose texts the others have.
    [[ $sums == some ]] || packages[none]+=$line$'\n'
done < <(cargo tree --locked -p mgroks -p mgrokc -e normal --prefix none --no-dedupe -f '{p}|{l}' | sort -u)

{
    printf 'The programs contain the packages below, each under its licence.\n'
    for sum in "${!packages[@]}"; do
        printf '\n----\n%s\n' "${packages[$sum]}"
        [[ $sum == none ]] || cat "${files[$sum]}"
    done
} >"$out"
printf 'the licences of %s packages are in %s\n' "$count" "$out"
[[ $refused == 0 ]]
