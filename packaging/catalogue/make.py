#!/usr/bin/env python3
"""Makes src/catalogue/prices.txt, the price list inside the binary, from a file of price facts.

    packaging/catalogue/make.py FACTS.jsonl [--date 2026-11] [--out src/catalogue/prices.txt]

It prints what it left out and why, and stops on any key or mode that no list below names, so that a
new kind of price is never dropped unseen. Figures are copied as the text they came as; the only
arithmetic is comparison, in exact decimals. It must never turn a figure into a float.

The format of prices.txt
------------------------
    conduit-prices 2 catalogue 2026-11
    # a comment
    openai gpt-x 128000 16384 input=2.5 cache_read=1.25 output=10 | batch input=1.25 output=5
    gemini gemini/gemini-x 1048576 65536 input=2 output=12 | >200000 input=4 | priority>200000 input=7.2
    ollama ollama/llama-x 8192 - free
    acme acme/paint-x - - image@1024x1024=0.04 image@hd/1024x1792=0.12
    zai zai/glm-x 128000 32000 unknown
    end 5

The first line names the format and its version, and then the edition: here the program's own and its
month. The last counts the models, so that a text that was cut off is known. Between them each line is
one model: the source's provider id, the source's model id, the most prompt tokens, the most completion
tokens (`-` where not known), and then its price: the word `free`, the word `unknown`, or rates.

Rates come in groups, separated by `|`. The first group is the ordinary price. Every other group
opens with its condition: a service tier (`batch`, `flex`, `priority`), `>N` for prompts of more than
N tokens, or both joined. Lines are sorted by provider and model, groups and rates always stand in
one order: two editions can be compared line by line. The names of the rates, in dollars:

    input cache_read cache_write cache_write_1h input_audio cache_read_audio input_image
    cache_read_image output reasoning output_audio output_image      per million tokens
    web_search image character call                                  for each
    audio_second                                                     per second of audio

An image may also have prices by its quality, its size or both, written `image@hd/1024x1792`, and a
search or a call by the size of the search: `call@low`. They stand in the first group, after the others.

The rules of price
------------------
1. Nothing is free for want of a price. Zero is believed in two places: a model that Ollama runs on
   its owner's machine, and OpenAI's moderation. Every other model whose price comes to zero, or
   that lacks a rate it cannot be billed without (`is_billable`), is `unknown`. So is what is plainly
   misprinted (`DOUBTFUL`).
2. A zero stays only as the ordinary rate of input or output beside another price, as with an
   embedding's output. Any other zero is left out, and the class is priced as the one it belongs to.
3. Writing to a cache never costs less than reading the prompt plainly: a write rate below the input
   rate is a storage fee or a mistake, and is left out, so that written tokens cost what input costs.
4. A rate equal to that of the class it belongs to, and without service tiers of its own, is left
   out: it follows that class into every tier. (Reasoning at the rate of output is the usual one.)
5. Where the price of a search differs by its size it is a fee on each request, and so it is for a
   model that always searches: then it is `call`, with a price for each size where they differ. What a
   request that names no size costs is the dearest of them, because nobody says what it comes to.
6. A query (rerank, embedding) and a request are one `call`.
7. A second of audio costs the dearer of the input's and the output's price, never both: they are
   two prints of one price. So with images, whose price stands only with models that make or embed
   them: in a chat an image is counted in tokens.
8. A model's name with a quality and a size in front is a price by the image for that model. Where it
   is printed by the pixel it is a price by the image that somebody divided and rounded: multiplied
   again it is a tenth of a cent, if one is within a thousandth of it, or else rounded up to one.
   `standard` is the ordinary quality, unless there is `low`, `medium` or `high`: then what names none
   of these names nothing.
"""

import argparse
import json
import re
import sys
from collections import Counter
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

FORMAT = "conduit-prices 2"

PROVIDERS = set(
    """
    anthropic azure azure_ai bedrock bedrock_converse cerebras codestral cohere cohere_chat
    dashscope deepinfra deepseek fireworks_ai gemini groq hyperbolic minimax mistral moonshot
    nvidia_nim ollama openai openrouter perplexity sambanova text-completion-openai together_ai
    vertex_ai vertex_ai-anthropic_models vertex_ai-language-models voyage xai zai
    """.split()
)

