"""The main file of the dashboards as Streamlit in Snowflake: the same pages, of the database that the app is in."""

from shopstream_assets.dashboards.app import main

main()
