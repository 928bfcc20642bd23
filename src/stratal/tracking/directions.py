"""Which way a metric is better, read from its name."""

import re

from stratal.tracking.facts import SYSTEM

MINIMIZE = "min"
MAXIMIZE = "max"
UNKNOWN = "unknown"
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
