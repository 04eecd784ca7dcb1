"""What keeps every layer up to date: what has changed, what is behind, what is stale, and the runs asked for."""
