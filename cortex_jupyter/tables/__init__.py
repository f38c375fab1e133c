"""Turn a recording into Arrow, and Arrow into pandas, polars, DuckDB and Parquet.

No module here imports an optional library before it is used; the error for a missing one names the extra to install.
"""
