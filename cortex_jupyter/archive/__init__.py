"""Completed recordings as Parquet in a folder, S3, GCS or Azure.

Each recording is one Parquet file and a small manifest, which is written last: a recording with a manifest is
complete.

"""
