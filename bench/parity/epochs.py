"""Per-epoch means of per-step metrics."""

KEYS = ("loss", "rewards/accuracies", "rewards/margins")


def by_epoch(steps, rows, batch):
    """Means over the pairs of each epoch; the last batch of an epoch holds what is left of the rows."""
    sizes = [min(batch, rows - i) for i in range(0, rows, batch)]
    result = []
    for start in range(0, len(steps), len(sizes)):
        part = list(zip(steps[start:start + len(sizes)], sizes))
        pairs = sum(n for _, n in part)
        result.append({key: sum(step[key] * n for step, n in part) / pairs for key in KEYS})
    return result
