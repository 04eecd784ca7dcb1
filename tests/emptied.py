"""A warehouse without tables, for tests that share the database of the stack: whatever ran before them."""

from shopstream_assets.platform.declare.settings import LOADING, SCHEMAS
from shopstream_assets.platform.staging.warehouse import WarehouseResource


def empty(warehouse: WarehouseResource) -> None:
    """Drop the four schemas of the warehouse's database with all that is in them, also its stage, and create them."""
    with warehouse.connection(LOADING) as session, session.cursor() as cursor:
        for schema in SCHEMAS:
            cursor.execute(f"drop schema if exists {warehouse.database}.{schema} cascade")
            cursor.execute(f"create schema {warehouse.database}.{schema}")
