#!/bin/bash
# Checks and measures on a CUDA GPU in less than ten minutes: speed, memory and overlap of decoding
# with the shape of LLaVA-1.5-7B, then the exactness of every family.
#
#     benchmarks/gpu.sh [FILE]        the report; default: benchmarks/results/gpu.md
#
# Needs a Python with this project's packages as python3, or its name in PYTHON. Exits with an error
# if a part fails; the other parts are in the report all the same.
set -uo pipefail
cd "$(dirname "$0")/.."
report=${1:-benchmarks/results/gpu.md} python=${PYTHON:-python3} failed=0
measure() {
    timeout "$1" "$python" -m "${@:2}" 2>&1 >>"$report" | grep -v "Loading weights" >&2
    if [ "${PIPESTATUS[0]}" != 0 ]; then
        failed=1
        echo "Failed or took more than $1 s: ${*:2}" | tee -a "$report" >&2
    fi
    echo >>"$report"
}
printf '# On a GPU\n\nMade by `benchmarks/gpu.sh`.\n\n' >"$report"
measure 270 benchmarks.scoring --device cuda --repeat 2 --samples 128 --per-image 1 2 2.67 8
measure 120 benchmarks.families --device cuda --dtype bfloat16
measure 120 benchmarks.families --device cuda --dtype float32
exit $failed
