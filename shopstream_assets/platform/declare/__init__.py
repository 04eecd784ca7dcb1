"""What a business says: its tables, their columns and rules, its partitions and settings."""
