"""`shopstream declare`: the Python declaration of tables that exist."""
