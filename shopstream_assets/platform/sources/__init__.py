"""What is asked of a source: a snapshot, its order among snapshots, and checks of the source itself."""