TEXT_MODES = {"chat", "responses", "completion"}
IMAGE_MODES = {"image_generation", "image_edit"}
MODES = (
    TEXT_MODES
    | IMAGE_MODES
    | {"embedding", "moderation", "rerank", "audio_transcription", "audio_speech"}
)
MODES_LEFT_OUT = {
    "realtime": "no endpoint for it",
    "video_generation": "no endpoint for it",
    "ocr": "no endpoint for it",
    "evaluation": "no endpoint for it",
    "vector_store": "no endpoint for it",
    "search": "no endpoint for it",
    "guardrail": "no endpoint for it",
    None: "a band of sizes, not a model",
}

# Names that no request carries.
NOT_A_MODEL = [
    (re.compile(r"-steps/"), "a size and a number of steps in front of a model's name"),
    (re.compile(r"^(together-ai|fireworks-ai)-"), "a band of sizes, not a model"),
    (re.compile(r"/\d+-month-commitment/"), "capacity rented by the hour"),
    (re.compile(r"(^|/)container$"), "a tool's session, not a model"),
]

# A quality and a size in front of a model's name: the price of an image of that model.
SIZED = re.compile(
    r"((?!(low|medium|high|standard|hd)/)(?P<prefix>[a-z_]+/))?"
    r"((?P<quality>low|medium|high|standard|hd)/)?(?P<w>\d+)-x-(?P<h>\d+)/(?P<model>[^/]+)"
)
LEVELS = {"low", "medium", "high"}
TENTH_OF_A_CENT = Decimal("0.001")

# A figure a thousand times its neighbours', or a model filed under the wrong mode.
DOUBTFUL = {
    ("azure_ai", "azure_ai/jais-30b-chat"): "3200 dollars a million tokens",
    ("cohere", "embed-multilingual-light-v3.0"): "a thousand times its siblings",
    ("fireworks_ai", "fireworks_ai/accounts/fireworks/models/flux-1-dev-controlnet-union"):
        "an image model at a price for tokens",
}

# Models that search the web on every request, whatever the request says.
ALWAYS_SEARCHES = re.compile(r"^(gpt-4o(-mini)?-search-preview|gpt-5-search-api)")

# The fact's name of a token class, ours, and the class whose rate it follows when it has none.
TOKEN_CLASSES = {
    "input": ("input", None),
    "cache_read_input": ("cache_read", "input"),
    "input_cache_hit": ("cache_read", "input"),
    "cache_creation_input": ("cache_write", "input"),
    "cache_creation_input_above_1hr": ("cache_write_1h", "cache_write"),
    "input_audio_token": ("input_audio", "input"),
    "cache_read_input_audio": ("cache_read_audio", "input_audio"),
    "input_image_token": ("input_image", "input"),
    "cache_read_input_image": ("cache_read_image", "input_image"),
    "output": ("output", None),
    "output_reasoning_token": ("reasoning", "output"),
    "output_audio_token": ("output_audio", "output"),
    "output_image_token": ("output_image", "output"),
}
PARENT = dict(TOKEN_CLASSES.values())
CLASSES = [*PARENT, "web_search", "image", "audio_second", "character", "call"]
TIERS = {None: "", "batches": "batch", "flex": "flex", "priority": "priority"}
TOKEN_KEY = re.compile(
    r"(?P<name>{})(_above_(?P<above>\d+)k_tokens)?(_(?P<tier>batches|flex|priority))?_usd_per_mtok".format(
        "|".join(sorted(TOKEN_CLASSES, key=len, reverse=True))
    )
)

