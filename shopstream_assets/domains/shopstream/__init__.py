"""ShopStream, an e-commerce SaaS: its tables, the simulator that plays its store, and its dbt models."""
