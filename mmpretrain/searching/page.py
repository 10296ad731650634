"""What was found, as one HTML file that needs no other."""

import base64
from collections.abc import Sequence
from typing import NamedTuple

from jinja2 import Environment


class Found(NamedTuple):
    """A picture of the page."""

    score: float
    key: str
    caption: str
    thumbnail: bytes
    """PNG; empty: the picture is no longer there."""


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ asked }}</title>
<style>
:root { color-scheme: light dark; --ink: #1c2430; --muted: #5b6675; --page: #f6f7f9; --card: #fff; --edge: #dfe4e9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ecf1; --muted: #9aa6b4; --page: #14181d; --card: #1d232b; --edge: #313a45; }
}
body { font: 15px/1.45 system-ui, sans-serif; margin: 0; padding: 2rem clamp(1rem, 4vw, 4rem); color: var(--ink);
  background: var(--page); }
h1 { font-size: 1.5rem; margin: 0; }
p { color: var(--muted); margin: .2rem 0 1.5rem; }
ol { list-style: none; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); }
li { background: var(--card); border: 1px solid var(--edge); border-radius: .6rem; overflow: hidden; }
figure { margin: 0; }
.picture { height: 11rem; display: grid; place-items: center; background: #fff; }
img { max-width: 9.5rem; max-height: 9.5rem; min-width: 6rem; object-fit: contain; }
figcaption { padding: .6rem .8rem .8rem; }
.caption { font-weight: 600; overflow-wrap: anywhere; }
.key { color: var(--muted); font-size: .8rem; overflow-wrap: anywhere; }
.bar { height: .25rem; background: var(--edge); border-radius: 1rem; margin-top: .5rem; }
.bar span { display: block; height: 100%; background: #3b7dd8; border-radius: 1rem; }
.gone { color: #888; font-size: .8rem; }
</style>
<h1>{{ asked }}</h1>
<p>{{ found | length }} of {{ told }}</p>
<ol>
{% for each in found %}<li><figure>
<div class="picture">{% if each.thumbnail %}<img alt="{{ each.caption or each.key }}" \
src="data:image/png;base64,{{ picture(each) }}">{% else %}<span class="gone">no longer there</span>{% endif %}</div>
<figcaption><div class="caption">{{ each.caption or each.key }}</div>
<div class="key">{{ "%.3f" | format(each.score) }} &middot; {{ each.key }}</div>
<div class="bar"><span style="width: {{ width(each) }}%"></span></div></figcaption>
</figure></li>
{% endfor %}</ol>
</html>
"""


def page(asked: str, told: str, found: Sequence[Found]) -> str:
    """The best first; what people wrote is escaped."""
    template = Environment(autoescape=True).from_string(PAGE)
    return template.render(asked=asked, told=told, found=found, picture=picture, width=width)


def picture(each: Found) -> str:
    return base64.b64encode(each.thumbnail).decode()


def width(each: Found) -> int:
    """Of the bar, in percent."""
    return round(100 * min(1.0, max(0.0, each.score)))