# Keys of facts that become the price of one of something; several for one class: the dearest.
UNIT_KEYS = {
    "input_cost_per_image": "image",
    "output_cost_per_image": "image",
    "input_cost_per_second": "audio_second",
    "output_cost_per_second": "audio_second",
    "input_cost_per_audio_per_second": "audio_second",
    "input_cost_per_character": "character",
    "input_cost_per_query": "call",
    "input_cost_per_request": "call",
}
UNIT_MODES = {
    "image": IMAGE_MODES | {"embedding"},
    "audio_second": {"audio_transcription", "audio_speech", "embedding"},
    "character": {"audio_speech"},
    "call": MODES,
}

# Keys for which there is no class: what they price is not billed, or is billed as something else.
KEYS_LEFT_OUT = [
    (r".*_ultrafast_usd_per_mtok", "a service tier without a class"),
    (r".*_decisions_usd_per_mtok", "a service tier without a class"),
    (r"(in|out)put_video_token.*", "video is billed as plain tokens"),
    (r"(in|out)put_cost_per_video_per_second", "video has no endpoint"),
    (r"output_cost_per_second_\w+", "video has no endpoint"),
    (r"(in|out)put_cost_per_pixel", "only sizes in front of a name are multiplied with pixels"),
    (r"cache_creation_input_audio_usd_per_mtok", "no class for audio written to a cache"),
    (r"explicit_cache_read_input_usd_per_mtok", "cheaper than cache_read, and not told apart"),
    (r"citation_usd_per_mtok", "no class for citations"),
    (r"google_maps_grounding_cost_per_query", "no class for searches of maps"),
    (r"code_interpreter_cost_per_session", "no class for sessions of a tool"),
    (r"guardrail_cost_per_unit", "no class for guardrails"),
    (r"(ocr|annotation)_cost_per_page.*", "no class for pages"),
    (r"cost_per_second", "capacity rented by the second"),
    (r"output_cost_per_character", "only spoken text is counted in characters"),
    (r"input_cost_per_text_message", "no class for messages"),
    (r"(in|out)put_(image|character|(audio|video)_per_second)_above_\d+k_tokens_usd_per_mtok",
     "not a rate for tokens"),
]

DECIMAL = re.compile(r"\d+(\.\d+)?")


class Refused(Exception):
    """The facts hold something that no list in this file names."""


def is_zero(figure):
    return figure is None or Decimal(figure) == 0


def dearest(figures):
    return max(figures, key=Decimal)


def condition(tier, above):
    """The words that open a group: "", "batch", ">200000", "priority>272000"."""
    return TIERS[tier] + (f">{int(above)}000" if above else "")


def group_order(group):
    tier, _, above = group.partition(">")
    return (list(TIERS.values()).index(tier), int(above or 0))


def by_the_image(fact, match):
    """What an image costs by a fact whose name is a size, as text; None where it tells nothing."""
    rates = fact["rates"]
    each = [rates[key] for key in ("input_cost_per_image", "output_cost_per_image") if key in rates]
    each = [figure for figure in each if not is_zero(figure)]
    if each:
        return dearest(each)
    pixels = int(match["w"]) * int(match["h"])
    keys = ("input_cost_per_pixel", "output_cost_per_pixel")
    product = sum(Decimal(rates.get(key, "0")) for key in keys) * pixels
    if product == 0:
        return None
    price = product.quantize(TENTH_OF_A_CENT)
    if abs(price - product) * 1000 > product:
        price = product.quantize(TENTH_OF_A_CENT, rounding=ROUND_CEILING)
    return format(price.normalize(), "f")


def sizes(facts):
    """By provider and model: quality and size -> what an image costs. See rule 8."""
    names = {(fact["provider"], fact["model"]) for fact in facts}
    found = {}
    for fact in facts:
        match = SIZED.fullmatch(fact["model"])
        figure = match and by_the_image(fact, match)
        if figure:
            model = (match["prefix"] or "") + match["model"]
            in_full = f"{fact['provider']}/{model}"
            model = in_full if (fact["provider"], in_full) in names else model
            size = f"{match['w']}x{match['h']}"
            found.setdefault((fact["provider"], model), {})[(match["quality"], size)] = figure
    for variants in found.values():
        has_levels = any(quality in LEVELS for quality, _ in variants)
        for quality, size in list(variants):
            if has_levels and quality not in LEVELS:
                del variants[(quality, size)]
            elif quality == "standard":
                variants[(None, size)] = variants.pop((quality, size))
    return found


