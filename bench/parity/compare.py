#!/usr/bin/env python3
"""Holds a Keel run to the numbers TRL gave on the same rows, weights and settings.

    compare.py REFERENCE.json --keel KEEL --model DIR --data train.jsonl     writes the config, trains, compares
    compare.py REFERENCE.json --metrics RUN/metrics.jsonl                    compares a run that is already there

A reference without epochs: every step's loss within --bound (relative), exit 0; else the first bad step and exit 1.
With --window N the means of N steps are held to the bound instead: a long run's single steps drift apart in any f32.
A reference with epochs (trl_dpo_512x6.json): rewards/accuracies of the last epoch at least TRL's less --margin.
Only the standard library is needed.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

from epochs import by_epoch


def config(ref, args, folder):
    """The Keel config that says what the reference's settings say."""
    s = ref["settings"]
    data = os.path.abspath(args.data)
    if ref["rows"]["read"] is not None:
        with open(data, encoding="utf-8") as f:
            rows = [line for _, line in zip(range(ref["rows"]["read"]), f)]
        data = os.path.join(folder, "rows.jsonl")
        with open(data, "w", encoding="utf-8") as f:
            f.writelines(rows)
    train = {key: s[key] for key in (
        "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate", "lr_scheduler_type",
        "warmup_steps", "max_grad_norm", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay")}
    train |= {"max_steps": s["max_steps"]} if s["max_steps"] > 0 else {"num_train_epochs": int(s["num_train_epochs"])}
    train |= {"logging_steps": 1, "seed": 0}
    objective = {"plugin": ref["objective"]}
    if ref["objective"] == "dpo":
        objective["params"] = {"beta": ref["beta"]}
    return {
        "model": {"path": os.path.abspath(args.model), "dtype": "f32"},
        **({"reference": "initial"} if ref["objective"] == "dpo" else {}),
        "data": {"train": data, "max_length": s["max_length"]},
        "objective": objective,
        "order": {"plugin": "sequential"},
        "train": train,
        "output_dir": os.path.join(folder, "run"),
    }


def train(ref, args, folder):
    """Runs `keel train`; returns the path of its metrics.jsonl."""
    path = os.path.join(folder, "config.json")
    settings = config(ref, args, folder)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(settings, f, indent=2)
    command = [args.keel, "train", path, *sum((["--set", s] for s in args.set), [])]
    if subprocess.run(command).returncode != 0:
        with open(path, encoding="utf-8") as f:
            sys.exit(f"compare.py: `{' '.join(command)}` failed with this config:\n{f.read()}")
    return os.path.join(settings["output_dir"], "metrics.jsonl")


def read(path):
    """{step: line} of the training lines."""
    with open(path, encoding="utf-8") as f:
        lines = [json.loads(line) for line in f if line.strip()]
    return {line["step"]: line for line in lines if isinstance(line.get("loss"), (int, float))}


def relative(got, want):
    if not isinstance(got, (int, float)) or not math.isfinite(got):
        return math.inf
    return abs(got - want) / max(abs(want), 1e-12)


def steps_agree(ref, got, args):
    steps = [s for s in ref["steps"] if args.steps is None or s["step"] <= args.steps]
    worst, bad = (0.0, None), None
    print(f"{'step':>5} {'TRL loss':>14} {'Keel loss':>14} {'relative':>10} {'grad_norm':>10} {'tokens':>7}")
    for want in steps:
        line = got.get(want["step"], {})
        diff = relative(line.get("loss"), want["loss"])
        norm = relative(line.get("grad_norm"), want["grad_norm"])
        tokens = line.get("num_tokens")
        same = "-" if tokens is None else "same" if tokens == want["num_tokens"] else "differ"
        shown = f"{line['loss']:14.9f}" if "loss" in line else f"{'missing':>14}"
        print(f"{want['step']:5} {want['loss']:14.9f} {shown} {diff:10.2e} {norm:10.2e} {same:>7}")
        if diff > worst[0]:
            worst = (diff, want["step"])
        if bad is None and not diff < args.bound:
            bad = want["step"]
    verdict = "ok" if bad is None else f"FAILED, first at step {bad}"
    print(f"{len(steps)} steps, largest relative difference {worst[0]:.3e} at step {worst[1]}, "
          f"bound {args.bound:g}: {verdict}")
    return bad is None


def windows_agree(ref, got, args):
    want = [s["loss"] for s in ref["steps"] if args.steps is None or s["step"] <= args.steps]
    have = [got.get(i + 1, {}).get("loss", math.nan) for i in range(len(want))]
    fine = True
    for start in range(0, len(want), args.window):
        a, b = want[start:start + args.window], have[start:start + args.window]
        a, b = sum(a) / len(a), sum(b) / len(b)
        diff = relative(b, a)
        fine = fine and diff < args.bound
        print(f"steps {start + 1:4} to {min(start + args.window, len(want)):4}: mean loss TRL {a:.6f} Keel {b:.6f} "
              f"relative {diff:.2e}")
    print(f"bound {args.bound:g}: {'ok' if fine else 'FAILED'}")
    return fine


def accuracy_reached(ref, got, args):
    s = ref["settings"]
    batch = s["per_device_train_batch_size"] * s["gradient_accumulation_steps"]
    mine = by_epoch([got[step] for step in sorted(got)], ref["rows"]["kept"], batch)
    for i, (want, have) in enumerate(zip(ref["epochs"], mine), 1):
        print(f"epoch {i}: rewards/accuracies TRL {want['rewards/accuracies']:.4f} "
              f"Keel {have['rewards/accuracies']:.4f}   loss TRL {want['loss']:.4f} Keel {have['loss']:.4f}")
    if len(mine) != len(ref["epochs"]):
        print(f"FAILED: {len(mine)} epochs of {-(-ref['rows']['kept'] // batch)} steps, TRL has {len(ref['epochs'])}")
        return False
    want, have = ref["epochs"][-1]["rewards/accuracies"], mine[-1]["rewards/accuracies"]
    fine = have >= want - args.margin
    print(f"last epoch: TRL {want:.4f}, Keel {have:.4f}, allowed {want - args.margin:.4f} and up: "
          f"{'ok' if fine else 'FAILED'}")
    return fine


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("reference")
    p.add_argument("--metrics", help="metrics.jsonl of a finished run")
    p.add_argument("--keel", help="the keel executable")
    p.add_argument("--model")
    p.add_argument("--data")
    p.add_argument("--run-dir", help="keep the config and the run here")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to keel train")
    p.add_argument("--steps", type=int, help="compare only the first N steps")
    p.add_argument("--window", type=int, help="compare means of this many steps")
    p.add_argument("--bound", type=float, default=1e-3)
    p.add_argument("--margin", type=float, default=0.02)
    args = p.parse_args()
    with open(args.reference, encoding="utf-8") as f:
        ref = json.load(f)
    if args.metrics:
        got = read(args.metrics)
    elif args.keel and args.model and args.data:
        with tempfile.TemporaryDirectory() as scratch:
            folder = args.run_dir or scratch
            os.makedirs(folder, exist_ok=True)
            got = read(train(ref, args, os.path.abspath(folder)))
    else:
        p.error("give --metrics, or --keel, --model and --data")
    judge = accuracy_reached if "epochs" in ref else windows_agree if args.window else steps_agree
    fine = judge(ref, got, args)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
