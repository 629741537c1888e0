#!/usr/bin/env python3
"""DPO by TRL's DPOTrainer, every step written down, as the reference that `compare.py` holds Keel to.

    trl_dpo.py --model DIR --data train.jsonl --out trl_dpo_30.json --steps 30

The README beside this file says what TRL does with the rows and what the numbers mean.
"""
import json
import tempfile
import time

from epochs import by_epoch
from trl_common import Recorder, arguments, common_settings, load, read_rows, write

from datasets import Dataset
from trl import DPOConfig, DPOTrainer


def main():
    p = arguments(__doc__.splitlines()[0], learning_rate=1e-4)
    p.add_argument("--beta", type=float, default=0.1)
    p.add_argument("--precompute", action="store_true", help="reference log-probs once, before training")
    p.add_argument("--evaluate", action="store_true", help="after training, the metrics over all training rows")
    args = p.parse_args()

    started = time.time()
    model, tokenizer = load(args)
    ref_model, _ = load(args)
    rows = read_rows(args)
    if args.fit:
        end = tokenizer.eos_token
        rows = [r for r in rows if all(len(tokenizer(r["prompt"] + r[side] + end)["input_ids"]) <= args.max_length
                                       for side in ("chosen", "rejected"))]
    by_line = {r["row"]: r for r in rows}
    with tempfile.TemporaryDirectory() as run_dir:
        settings = common_settings(args, run_dir)
        recorder = Recorder()
        trainer = DPOTrainer(
            model=model, ref_model=ref_model, processing_class=tokenizer, train_dataset=Dataset.from_list(rows),
            args=DPOConfig(**settings, beta=args.beta, precompute_ref_log_probs=args.precompute,
                           per_device_eval_batch_size=args.batch),
            callbacks=[recorder])
        kept = [{k: r[k] for k in ("row", "prompt_ids", "chosen_ids", "rejected_ids")} for r in trainer.train_dataset]
        trainer.train()
        more = {"beta": args.beta, "precompute_ref_log_probs": args.precompute,
                "truncated_rows": sum(len(r["prompt_ids"]) + max(len(r["chosen_ids"]), len(r["rejected_ids"]))
                                      > args.max_length for r in kept)}
        if args.epochs > 1 and args.steps < 0:
            more["epochs"] = by_epoch(recorder.steps, len(kept), args.batch * args.accumulate)
        if args.evaluate:
            after = trainer.evaluate(Dataset.from_list([by_line[r["row"]] for r in kept]))
            more["after"] = {k: v for k, v in after.items()
                             if k.startswith(("eval_loss", "eval_rewards", "eval_logps"))}
    if args.rows_out:
        with open(args.rows_out, "w", encoding="utf-8") as f:
            for r in kept:
                f.write(json.dumps({k: by_line[r["row"]][k] for k in ("prompt", "chosen", "rejected")},
                                   ensure_ascii=False) + "\n")
    write(args, "dpo", settings, kept, started, recorder.steps, more)


if __name__ == "__main__":
    main()
