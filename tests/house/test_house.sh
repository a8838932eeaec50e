#!/bin/sh
# The rules of the house that a compiler does not check, as TAP: who may include whom (docs/design.md
# section 3), nobody includes softgpu, generated source includes nothing, no CUDA toolkit header,
# switches are documented.
cd "$(dirname "$0")/../.." || exit 1
number=0
failed=0

verdict() { # verdict DESCRIPTION OFFENDERS
    number=$((number + 1))
    if [ -z "$2" ]; then
        echo "ok $number - $1"
    else
        failed=1
        echo "not ok $number - $1"
        echo "$2" | sed 's/^/# /'
    fi
}

includes() { # includes FOLDER PATTERN: lines of FOLDER that include a header matching PATTERN
    grep -rnE --include='*.[ch]' --include='*.def' --include='*.inc' "^ *# *include *[<\"]($2)" "$1" 2>/dev/null
}

echo "1..10"
verdict "base includes no other folder" \
    "$(includes base '(db|generator|runtime|tuner|softgpu)/')"
verdict "db includes base only" "$(includes db '(generator|runtime|tuner|softgpu)/')"
verdict "generator includes base only" "$(includes generator '(db|runtime|tuner|softgpu)/')"
verdict "runtime includes neither tuner nor softgpu" "$(includes runtime '(tuner|softgpu)/')"
verdict "tuner does not include softgpu" "$(includes tuner 'softgpu/')"
verdict "softgpu includes base only" "$(includes softgpu '(db|generator|runtime|tuner)/')"
verdict "no CUDA toolkit header is included" \
    "$(includes . '(cuda|nvrtc|cuda_runtime|cuda_fp16|cuda_bf16)\.h')"
verdict "templates and their parameters include nothing" \
    "$(grep -rnE '^ *# *include' templates runtime/params 2>/dev/null)"
verdict "no path of one machine is committed" \
    "$(git ls-files -z 2>/dev/null | xargs -0 grep -nIE '(^|[^A-Za-z0-9_.-])/(work|root)/' 2>/dev/null | grep -v '^tests/house/')"
switches() { # the environment variables that the programs and libraries read
    grep -rhoE --include='*.c' '(files_env|number_parse|user_dir)\((arena, )?"(SEQTUNE|SOFTGPU)_[A-Z_]+"' \
        base db runtime softgpu tuner | grep -oE '(SEQTUNE|SOFTGPU)_[A-Z_]+' | sort -u
}
verdict "every environment variable stands in a table of README.md or docs/" \
    "$(for name in $(switches); do grep -qE "^\\|.*\`$name\`" README.md docs/*.md || echo "$name"; done)"
exit $failed
