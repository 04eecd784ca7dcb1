"""StreamVision's pages of the dashboards, a module each."""

from shopstream_assets.platform.declare.page import Page

PAGES = (
    Page("content", "Content performance", "movie", f"{__name__}.content"),
    Page("subscriptions", "Subscriptions", "card_membership", f"{__name__}.subscriptions"),
    Page("engagement", "Engagement and quality", "play_circle", f"{__name__}.engagement"),
    Page("search", "Search", "search", f"{__name__}.search"),
)
