#!/bin/sh
# tests/run_one.sh RESULTS SECONDS PROGRAM: runs one test program (scripts/test.sh calls it).
#
# Its TAP output goes to RESULTS/NAME.tap, what it says besides to NAME.err, `passed failed skipped` to NAME.count. Prints one
# line, after the tests that failed. A crash, a missing line and a run past SECONDS count as failures. Exit status 0.
results=$1
limit=$2
program=$3
name=${program##*/}
start=$(date +%s)
CMOCKA_MESSAGE_OUTPUT=TAP timeout "$limit" "$program" >"$results/$name.tap" 2>"$results/$name.err"
code=$?
awk -v name="$name" -v code="$code" -v secs=$(($(date +%s) - start)) '
    /^1\.\.[0-9]+/ { plan += substr($1, 4) }
    /# [Ss][Kk][Ii][Pp]/ && /^(not )?ok / { skipped++; next }
    /^not ok / { failed++; print "    " $0; show = 1; next }
    /^ok / { passed++; show = 0; next }
    /^# / && show { print "        " $0 }
    END {
        lost = plan - passed - failed - skipped
        if (lost > 0) { failed += lost; print "    " lost " tests did not report (exit " code ")" }
        if (lost <= 0 && code != 0 && !failed) { failed++; print "    exit status " code }
        if (plan == 0 && !failed) { failed++; print "    no test reported (exit " code ")" }
        printf "%s %s: %d passed, %d failed, %d skipped (%d s)\n", (failed ? "FAIL" : "  ok"), name, passed, failed, skipped, secs
        print passed + 0, failed + 0, skipped + 0 > "/dev/stderr"
    }' "$results/$name.tap" 2>"$results/$name.count" >"$results/$name.line"
# One write: others print at the same time.
{
    cat "$results/$name.line"
    ! grep -q '^FAIL' "$results/$name.line" || tail -n 15 "$results/$name.err" | sed 's/^/        /'
} >"$results/$name.told"
cat "$results/$name.told"
