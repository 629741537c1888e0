"""What the two TRL reference scripts share: arguments, the recorder, the file they write."""
import argparse
import json
import os
import platform
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
import transformers
import trl
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback


def arguments(description, learning_rate):
    """The flags both scripts take. Paths are never guessed."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--model", required=True, help="Hugging Face model directory")
    p.add_argument("--data", required=True, help="JSONL with prompt, chosen, rejected")
    p.add_argument("--out", required=True, help="JSON file to write")
    p.add_argument("--rows", type=int, help="take only the first N rows of the file")
    p.add_argument("--steps", type=int, default=-1, help="optimizer steps; overrides --epochs")
    p.add_argument("--epochs", type=float, default=1)
    p.add_argument("--batch", type=int, default=16, help="rows of one forward pass")
    p.add_argument("--accumulate", type=int, default=1, help="forward passes of one optimizer step")
    p.add_argument("--max-length", type=int, default=512)
    p.add_argument("--fit", action="store_true",
                   help="keep only rows that need no truncation, so that truncation rules play no part")
    p.add_argument("--learning-rate", type=float, default=learning_rate)
    p.add_argument("--schedule", default="linear", choices=["linear", "constant", "cosine"])
    p.add_argument("--max-grad-norm", type=float, default=1.0)
    p.add_argument("--rows-out", help="write the rows that were trained on, in order, as JSONL")
    p.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    p.add_argument("--attention", default="sdpa", choices=["sdpa", "eager"])
    p.add_argument("--threads", type=int, default=1)
    return p


def common_settings(args, run_dir):
    """TrainingArguments that make a run comparable: one log line per step, file order, no mixed precision."""
    return dict(
        output_dir=run_dir, report_to=[], save_strategy="no", use_cpu=True, bf16=False, fp16=False,
        gradient_checkpointing=False, disable_tqdm=True, logging_steps=1, logging_nan_inf_filter=False,
        train_sampling_strategy="sequential", dataloader_num_workers=0, seed=0,
        per_device_train_batch_size=args.batch, gradient_accumulation_steps=args.accumulate,
        max_steps=args.steps, num_train_epochs=args.epochs, max_length=args.max_length,
        learning_rate=args.learning_rate, lr_scheduler_type=args.schedule, warmup_steps=0,
        optim="adamw_torch", adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=1e-8, weight_decay=0.0,
        max_grad_norm=args.max_grad_norm,
    )


def load(args):
    """(model, tokenizer), on `--threads` threads."""
    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(
        args.model, dtype=getattr(torch, args.dtype), attn_implementation=args.attention)
    return model, AutoTokenizer.from_pretrained(args.model)


def read_rows(args):
    """The JSONL rows reduced to the three strings, numbered by their line (from 0)."""
    rows = []
    with open(args.data, encoding="utf-8") as f:
        for line in f:
            if args.rows is not None and len(rows) == args.rows:
                break
            row = json.loads(line)
            rows.append({k: row[k] for k in ("prompt", "chosen", "rejected")} | {"row": len(rows)})
    return rows


class Recorder(TrainerCallback):
    """Collects every per-step log line as TRL gives it."""

    def __init__(self):
        self.steps = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            self.steps.append({"step": state.global_step} | {k: v for k, v in logs.items() if k != "total_flos"})


def write(args, objective, settings, kept, started, steps, more):
    """One JSON file: versions, every setting, which rows, one object per step."""
    keys = ("max_length", "learning_rate", "lr_scheduler_type", "warmup_steps", "optim", "adam_beta1", "adam_beta2",
            "adam_epsilon", "weight_decay", "max_grad_norm", "per_device_train_batch_size",
            "gradient_accumulation_steps", "max_steps", "num_train_epochs", "train_sampling_strategy")
    numbers = [row["row"] for row in kept]
    gone = sorted(set(range(numbers[-1] + 1)) - set(numbers))
    result = {
        "what": "per-step values as TRL logs them", "objective": objective,
        "versions": {"trl": trl.__version__, "transformers": transformers.__version__,
                     "torch": torch.__version__, "python": platform.python_version()},
        "model": os.path.basename(os.path.normpath(args.model)), "data": os.path.basename(args.data),
        "dtype": args.dtype, "settings": {k: settings[k] for k in keys},
        "rows": {"read": args.rows, "fit_only": args.fit, "kept": len(kept), "dropped_lines": gone},
        "seconds": round(time.time() - started, 1),
    } | more
    head = ",\n ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in result.items())
    lines = ",\n  ".join(json.dumps(s) for s in steps)
    with open(args.out, "w", encoding="utf-8") as f:
        f.write(f'{{\n {head},\n "steps": [\n  {lines}\n ]\n}}\n')
