"""How a table becomes assets. Knows no business: domains import the platform, never the other way."""
