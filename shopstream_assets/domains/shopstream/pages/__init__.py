"""ShopStream's pages of the dashboards, a module each."""

from shopstream_assets.platform.declare.page import Page

PAGES = (
    Page("sales", "Sales overview", "monitoring", f"{__name__}.sales"),
    Page("conversion", "Conversion", "filter_alt", f"{__name__}.conversion"),
    Page("customers", "Customer value", "group", f"{__name__}.customers"),
    Page("products", "Products", "inventory_2", f"{__name__}.products"),
)