def search_class(fact, figures):
    """What a price per search is charged by: see rule 5."""
    if len(set(figures)) > 1 or ALWAYS_SEARCHES.match(fact["model"]):
        return "call"
    return "web_search"


def read_rates(fact, left_out):
    """The groups of a fact, as they are printed: condition -> class -> figure."""
    groups = {"": {}}
    units = {}
    for key, figure in fact["rates"].items():
        if key == "search_context_cost_per_query":
            figures = list(figure.values())
            units.setdefault(search_class(fact, figures), []).extend(figures)
        elif match := TOKEN_KEY.fullmatch(key):
            name = TOKEN_CLASSES[match["name"]][0]
            group = groups.setdefault(condition(match["tier"], match["above"]), {})
            group[name] = dearest([figure, group.get(name, figure)])
        elif key in UNIT_KEYS:
            name = UNIT_KEYS[key]
            if fact["mode"] in UNIT_MODES[name]:
                units.setdefault(name, []).append(figure)
            elif not is_zero(figure):
                left_out[f"{key}: not how a {fact['mode']} model is counted"] += 1
        else:
            left_out[f"{key}: {why_left_out(key)}"] += 1
    groups[""].update({name: dearest(figures) for name, figures in units.items()})
    for figure in (figure for group in groups.values() for figure in group.values()):
        if not DECIMAL.fullmatch(figure):
            raise Refused(f"{fact['model']}: `{figure}` is not a decimal")
    return groups


def why_left_out(key):
    for pattern, why in KEYS_LEFT_OUT:
        if re.fullmatch(pattern, key):
            return why
    raise Refused(f"a key that no list names: {key}")


def is_billable(mode, base):
    """Whether a model's own kind of work has a rate: see rule 1."""
    def has(name):
        return not is_zero(base.get(name))

    if mode in TEXT_MODES:
        return has("output") and (has("input") or has("call"))
    if mode in IMAGE_MODES:
        return has("image") or has("output_image")
    if mode == "audio_transcription":
        return has("audio_second") or has("input_audio") or has("input")
    if mode == "audio_speech":
        return has("character") or (has("input") and (has("output") or has("output_audio")))
    return has("input") or has("call")


def prune(groups):
    """Rules 2, 3 and 4, in that order."""
    base = groups[""]
    for condition, group in groups.items():
        for name in [name for name, figure in group.items() if is_zero(figure)]:
            if condition or name not in ("input", "output"):
                del group[name]
    for group in groups.values():
        plain = group.get("input", base.get("input"))
        for name in ("cache_write", "cache_write_1h"):
            if name in group and plain and Decimal(group[name]) < Decimal(plain):
                del group[name]
    # Children before parents, so that each is compared with a rate that is still there.
    for name in reversed(PARENT):
        parent = PARENT[name]
        own_tiers = [group for group in groups if group and name in groups[group]]
        if parent and not own_tiers and name in base and parent in base:
            if Decimal(base[name]) == Decimal(base[parent]):
                del base[name]


def variants(fact, images):
    """The words of what is priced by what a request asks for: see rules 5 and 8."""
    words = []
    for (quality, size), figure in sorted(images.items(), key=lambda item: (item[0][0] or "", item[0][1])):
        words.append(f"image@{quality + '/' if quality else ''}{size}={figure}")
    searches = fact["rates"].get("search_context_cost_per_query", {})
    if len(set(searches.values())) > 1:
        for size in ("low", "medium", "high"):
            if not is_zero(searches.get(f"search_context_size_{size}")):
                words.append(f"call@{size}={searches[f'search_context_size_{size}']}")
    return words


