"""Olist's real orders (Brazil, 2016 to 2018) as the tables of a shop that ShopStream knows.

Nobody here made this data, so nobody here knew what is in it. What Olist's files say, and what becomes of it:

- Identifiers are hashes, ours are numbers: a hash becomes its rank among all hashes of the table, from 1. No two share
  one, and it is the same wherever the files are read.
- A customer is `customer_unique_id`; Olist makes a new `customer_id` for every order. They live in BR.
- `shipping_country` is the customer's *state*: its code (SP, RJ, ...) is two capitals, as of a country, and figures
  per state are worth more than figures of a single country.
- Statuses: STATUSES. `unavailable` orders were paid for but could not be supplied, so the money went back.
- Money is Brazilian real, carried as if it were EUR, which is all that ShopStream adds up. Freight is the shipping
  charged; there is no discount, so the total is items + freight. Olist says nothing of costs: 0. A row of order_items
  is one unit.
- Times are local and carry no zone: taken for UTC. An order last changed at the latest of its times in the past
  (purchase, approval, hand-over to the carrier, delivery); its lines never after the purchase; products and customers
  begin with their first purchase. So an order and its lines mostly lie in different partitions.
- Categories are in English where Olist translates them; a product without one is `unknown`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psycopg

from shopstream_assets.domains.shopstream.tables import TABLES
from shopstream_assets.platform.declare.tables import postgres_ddl, quoted

STATUSES: Mapping[str, str] = {
    "created": "pending",
    "approved": "paid",
    "invoiced": "paid",
    "processing": "paid",
    "shipped": "shipped",
    "delivered": "delivered",
    "canceled": "cancelled",
    "unavailable": "refunded",
}
HISTORY = (
    "order_purchase_timestamp",
    "order_approved_at",
    "order_delivered_carrier_date",
    "order_delivered_customer_date",
)
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Files:
    """Olist's files as they are, every value text; amounts and times are converted where they are used."""

    orders: pd.DataFrame
    items: pd.DataFrame
    products: pd.DataFrame
    customers: pd.DataFrame
    payments: pd.DataFrame
    translation: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> Files:
        """Read the CSV files in `folder`."""

        def frame(name: str) -> pd.DataFrame:
            return pd.read_csv(folder / f"{name}.csv", dtype=str, encoding="utf-8-sig")

        return cls(
            orders=frame("olist_orders_dataset"),
            items=frame("olist_order_items_dataset"),
            products=frame("olist_products_dataset"),
            customers=frame("olist_customers_dataset"),
            payments=frame("olist_order_payments_dataset"),
            translation=frame("product_category_name_translation"),
        )

    @property
    def categories(self) -> pd.Series[str]:
        """Category of each product, by product_id."""
        english = self.translation.set_index("product_category_name")["product_category_name_english"]
        portuguese = self.products.set_index("product_id")["product_category_name"]
        return portuguese.map(english).fillna(portuguese).fillna(UNKNOWN)


def cents(amounts: pd.Series[str]) -> pd.Series[int]:
    """Amounts written with at most two decimals, as whole cents."""
    whole, fraction = amounts.str.partition(".")[0], amounts.str.partition(".")[2]
    if not (whole.str.fullmatch(r"\d+") & fraction.str.fullmatch(r"\d{0,2}")).all():
        raise ValueError("an amount has a sign, or more than two decimals")
    return (whole + fraction.str.ljust(2, "0")).astype("int64")


def tables(files: Files) -> Mapping[str, pd.DataFrame]:
    """The rows of users, products, orders and order_items, in the declared columns, but for those that may be null."""
    orders = files.orders.merge(files.customers, on="customer_id", validate="one_to_one")
    orders["created_at"] = pd.to_datetime(orders["order_purchase_timestamp"], utc=True)
    orders["updated_at"] = orders[[*HISTORY]].apply(pd.to_datetime, utc=True).max(axis="columns")
    items = files.items.merge(orders[["order_id", "created_at"]], on="order_id", validate="many_to_one")
    items["cents"], items["freight"] = cents(items["price"]), cents(items["freight_value"])
    user_ids, product_ids = _ranks(orders["customer_unique_id"]), _ranks(files.products["product_id"])
    order_ids = _ranks(orders["order_id"])
    return {
        "users": _users(orders, user_ids),
        "products": _products(files, items, product_ids),
        "orders": _orders(files, orders, items, user_ids, order_ids),
        "order_items": _order_items(items, order_ids, product_ids),
    }


