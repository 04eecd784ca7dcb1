"""The lake: objects and manifests in S3, a partition for each table and day (UTC)."""
