"""What extends Dagster itself: storage, run launcher, retries, interruption. Every use of a private API of Dagster that
runs depend on is here."""
