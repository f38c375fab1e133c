"""What a recorder in the cluster does besides: it selects tasks itself, shares them, and is installed by manifests."""
