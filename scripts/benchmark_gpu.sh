#!/usr/bin/env bash
# GPT-2 as published on a GPU: Keras on JAX beside its twin in PyTorch, compiled
# and with flash attention. Without a GPU it says what it would run.
#
# Usage: scripts/benchmark_gpu.sh [ARGUMENTS OF benchmark.py]
set -euo pipefail
cd "$(dirname "$0")/.."
command=(python scripts/benchmark.py gpt2-small --device gpu --batch_size 16
  --tasks train-bfloat16 prefill decode-1 decode-32
  --sides torch torch-compile keras-jax --out docs/benchmarks "$@")
export KERAS_BACKEND=jax
if ! nvidia-smi --list-gpus >/dev/null 2>&1; then
  echo "This needs an NVIDIA GPU, jax[cuda12] and PyTorch for CUDA. There is none"
  echo "here, so that nothing was measured. It would run"
  echo "    KERAS_BACKEND=jax ${command[*]}"
  exit 0
fi
exec "${command[@]}"
