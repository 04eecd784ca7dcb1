"""Pages over the marts, for people who run no query: Streamlit, served on this machine, from the marts alone.

`app.py` is the frame around the pages of every domain (`Domain.pages`), `marts.py` the only way to the warehouse.
"""
