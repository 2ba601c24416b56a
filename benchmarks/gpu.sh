#!/usr/bin/env bash
# The whole matrix on one GPU, for the log: about 20 minutes on an H200. Every step has its own time limit
# and its own file in OUT, so that a run that is cut off keeps what it has.
# Usage: benchmarks/gpu.sh CORPUS.parquet CONFIGS MINILM OUT   (from the repository's root)
# ONLY=REGEX runs the steps of that name alone; CHUNKS=FOLDER keeps cut chunks between runs. Files to files on
# several GPUs: DEVICES=0,1 N_DEVICES=2.
# CONFIGS holds qwen3-embedding-{0.6b,4b,8b}/ and qwen3-tokenizer.json; MINILM is a folder of all-MiniLM-L6-v2.
set -u
corpus=$1 configs=$2 minilm=$3 out=$4
export PYTHONPATH=$PWD/pipeline PYTHONUNBUFFERED=1
python=${PYTHON:-python3}
mkdir -p "$out" && cache=$(mktemp -d)
args=(--corpus "$corpus" --configs "$configs" --minilm "$minilm" --cache "${CHUNKS:-$cache}")

step() { # step NAME SECONDS COMMAND...
    local name=$1 limit=$2 begin=$SECONDS
    shift 2
    [[ $name =~ ^(${ONLY:-.*})$ ]] || return 0
    timeout "$limit" "$@" >"$out/$name.txt" 2>&1
    echo "$name: exit $? after $((SECONDS - begin)) s"
}

step encoders 60 "$python" benchmarks/engine.py "${args[@]}" --models bge-base minilm --precisions fp16 --budgets 32768 65536 --tokens 600000 --profile
step decoder-0.6B 60 "$python" benchmarks/engine.py "${args[@]}" --models 0.6B --precisions bf16 fp8 --budgets 16384 --tokens 600000 --profile
step decoder-4B 60 "$python" benchmarks/engine.py "${args[@]}" --models 4B --precisions bf16 fp8 --budgets 16384 --tokens 200000 --rounds 2
step decoder-8B 80 "$python" benchmarks/engine.py "${args[@]}" --models 8B --precisions bf16 fp8 --budgets 16384 --tokens 200000 --rounds 2
cat >"$cache/model.py" <<'P'
import sys
from pathlib import Path
sys.path.insert(0, "benchmarks")
import torch, engine
from embed_corpus.model.facts import read_facts
folder = engine.make_folder("0.6B", Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
engine.random_model(read_facts(folder), torch.bfloat16).save_pretrained(folder)
P
step start-0.6B-model 60 "$python" "$cache/model.py" "$configs" "$minilm" "$cache"
for i in 1 2; do # each with caches of its own: what a first night and a second night see, and bits between processes
    export XDG_CACHE_HOME=$cache/$i
    step "start-0.6B-cold-$i" 60 "$python" -m embed_corpus bench --model "$cache/0.6B" --tokens 150000 --rounds 0 --json
    step "start-0.6B-warm-$i" 60 "$python" -m embed_corpus bench --model "$cache/0.6B" --tokens 150000 --rounds 0 --json
done
step reproducible-minilm 100 "$python" -m embed_corpus bench --model "$minilm" --tokens 1000000 --check-reproducible
step run-minilm 60 "$python" -m embed_corpus run "$corpus" "$cache/out" --model "$minilm" --id-column id --keep-text
step verify-minilm 60 "$python" -m embed_corpus verify "$cache/out"
step promises-minilm 60 "$python" benchmarks/promises.py "${args[@]}" --models minilm:fp16 --budgets 65536 131072 --checks bits oom --tokens 600000
step promises-small 60 "$python" benchmarks/promises.py "${args[@]}" --models minilm:fp16 0.6B:bf16 --checks small --tokens 600000
step promises-bge 60 "$python" benchmarks/promises.py "${args[@]}" --models bge-base:fp16 --checks bits parity --tokens 600000 --rows 300
step mixed-0.6B 100 "$python" benchmarks/promises.py "${args[@]}" --models 0.6B:bf16 --checks mixed --tokens 600000 --rows 200 --peer 32 128
step oom-0.6B 100 "$python" benchmarks/promises.py "${args[@]}" --models 0.6B:bf16 --checks oom --tokens 600000
step promises-fp8 60 "$python" benchmarks/promises.py "${args[@]}" --models 0.6B:fp8 4B:fp8 --checks bits fp8 --tokens 200000
step long-8k 90 "$python" benchmarks/engine.py "${args[@]}" --models 0.6B 4B 8B --chunk-tokens 8192 --tokens 150000 --budgets 32768 --rounds 1 --seconds 1
step long-32k 90 "$python" benchmarks/engine.py "${args[@]}" --models 0.6B 4B 8B --chunk-tokens 32768 --tokens 200000 --budgets 65536 --rounds 1 --seconds 1
files=(--corpus "$corpus" --configs "$configs" --minilm "$minilm") # files in, files out; DEVICES=0,1 for several GPUs
for name in minilm:140 bge-base:35 0.6B:8 4B:1; do # copies of 1,500 documents that take an H200 some 35 s
    step "files-${name%:*}" 300 "$python" benchmarks/end_to_end.py "${files[@]}" --models "${name%:*}" \
        --copies "$((${name#*:} * ${N_DEVICES:-1}))" --seconds 20 --devices "${DEVICES:-0}"
done
step files-minilm-isolated 200 "$python" benchmarks/end_to_end.py "${files[@]}" --models minilm --no-engine --isolate source sink
step files-minilm-peer 150 "$python" benchmarks/end_to_end.py "${files[@]}" --models minilm --no-engine --peer 128 256
grep -hE '^\{"(model|device)|same bits|DIFFERENT|tokens/s|GPU time' "$out"/*.txt | cut -c1-600
rm -rf "$cache"
