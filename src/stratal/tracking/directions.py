"""Which way a metric is better: as runs define it, else read from its name."""

import re
from collections.abc import Collection

from stratal.tracking.facts import SYSTEM

MINIMIZE = "min"
MAXIMIZE = "max"
UNKNOWN = "unknown"
DISPUTED = "disputed"
# Who does not know, to begin a sentence with.
UNSURE = {UNKNOWN: "nobody knows", DISPUTED: "the runs' definitions disagree"}
# Words of metric names that say which way is better. A name with words of both kinds counts as smaller is better
# (`auc_difference`, `accuracy_loss`).
_SMALLER = frozenset(
    (
        "brier", "cer", "cost", "deviance", "difference", "distance", "divergence", "duration", "ece", "err", "error", "errors", "fid",
        "fnr", "fpr", "kl", "latency", "logloss", "loss", "losses", "mae", "mape", "mse", "nll", "perplexity", "ppl", "regret", "rmse",
        "rmsle", "seconds", "smape", "stall", "ter", "time", "wer",
    )
)  # fmt: skip
_LARGER = frozenset(
    (
        "acc", "accuracy", "ap", "auc", "auprc", "auroc", "bleu", "dice", "f1", "gain", "goodput", "iou", "kappa", "lift", "map", "mcc",
        "meteor", "mfu", "ndcg", "precision", "profit", "psnr", "r2", "recall", "return", "reward", "rouge", "score", "sensitivity",
        "specificity", "ssim", "throughput", "tnr", "tpr",
    )
)  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*|[0-9]+")


def direction_of(metric: str) -> str:
    """Guess from a metric's name whether smaller ("min") or larger ("max") is better; "unknown" without a known word."""
    if metric.startswith(SYSTEM):
        return UNKNOWN
    words = [word.lower() for word in _WORD.findall(metric)]
    if words[:1] == ["neg"]:  # scikit-learn's neg_log_loss and its like are turned so that larger is better
        return MAXIMIZE
    for number in range(len(words) - 1):
        words.append(words[number] + words[number + 1])  # log_loss, r_2
    if _SMALLER.intersection(words):
        return MINIMIZE
    return MAXIMIZE if _LARGER.intersection(words) else UNKNOWN


def agreed_direction(metric: str, said: Collection[str]) -> str:
    """Give what definitions say of a metric, all of them the same; "disputed" if they are not; without any, what its name says."""
    if not said:
        return direction_of(metric)
    return next(iter(said)) if len(set(said)) == 1 else DISPUTED
