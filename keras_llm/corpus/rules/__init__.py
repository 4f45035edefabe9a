"""Cleaning rules: named, measured blocks that change or drop documents."""

from keras_llm.corpus.rules.registry import BLOCKS, PRESETS, build_rules
from keras_llm.corpus.rules.rule import Rule

__all__ = ["BLOCKS", "PRESETS", "Rule", "build_rules"]
