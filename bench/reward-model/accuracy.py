"""How often a reward model prefers the chosen answer, beside chance and the base model's log-probability.

    keel reward try model --model REWARD --data TEST.jsonl --json > scores.json
    python bench/reward-model/accuracy.py BASE REWARD TEST.jsonl scores.json

Loads REWARD in transformers and compares its scores with Keel's. Intervals: 95 %, 10,000 bootstrap samples of the pairs.
"""

import json
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

torch.set_num_threads(1)
base_folder, reward_folder, data, scores = sys.argv[1:5]
rows = [json.loads(line) for line in open(data)]
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


def judge(prompt, answer):
    """Summed and mean log-probability of the answer with its end under the base, and the reward model's score."""
    front, back = ids(prompt), ids(answer) + [tokenizer.eos_token_id]
    whole = (front + back)[-context:]
    tokens = torch.tensor([whole])
    with torch.no_grad():
        logprobs = torch.log_softmax(base(tokens).logits[0, :-1], -1)
        own = logprobs.gather(1, tokens[0, 1:, None])[-len(back):, 0]
        score = reward(tokens).logits[0, 0].item()
    return own.sum().item(), own.mean().item(), score


found = np.array([[judge(row["prompt"], row[side]) for side in ("chosen", "rejected")] for row in rows])
keel = np.array([given["chosen_scores"], given["rejected_scores"]], dtype=float).T
print(f"{len(rows)} pairs; largest difference of a score between Keel and transformers: "
      f"{np.abs(found[:, :, 2] - keel).max():.2e}")
right = {
    "summed log-probability of the base": found[:, 0, 0] > found[:, 1, 0],
    "mean log-probability of the base": found[:, 0, 1] > found[:, 1, 1],
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
