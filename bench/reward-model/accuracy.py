"""How often a reward model prefers the chosen answer, beside chance and the base model's log-probability.

    keel reward try model --model REWARD --data KINDS.jsonl --json > scores.json
    python bench/reward-model/accuracy.py BASE REWARD TEST.jsonl KINDS.jsonl scores.json

KINDS has the pairs of TEST as the reward model reads them, with their source in the prompt; the base reads TEST. Loads REWARD in transformers
and compares its scores with Keel's. Intervals: 95 %, 10,000 bootstrap samples of the pairs.
"""

import json
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

torch.set_num_threads(1)
base_folder, reward_folder, data, kinds, scores = sys.argv[1:6]
rows = [json.loads(line) for line in open(data)]
read = [json.loads(line) for line in open(kinds)]
given = json.load(open(scores))
tokenizer = AutoTokenizer.from_pretrained(reward_folder)
base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()
reward, info = AutoModelForSequenceClassification.from_pretrained(
    reward_folder, dtype=torch.float32, output_loading_info=True)
reward.eval()
if reward.config.pad_token_id == tokenizer.eos_token_id:
    reward.config.pad_token_id = None  # or transformers reads the token before the end (docs/objectives/reward_model.md)
assert not info["missing_keys"] and not info["unexpected_keys"], info
context = reward.config.max_position_embeddings


def ids(text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def tokens(row, side):
    """What is read of a prompt and an answer with its end, and how much of it is the answer."""
    front, back = ids(row["prompt"]), ids(row[side]) + [tokenizer.eos_token_id]
    return torch.tensor([(front + back)[-context:]]), len(back)


def logprobs(row, side):
    """Summed and mean log-probability of the answer under the base."""
    whole, length = tokens(row, side)
    own = torch.log_softmax(base(whole).logits[0, :-1], -1).gather(1, whole[0, 1:, None])[-length:, 0]
    return own.sum().item(), own.mean().item()


def score(row, side):
    return reward(tokens(row, side)[0]).logits[0, 0].item()


sides = ("chosen", "rejected")
with torch.no_grad():
    likely = np.array([[logprobs(row, side) for side in sides] for row in rows])
    found = np.array([[score(row, side) for side in sides] for row in read])
keel = np.array([given["chosen_scores"], given["rejected_scores"]], dtype=float).T
print(f"{len(rows)} pairs; largest difference of a score between Keel and transformers: "
      f"{np.abs(found - keel).max():.2e}")
right = {
    "summed log-probability of the base": likely[:, 0, 0] > likely[:, 1, 0],
    "mean log-probability of the base": likely[:, 0, 1] > likely[:, 1, 1],
    "reward model": keel[:, 0] > keel[:, 1],
}
if "chosen_score" in rows[0]:
    scored = np.array([row.get("chosen_score", 0) > row.get("rejected_score", 0) for row in rows])
    right["scores of the data"] = scored


def report(count):
    """The shares over the first rows, with their intervals."""
    samples = np.random.default_rng(1).integers(0, count, (10000, count))

    def interval(values):
        return np.quantile(values[:count][samples].mean(1), (0.025, 0.975))

    print(f"the first {count} pairs:" if count < len(rows) else f"all {count} pairs:")
    for name, hits in right.items():
        low, high = interval(hits.astype(float))
        print(f"  {name}: {hits[:count].mean():.3f} [{low:.3f}, {high:.3f}]")
    difference = right["reward model"].astype(float) - right["summed log-probability of the base"]
    low, high = interval(difference)
    print(f"  reward model less summed log-probability, pair by pair: {difference[:count].mean():+.3f} [{low:+.3f}, {high:+.3f}]")


report(len(rows))
# The rows that the page of hh-tiny-1m speaks of.
if len(rows) > 300:
    report(300)
