#!/bin/sh
# Benchmarks: prints figures, judges nothing. docs/performance.md records them.
#
#   sh scripts/bench.sh              all of them
#   sh scripts/bench.sh compile      source to cubin, seconds per variant, one thread
#   sh scripts/bench.sh errors       flash and textbook attention against fp64, on the same inputs
#   sh scripts/bench.sh main         the main job from an empty cache and database: seconds, peak memory
#   sh scripts/bench.sh softgpu      the software GPU: ns per warp instruction, attention, scaling
#   sh scripts/bench.sh attention [DATABASE]
#                                    prompts and decoding on the models A100 and RTX 4090: modelled times.
#                                    With a database, after a short tuning into it (--effort 2; what it
#                                    holds already is not done again); without, default configurations
#   sh scripts/bench.sh rnn [DATABASE]
#                                    recurrent layers on the models A100 and H100: modelled times per step,
#                                    tiers side by side, against attention. DATABASE as above
#
# SEQTUNE_BUILD_DIR names the build (default build/).
set -u
cd "$(dirname "$0")/.." || exit 1
. scripts/setup.sh

case ${1:-all} in
-h | --help)
    sed -n '2,17s/^# \{0,1\}//p' scripts/bench.sh
    exit 0
    ;;
all | compile | errors | main | softgpu | attention | rnn) what=${1:-all} ;;
*)
    echo "bench.sh: unknown benchmark $1 (see --help)" >&2
    exit 2
    ;;
esac
build=${SEQTUNE_BUILD_DIR:-build}
setup_packages "$setup_needs $setup_test_needs"
setup_nvrtc
mkdir -p "$build"
if ! { cmake -S . -B "$build" -G Ninja && cmake --build "$build" -j "$(nproc)"; } >"$build/bench-build.log" 2>&1; then
    tail -n 30 "$build/bench-build.log"
    exit 1
fi
echo "host: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) cores"

case $what in all | compile)
    "$build/bench/bench_compile"
    ;;
esac
case $what in all | errors)
    "$build/bench/bench_errors" 2>&1
    ;;
esac
case $what in all | softgpu)
    "$build/bench/bench_softgpu"
    ;;
esac
case $what in all | attention)
    for gpu in a100 rtx4090; do
        if [ -n "${2:-}" ]; then
            "$build/tuner/seqtune" --gpu "soft:$gpu" --workload tests/bench/attention.lua --effort 2 \
                --budget 2h --db "$2" --quiet >"$build/bench-tune-$gpu.txt" || exit 1
        fi
        "$build/bench/bench_attention" "$gpu" tests/bench/attention.lua ${2:+"$2"} || exit 1
        echo
    done
    ;;
esac
case $what in all | rnn)
    for gpu in a100 h100; do
        if [ -n "${2:-}" ]; then
            "$build/tuner/seqtune" --gpu "soft:$gpu" --workload rnn --effort 2 --budget 2h --db "$2" \
                --quiet >"$build/bench-tune-rnn-$gpu.txt" || exit 1
        fi
        "$build/bench/bench_rnn" "$gpu" ${2:+"$2"} || exit 1
        echo
    done
    ;;
esac
case $what in all | main)
    empty=$(mktemp -d)
    trap 'rm -rf "$empty"' EXIT
    echo "the main job, everything from empty: seqtune --gpu auto --quiet"
    SEQTUNE_CACHE_DIR=$empty/cache SEQTUNE_DB=$empty/tune.db python3 - "$build/tuner/seqtune" <<'PY'
import resource, subprocess, sys, time
start = time.monotonic()
code = subprocess.call([sys.argv[1], "--gpu", "auto", "--quiet"])
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"exit {code}, {time.monotonic() - start:.1f} s wall, {usage.ru_utime + usage.ru_stime:.1f} s of processor, "
      f"largest process {usage.ru_maxrss / 1048576:.2f} GiB")
sys.exit(code)
PY
    ;;
esac
