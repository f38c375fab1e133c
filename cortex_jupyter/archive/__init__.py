"""Completed recordings as Parquet in managed content: a folder, S3, GCS or Azure.

An archive is one Parquet file per task and a small manifest, written last: what has a manifest is whole.
"""
