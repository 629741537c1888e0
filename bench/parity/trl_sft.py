#!/usr/bin/env python3
"""SFT on the chosen side by TRL's SFTTrainer (prompt + completion, loss on the completion only).

    trl_sft.py --model DIR --data train.jsonl --out trl_sft_30.json --steps 30
"""
import tempfile
import time

from trl_common import Recorder, arguments, common_settings, load, read_rows, write

from datasets import Dataset
from trl import SFTConfig, SFTTrainer


def main():
    args = arguments(__doc__.splitlines()[0], learning_rate=1e-4).parse_args()
    started = time.time()
    model, tokenizer = load(args)
    rows = [{"row": r["row"], "prompt": r["prompt"], "completion": r["chosen"]} for r in read_rows(args)]
    if args.fit:
        end = tokenizer.eos_token
        rows = [r for r in rows if len(tokenizer(r["prompt"] + r["completion"] + end)["input_ids"]) <= args.max_length]
    with tempfile.TemporaryDirectory() as run_dir:
        settings = common_settings(args, run_dir)
        recorder = Recorder()
        trainer = SFTTrainer(
            model=model, processing_class=tokenizer, train_dataset=Dataset.from_list(rows),
            args=SFTConfig(**settings, completion_only_loss=True, packing=False), callbacks=[recorder])
        kept = [{"row": r["row"], "length": len(r["input_ids"])} for r in trainer.train_dataset]
        trainer.train()
    write(args, "sft", settings, kept, started, recorder.steps,
          {"truncated_rows": sum(r["length"] == args.max_length for r in kept)})


if __name__ == "__main__":
    main()
