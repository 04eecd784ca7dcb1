"""How the pages look: colours for light and for dark, and what Streamlit has no setting for."""

_COLOURS = ("#4C78DB", "#E07B1F", "#2BA58A", "#D65A7B", "#8E6CC9", "#B8952E", "#3FA3C9", "#9C755F", "#7D8A99")
_BLUES = ("#E3ECFB", "#CBDBF7", "#AEC7F1", "#8FB0EA", "#6F98E2", "#4C78DB", "#3C63BE", "#2E4F9E", "#223E80", "#182E63")

# As Streamlit's settings are named.
THEME: dict[str, object] = {
    "theme.baseRadius": "0.6rem",
    "theme.metricValueFontSize": "1.55rem",
    "theme.metricValueFontWeight": 600,
    "theme.chartCategoricalColors": list(_COLOURS),
    "theme.chartSequentialColors": list(_BLUES),
    "theme.light.primaryColor": "#3C63BE",
    "theme.light.backgroundColor": "#FFFFFF",
    "theme.light.secondaryBackgroundColor": "#F5F7FA",
    "theme.light.textColor": "#1B2333",
    "theme.light.borderColor": "#E1E6EE",
    "theme.dark.primaryColor": "#7FA3F0",
    "theme.dark.backgroundColor": "#0F1420",
    "theme.dark.secondaryBackgroundColor": "#182030",
    "theme.dark.textColor": "#E8ECF4",
    "theme.dark.borderColor": "#2A3448",
}

STYLE = """
<style>
/* Less air above, so that the figures are what is seen first. */
.stMainBlockContainer { padding: 3.2rem 2.5rem 3rem; max-width: 1440px; }
.stMainBlockContainer h1 { padding: 0.4rem 0 0; font-size: 1.9rem; }
/* Cards share a row, and wrap two by two on a phone. */
[class*="st-key-cards-"] > div { flex: 1 1 9.5rem; min-width: 9.5rem; }
[class*="st-key-cards-"] [data-testid="stMetric"] { padding: 0.4rem; }
[class*="st-key-cards-"] [data-testid="stMetric"] > div:first-child { padding: 0.6rem 0.7rem; }
/* The built-in download writes cells as they are; "CSV" below each table is safe for a spreadsheet. */
button[aria-label^="Download as CSV"], button[aria-label^="Copy Vega-Lite spec"] { display: none !important; }
/* Streamlit's captions are too pale to be read by everyone (WCAG asks for a contrast of 4.5). */
[data-testid="stCaptionContainer"] { color: inherit; opacity: 0.75; }
@media (max-width: 640px) {
  .stMainBlockContainer { padding: 3.2rem 1rem 2rem; }
  [class*="st-key-cards-"] > div { flex: 1 1 8.2rem; min-width: 8.2rem; }
  [class*="st-key-cards-"] [data-testid="stMetricValue"] { font-size: 1.35rem; }
}
</style>
"""
