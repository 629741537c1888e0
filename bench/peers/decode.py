#!/usr/bin/env python3
"""Decoding by transformers or llama.cpp, timed: tokens per CPU second and per second, at batch 1 or more.

    decode.py --engine transformers --model DIR --batch 32 --dtype bf16
    decode.py --engine llama.cpp --model FILE.gguf --prompts rows.jsonl --batch 1

The time is the difference of a long and a short generation after a warm-up, so that loading and prompts do not count.
Prints one JSON object. llama.cpp comes from the xllamacpp wheel; the GGUF from `keel model export`.
"""
import argparse
import json
import os
import resource
import threading
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
SHORT, LONG = 8, 72


def cpu():
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def transformers_engine(args, prompts):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    torch.set_num_threads(args.threads)
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype, attn_implementation="sdpa").eval()
    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, truncation=True, max_length=448)
    inputs.pop("token_type_ids", None)

    def generate(count):
        with torch.inference_mode():
            model.generate(**inputs, do_sample=True, top_k=0, max_new_tokens=count, min_new_tokens=count)
    return generate


def llama_engine(args, prompts):
    import xllamacpp as xl
    params = xl.CommonParams()
    params.model.path = args.model
    params.n_parallel = args.batch
    params.n_ctx = 1024 * args.batch
    params.n_predict = LONG
    params.warmup = True
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    server = xl.Server(params)

    def generate(count):
        def one(prompt):
            server.handle_completions({"prompt": prompt, "n_predict": count, "ignore_eos": True, "temperature": 1.0,
                                       "top_k": 0, "top_p": 1.0, "min_p": 0.0, "samplers": ["temperature"],
                                       "cache_prompt": False})
        threads = [threading.Thread(target=one, args=(p,)) for p in prompts]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    return generate


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--engine", required=True, choices=["transformers", "llama.cpp"])
    p.add_argument("--model", required=True)
    p.add_argument("--prompts", help="JSONL with prompt; else one text")
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--dtype", default="bf16", choices=["bf16", "f32"])
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    args = p.parse_args()
    prompts = ["Once upon a time there was"]
    if args.prompts:
        prompts = [json.loads(line)["prompt"] for line in open(args.prompts, encoding="utf-8")]
    prompts = (prompts * args.batch)[:args.batch]
    start = time.time()
    generate = (transformers_engine if args.engine == "transformers" else llama_engine)(args, prompts)
    generate(SHORT)
    rounds = []
    for _ in range(args.rounds):
        spent = []
        for count in (SHORT, LONG):
            before = (cpu(), time.time())
            generate(count)
            spent.append((cpu() - before[0], time.time() - before[1]))
        tokens = args.batch * (LONG - SHORT)
        rounds.append({"tok_per_cpu_s": round(tokens / (spent[1][0] - spent[0][0]), 2),
                       "tok_per_s": round(tokens / (spent[1][1] - spent[0][1]), 2)})
    print(json.dumps({
        "peer": args.engine, "batch": args.batch, "dtype": args.dtype, "threads": args.threads, "rounds": rounds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "seconds": round(time.time() - start, 1)}))


if __name__ == "__main__":
    main()
