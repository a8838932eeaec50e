#!/bin/sh
# From a clean checkout to a tuned machine and a running example:
# installs what is missing, builds, installs below build/install, runs `seqtune --gpu auto`, then builds
# and runs examples/attention.c against the installed library.
#
#   sh scripts/quickstart.sh [PREFIX]      PREFIX: where to install (default build/install)
#
# SEQTUNE_BUILD_DIR places the build (default build/). A second run starts from what is there.
set -u
cd "$(dirname "$0")/.." || exit 1
. scripts/setup.sh

case ${1:-} in
-h | --help)
    sed -n '2,8s/^# \{0,1\}//p' scripts/quickstart.sh
    exit 0
    ;;
-*)
    echo "quickstart.sh: unknown option $1 (see --help)" >&2
    exit 2
    ;;
esac
jobs=$(nproc 2>/dev/null || echo 2)
build=${SEQTUNE_BUILD_DIR:-build}
mkdir -p "$build" "${1:-$build/install}"
build=$(cd "$build" && pwd)
prefix=$(cd "${1:-$build/install}" && pwd)

step() { printf '\n== %s\n' "$*"; }

quiet() { # quiet LOG COMMAND...: shows the log's end when the command fails
    log=$1
    shift
    "$@" >"$log" 2>&1 && return 0
    tail -n 30 "$log"
    echo "quickstart.sh: failed: $* (whole log: $log)" >&2
    exit 1
}

step "setup"
setup_packages "$setup_needs"
setup_nvrtc

step "build and install into $prefix"
quiet "$build/configure.log" cmake -S . -B "$build" -G Ninja -DCMAKE_INSTALL_PREFIX="$prefix" \
    -DCMAKE_INSTALL_LIBDIR=lib
quiet "$build/build.log" cmake --build "$build" -j "$jobs"
quiet "$build/install.log" cmake --install "$build"

step "tune this machine: seqtune --gpu auto"
"$prefix/bin/seqtune" --gpu auto || exit $?

step "an application: examples/attention.c"
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
# shellcheck disable=SC2046
quiet "$build/example.log" cc -std=c11 -O2 -o "$build/attention" examples/attention.c \
    $(pkg-config --cflags --libs seqtune) -Wl,-rpath,"$prefix/lib" -lm
"$build/attention"
