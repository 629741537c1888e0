#!/bin/sh
# The models of the benchmark, with random weights: SmolLM2-135M's shape, and a small one.
#
#   bench/models.sh KEEL TOKENIZER.json OUT
#
# TOKENIZER  a real one of at most 49,152 tokens (for `small`: the same ids must stay below its vocabulary, see `small`)
# Makes OUT/m135 (30 layers, 576 wide, 9 query and 3 key heads, 1536 inside, vocabulary 49,152, tied) and OUT/small
# (8 layers, 256 wide, vocabulary 8,192; SMALL_TOKENIZER in the environment, else the tokenizer of samples/model).
set -eu
keel=$1 tokenizer=$2 out=$3
here=$(cd "$(dirname "$0")" && pwd)
small=${SMALL_TOKENIZER:-$here/../samples/model/tokenizer.json}
mkdir -p "$out"

# config LAYERS WIDTH INNER HEADS KV_HEADS VOCABULARY THETA EOS
config() {
    cat <<JSON
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": $1, "hidden_size": $2,
 "intermediate_size": $3, "num_attention_heads": $4, "num_key_value_heads": $5, "head_dim": 64, "vocab_size": $6,
 "rope_theta": $7, "max_position_embeddings": 8192, "hidden_act": "silu", "rms_norm_eps": 1e-05, "attention_bias": false,
 "attention_dropout": 0.0, "mlp_bias": false, "tie_word_embeddings": true, "initializer_range": 0.02,
 "use_cache": true, "bos_token_id": 1, "eos_token_id": $8, "pad_token_id": $8, "dtype": "float32"}
JSON
}

# make NAME TOKENIZER CONFIG...
make() {
    name=$1 own=$2
    shift 2
    [ -f "$out/$name/model.safetensors" ] && return
    config "$@" >"$out/$name.json"
    "$keel" model init --config "$out/$name.json" --tokenizer "$own" --seed 1 "$out/$name"
}

# Sizes for the curve: 1M, 10M, 135M, 360M parameters.
make m135 "$tokenizer" 30 576 1536 9 3 49152 100000.0 2
make small "$small" 8 256 704 4 4 8192 10000.0 0
if [ "${4:-}" = sizes ]; then
    make m1 "$small" 4 128 384 2 2 2048 10000.0 0
    make m10 "$small" 8 256 704 4 4 8192 10000.0 0
    make m360 "$tokenizer" 32 960 2560 15 5 49152 100000.0 2
fi
