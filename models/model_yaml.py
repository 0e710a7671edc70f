"""Read and write model.yaml: plain data only, bounded, every problem one sentence."""

from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from models.errors import ManifestError
from models.manifest import Manifest

MAX_YAML_BYTES = 1 << 20  # 256 KiB hold a schema of 1,000 named features; this is four times that
MAX_DEPTH = 32  # a manifest is 6 deep; the composer recurses, so hostile depth must stop early
PROBLEMS_SHOWN = 3


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without what lets two readers disagree: repeated keys, aliases, deep nesting."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ManifestError("model.yaml: aliases are not allowed")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ManifestError(f"model.yaml: nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            line = node.start_mark.line + 1
            raise ManifestError(f"model.yaml: a key is repeated in the mapping at line {line}")
        return super().construct_mapping(node, deep)


def parse_manifest(content: bytes) -> Manifest:
    """Turn the bytes of model.yaml into a manifest.

    Raises:
        ManifestError: too large, not plain YAML, or not what a manifest declares.
    """
    if len(content) > MAX_YAML_BYTES:
        raise ManifestError(f"model.yaml: {len(content)} bytes, at most {MAX_YAML_BYTES}")
    data = _load(content)
    if not isinstance(data, dict):
        raise ManifestError("model.yaml: must be a mapping")
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise ManifestError(_sentence(error)) from None  # its text repeats the input


def render_manifest(manifest: Manifest) -> bytes:
    """Write a manifest so that `parse_manifest` gives the same one back."""
    data = manifest.model_dump(mode="json", by_alias=True, exclude_none=True)
    # Escaped: written plainly, PyYAML reads U+0085 back as a line break.
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=False, default_flow_style=None)
    return text.encode()


def _load(content: bytes) -> Any:
    try:
        loader = _StrictLoader(content.decode())
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}" if mark else ""
        raise ManifestError(f"model.yaml: not plain YAML{where}") from error
    # ValueError: impossible dates, numbers too long to read, bytes that are not UTF-8
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ManifestError("model.yaml: not plain YAML in UTF-8") from error


def _sentence(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    shown = [_line(problem) for problem in problems[:PROBLEMS_SHOWN]]
    more = len(problems) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _line(problem: ErrorDetails) -> str:
    where = ".".join(map(str, problem["loc"]))
    what = problem["msg"].removeprefix("Value error, ")
    return f"model.yaml: {where}: {what}" if where else f"model.yaml: {what}"
