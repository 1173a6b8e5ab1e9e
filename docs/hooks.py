"""Pages of the site that are made while it is built, and the links to them.

The front page, the page for contributors and others are the files at the top of the repository.
The references of settings and metrics are read from the schema, `conf/` and the registry.
Run by mkdocs: see `hooks` in mkdocs.yml.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from mkdocs.structure.files import File

from capsule_inspection.config.help import header, read_settings
from capsule_inspection.config.schema import COMMANDS, EXPERIMENTS, GROUPS, Setting, settings
from capsule_inspection.metrics.registry import METRICS, TASKS, metric_description

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks")  # with --strict a warning is an error
REPOSITORY = Path(__file__).parents[1]
CONF = REPOSITORY / "conf"
PUBLISHED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "extending.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security_policy.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Files outside docs/, and their pages."""
TYPES = {int: "integer", float: "number", bool: "true or false", str: "text", Any: "see meaning"}
MUCH = 100_000
"""A largest value from which on it is not worth knowing."""
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
DEFECT_NAMES = {"good": "good images", "defects": "defects", "masks": "masks"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of docs/."""
    made: dict[str, Callable[[], str]] = {
        "configuration.md": configuration,
        "metrics.md": metrics,
        "decisions/index.md": decisions,
    }
    pages = {target: (REPOSITORY / source).read_text() for source, target in PUBLISHED.items()}
    for name, text in {**pages, **{name: make() for name, make in made.items()}}.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Links as they are on GitHub, turned into links of the site."""
    source = {target: source for source, target in PUBLISHED.items()}.get(page.file.src_uri)
    place = REPOSITORY / (source or f"docs/{page.file.src_uri}")

    def relink(link: re.Match[str]) -> str:
        target = (place.parent / link[1]).resolve()
        if not target.is_relative_to(REPOSITORY) or not target.exists():
            return link[0]
        path = target.relative_to(REPOSITORY).as_posix() + "/index.md" * target.is_dir()
        page_path = PUBLISHED.get(path, path.removeprefix("docs/"))
        return "](" + "../" * page.file.src_uri.count("/") + page_path

    return LINK.sub(relink, markdown)


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    names = list(columns)
    yield "| " + " | ".join(names) + " |"
    yield "|" + " --- |" * len(names)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


def decisions() -> str:
    """The list of the decision records."""
    lines = [
        "# Decisions",
        "",
        "One page for each lasting choice of the design: the context, what was decided, and what "
        "was rejected. They are for contributors who ask why something is as it is.",
        "",
    ]
    for path in sorted((REPOSITORY / "docs/decisions").glob("*.md")):
        title = path.read_text().partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """The reference of metrics, from the registry."""
    lines = [
        "# Metrics",
        "",
        "All metrics of tables, pages and plots, by the key that `metrics.json` has after the "
        "stage: `test/auroc` is the AUROC of the test images. This page is generated from "
        "`metrics/registry.py`.",
        "",
        "Each final metric has a 95% confidence interval and the number of images, or of groups "
        "of images, that it is computed from. Which methods are used and how often their "
        "intervals contain the truth is in [the experiments](experiments/statistics.md). A metric "
        "is computed only where the test images have what it needs.",
        "",
    ]
    described = [metric for metric in METRICS.values() if metric.description]
    rows = [
        (
            f"`{metric.name}`",
            f"**{metric.label}**. "
            + metric_description(metric.name).replace("the target rate", "`threshold.target_fpr`"),
            "higher" if metric.higher_is_better else "lower",
            "all" if metric.tasks == TASKS else ", ".join(metric.tasks).replace("_", " ") or "-",
            ", ".join(DEFECT_NAMES[need] for need in metric.needs) or "-",
        )
        for metric in described
    ]
    lines += table(("key", "meaning", "better", "tasks", "needs"), rows)
    lines += [
        "## Metrics of classes and of epochs",
        "",
        "Metrics of a class have its name behind a slash, such as `test/recall/crack`: "
        + ", ".join(f"`{name}`" for name in METRICS if METRICS[name] not in described)
        + ". `loss`, `binary_dice` and `mean_iou` are logged in each epoch; the epoch's Dice and "
        "IoU are those of the most probable class of each pixel, without the thresholds that are "
        "fitted at the end.",
    ]
    return "\n".join(lines) + "\n"


def configuration() -> str:
    """The reference of settings, from the schema and the comments of `conf/`."""
    lines = [
        "# Configuration",
        "",
        "All settings of all commands, with type, default and meaning. This page is generated "
        "from `config/schema.py` and the comments of `conf/`. `python train.py --help` shows the "
        "settings of a command in a terminal, `--help` behind choices those of the choices, and "
        "`--cfg job` all values.",
        "",
        "A setting is `key=value` on the command line; a choice is `group=name`. Keys, types and "
        "ranges are checked before PyTorch is imported. A value in angle brackets is required; "
        "a key as default means that the value of this key is taken.",
        "",
        "## Commands",
        "",
    ]
    for command in COMMANDS:
        path = CONF / f"{command}.yaml"
        lines += [f"### {command}.py", "", *example(path)]
        lines += table(
            ("key", "type", "default", "meaning"),
            (
                (f"`{key}`", type_of(settings()[key]), default_of(value), escaped(comment))
                for key, value, comment in described(path)
            ),
        )
    for group in GROUPS:
        lines += [f"## {group}", "", *group_tables(group)]
    for group in EXPERIMENTS:
        lines += [f"## {group}", "", *choices_table(group)]
    return "\n".join(lines) + "\n"


def described(path: Path, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Key, default and comment of each setting; without a comment that of the block it is in."""
    comments = {}
    if path.stem == "convert":  # has the settings of data sets with annotations
        comments = {
            key: comment for key, _, comment in read_settings(CONF / "data/coco.yaml", "data.")
        }
    for key, value, comment in read_settings(path, prefix):
        comments[key] = comment = comment or comments.get(key, "")
        if key in settings() and value:
            meaning = comment or comments.get(f"{key.rpartition('.')[0]}.*", "")
            if not meaning:
                log.warning("%s: %s has no comment that says what it means.", path, key)
            yield key, value, meaning


def example(path: Path) -> Iterator[str]:
    """The header of a file of `conf/`: what it is, and its commands as code."""
    title, _, rest = header(path).partition("\nRun: ")
    text = title.partition(": ")[2] or title
    lines = [line.strip() for line in rest.splitlines()]
    commands = [line for line in lines if line.startswith("python ")]
    yield from (escaped(text[:1].upper() + text[1:]), "", "```", *commands, "```", "")
    yield from (line for line in lines if line not in commands)
    yield ""


def choices_table(group: str) -> Iterator[str]:
    files = sorted((CONF / group).glob("*.yaml"))
    rows = ((f"`{group}={path.stem}`", header(path).splitlines()[0]) for path in files)
    yield from table(("choice", "what it is"), rows)


def group_tables(group: str) -> Iterator[str]:
    """The choices of a group, then each setting once, with the defaults of all choices."""
    yield from choices_table(group)
    files = sorted((CONF / group).glob("*.yaml"))
    found: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)
    for path in files:
        for key, value, comment in described(path, f"{group}."):
            found[key][path.stem] = value, comment
    for key, value, comment in unset(group, found):
        found[key] = {path.stem: (value, comment) for path in files}
    if not found:
        return
    rows = (
        (
            f"`{key}`",
            type_of(settings()[key]),
            defaults_of({choice: value for choice, (value, _) in by_choice.items()}),
            escaped(next((comment for _, comment in by_choice.values() if comment), "")),
            "all" if len(by_choice) == len(files) else shortened(group, by_choice),
        )
        for key, by_choice in found.items()
    )
    yield from table(("key", "type", "default", "meaning", "choices"), rows)


def unset(group: str, found: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Settings with a default in the schema that no file of the group sets."""
    for schema in {*GROUPS[group].values()} if group == "trainer" else ():
        for item in fields(schema):
            key = f"{group}.{item.name}"
            if key not in found:
                value = "null" if item.default is None else str(item.default)
                own = {
                    "channels_last": "memory layout; auto: where it is fast and safe",
                    "threads": "of the processor; auto: all cores, of parallel jobs a part each",
                    "precision": "auto: bf16-mixed where the hardware has it, else 32-true",
                }
                yield key, value.lower(), own.get(item.name, "argument of Lightning's Trainer")


def shortened(group: str, choices: Iterable[str]) -> str:
    """Names of choices, or those that are left out where these are fewer."""
    names = set(choices)
    others = {path.stem for path in (CONF / group).glob("*.yaml")} - names
    few, start = (others, "all but ") if len(others) < len(names) / 2 else (names, "")
    return start + ", ".join(f"`{name}`" for name in sorted(few))


def defaults_of(values: dict[str, str]) -> str:
    """The default, and those of the choices that have another one."""
    counted = sorted(set(values.values()), key=list(values.values()).count, reverse=True)
    others = (
        f"{default_of(value)} with "
        + ", ".join(f"`{choice}`" for choice in values if values[choice] == value)
        for value in counted[1:]
    )
    return "; ".join([default_of(counted[0]), *others])


def default_of(value: str) -> str:
    found = re.fullmatch(r"\$\{([\w.]+)\}", value)
    return f"`{found[1] if found else value.replace(chr(10), ' ')}`"


def type_of(setting: Setting) -> str:
    """The type of a setting in words, with its choices or range."""
    choices, limits = setting.constraint.get("choices"), setting.constraint.get("range")
    null = " or null" if setting.type is not setting.hint else ""
    if choices:
        shown = (str(choice).lower() if isinstance(choice, bool) else choice for choice in choices)
        return ", ".join(f"`{choice}`" for choice in shown) + null
    name = TYPES.get(setting.type)
    if name is None:
        inner = [TYPES.get(each, "values") for each in get_args(setting.type)]
        name = f"list of {inner[0]}s" if get_origin(setting.type) is list else "mapping"
    span = "" if not limits else f", {limits[0]:g} to {limits[1]:g}"
    if limits and limits[1] >= MUCH:
        span = f", at least {limits[0]:g}"
    return name + span + null


def escaped(text: str) -> str:
    """A comment in which placeholders are no HTML."""
    return text.replace("<", "&lt;")
