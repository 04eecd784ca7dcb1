"""PostgreSQL as a source: sessions, snapshots, and a window of changed rows as Arrow."""
