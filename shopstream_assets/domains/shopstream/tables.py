"""The source tables of ShopStream. Money is without VAT, countries are ISO 3166 alpha-2, times are UTC."""

import datetime as dt

from shopstream_assets.platform.declare.tables import (
    BIGINT,
    BOOLEAN,
    DATE,
    INTEGER,
    JSON,
    MONEY,
    TEXT,
    TIMESTAMP,
    UUID,
    Column,
    RowRule,
    SourceTable,
    numeric,
)

ORDER_STATUSES = ("pending", "paid", "shipped", "delivered", "cancelled", "refunded")
EVENT_TYPES = ("signup", "page_view", "product_view", "add_to_cart", "checkout", "purchase")
PLANS = ("free", "starter", "pro", "enterprise")

CREATED_AT = Column("created_at", TIMESTAMP, "When the row was created (UTC).")
UPDATED_AT = Column("updated_at", TIMESTAMP, "When the row last changed (UTC); its day is the row's partition.")

USERS = SourceTable(
    name="users",
    grain="One row per registered customer.",
    description="Customers of the store with the country, plan and channel they signed up with.",
    owner="team:growth",
    columns=(
        Column("id", BIGINT, "Identifier of the customer."),
        Column("email", TEXT, "E-mail address, unique in practice.", pii=True),
        Column("first_name", TEXT, "Given name.", pii=True),
        Column("last_name", TEXT, "Family name.", pii=True),
        Column("country", TEXT, "Country of residence, ISO 3166 alpha-2."),
        Column("plan", TEXT, "Subscription plan of the customer."),
        Column("acquisition_channel", TEXT, "Marketing channel that brought the customer."),
        CREATED_AT,
        UPDATED_AT,
    ),
    rules=(RowRule("country is no ISO 3166 alpha-2 code", "country ~ '^[A-Z]{2}$'", ("country",)),),
)

PRODUCTS = SourceTable(
    name="products",
    grain="One row per product of the catalogue.",
    description="The catalogue: price and cost in EUR, category, and whether the product is still sold.",
    owner="team:catalogue",
    # A catalogue changes rarely: a week without a change is no incident.
    freshness=dt.timedelta(days=8),
    columns=(
        Column("id", BIGINT, "Identifier of the product."),
        Column("sku", TEXT, "Stock-keeping unit."),
        Column("name", TEXT, "Display name."),
        Column("category", TEXT, "Category the product is sold under."),
        Column("price", MONEY, "List price in EUR, without VAT.", minimum=0),
        Column("cost", MONEY, "Purchase cost in EUR, without VAT.", minimum=0),
        Column("is_active", BOOLEAN, "Whether the product is on sale."),
        CREATED_AT,
        UPDATED_AT,
    ),
)

ORDERS = SourceTable(
    name="orders",
    grain="One row per order, in its latest status.",
    description="Orders with their amounts in the currency they were paid in; total = items - discount + shipping.",
    owner="team:sales",
    columns=(
        Column("id", BIGINT, "Identifier of the order."),
        Column("user_id", BIGINT, "Customer who ordered.", references="users.id"),
        Column("status", TEXT, "State of the order.", values=ORDER_STATUSES),
        Column("currency", TEXT, "ISO 4217 currency of the amounts, and of its lines' prices."),
        Column("discount_amount", MONEY, "Discount on the whole order.", minimum=0),
        Column("shipping_amount", MONEY, "Shipping charged.", minimum=0),
        Column("total_amount", MONEY, "Amount charged: items - discount + shipping.", minimum=0),
        Column("shipping_country", TEXT, "Country shipped to, ISO 3166 alpha-2."),
        Column("payment_method", TEXT, "How the order was paid."),
        CREATED_AT,
        UPDATED_AT,
    ),
    rules=(
        RowRule(
            "currency is no ISO 4217 code",
            # The usual ones first: a regular expression for each row would cost a tenth of an extraction.
            "currency in ('EUR', 'GBP', 'USD') or currency ~ '^[A-Z]{3}$'",
            ("currency",),
        ),
    ),
)

