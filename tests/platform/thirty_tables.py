"""A schema of tables of all kinds, as real databases have them; {s} is the schema."""

from __future__ import annotations

NOON, LATER = "'2026-03-01 12:00:00.123456+00'", "'2026-03-02 23:59:59.999999+00'"
TYPES = (
    "create type {s}.mood as enum ('happy', 'it''s \"ok\"', 'läuft')",
    "create type {s}.pair as (a int, b text)",
    "create domain {s}.price as numeric(10,2) check (value >= 0)",
    "create domain {s}.net_price as {s}.price",
    "create domain {s}.tenant as uuid",
    "create domain {s}.address as text check (value <> '')",
)

# By name: the statements that make a table and fill it.
TABLES: dict[str, tuple[str, ...]] = {
    "customers": (
        "create table {s}.customers (id bigserial primary key, email varchar(200) not null, first_name text, "
        "locale char(5), created_at timestamp not null, updated_at timestamp(6) not null)",
        "create index on {s}.customers (updated_at)",
        "comment on table {s}.customers is 'People who bought something'",
        "comment on column {s}.customers.locale is 'Language and country'",
        "insert into {s}.customers values (1, 'a@b.c', 'Zoë', 'de_DE', '2020-06-01 00:00', '2026-03-01 13:00'), "
        "(2, 'b@b.c', null, null, '2026-03-01 01:30', '2026-03-02 00:30:00.000001')",
    ),
    "orders": (
        "create table {s}.orders (id uuid primary key, customer_id bigint not null references {s}.customers, "
        "state {s}.mood not null, total numeric(12,2) not null check (total >= 0), updated_at timestamptz not null)",
        "create index on {s}.orders (updated_at desc, id)",
        f"insert into {{s}}.orders values (gen_random_uuid(), 1, 'happy', 9999999999.99, {NOON}), "
        f"(gen_random_uuid(), 2, 'it''s \"ok\"', 0, {LATER})",
    ),
    "order_items": (
        "create table {s}.order_items (order_id uuid references {s}.orders, line smallint, quantity int not null "
        "check (quantity > 0), price numeric(10,4), sku text, updated_at timestamptz not null, "
        "primary key (order_id, line))",
        f"insert into {{s}}.order_items select id, 1, 2, 1.2345, 'é', {NOON} from {{s}}.orders",
    ),
    "products": (
        "create table {s}.products (sku text primary key, tags text[], attributes jsonb, price money, weight real, "
        "mood {s}.mood, last_modified timestamptz not null default now())",
        "create index on {s}.products (last_modified)",
        "insert into {s}.products values ('a-1', '{x,NULL,\"a,b\"}', '{\"k\": [1, \"ü\"]}', 1.5::numeric::money, 0.1, "
        f"'läuft', {NOON}), ('🙂', '{{}}', 'null', null, 'NaN', null, {LATER})",
    ),
    "UserEvents": (
        'create table {s}."UserEvents" ("Id" bigint generated always as identity primary key, "UserId" bigint '
        'references {s}.customers, "Payload" json, "OccurredAt" timestamptz not null)',
        'create index on {s}."UserEvents" ("OccurredAt")',
        f'insert into {{s}}."UserEvents" ("UserId", "Payload", "OccurredAt") values (1, \'{{"a":  1}}\', {NOON}), '
        f"(null, null, {LATER})",
    ),
    "select": (
        'create table {s}."select" ("from" int primary key, "group" text, "order" smallint, "class" boolean, '
        '"updated_at" timestamptz not null)',
        f"insert into {{s}}.\"select\" values (1, 'a', 2, true, {NOON})",
    ),
    "measurements": (
        "create table {s}.measurements (id bigint, value double precision, updated_at timestamptz not null, "
        "primary key (id, updated_at)) partition by range (updated_at)",
        "create table {s}.measurements_1 partition of {s}.measurements for values from ('2026-03-01') to "
        "('2026-03-02')",
        "create table {s}.measurements_2 partition of {s}.measurements default",
        f"insert into {{s}}.measurements values (1, 'Infinity', {NOON}), (2, 1e-300, {LATER}), (1, -0.0, {LATER})",
    ),
    "logs": (
        "create table {s}.logs (id bigint, line text, logged_at timestamp not null, primary key (id, logged_at)) "
        "partition by range (logged_at)",
        "create table {s}.logs_all partition of {s}.logs default",
        "insert into {s}.logs values (1, 'a', '2026-03-01 12:00'), (2, 'b', '2026-03-01 00:59')",
    ),
    "open_orders": (
        "create view {s}.open_orders as select row_number() over (order by o.id) as id, o.total, o.state, "
        "o.updated_at from {s}.orders as o",
    ),
    "totals": (
        "create materialized view {s}.totals as select customer_id, sum(total) as total, max(updated_at) as updated_at "
        "from {s}.orders group by customer_id",
        "create unique index on {s}.totals (customer_id)",
        "create index on {s}.totals (updated_at)",
    ),
    "categories": (
        "create table {s}.categories (id int primary key, parent_id int references {s}.categories, price {s}.price, "
        "net {s}.net_price not null, moods {s}.mood[], updated_at timestamptz not null)",
        f"insert into {{s}}.categories values (1, null, 1.50, 2.00, '{{happy,NULL}}', {NOON}), "
        f"(2, 1, null, 0, null, {LATER})",
    ),
    "documents": (
        "create table {s}.documents (id int primary key, content bytea, words tsvector, query tsquery, version pg_lsn, "
        "updated_at timestamptz not null)",
        f"insert into {{s}}.documents values (1, '\\x00ff80', 'a b', 'a & b', '0/1A', {NOON}), "
        f"(2, '', null, null, null, {NOON})",
    ),
    "shifts": (
        "create table {s}.shifts (id int primary key, starts time not null, ends time(0), abroad timetz, lasts "
        "interval, "
        "during tstzrange, days daterange, free datemultirange, updated_at timestamptz not null)",
        "insert into {s}.shifts values (1, '23:59:59.999999', '00:00', '12:00-05', '1 month 2 days 03:00', "
        f"'[2026-01-01 00:00+01,)', 'empty', '{{[2026-01-01,2026-02-01)}}', {NOON}), "
        f"(2, '12:00', null, null, '-1 day', null, null, null, {LATER})",
    ),
    "accounts": (
        "create table {s}.accounts (id numeric(20,0) primary key, bare numeric, wide numeric(38,10), wider "
        "numeric(50,2), "
        "rounded numeric(5,-2), tiny numeric(2,5), balance numeric(18,2), updated_at timestamptz not null)",
        "insert into {s}.accounts values (12345678901234567890, 'NaN', 1234567890123456789012345678.0123456789, "
        f"{'9' * 48}.99, 12345, 0.00099, -9999999999999999.99, {NOON}), "
        f"(1, {'1' * 60}.{'1' * 30}, -0.0000000001, null, null, null, null, {LATER})",
    ),
    "devices": (
        "create table {s}.devices (id int primary key, ip_address inet, net cidr, mac macaddr, mac8 macaddr8, "
        "updated_at timestamptz not null)",
        "insert into {s}.devices values (1, '10.0.0.1', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', "
        f"{NOON}), (2, '::1/64', null, null, null, {NOON})",
    ),
    "shapes": (
        "create table {s}.shapes (id int primary key, place point, area polygon, frame box, ring circle, two {s}.pair, "
        "updated_at timestamptz not null)",
        "insert into {s}.shapes values (1, '(1,2.5)', '((0,0),(1,1),(2,0))', '(1,1),(0,0)', '<(0,0),1>', "
        f"row(1, 'a,b'), {NOON})",
    ),
    "flags": (
        'create table {s}.flags (id int primary key, is_on boolean not null, bits bit(3), more bit varying, c "char", '
        "n name, updated_at timestamptz not null)",
        f"insert into {{s}}.flags values (1, true, b'101', b'1', 'x', 'n', {NOON}), "
        f"(2, false, null, b'', null, null, {NOON})",
    ),
    "lists": (
        "create table {s}.lists (id int primary key, ints int[], bigints bigint[], smalls smallint[], flags boolean[], "
        "ids uuid[], names varchar(9)[], days date[], amounts numeric[], documents jsonb[], moods {s}.mood[], "
        "times timestamptz[], updated_at timestamptz not null)",
        "insert into {s}.lists values (1, '{1,NULL}', '{9223372036854775807}', '{-1}', '{t,f,NULL}', "
        "array[gen_random_uuid(), null], '{a,\"\",NULL}', '{2026-01-01}', '{1.10,NaN}', array['{\"a\": 1}'::jsonb], "
        f"'{{happy,it''s \\\"ok\\\"}}', array[{NOON}::timestamptz], {NOON}), "
        f"(2, '{{}}', null, null, null, null, null, null, null, null, null, null, {LATER})",
    ),
    "computed": (
        "create table {s}.computed (id int generated by default as identity primary key, net numeric(10,2) not null, "
        "tax numeric(10,2) not null, gross numeric(11,2) generated always as (net + tax) stored, "
        "since date, until date, updated_at timestamptz not null, "
        "constraint in_order check (since <= until), constraint \"it's cheap\" check (net + tax < 1000000))",
        "create index on {s}.computed using brin (updated_at)",
        f"insert into {{s}}.computed (net, tax, since, until, updated_at) values (1, 0.19, '2026-01-01', null, "
        f"{NOON}), "
        f"(2.50, 0, '2026-01-01', '2026-01-01', {LATER})",
    ),
    "people": (
        "create table {s}.people (id int primary key, full_name text, date_of_birth date, phone text, street text, "
        "iban text, has_email boolean, photo bytea, updated_at timestamptz not null)",
        "create index on {s}.people (updated_at)",
        f"insert into {{s}}.people values (1, 'Ada', '1815-12-10', '+44', 'x', 'DE', true, null, {NOON})",
    ),
    "sessions": (
        'create table {s}.sessions (id uuid primary key, "lastModified" timestamptz not null, "createdAt" timestamp)',
        'create index on {s}.sessions ("lastModified")',
        f"insert into {{s}}.sessions values (gen_random_uuid(), {NOON}, '2026-07-01 12:00')",
    ),
    "coupons": (
        "create table {s}.coupons (code text not null, percent smallint not null, updated_at timestamptz not null)",
        "create unique index on {s}.coupons (code)",
        "create unique index on {s}.coupons (percent) where percent > 90",
        f"insert into {{s}}.coupons values ('A', 10, {NOON}), ('a', 10, {NOON})",
    ),
    "checked": (
        "create table {s}.checked (id int primary key, status varchar(20) not null check (status in ('new', "
        "'it''s paid')), "
        "kind text check (kind in ('a', 'b', E'\\\\')), country char(2) check (country ~ '^[A-Z]{2}$'), stars int "
        "check (stars >= 1), rate numeric(5,4) check (rate >= 0), strict numeric(5,2) check (strict > 0), "
        "below int check (below >= -5), updated_at timestamptz not null)",
        "create index on {s}.checked (updated_at)",
        "alter table {s}.checked add constraint newer check (stars < 6) not valid",
        f"insert into {{s}}.checked values (1, 'it''s paid', '\\', 'DE', 5, 0, 0.01, -5, {NOON}), "
        f"(2, 'new', null, null, null, null, null, null, {LATER})",
    ),
    "numbers": (
        "create table {s}.numbers (id bigint primary key, s smallint, i integer, r real, d double precision, "
        "updated_at timestamptz not null)",
        f"insert into {{s}}.numbers values (-9223372036854775808, -32768, 2147483647, 3.4e38, 'NaN', {NOON}), "
        f"(0, null, null, 1e-45, 5e-324, {NOON})",
    ),
    "bookings": (
        "create table {s}.bookings (id int primary key, starts_at timestamptz not null, cancelled timestamptz)",
        f"insert into {{s}}.bookings values (1, {NOON}, null), (2, {LATER}, {NOON})",
    ),
    "jobs": (
        "create table {s}.jobs (id int primary key, state text, updated_at timestamptz not null)",
        "create index on {s}.jobs (updated_at) where state = 'running'",
        f"insert into {{s}}.jobs values (1, 'done', {NOON})",
    ),
    "wide": (
        "create table {s}.wide (id int primary key, "
        + ", ".join(f"column_number_{n} integer" for n in range(60))
        + ", updated_at timestamptz not null)",
        f"insert into {{s}}.wide (id, column_number_59, updated_at) values (1, 59, {NOON})",
    ),
    "commented": (
        'create table {s}.commented (id int primary key, "says ""hi""" text, "it\'s" text, "back\\slash" text, '
        '"%" int, '
        '"größe" int, "a b" int, "1st" int, updated_at timestamptz not null)',
        "comment on table {s}.commented is E'Tables with \"quotes\", it''s said,\\nin \\\\ two lines 🙂 and "
        + "so many words " * 20
        + "'",
        "comment on column {s}.commented.\"it's\" is '"
        + "A \"long\" remark, that goes on. " * 9
        + "'",
        "comment on column {s}.commented.\"%\" is '%s {{x}} ''''''Ends!'",
        f"insert into {{s}}.commented values (1, 'a', 'b', 'c', 1, 2, 3, 4, {NOON})",
    ),
    "imports": (
        "create table {s}.imports (id int primary key, note text, updated_at timestamptz)",
        f"insert into {{s}}.imports values (1, 'a', {NOON})",
    ),
    "namesakes": (
        'create table {s}.namesakes (id int primary key, name text, "Name" text, _loaded_at text, '
        "updated_at timestamptz not null)",
        f"insert into {{s}}.namesakes values (1, 'a', 'b', 'c', {NOON})",
    ),
    "tenants": (
        "create table {s}.tenants (id {s}.tenant primary key, home {s}.address not null, updated_at timestamptz "
        "not null)",
        f"insert into {{s}}.tenants values (gen_random_uuid(), 'x', {NOON})",
    ),
    "date": (
        "create table {s}.date (id date primary key, is_holiday boolean, updated_at timestamptz not null)",
        f"insert into {{s}}.date values ('2026-12-25', true, {NOON})",
    ),
    "countries": (
        "create table {s}.countries (code char(2) primary key, name text)",
        "insert into {s}.countries values ('DE', 'Germany'), ('FR', null)",
    ),
    "memberships": (
        "create table {s}.memberships (customer_id bigint references {s}.customers, code char(2) references "
        "{s}.countries, primary key (customer_id, code))",
        "insert into {s}.memberships values (1, 'DE'), (1, 'FR'), (2, 'DE')",
    ),
    "ledger": (
        "create table {s}.ledger (id bigint generated always as identity primary key, amount numeric(12,2) not null, "
        "booked date)",
        "insert into {s}.ledger (amount, booked) values (1.10, '2026-03-01'), (-0.01, null)",
    ),
    "trips": (
        "create table {s}.trips (id int primary key, starts_at timestamptz not null, ends_at timestamptz not null)",
        f"insert into {{s}}.trips values (1, {NOON}, {LATER})",
    ),
}  # fmt: skip

# What cannot be declared, and a part of what is to be said of it.
NOT_DECLARED: dict[str, tuple[str, str]] = {
    "keyless": (
        "create table {s}.keyless (note text, updated_at timestamptz)",
        "# keyless cannot be declared: it has no primary key",
    ),
    "order lines": (
        'create table {s}."order lines" (id int primary key, updated_at timestamptz)',
        "# order lines cannot be declared under this name",
    ),
    "by_score": (
        "create table {s}.by_score (score double precision primary key, updated_at timestamptz)",
        "# by_score cannot be declared: its key (score) has a type that cannot be compared",
    ),
    "recent": (
        "create view {s}.recent as select note, updated_at from {s}.imports",
        "# recent cannot be declared: nothing says which columns tell its rows apart.",
    ),
    "orderS": (
        'create table {s}."orderS" (id int primary key, updated_at timestamptz)',
        "# orders cannot be declared beside orderS: both would be STG_ORDERS in staging.",
    ),
}


def statements(schema: str) -> list[str]:
    """What makes them all in an existing schema."""
    made = [*TYPES, *(each for table in TABLES.values() for each in table)]
    return [statement.replace("{s}", f'"{schema}"') for statement in made]
