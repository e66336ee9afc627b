"""Recipes as lists of ingredient names.

The source is the npm package `howtocook-mcp` (ISC licence): real recipes, written by many people, so one
ingredient comes in many spellings: "盐", "盐 =", "干辣椒（依照个人口味）2-3 个，切碎", "油、盐、料酒".
"""

from __future__ import annotations

import json
import re
from pathlib import Path

# Names end where amounts, remarks and brackets begin.
_REMARK = re.compile(r"[（(\[【:：=*0-9０-９.~～+＋\s].*$", re.DOTALL)
# One entry may name several ingredients.
_SEPARATOR = re.compile(r"[、/／，,。；;|]|或者|或|和")
_AMOUNT = re.compile(r"[一两二三四五六七八九十半几]?(个|只|瓣|根|勺|克|片|块|适量|少许|若干|毫升|斤|把|颗|条)+$")
_CHINESE = re.compile(r"^[\u4e00-\u9fff]{1,8}$")
# Tools stand among the ingredients of many recipes.
_TOOL = re.compile(r"锅|碗|勺|刀|盘|秤|杯|刷|袋|筷|盆|机|箱|纸|膜|板|炉|夹|器|瓶|盒|手套|模具|可选|注|建议|推荐")


def ingredient_names(entry: str) -> list[str]:
    """`"姜、蒜瓣 2 个"` -> `["姜", "蒜瓣"]`; anything that is no plain name is dropped."""
    names = []
    for part in _SEPARATOR.split(entry.strip()):
        name = _AMOUNT.sub("", _REMARK.sub("", part.strip())).strip()
        if _CHINESE.match(name) and not _TOOL.search(name):
            names.append(name)
    return names


def read_recipes(path: str | Path, smallest: int = 3) -> list[list[str]]:
    """Reads the corpus; each recipe becomes its distinct ingredient names in order of appearance.

    Recipes with fewer than `smallest` ingredients say nothing about what goes together and are left out.
    """
    recipes = []
    for recipe in json.loads(Path(path).read_text(encoding="utf-8")):
        names = [name for item in recipe["ingredients"] for name in ingredient_names(item["name"])]
        distinct = list(dict.fromkeys(names))
        if len(distinct) >= smallest:
            recipes.append(distinct)
    return recipes
