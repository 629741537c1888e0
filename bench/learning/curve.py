#!/usr/bin/env python3
"""The reward of a run: means of its first and last N steps with standard errors, and the curve in windows.

    curve.py RUN/metrics.jsonl [N]

The standard error is that of N step means, taken as independent. Only the standard library is needed.
"""
import json
import math
import sys


def mean_and_error(values):
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def main():
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    with open(sys.argv[1], encoding="utf-8") as f:
        rewards = [line["reward"] for line in map(json.loads, f) if "reward" in line]
    (first, first_error), (last, last_error) = mean_and_error(rewards[:n]), mean_and_error(rewards[-n:])
    gain, error = last - first, math.hypot(first_error, last_error)
    print("curve, means of", n, "steps:", " ".join(
        f"{sum(rewards[i:i + n]) / len(rewards[i:i + n]):.3f}" for i in range(0, len(rewards), n)))
    print(f"first {n}: {first:.4f} +- {first_error:.4f}   last {n}: {last:.4f} +- {last_error:.4f}   "
          f"gain {gain:+.4f} = {gain / error if error else math.inf:.1f} standard errors")
    sys.exit(0 if gain > 5 * error else 1)


if __name__ == "__main__":
    main()
