#!/usr/bin/env python3
"""One training job by TRL, timed step by step: what `compare.sh` sets beside Keel.

    trl_job.py --job dpo --model DIR --data rows.jsonl --steps 6 --dtype bf16 [--precompute] [--out FILE]

Prints one JSON object: CPU seconds (user + system, children too) and wall seconds of every step, the seconds before the
first, peak memory. Settings are the fastest that were found: two threads, sdpa, no gradient checkpointing, rows of like
length side by side (the file is ordered so), nothing saved. Set LD_PRELOAD to tcmalloc, or the MALLOC_ variables of
compare.sh, and GOMP_SPINCOUNT=0: without them torch is up to three times slower.
"""
import os
import resource
import time

START = time.time()
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")

import argparse
import json
import tempfile

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback


def cpu():
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


class Clock(TrainerCallback):
    """CPU and wall seconds between the starts and ends of steps."""

    def __init__(self):
        self.steps, self.first = [], None

    def on_step_begin(self, args, state, control, **kwargs):
        self.now = (cpu(), time.time())
        if self.first is None:
            self.first = {"wall": time.time() - START, "cpu": cpu()}
            self.last = self.now

    def on_step_end(self, args, state, control, **kwargs):
        # From the end of the last step, so that what happens in between (data, GRPO's rollouts) counts.
        now = (cpu(), time.time())
        self.steps.append({"cpu": round(now[0] - self.last[0], 3), "wall": round(now[1] - self.last[1], 3)})
        self.last = now


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--job", required=True, choices=["dpo", "sft", "grpo"])
    p.add_argument("--model", required=True)
    p.add_argument("--data", required=True, help="JSONL with prompt, chosen, rejected, in the order of the steps")
    p.add_argument("--steps", type=int, default=6)
    p.add_argument("--rows", type=int, default=8, help="rows (grpo: prompts) of a step")
    p.add_argument("--dtype", default="bf16", choices=["f32", "bf16", "bf16-pure"],
                   help="bf16: f32 weights and AdamW under autocast; bf16-pure: all of it in bf16")
    p.add_argument("--precompute", action="store_true", help="dpo: reference log-probs before the first step")
    p.add_argument("--generations", type=int, default=4)
    p.add_argument("--new-tokens", type=int, default=64)
    p.add_argument("--max-length", type=int, default=512)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--compile", action="store_true")
    p.add_argument("--out", help="write the JSON object here, too")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    weights = torch.bfloat16 if args.dtype == "bf16-pure" else torch.float32

    def load():
        return AutoModelForCausalLM.from_pretrained(args.model, dtype=weights, attn_implementation="sdpa")

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    rows = [json.loads(line) for line in open(args.data, encoding="utf-8")][:args.rows * args.steps]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        common = dict(
            output_dir=folder, report_to=[], save_strategy="no", use_cpu=True, bf16=args.dtype == "bf16", fp16=False,
            gradient_checkpointing=False, disable_tqdm=True, logging_steps=1, train_sampling_strategy="sequential",
            dataloader_num_workers=0, seed=0, per_device_train_batch_size=args.rows, max_steps=args.steps,
            learning_rate=1e-6, lr_scheduler_type="constant", warmup_steps=0, max_grad_norm=1.0,
            optim="adamw_torch_fused", torch_compile=args.compile)
        if args.job == "dpo":
            from trl import DPOConfig, DPOTrainer
            data = Dataset.from_list([{k: r[k] for k in ("prompt", "chosen", "rejected")} for r in rows])
            trainer = DPOTrainer(
                model=load(), ref_model=load(), processing_class=tokenizer, train_dataset=data, callbacks=[clock],
                args=DPOConfig(**common, max_length=args.max_length, beta=0.1,
                               precompute_ref_log_probs=args.precompute))
        elif args.job == "sft":
            from trl import SFTConfig, SFTTrainer
            data = Dataset.from_list([{"prompt": r["prompt"], "completion": r["chosen"]} for r in rows])
            trainer = SFTTrainer(
                model=load(), processing_class=tokenizer, train_dataset=data, callbacks=[clock],
                args=SFTConfig(**common, max_length=args.max_length))
        else:
            from trl import GRPOConfig, GRPOTrainer
            common["per_device_train_batch_size"] = args.rows * args.generations
            data = Dataset.from_list([{"prompt": r["prompt"]} for r in rows])
            trainer = GRPOTrainer(
                model=load(), processing_class=tokenizer, train_dataset=data, callbacks=[clock],
                reward_funcs=lambda completions, **_: [float(len(c)) for c in completions],
                args=GRPOConfig(**common, num_generations=args.generations, max_completion_length=args.new_tokens,
                                beta=0.0, temperature=1.0,
                                generation_kwargs={"min_new_tokens": args.new_tokens}))
        trainer.train()
    result = {
        "peer": "trl", "job": args.job, "dtype": args.dtype, "threads": args.threads, "rows": args.rows,
        "precompute": args.precompute, "first_step": {k: round(v, 2) for k, v in clock.first.items()},
        "steps": clock.steps, "losses": [h["loss"] for h in trainer.state.log_history if "loss" in h],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(result))
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            f.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
