"""What only a recorder in the cluster does: select tasks itself, share them, be installed by manifests."""
