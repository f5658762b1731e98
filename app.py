"""Complete photos in the browser: `python app.py`, or `make app`."""

import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from pathlib import Path

from realfill.command_line import make_parser, run, whole
from realfill.errors import UserError

ROOT = Path(__file__).parent
EXAMPLES = ("yard", "leuven", "graf")
LARGEST_UPLOAD = "100mb"
LOOPBACK = "127.0.0.1"
USER = "realfill"


def build_parser() -> ArgumentParser:
    """Return the parser of the flags."""
    parser = make_parser("Complete photos in the browser.")
    add = parser.add_argument
    add(
        "--workspace",
        type=Path,
        default=Path("workspace"),
        help="folder for scenes and results (default: %(default)s)",
    )
    add("--port", type=whole(1, 65535), help="of the page (default: the first free one from 7860)")
    add("--host", default=LOOPBACK, help="address to serve; needs --password (default: only here)")
    add("--password", help=f"asked for on the page, of the user {USER!r}")
    add("--no_browser", action="store_true", help="only say the address")
    return parser


def parse_arguments() -> Namespace:
    """Parse the command line."""
    parser = build_parser()
    arguments = parser.parse_args()
    if arguments.host != LOOPBACK and not arguments.password:
        parser.error("--host lets others in: give a --password as well")
    return arguments


def main() -> None:
    """Serve the page until it is ended."""
    arguments = parse_arguments()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    if not find_spec("gradio"):
        raise UserError(
            "the page needs Gradio: pip install -r requirements-app.txt -c constraints.txt"
        )
    from realfill.app.page import KEYS, build

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # what was begun ends with the page
    folder = arguments.workspace.resolve()
    examples = {name: ROOT / "data" / name for name in EXAMPLES}
    is_local = arguments.host == LOOPBACK
    build(folder, examples, is_local).queue(default_concurrency_limit=8).launch(
        server_name=arguments.host,
        server_port=arguments.port,
        inbrowser=not arguments.no_browser,
        auth=(USER, arguments.password) if arguments.password else None,
        allowed_paths=[str(folder)],
        max_file_size=LARGEST_UPLOAD,
        css_paths=ROOT / "realfill" / "app" / "page.css",
        head=KEYS,
        footer_links=[],
    )


if __name__ == "__main__":
    run(main)
