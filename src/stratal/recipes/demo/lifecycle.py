"""The lifecycle as a pipeline: what a team would write for its own churn model."""

from typing import Any

import numpy as np
import polars as pl
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import stratal as st

SEED, TRIALS, FOLDS, ITERATIONS = 7, 40, 3, 60
SERVICES = ("online_security", "online_backup", "device_protection", "tech_support", "streaming_tv", "streaming_movies")
CATEGORIES = ["contract", "internet_service", "payment_method", "multiple_lines", *SERVICES]
NUMBERS = ["tenure", "monthly_charges", "paid_per_month", "charges_grow", "paperless_billing", "partner", "dependents"]

RAW = st.Schema(
    customer_id=st.string(unique=True),
    gender=st.category("Female", "Male"),
    senior_citizen=st.integer(0, 1),
    partner=st.integer(0, 1),
    dependents=st.integer(0, 1),
    tenure=st.integer(0, 120),
    contract=st.category("Month-to-month", "One year", "Two year"),
    monthly_charges=st.number(0),
    total_charges=st.number(0, nullable=True),
    churn=st.boolean(true="Yes", false="No"),
)
CUSTOMER = st.feature_view(
    "customer",
    source="dataset:churn",
    entity="customer_id",
    features={
        **{name: pl.col(name) for name in [*CATEGORIES, "tenure", "monthly_charges", "paperless_billing", "partner", "dependents"]},
        "paid_per_month": pl.col("total_charges") / pl.col("tenure").clip(1),
        "charges_grow": pl.col("monthly_charges") - pl.col("total_charges") / pl.col("tenure").clip(1),
    },
)
SPACE = {
    "learning_rate": st.log_uniform(1e-2, 0.5),
    "max_leaf_nodes": st.integers(4, 32),
    "min_samples_leaf": st.integers(10, 100),
    "l2_regularization": st.log_uniform(1e-3, 10.0),
}
RETENTION = st.kpi("campaign profit", true_positive=110.0, false_positive=-15.0, unit="EUR")
POLICY = st.policy(
    staging=[st.gate("auc >= 0.80"), st.gate("equalized_odds_difference[gender] <= 0.15"), st.data_valid()],
    production=[st.better_than_champion("auc", confidence=0.95), st.approvals(1, role="approver")],
)


def xy(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Give inputs and label."""
    return rows.select(CATEGORIES + NUMBERS), rows["churn"]


def classifier(params: st.Params) -> Pipeline:
    """Make the model of a set of params."""
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("categories", encode, CATEGORIES), ("numbers", "passthrough", NUMBERS)])
    boosting: Any = HistGradientBoostingClassifier
    grown = boosting(max_iter=ITERATIONS, categorical_features=list(range(len(CATEGORIES))), random_state=SEED, **params)
    return Pipeline([("columns", columns), ("boosting", grown)])


def cross_validated(trial: Any, train: pl.DataFrame) -> float:
    """Give the mean AUC of three folds, reporting after each, so that a stopper can end a poor trial."""
    x, y = xy(train)
    total = 0.0
    for fold, (fit, held_out) in enumerate(StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(x, y)):
        model = classifier(trial.params).fit(x[fit], y[fit])
        total += float(roc_auc_score(y[held_out], model.predict_proba(x[held_out])[:, 1]))
        trial.report(total / (fold + 1), step=fold)
    return total / FOLDS


def search() -> Any:
    """Give the study, as the step and the story around it name it."""
    return st.study("churn", SPACE, maximize="auc", seed=SEED, stopper=st.Median())


def network_inputs(train: pl.DataFrame, test: pl.DataFrame) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Give scaled numbers and one-hot categories of both parts, fitted on the first, as float32."""
    numbers = Pipeline([("fill", "passthrough"), ("scale", StandardScaler())])
    columns = ColumnTransformer([("categories", OneHotEncoder(handle_unknown="ignore"), CATEGORIES), ("numbers", numbers, NUMBERS)])
    filled = [part.with_columns(pl.col(NUMBERS).fill_null(0.0)) for part in (train, test)]
    made = columns.fit_transform(filled[0]), columns.transform(filled[1])
    dense = [part.toarray() if hasattr(part, "toarray") else np.asarray(part) for part in made]
    return dense[0].astype("float32"), dense[1].astype("float32")


def train_network(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], held_out: np.ndarray[Any, Any]) -> tuple[list[float], str]:
    """Train a small network, on every rank alike; give the held-out scores and the run, as rank 0 has them."""
    import torch  # only the ranks pay for it
    from torch import nn
    from torch.nn.functional import binary_cross_entropy_with_logits

    def loss_of(model: Any, batch: Any) -> Any:
        return binary_cross_entropy_with_logits(model(batch["x"]).squeeze(1), batch["y"])

    with st.job(experiment="churn", name="network", mesh="dp=2", checkpoint="5 epochs", seed=SEED, params={"hidden": 32}) as job:
        model = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 1))
        model, _ = job.prepare(model, torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05))
        for _ in range(12):
            for batch in job.batches({"x": x, "y": y}, size=256):
                job.log({"loss": job.step(batch, loss_of)})
        with torch.no_grad():
            scores: list[float] = torch.sigmoid(model(torch.from_numpy(held_out)).squeeze(1)).tolist()
        return scores, str(job.run_id)