def load(rows: Mapping[str, pd.DataFrame], dsn: str, schema: str) -> None:
    """Create every declared table in a new schema of the database, and fill those that have rows."""
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"create schema {quoted(schema)}".encode())
        for table in TABLES:
            for statement in postgres_ddl(table, schema):
                cursor.execute(statement.encode())
            if table.name not in rows:
                continue
            names = [column.name for column in table.columns if column.name in rows[table.name]]
            columns = ", ".join(quoted(name) for name in names)
            with cursor.copy(f"copy {quoted(schema)}.{quoted(table.name)} ({columns}) from stdin".encode()) as copy:
                for row in rows[table.name][names].itertuples(index=False):
                    copy.write_row(row)


def _ranks(hashes: pd.Series[str]) -> pd.Series[int]:
    """1, 2, ... for the distinct values in order, by value."""
    distinct = sorted(hashes.unique())
    return pd.Series(range(1, len(distinct) + 1), index=pd.Index(distinct))


def _decimal(whole_cents: pd.Series[int]) -> pd.Series[str]:
    """Whole cents as Postgres reads an exact amount."""
    return whole_cents.map(lambda amount: f"{amount // 100}.{amount % 100:02d}")


def _users(orders: pd.DataFrame, ids: pd.Series[int]) -> pd.DataFrame:
    first = orders.groupby("customer_unique_id")["created_at"].min()
    return pd.DataFrame(
        {
            "id": ids,
            "email": ids.index + "@olist.invalid",
            "first_name": UNKNOWN,
            "last_name": UNKNOWN,
            "country": "BR",
            "plan": "free",
            "acquisition_channel": UNKNOWN,
            "created_at": first,
            "updated_at": first,
        }
    )


def _products(files: Files, items: pd.DataFrame, ids: pd.Series[int]) -> pd.DataFrame:
    # The list price is the one of the latest purchase.
    sold = items.sort_values(["created_at", "order_id", "order_item_id"]).groupby("product_id")
    first = sold["created_at"].min()
    return pd.DataFrame(
        {
            "id": ids,
            "sku": ids.index,
            "name": files.categories + " " + files.categories.index.str[:8],
            "category": files.categories,
            "price": _decimal(sold["cents"].last()),
            "cost": "0.00",
            "is_active": True,
            "created_at": first,
            "updated_at": first,
        }
    )


def _orders(
    files: Files, orders: pd.DataFrame, items: pd.DataFrame, user_ids: pd.Series[int], ids: pd.Series[int]
) -> pd.DataFrame:
    # Some orders have no items at all.
    sums = items.groupby("order_id")[["cents", "freight"]].sum().reindex(orders["order_id"], fill_value=0)
    payments = files.payments.assign(sequence=files.payments["payment_sequential"].astype("int64"))
    first_payment = payments.sort_values("sequence").groupby("order_id")["payment_type"].first()
    return pd.DataFrame(
        {
            "id": orders["order_id"].map(ids),
            "user_id": orders["customer_unique_id"].map(user_ids),
            "status": orders["order_status"].map(STATUSES),
            "currency": "EUR",
            "discount_amount": "0.00",
            "shipping_amount": _decimal(sums["freight"]).to_numpy(),
            "total_amount": _decimal(sums["cents"] + sums["freight"]).to_numpy(),
            "shipping_country": orders["customer_state"],
            "payment_method": orders["order_id"].map(first_payment),
            "created_at": orders["created_at"],
            "updated_at": orders["updated_at"],
        }
    )


def _order_items(items: pd.DataFrame, order_ids: pd.Series[int], product_ids: pd.Series[int]) -> pd.DataFrame:
    position = items["order_item_id"].astype("int64")
    lines = items.assign(position=position).sort_values(["order_id", "position"], ignore_index=True)
    return pd.DataFrame(
        {
            "id": lines.index + 1,
            "order_id": lines["order_id"].map(order_ids),
            "product_id": lines["product_id"].map(product_ids),
            "quantity": 1,
            "unit_price": _decimal(lines["cents"]),
            "created_at": lines["created_at"],
            "updated_at": lines["created_at"],
        }
    )
