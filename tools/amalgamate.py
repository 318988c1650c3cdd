"""One C file of the whole core, to be vendored beside pymigrate.h.

    python tools/amalgamate.py -o DIRECTORY

writes pymigrate.c and pymigrate.h. What is needed to compile them: a C11 compiler, -pthread, Linux. The core's files
have names of their own that are alike (`static` functions, structures, enumerators, macros): where two files use one
name, each gets it with the file's name in front. Nothing else of the text changes, and comments stay.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
HEADER = CSRC / "include" / "pymigrate.h"
FOLDERS = ("base", "phys", "virt", "back", "move", "replay", "embed")

# Comments, strings and character constants are one token each, so that no name inside of them is taken for one.
_TOKEN = re.compile(
    r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|[A-Za-z_]\w*|->|[ \t]+|\n|.",
    re.DOTALL,
)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+(?:"([^"]+)"|<([^>]+)>)[^\n]*$', re.MULTILINE)
_MACRO = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_]\w*")
_TAGGED = ("struct", "union", "enum")


def tokens(text: str) -> list[str]:
    """Splits C text without losing a character."""
    return _TOKEN.findall(text)


def is_name(token: str) -> bool:
    """Says whether a token is an identifier or a keyword."""
    return _NAME.fullmatch(token) is not None


def _is_space(token: str) -> bool:
    return token.isspace() or token.startswith(("/*", "//"))


def file_names(text: str) -> set[str]:
    """Returns the names that a C file defines for itself at file scope: static objects, tags, enumerators, macros."""
    found = set(_MACRO.findall(text))
    depth = 0
    statement: list[str] = []
    body: list[str] = []
    without_lines = re.sub(r"^[ \t]*#(?:[^\n\\]|\\.)*(?:\\\n[^\n]*)*", "", text, flags=re.MULTILINE)
    for token in tokens(without_lines):
        if _is_space(token):
            continue
        if token == "{":
            depth += 1
            if depth == 1:
                found |= _declared(statement)
                body = []
                continue
        elif token == "}":
            depth -= 1
            if depth == 0:
                if statement[:1] == ["enum"] and "(" not in statement:
                    found |= _enumerators(body)
                # After a function's body nothing follows; after a structure's there may be a name.
                if statement[:1] == ["static"] and statement[-1] in _TAGGED:
                    statement = ["static"]
                else:
                    statement = ["}"] if "(" not in statement and statement[:1] != ["static"] else []
                continue
        elif token == ";" and depth == 0:
            found |= _declared(statement)
            statement = []
            continue
        (body if depth else statement).append(token)
    return found


def _declared(statement: list[str]) -> set[str]:
    """What the head of a declaration at file scope defines."""
    found: set[str] = set()
    statement = re.sub(r"__attribute__ \( \( .*? \) \)", "", " ".join(statement)).split()
    for kind in _TAGGED:
        if statement[:1] == [kind] and len(statement) == 2 and is_name(statement[1]):
            found.add(statement[1])
    if statement[:1] == ["typedef"]:
        found |= set(re.findall(r"\( \* (\w+) \)", " ".join(statement))) or {statement[-1]}
    end = next((i for i, token in enumerate(statement) if token in ("(", "=", "[")), len(statement))
    # A linked name begins with pm_ (tests/test_layout.py); what is `static` through a macro does not.
    local = "static" in statement[:3] or (end < len(statement) and not statement[end - 1].startswith("pm_"))
    if end and is_name(statement[end - 1]) and local:
        found.add(statement[end - 1])
    return found - {"_Static_assert", "_Alignas", *_TAGGED}


def _enumerators(body: list[str]) -> set[str]:
    """The names in the braces of an enum: the first one, and those behind a comma outside of parentheses."""
    found: set[str] = set()
    depth = 0
    expecting = True
    for token in body:
        depth += (token == "(") - (token == ")")
        if expecting and is_name(token):
            found.add(token)
        expecting = token == "," and depth == 0
    return found


def rename(text: str, names: dict[str, str]) -> str:
    """Renames identifiers, except where they name a member (behind `.` or `->`)."""
    out: list[str] = []
    before = ""
    for token in tokens(text):
        if token in names and before not in (".", "->"):
            out.append(names[token])
        else:
            out.append(token)
        if not _is_space(token):
            before = token
    return "".join(out)


class Amalgamation:
    """What was written so far: each header once, in the order in which the files need them."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.seen: set[str] = set()
        self.owners: dict[str, set[str]] = defaultdict(set)

    def include(self, folder: str, match: re.Match[str]) -> None:
        """Writes the header that an #include names, unless it is there already."""
        own, system = match.groups()
        if own is None:
            if system not in self.seen:
                self.seen.add(system)
                self.parts.append(f"#include <{system}>\n")
            return
        name = own if "/" in own or own == "pymigrate.h" else f"{folder}/{own}"
        if name in self.seen:
            return
        self.seen.add(name)
        if name == "pymigrate.h":
            self.parts.append('#include "pymigrate.h"\n')
            return
        self.add(name, (CSRC / name).read_text(encoding="utf-8"))

    def add(self, name: str, text: str) -> None:
        """Writes a file behind the headers that it includes."""
        folder = name.split("/")[0]
        for match in _INCLUDE.finditer(text):
            self.include(folder, match)
        self.parts.append(f"\n/* ---- {name} ---- */\n\n{_INCLUDE.sub('', text).strip()}\n")

    def add_source(self, name: str, text: str) -> None:
        """Writes a C file; its own names that another one has too get the file's name in front."""
        prefix = re.sub(r"\W", "_", name.removesuffix(".c"))
        names = {one: f"{prefix}__{one}" for one in file_names(text) if len(self.owners[one]) > 1}
        for match in _INCLUDE.finditer(text):
            self.include(name.split("/")[0], match)
        body = rename(_INCLUDE.sub("", text), names)
        self.parts.append(f"\n/* ---- {name} ---- */\n\n{body.strip()}\n")
        self.parts += [f"#undef {macro}\n" for macro in dict.fromkeys(_MACRO.findall(body))]