@st.step
def valid(rows: st.File) -> st.Dataset:
    """Version the rows, and check them: an error stops the pipeline."""
    return st.dataset("churn", rows).check(RAW, against="dataset:churn@previous")


@st.step
def served(data: st.Dataset) -> str:
    """Write the features for serving, and prove on 500 customers that online and offline agree."""
    CUSTOMER.materialise(data)
    parity = CUSTOMER.parity(data, sample=500)
    if not parity.ok:
        raise st.Permanent(str(parity))
    return str(parity)


@st.step
def parts(data: st.Dataset) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Compute features, and split customers into training and test."""
    return CUSTOMER.frame(data, label="churn", keep=["gender", "senior_citizen"]).split(test=0.25, by="customer_id", seed=SEED)


@st.step
def tuned(train: pl.DataFrame) -> st.Params:
    """Search for good params, with two workers and early stopping."""
    found: st.Params = search().optimize(cross_validated, data=train, trials=TRIALS, workers=2).best.params
    return found


@st.step(retries=2)
def trained(train: pl.DataFrame, params: st.Params) -> st.Model:
    """Train the final model."""
    with st.run("churn", name="gradient boosting", params=params) as run:
        run.use(train, role="train")
        run.use("study:churn", role="params")
        return run.log_model("model", classifier(params).fit(*xy(train)), features=CUSTOMER, sample=xy(train)[0].head(100))


@st.step
def network(train: pl.DataFrame, test: pl.DataFrame) -> dict[str, Any]:
    """Train a network on two ranks, and give its run and its AUC on the test set."""
    x, held_out = network_inputs(train, test)
    scores, run = st.job.run(train_network, x, train["churn"].to_numpy().astype("float32"), held_out, workers=2)
    return {"run": run, "auc": float(roc_auc_score(test["churn"], scores))}


@st.step
def evaluated(model: st.Model, test: pl.DataFrame) -> st.Evaluation:
    """Judge the model on the test set, beside the champion."""
    return st.evaluate(
        model, test, target="churn", slices=["contract"], sensitive=["gender", "senior_citizen"],
        kpi=RETENTION, champion="model:churn@production",
    )  # fmt: skip


@st.pipeline
def churn(rows: st.File) -> None:
    """From raw rows to a model in Staging."""
    data = valid(rows)
    served(data)
    train, test = parts(data)
    network(train, test)
    model = trained(train, tuned(train))
    version = st.register("churn", model, evidence=evaluated(model, test), policy=POLICY)
    st.promote(version, "Staging")
