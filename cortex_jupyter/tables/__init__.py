"""From a recording to Arrow, and from there to pandas, polars, DuckDB and Parquet.

Nothing here imports an optional library before it is used; one that is missing is named with the extra that brings it.
"""
