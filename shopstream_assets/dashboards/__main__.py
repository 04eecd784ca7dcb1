"""`python -m shopstream_assets.dashboards --port 8501`: what `make up` starts; people say `shopstream dashboard`."""

import argparse

from shopstream_assets.dashboards.server import serve

parser = argparse.ArgumentParser(prog="python -m shopstream_assets.dashboards", description=__doc__)
parser.add_argument("--port", type=int, required=True, help="port of 127.0.0.1 to serve on")
serve(parser.parse_args().port)