def price(fact, groups, images):
    """The words of a line that tell the price."""
    base = groups[""]
    all_zero = all(is_zero(f) for group in groups.values() for f in group.values())
    if all_zero and fact["provider"] == "ollama" and not fact["model"].endswith("-cloud"):
        return "free"
    if all_zero and fact["provider"] == "openai" and fact["mode"] == "moderation":
        return "free"
    is_sold = is_billable(fact["mode"], base) or images
    if (fact["provider"], fact["model"]) in DOUBTFUL or not is_sold:
        return "unknown"
    prune(groups)
    special = variants(fact, images)
    words = []
    for name in sorted(groups, key=group_order):
        rates = [f"{c}={groups[name][c]}" for c in CLASSES if c in groups[name]]
        rates += special if not name else []
        if rates:
            words.append(" ".join([name, *rates] if name else rates))
    return " | ".join(words)


def why_not(fact, names):
    """Why a fact has no line, or None."""
    provider, model, mode = fact["provider"], fact["model"], fact["mode"]
    if provider not in PROVIDERS:
        return f"provider {provider}: no route reaches it"
    if SIZED.fullmatch(model):
        return "a price by the image for the model named at its end"
    for pattern, why in NOT_A_MODEL:
        if pattern.search(model):
            return why
    if mode in MODES_LEFT_OUT:
        return f"mode {mode}: {MODES_LEFT_OUT[mode]}"
    if mode not in MODES:
        raise Refused(f"a mode that no list names: {mode}")
    prefix = provider.split("-")[0] + "/"
    bare = model.removeprefix(prefix)
    # A bare name that still opens with the prefix is another model's: perplexity/perplexity/sonar.
    if bare != model and not bare.startswith(prefix) and (provider, bare) in names:
        return "the provider names it twice: the plain name stays"
    if re.search(r"[\s|#]", model):
        raise Refused(f"a name that would break a line: {model}")
    return None


def line(fact, left_out, images):
    words = price(fact, read_rates(fact, left_out), images.get((fact["provider"], fact["model"]), {}))
    limits = [str(fact.get(f"max_{side}_tokens") or "-") for side in ("input", "output")]
    return " ".join([fact["provider"], fact["model"], *limits, words])


def main():
    here = Path(__file__).resolve().parents[2] / "src" / "catalogue" / "prices.txt"
    parser = argparse.ArgumentParser(description="Makes the price list inside the binary.")
    parser.add_argument("facts", type=Path, help="a file of facts, one JSON object per line")
    parser.add_argument("--date", default="2026-11", help="the month the facts are of")
    parser.add_argument("--out", type=Path, default=here)
    args = parser.parse_args()

    facts = [json.loads(text) for text in args.facts.read_text().splitlines() if text]
    facts.sort(key=lambda fact: (fact["provider"], fact["model"]))
    names = {(fact["provider"], fact["model"]) for fact in facts}
    images = sizes([fact for fact in facts if fact["provider"] in PROVIDERS])
    for provider, model in sorted(images.keys() - names):
        facts.append({"provider": provider, "model": model, "mode": "image_generation", "rates": {}})
    facts.sort(key=lambda fact: (fact["provider"], fact["model"]))
    models_left_out, keys_left_out = Counter(), Counter()
    lines = []
    for fact in facts:
        if why := why_not(fact, names):
            models_left_out[why] += 1
        else:
            lines.append(line(fact, keys_left_out, images))

    head = [
        f"{FORMAT} catalogue {args.date}",
        "# Made by packaging/catalogue/make.py, which describes the format: change that, not this.",
    ]
    args.out.write_text("\n".join([*head, *lines, f"end {len(lines)}"]) + "\n")
    report(args.out, facts, lines, models_left_out, keys_left_out)


def report(out, facts, lines, models_left_out, keys_left_out):
    ends = Counter(line.rsplit(" ", 1)[1] for line in lines)
    print(f"{out}: {len(lines)} of {len(facts)} models, {out.stat().st_size} bytes")
    print(f"  free: {ends['free']}, unknown: {ends['unknown']}")
    print("models left out:")
    for why, count in models_left_out.most_common():
        print(f"  {count:5} {why}")
    print("rates left out (of the models kept):")
    for why, count in keys_left_out.most_common():
        print(f"  {count:5} {why}")


if __name__ == "__main__":
    try:
        main()
    except Refused as why:
        sys.exit(f"make.py: {why}")
