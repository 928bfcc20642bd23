"""Two ranks learn to read handwritten digits, and would go on from the last checkpoint if one of them died.

Run it as it is: python examples/digits.py
"""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.functional import cross_entropy

import stratal as st

EPOCHS = 20


def loss_of(model, batch):
    """Give the mean loss over this rank's share of a batch."""
    return cross_entropy(model(batch["pixels"]), batch["digit"])


def accuracy_of(model, data):
    """Give the share of images that are read right."""
    with torch.no_grad():
        read = model(torch.from_numpy(data["pixels"])).argmax(dim=1)
    return (read == torch.from_numpy(data["digit"])).double().mean().item()


def split_digits():
    """Give 1,437 images to learn from, and 360 that are only read."""
    pixels, digit = load_digits(return_X_y=True)
    parts = train_test_split((pixels / 16).astype("float32"), digit, test_size=0.2, stratify=digit, random_state=0)
    return {"pixels": parts[0], "digit": parts[2]}, {"pixels": parts[1], "digit": parts[3]}


def train():
    """Train on every rank alike; give what rank 0 found."""
    learned, held_out = split_digits()
    with st.job(experiment="digits", mesh="dp=2", checkpoint="5 epochs", params={"hidden": 64, "lr": 3e-3}) as job:
        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        model, _ = job.prepare(model, torch.optim.AdamW(model.parameters(), lr=3e-3))
        for _ in range(EPOCHS):
            for batch in job.batches(learned, size=64):
                loss = job.step(batch, loss_of)
                job.log({"loss": loss})
            job.log({"accuracy": accuracy_of(model, held_out)})
        return accuracy_of(model, held_out), job.world_size, job.run_id


if __name__ == "__main__":
    accuracy, ranks, run = st.job.run(train, workers=2)
    print(f"{ranks} ranks read {accuracy:.1%} of the held-out digits right after {EPOCHS} epochs")
    print(f"look at it:    stratal show run:{run[-8:]}")
    print(f"its states:    stratal checkpoints run:{run[-8:]}")
