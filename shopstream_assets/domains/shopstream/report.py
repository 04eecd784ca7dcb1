"""The pages of ShopStream's Power BI report: those of the dashboards, as far as metrics tell them."""

from shopstream_assets.platform.declare.report import ReportPage

SALES, FUNNEL, SIGNUPS = "mart_sales_overview", "mart_session_funnel", "mart_signup_conversion"
CUSTOMERS, PRODUCTS = "mart_customer_ltv", "mart_product_performance"

REPORT = (
    ReportPage(
        title="Sales overview",
        choices=(f"{SALES}.order_date", f"{SALES}.shipping_country", f"{SALES}.product_category"),
        cards=("net_revenue", "orders", "average_order_value", "margin_rate", "refund_rate"),
        course=("net_revenue", f"{SALES}.order_date"),
        bars=(("net_revenue", f"{SALES}.shipping_country"), ("net_revenue", f"{SALES}.product_category")),
    ),
    ReportPage(
        title="Conversion",
        choices=(f"{FUNNEL}.session_date", f"{FUNNEL}.device", f"{SIGNUPS}.acquisition_channel"),
        cards=("sessions", "session_conversion_rate", "cart_abandonment_rate", "signed_up", "signup_conversion_30d"),
        course=("session_conversion_rate", f"{FUNNEL}.session_date"),
        bars=(("sessions_with_purchase", f"{FUNNEL}.device"), ("signup_conversion_30d", f"{SIGNUPS}.country")),
    ),
    ReportPage(
        title="Customer value",
        choices=(f"{CUSTOMERS}.country", f"{CUSTOMERS}.acquisition_channel", f"{CUSTOMERS}.rfm_segment"),
        cards=("customers", "customer_net_revenue", "net_revenue_per_customer", "projected_12m_orders"),
        bars=(("customer_net_revenue", f"{CUSTOMERS}.rfm_segment"), ("customers", f"{CUSTOMERS}.country")),
    ),
    ReportPage(
        title="Products",
        choices=(f"{PRODUCTS}.product_category",),
        rows=tuple(
            f"{PRODUCTS}.{column}"
            for column in ("product_name", "product_category", "units", "net_revenue", "margin_rate", "refund_rate")
        ),
    ),
)
