#!/bin/sh
# Runs every fuzz target for SECONDS_EACH seconds (default 60) from its seeds in tests/fuzz/seeds/NAME.
# Ends with the count line of test.sh; a crash leaves its input in the build directory and names it.
set -u
cd "$(dirname "$0")/../.." || exit 1
. scripts/setup.sh
setup_packages "prog:clang:clang"
build=${SEQTUNE_BUILD_DIR:-build}-fuzz
if ! { cmake -S . -B "$build" -G Ninja -DCMAKE_C_COMPILER=clang -DSEQTUNE_TESTS=OFF -DSEQTUNE_FUZZ=ON \
    -DSEQTUNE_WERROR=OFF && cmake --build "$build" --target fuzzers; } >"$build.log" 2>&1; then
    tail -n 30 "$build.log"
    echo "fuzz: the build failed; the whole log is $build.log" >&2
    exit 1
fi
passed=0
failed=0
for program in "$build"/fuzz/fuzz_*; do
    [ -x "$program" ] || continue
    name=${program##*/fuzz_}
    mkdir -p "$build/corpus/$name"
    seeds=$name
    [ "$name" = load ] && seeds=ptx # the same texts, not executed
    # libFuzzer's entropic schedule took two thirds of the time of fuzz_ptx, whose inputs have many features.
    if "$program" -entropic=0 -max_total_time="${SECONDS_EACH:-60}" -timeout=10 -rss_limit_mb=3000 \
        -artifact_prefix="$build/crash-$name-" "$build/corpus/$name" $(ls -d "tests/fuzz/seeds/$seeds" 2>/dev/null) \
        >"$build/$name.log" 2>&1; then
        passed=$((passed + 1))
        echo "  ok fuzz_$name: $(grep -ao 'stat::number_of_executed_units: *[0-9]*' "$build/$name.log" || grep -aoE 'Done [0-9]+ runs.*' "$build/$name.log")"
    else
        failed=$((failed + 1))
        echo "FAIL fuzz_$name: $(ls "$build"/crash-"$name"-* 2>/dev/null | head -1)"
        tail -n 20 "$build/$name.log"
    fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