ORDER_ITEMS = SourceTable(
    name="order_items",
    grain="One row per product line of an order.",
    description="Order lines: product, quantity and the unit price at which it was sold.",
    owner="team:sales",
    columns=(
        Column("id", BIGINT, "Identifier of the line."),
        Column("order_id", BIGINT, "Order the line belongs to.", references="orders.id"),
        Column("product_id", BIGINT, "Product sold.", references="products.id"),
        Column("quantity", INTEGER, "Units sold.", minimum=1),
        Column("unit_price", MONEY, "Price per unit before discount, in the order's currency.", minimum=0),
        Column(
            "unit_cost",
            MONEY,
            "Purchase cost of a unit when it was sold, in EUR, without VAT; null: that of the product.",
            nullable=True,
            minimum=0,
        ),
        Column(
            "returned_quantity",
            INTEGER,
            "Units that came back by themselves; null: none. Of an order that is refunded as a whole, all have.",
            nullable=True,
            minimum=0,
        ),
        Column(
            "returned_amount",
            MONEY,
            "What was given back for the line by itself, in the order's currency; null: nothing.",
            nullable=True,
            minimum=0,
        ),
        CREATED_AT,
        UPDATED_AT,
    ),
    rules=(
        RowRule(
            "more units came back than were sold",
            "coalesce(returned_quantity, 0) <= quantity",
            ("returned_quantity", "quantity"),
        ),
    ),
)

EVENTS = SourceTable(
    name="events",
    grain="One row per event of a web session.",
    description="What visitors and customers did on the site; only ever appended.",
    owner="team:growth",
    zone="events",
    cursor="occurred_at",
    append_only=True,
    columns=(
        Column("id", BIGINT, "Identifier of the event."),
        Column("user_id", BIGINT, "Customer, null for visitors.", nullable=True, references="users.id"),
        Column("session_id", UUID, "Web session."),
        Column("event_type", TEXT, "What happened.", values=EVENT_TYPES),
        Column("product_id", BIGINT, "Product concerned, if any.", nullable=True, references="products.id"),
        Column("order_id", BIGINT, "Order placed, for a purchase.", nullable=True, references="orders.id"),
        Column("properties", JSON, "Context of the event (device, page, referrer) as JSON.", nullable=True),
        Column("occurred_at", TIMESTAMP, "When it happened (UTC); its day is the row's partition."),
    ),
)

CRM_CONTACTS = SourceTable(
    name="crm_contacts",
    grain="One row per contact of the CRM.",
    description="Sales contacts with their source, stage and owner; some belong to a customer.",
    owner="team:growth",
    zone="crm",
    columns=(
        Column("id", BIGINT, "Identifier of the contact."),
        Column("user_id", BIGINT, "Customer, null before signup.", nullable=True, references="users.id"),
        Column("email", TEXT, "E-mail address.", pii=True),
        Column("company", TEXT, "Company of the contact.", nullable=True),
        Column("lead_source", TEXT, "Where the lead came from."),
        Column("lifecycle_stage", TEXT, "Stage in the sales process."),
        Column("owner", TEXT, "Salesperson in charge."),
        CREATED_AT,
        UPDATED_AT,
    ),
)

EXCHANGE_RATES = SourceTable(
    name="exchange_rates",
    grain="One row per currency and day from which a rate holds.",
    description="What a unit of a currency is worth in EUR, until the currency's next rate; of two for one day the one "
    "of the greater id counts.",
    owner="team:finance",
    # None is set at a weekend or at Easter.
    freshness=dt.timedelta(days=5),
    columns=(
        Column("id", BIGINT, "Identifier of the rate."),
        Column("currency", TEXT, "ISO 4217 currency."),
        Column("valid_from", DATE, "First order date (reporting time zone) that it holds for."),
        Column("eur_per_unit", numeric(18, 8), "EUR for one unit of the currency."),
        CREATED_AT,
        UPDATED_AT,
    ),
    rules=(
        RowRule(
            "currency is no ISO 4217 code, or is EUR itself",
            "currency ~ '^[A-Z]{3}$' and currency <> 'EUR'",
            ("currency",),
        ),
        RowRule("a rate is greater than 0", "eur_per_unit > 0", ("eur_per_unit",)),
    ),
)

TABLES = (USERS, PRODUCTS, ORDERS, ORDER_ITEMS, EVENTS, CRM_CONTACTS, EXCHANGE_RATES)
