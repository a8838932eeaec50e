#!/bin/sh
# Installs what seqtune's build, tests and first run need and are not there yet: Debian packages, and
# NVRTC (from the machine's CUDA toolkit, else from the nvidia-cuda-nvrtc wheel). Sourced by
# quickstart.sh and test.sh (functions), or run by itself. Where it may not install, it prints the
# command and goes on; the build then says what is missing.

# name of the pkg-config module or program : Debian package
setup_needs="
prog:cc:gcc
prog:cmake:cmake
prog:ninja:ninja-build
prog:pkg-config:pkg-config
pkg:lua5.4:liblua5.4-dev
pkg:sqlite3:libsqlite3-dev
pkg:libzstd:libzstd-dev
pkg:libsodium:libsodium-dev
"
setup_test_needs="
pkg:cmocka:libcmocka-dev
prog:c++:g++
"

setup_missing() { # setup_missing LIST -> packages that are not there
    for entry in $1; do
        kind=${entry%%:*}
        rest=${entry#*:}
        name=${rest%%:*}
        package=${rest#*:}
        case $kind in
        prog) command -v "$name" >/dev/null 2>&1 || echo "$package" ;;
        pkg) pkg-config --exists "$name" 2>/dev/null || echo "$package" ;;
        esac
    done
}

setup_packages() { # setup_packages LIST
    missing=$(setup_missing "$1" | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    sudo=
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    echo "setup: installing Debian packages: $missing"
    # shellcheck disable=SC2086
    if command -v apt-get >/dev/null 2>&1 &&
        { $sudo apt-get install -y --no-install-recommends $missing >/dev/null 2>&1 ||
            { $sudo apt-get update >/dev/null 2>&1 &&
                $sudo apt-get install -y --no-install-recommends $missing >/dev/null 2>&1; }; }; then
        return 0
    fi
    echo "setup: could not install them here; run this as root and start again:"
    echo "    apt-get install $missing"
}

# Directory where the wheel's library is put; runtime/nvrtc.c looks there too.
setup_data_dir() {
    echo "${SEQTUNE_DATA_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/seqtune}"
}

setup_nvrtc_found() {
    [ -n "${SEQTUNE_NVRTC:-}" ] && [ -e "$SEQTUNE_NVRTC" ] && return 0
    for lib in /usr/local/cuda*/lib64/libnvrtc.so.* /usr/local/cuda*/targets/*/lib/libnvrtc.so.* \
        /usr/lib/*/libnvrtc.so.* "$(setup_data_dir)"/nvrtc/libnvrtc.so.*; do
        [ -e "$lib" ] && return 0
    done
    for lib in $(ldconfig -p 2>/dev/null | sed -n 's/.*=> \(.*libnvrtc\.so\.[0-9.]*\)$/\1/p'); do
        [ -e "$lib" ] && return 0
    done
    # Where Python installs wheels: the directories runtime/nvrtc.c searches.
    python3 -c 'import glob, site, sys
paths = site.getsitepackages() + [site.getusersitepackages()]
sys.exit(not any(glob.glob(p + "/nvidia/*/lib/libnvrtc.so.*") for p in paths))' 2>/dev/null
}

# The wheel whose PTX the machine's driver takes: the driver's own CUDA version at most (a newer NVRTC's
# PTX is refused), 13.0 where there is no driver: the version that the software GPU plays.
setup_nvrtc_wheel() {
    driver=$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9]*\.[0-9]*\).*/\1/p' | head -1)
    case ${driver:-13.0} in
    12.*) echo "nvidia-cuda-nvrtc-cu12==${driver}.*" ;;
    *) echo "nvidia-cuda-nvrtc==${driver:-13.0}.*" ;;
    esac
}

setup_nvrtc() {
    setup_nvrtc_found && return 0
    target=$(setup_data_dir)/nvrtc
    package=$(setup_nvrtc_wheel)
    wheel=$(mktemp -d)
    echo "setup: no NVRTC on this machine; getting the wheel $package into $target"
    if python3 -m pip download --quiet --no-deps --only-binary=:all: -d "$wheel" "$package" 2>/dev/null &&
        mkdir -p "$target" &&
        python3 - "$wheel" "$target" <<'PY'
import glob, os, sys, zipfile
wheel, target = sys.argv[1], sys.argv[2]
for name in glob.glob(os.path.join(wheel, "*.whl")):
    with zipfile.ZipFile(name) as z:
        for entry in z.namelist():
            base = os.path.basename(entry)
            if base.startswith("libnvrtc") and ".so." in base:
                with open(os.path.join(target, base), "wb") as out:
                    out.write(z.read(entry))
sys.exit(not glob.glob(os.path.join(target, "libnvrtc.so.*")))
PY
    then
        rm -rf "$wheel"
        return 0
    fi
    rm -rf "$wheel"
    echo "setup: could not get it here; install one of these and start again:"
    echo "    python3 -m pip install '$package'        (the wheel)"
    echo "    the CUDA toolkit 12 or 13                                  (libnvrtc in /usr/local/cuda)"
}

case ${0##*/} in
setup.sh)
    setup_packages "$setup_needs $setup_test_needs"
    setup_nvrtc
    ;;
esac
