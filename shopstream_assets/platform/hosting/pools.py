"""The pools of steps that write to a warehouse: one for each domain, of one slot."""


def warehouse_pool(domain: str) -> str:
    """Name of the pool that a domain's staging and dbt steps share.

    One step at a time writes to its database: two that write one table would wait for each other's locks, and models of
    one dbt run, built one after the other, must not see staging change between them.
    """
    return f"{domain}_warehouse"
