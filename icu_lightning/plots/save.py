"""Figures as files: PNG of 300 dpi, and SVG that is the same byte for byte from the same numbers and fits into any page.

matplotlib's SVG has a date, the same ids in every figure, a style for the whole document and a size in points. Here the date is
gone; the ids that something refers to begin with the figure's name, so that many figures stand in one page, and the others are
gone; the style is the figure's own; it is never wider than the page. Letters stay letters, in whatever sans serif there is.
"""

import io
import re
from html import escape
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from icu_lightning.atomic import atomic_file, write_text

DPI = 300
NOTHING = {"Date": None, "Creator": None, "Format": None, "Type": None}
FONTS = "'DejaVu Sans', Verdana, 'Helvetica Neue', Arial, sans-serif"


def write_figure(figure: Figure, path: Path, alt: str, *, png: bool) -> None:
    """SVG at `path`, and PNG beside it, or none there.

    Arguments:
        alt: what a reader who cannot see it is told.
    """
    write_svg(figure, path, alt)
    if png:
        write_png(figure, path.with_suffix(".png"))
    else:
        path.with_suffix(".png").unlink(missing_ok=True)


def write_svg(figure: Figure, path: Path, alt: str) -> None:
    write_text(path, svg(figure, path.stem, alt))


def write_png(figure: Figure, path: Path) -> None:
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})


def svg(figure: Figure, name: str, alt: str) -> str:
    """The SVG element alone.

    Arguments:
        name: what its ids begin with; another for each figure of a page.
        alt: what a reader who cannot see it is told.
    """
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}), io.StringIO() as file:
        figure.savefig(file, format="svg", metadata=NOTHING)
        text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*|<metadata>.*?</metadata>\s*|<defs>\s*</defs>\s*", "", text, flags=re.DOTALL)
    text = text.replace("'DejaVu Sans'", FONTS)
    text = _own_ids(text, name)
    width, height = (float(x) for x in figure.get_size_inches())
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" aria-label="{escape(alt)}" '
        f'viewBox="0 0 {width * 72:g} {height * 72:g}" width="{width * 72:g}" height="{height * 72:g}" '
        'style="max-width:100%;height:auto;stroke-linejoin:round;stroke-linecap:butt">'
    )
    return head + re.sub(r"^<svg[^>]*>", "", text, count=1, flags=re.DOTALL)


def _own_ids(text: str, name: str) -> str:
    """Ids that are referred to get `name` before them; the others go."""
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))

    def own(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    text = re.sub(r' id="([^"]*)"', own, text)
    return re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