def amalgamate() -> str:
    """Returns the text of pymigrate.c."""
    sources = [path for folder in FOLDERS for path in sorted((CSRC / folder).glob("*.c"))]
    texts = {path.relative_to(CSRC).as_posix(): path.read_text(encoding="utf-8") for path in sources}
    license_text = (ROOT / "LICENSE").read_text(encoding="utf-8").strip()
    out = Amalgamation()
    for name, text in texts.items():
        for one in file_names(text):
            out.owners[one].add(name)
    for path in sorted(CSRC.rglob("*.h")):
        if path.parent.name in FOLDERS:
            # A header's names are for all: a file that has one of them for itself gives way.
            for one in file_names(path.read_text(encoding="utf-8")):
                out.owners[one].add(path.name)
    for name, text in texts.items():
        out.add_source(name, text)
    head = (
        "/* The core of pymigrate in one file, made by tools/amalgamate.py: do not edit.\n"
        " * Compile as C11 with -pthread, and include pymigrate.h.\n *\n"
        + "".join(f" * {line}".rstrip() + "\n" for line in license_text.splitlines())
        + " */\n#ifndef _GNU_SOURCE\n#define _GNU_SOURCE 1\n#endif\n"
        # What headers offer and nobody here takes; and what gcc cannot tell once all of it lies before it.
        + "#if defined(__clang__)\n"
        + '#pragma clang diagnostic ignored "-Wunused-function"\n'
        + '#pragma clang diagnostic ignored "-Wunneeded-internal-declaration"\n'
        + "#elif defined(__GNUC__)\n"
        + '#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"\n'
        + "#endif\n"
    )
    return head + "".join(out.parts)


def write(directory: Path) -> None:
    """Writes both files."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "pymigrate.c").write_text(amalgamate(), encoding="utf-8")
    (directory / "pymigrate.h").write_text(HEADER.read_text(encoding="utf-8"), encoding="utf-8")


def main(arguments: list[str]) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Write the core as pymigrate.c and pymigrate.h.")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "amalgamation", help="the directory")
    options = parser.parse_args(arguments)
    write(options.output)
    print(f"{options.output}/pymigrate.c: {len((options.output / 'pymigrate.c').read_bytes()):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
