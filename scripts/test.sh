#!/bin/sh
# The test command: sets up, builds, runs every test, ends with `N passed, N failed, N skipped`.
#
#   sh scripts/test.sh              everything that fits ten minutes on two cores, with a small
#                                   ASan+UBSan subset
#   sh scripts/test.sh --all        whole cross products instead of samples (three hours)
#   sh scripts/test.sh --sanitize   all tests under ASan+UBSan but test_kernels_*, which only compile
#   sh scripts/test.sh --tsan       the threaded tests under TSan
#   sh scripts/test.sh --fuzz [S]   every fuzz target for S seconds (default 60), needs clang
#   sh scripts/test.sh NAME...      only the test programs whose name contains NAME
#
# SEQTUNE_TEST_GPU=0 runs the device tests on that CUDA device instead of the software GPU.
# SEQTUNE_BUILD_DIR places the build (default build/); SEQTUNE_TEST_TIMEOUT is the limit of one program in
# seconds. Exit status 0 when nothing failed.
set -u
cd "$(dirname "$0")/.." || exit 1
. scripts/setup.sh

mode=normal
seconds=60
filter=
while [ $# -gt 0 ]; do
    case $1 in
    --all) mode=all ;;
    --sanitize) mode=sanitize ;;
    --tsan) mode=tsan ;;
    --fuzz)
        mode=fuzz
        case ${2:-} in [0-9]*) seconds=$2 && shift ;; esac
        ;;
    -h | --help)
        sed -n '2,15s/^# \{0,1\}//p' scripts/test.sh
        exit 0
        ;;
    -*)
        echo "test.sh: unknown option $1 (see --help)" >&2
        exit 2
        ;;
    *) filter="$filter $1" ;;
    esac
    shift
done

# A finding of UBSan ends the program, or it would only print it.
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}"
jobs=$(nproc 2>/dev/null || echo 2)
# Test programs at a time: many work on one core. The large ones of --all take all, a real GPU is one.
at_once=$jobs
[ "$mode" != all ] && [ -z "${SEQTUNE_TEST_GPU:-}" ] || at_once=1
build=${SEQTUNE_BUILD_DIR:-build}
# Programs that cover the memory-unsafe inputs; the ASan+UBSan subset of the normal run.
sanitized_subset="test_base test_db_record test_db_merge test_generator test_softgpu_ptx test_softgpu_exec test_softgpu_memory test_softgpu_driver test_runtime_cache test_runtime_desc"
threaded="test_softgpu test_runtime test_base_threads"

# The test programs of a configured tree whose names begin with one of the prefixes.
targets_of() { # targets_of DIR PREFIX...
    every=$(ninja -C "$1" -t targets all | sed -n 's/^\(test_[a-z0-9_]*\): phony$/\1/p' | sort -u)
    shift
    for prefix in "$@"; do echo "$every" | grep "^$prefix"; done
}

# With $only, prefixes of test programs, nothing else is built.
only=
build_tree() { # build_tree DIR OPTIONS...
    dir=$1
    shift
    log=$dir.log
    mkdir -p "$(dirname "$dir")"
    if cmake -S . -B "$dir" -G Ninja "$@" >"$log" 2>&1; then
        targets=all
        # shellcheck disable=SC2086
        [ -z "$only" ] || targets=$(targets_of "$dir" $only)
        # shellcheck disable=SC2086
        cmake --build "$dir" -j "$jobs" --target $targets >>"$log" 2>&1 && return 0
    fi
    tail -n 40 "$log"
    echo "test.sh: the build failed; the whole log is $log" >&2
    return 1
}

run_programs() { # run_programs RESULTS PROGRAM...
    results=$1
    shift
    rm -rf "$results"
    mkdir -p "$results"
    for program in "$@"; do
        if [ -n "$filter" ]; then
            keep=
            for f in $filter; do case ${program##*/} in *"$f"*) keep=1 ;; esac done
            [ -n "$keep" ] || continue
        fi
        echo "$program"
    done | xargs -r -n 1 -P "$at_once" sh tests/run_one.sh "$results" "${SEQTUNE_TEST_TIMEOUT:-$limit}"
}

# Without NVRTC most suites skip, which must not look like a pass: one test of its own fails then.
check_nvrtc() { # check_nvrtc RESULTS
    if why=$("$build/tuner/seqtune" emit --ptx --op rope --gpu soft:a100 2>&1 >/dev/null); then
        echo "  ok nvrtc compiles: 1 passed, 0 failed, 0 skipped"
        echo "1 0 0" >"$1/nvrtc.count"
    else
        echo "FAIL nvrtc compiles: 0 passed, 1 failed, 0 skipped"
        echo "    no kernel can be compiled, so that the suites that need one skip: $why"
        echo "0 1 0" >"$1/nvrtc.count"
    fi
}

count() { # count RESULTS... -> the closing line; fails when a test failed or none ran
    for r in "$@"; do cat "$r"/*.count 2>/dev/null; done |
        awk '{ p += $1; f += $2; s += $3 } END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0 || p == 0 }'
}

setup_packages "$setup_needs $setup_test_needs"
setup_nvrtc

# Seconds that one program may take: whole products and sanitized kernels take long.
case $mode in
all) limit=10800 ;;
sanitize | tsan) limit=3600 ;;
*) limit=900 ;;
esac

case $mode in
normal | all)
    [ $mode = all ] && export SEQTUNE_ALL=1
    build_tree "$build" -DSEQTUNE_TESTS=ON || exit 1
    run_programs "$build/results" "$build"/tests/bin/test_* tests/house/*.sh
    sets="$build/results"
    if [ -z "$filter" ]; then
        check_nvrtc "$build/results"
        subset=
        only=$sanitized_subset
        if build_tree "$build-asan" -DSEQTUNE_TESTS=ON -DSEQTUNE_SANITIZE=address,undefined; then
            for p in $sanitized_subset; do subset="$subset $(ls "$build-asan"/tests/bin/"$p"* 2>/dev/null)"; done
            echo "under ASan+UBSan:"
            # shellcheck disable=SC2086
            run_programs "$build-asan/results" $subset
            sets="$sets $build-asan/results"
        else
            exit 1
        fi
    fi
    # shellcheck disable=SC2086
    count $sets
    ;;
sanitize)
    build_tree "$build-asan" -DSEQTUNE_TESTS=ON -DSEQTUNE_SANITIZE=address,undefined || exit 1
    subset=
    for p in "$build-asan"/tests/bin/test_*; do
        case $p in */test_kernels_*) ;; *) subset="$subset $p" ;; esac
    done
    # shellcheck disable=SC2086
    run_programs "$build-asan/results" $subset
    count "$build-asan/results"
    ;;
tsan)
    build_tree "$build-tsan" -DSEQTUNE_TESTS=ON -DSEQTUNE_SANITIZE=thread || exit 1
    subset=
    for p in $threaded; do subset="$subset $(ls "$build-tsan"/tests/bin/"$p"* 2>/dev/null)"; done
    # shellcheck disable=SC2086
    run_programs "$build-tsan/results" $subset
    count "$build-tsan/results"
    ;;
fuzz)
    SECONDS_EACH=$seconds SEQTUNE_BUILD_DIR=$build sh tests/fuzz/run.sh
    ;;
esac
