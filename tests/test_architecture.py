"""Data flows one way: which room may know which."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "icu_lightning"
SHARED = {
    "",
    "atomic",
    "batch",
    "cores",
    "errors",
    "templates",
    "disclosure",
    "yaml_file",
}  # what every room may import; "" is the package itself
ROOMS = {
    "data": SHARED,
    "models": SHARED,
    "evaluation": SHARED - {"batch"},
    "description": (SHARED - {"batch"}) | {"data"},
    "plots": (SHARED - {"batch"}) | {"evaluation"},
    "explanation": SHARED | {"data", "evaluation", "description", "plots", "terminal"},  # of description, its words
    "examination": SHARED | {"data", "models", "evaluation", "description", "plots"},
    "comparison": (SHARED - {"batch"}) | {"evaluation", "terminal"},
    "report": (SHARED - {"batch"})
    | {"data", "description", "evaluation"}
    | {"evaluate", "results", "run", "runfolder", "terminal"},  # the command is in the room
    "sweep": (SHARED - {"batch"})
    | {
        "build",
        "compare",
        "evaluation",
        "models",
        "plots",
        "results",
        "run",
        "runfolder",
        "pipeline",
        "terminal",
        "words",
    },  # it starts runs
    "training": SHARED | {"build", "data", "evaluation", "loggers", "models", "runfolder", "terminal", "trust"},
    "transferring": (SHARED - {"batch"}) | {"description", "evaluation", "terminal"},  # of description, its words
}
INSIDE_DATA = [
    "concepts",
    "drugs",
    "synthetic",
    "sources",
    "cohort",
    "splits",
    "storage",
    "cleaning",
    "grid",
    "outliers",
    "severity",
    "infusions",
    "weights",
    "vis",
    "worst",
    "sepsis",
    "derived",
    "scaling",
    "extract",
    "cache",
    "narrow",
    "patterns",
    "settings",
    "prepared",
    "pretraining",
    "loader",
    "masking",
    "module",
    "audit",
]
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> list[list[str]]:
    """Parts of every icu_lightning import after the package's name, wherever in the file it stands."""
    tree = ast.walk(ast.parse(path.read_text()))
    names = [
        n
        for node in tree
        for n in (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    ]
    return [name.split(".")[1:] or [""] for name in names if name and name.split(".")[0] == "icu_lightning"]


@pytest.mark.parametrize(
    "path", [f for f in FILES if f.relative_to(PACKAGE).parts[0] in ROOMS], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_rooms_do_not_know_each_other(path):
    room = path.relative_to(PACKAGE).parts[0]
    strangers = {parts[0] for parts in imports(path)} - ROOMS[room] - {room}
    assert not strangers, f"{room} imports {strangers}"


@pytest.mark.parametrize(
    "path", [f for f in (PACKAGE / "data").rglob("*.py") if f.name != "__init__.py"], ids=lambda p: p.stem
)
def test_inside_data_there_is_no_way_back(path):
    own = path.relative_to(PACKAGE / "data").parts[0].removesuffix(".py")
    later = {
        parts[1]
        for parts in imports(path)
        if parts[0] == "data" and len(parts) > 1 and INSIDE_DATA.index(parts[1]) > INSIDE_DATA.index(own)
    }
    assert not later, f"{own} imports {later}"


def test_everything_shared_stands_alone():
    for name in SHARED - {""}:
        assert all(parts[0] in SHARED for parts in imports(PACKAGE / f"{name}.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_readable_and_no_error_is_swallowed(path):
    tree = ast.parse(path.read_text())
    assert path.read_text().count("\n") <= 450
    assert path.name == "__init__.py" or ast.get_docstring(tree), "a module says what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.body[0].lineno < 60, f"{node.name} is a chapter in disguise"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, "a bare except"
            assert not all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body), (
                "an error is swallowed"
            )
