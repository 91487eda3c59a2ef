"""The shape of the package: who may import whom, what no file may do, and how large things may grow."""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import reasoningrec

PACKAGE = "reasoningrec"
ROOT = Path(reasoningrec.__file__).parent

# A room may import from the ranks to its left. A comma parts rooms of one rank that never meet; those between two
# commas or bars, parted by spaces, are one room. The package itself comes last: it only offers names.
ORDER = (
    "records errors unseen | config journal prompts rows runs aside | llm, data | teacher, student, baselines | ranking"
    " | evaluation"
    " | pipeline recommender cluster | server | cli __main__ | reasoningrec"
)
WITH_TORCH = {
    *(f"{PACKAGE}.student.{name}" for name in ("bases", "nano", "head", "lora", "steps", "ranks", "train", "score")),
    *(f"{PACKAGE}.student.{name}" for name in ("agree", "packed", "attend", "follow")),
    *(f"{PACKAGE}.student.{name}" for name in ("speak", "write", "deliberate", "export", "weights")),
    *(f"{PACKAGE}.baselines.{name}" for name in ("networks", "sequential")),  # stage baselines alone asks for them
    *(f"{PACKAGE}.llm.{name}" for name in ("local", "local_choosing", "checkpoint", "drawing")),
}
WITH_TOKENIZERS = {f"{PACKAGE}.student.encode", f"{PACKAGE}.llm.tokens"}
BRING_TORCH = ("student", "pipeline", "recommender", "cluster", "server")
"""Rooms that are imported only where a model works on this machine."""
HEAVY = {"torch", "transformers", "tokenizers", "safetensors", "peft", "accelerate"}
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
BANNED_IMPORTS = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
BANNED_CALLS = {"eval", "exec", "torch.load", "__import__"}
SETTINGS = {
    "os.putenv",
    "os.chdir",
    "os.environ.setdefault",
    "os.environ.update",
    "logging.basicConfig",
    "logging.disable",
    "warnings.filterwarnings",
    "warnings.simplefilter",
    "random.seed",
    "np.random.seed",
    "torch.manual_seed",
    "torch.set_num_threads",
    "matplotlib.use",
    "load_dotenv",
}
"""Calls that change the process for everybody, and so may not happen while a module is imported."""

FILE_LINES, FUNCTION_LINES, PARAMETERS = 450, 60, 6
DEPTH = {"errors": 2}
"""Steps of inheritance among our own classes; 1 elsewhere."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_name(file: Path) -> str:
    parts = (PACKAGE, *file.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(file): file for file in sorted(ROOT.rglob("*.py"))}
every_module = pytest.mark.parametrize("module", FILES)


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text("utf-8"))


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else PACKAGE


def places() -> dict[str, tuple[int, int]]:
    """Room -> (rank, which of the rank's groups it belongs to)."""
    return {
        name: (rank, group)
        for rank, cell in enumerate(ORDER.split("|"))
        for group, names in enumerate(cell.split(","))
        for name in names.split()
    }


def imported(module: str, node: ast.AST) -> Iterator[str]:
    """Full names of the modules that an import statement loads."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = module.split(".") if FILES[module].name == "__init__.py" else module.split(".")[:-1]
            base = ".".join([*above[: len(above) - node.level + 1], *([base] if base else [])])
        for alias in node.names:
            full = f"{base}.{alias.name}"
            # `__version__` is set before the package imports anything, so reading it is no dependency on the rest.
            if full != f"{PACKAGE}.__version__":
                yield full if full in FILES else base


def imports(module: str) -> set[str]:
    return {name for node in ast.walk(tree(module)) for name in imported(module, node)}


def own(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] == PACKAGE}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def functions(module: str) -> Iterator[Function]:
    return (node for node in ast.walk(tree(module)) if isinstance(node, Function))


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run while a module is imported: all but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function | ast.Lambda):
            yield child
            yield from at_import(child)


@every_module
def test_rooms_import_only_from_their_left(module: str) -> None:
    ranks = places()
    assert room(module) in ranks, f"{module} stands in no room of ORDER"
    rank, group = ranks[room(module)]
    for name in own(imports(module)):
        other_rank, other_group = ranks[room(name)]
        allowed = other_rank < rank or (other_rank, other_group) == (rank, group)
        assert allowed, f"{module} may not import {name}"


def test_imports_have_no_cycle() -> None:
    graph = {module: own(imports(module)) - {module} for module in FILES}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("a cycle of imports: " + " <- ".join(error.args[1]))


@every_module
def test_own_modules_are_imported_at_the_top(module: str) -> None:
    inside = {name for f in functions(module) for node in ast.walk(f) for name in own(set(imported(module, node)))}
    assert not inside or room(module) == "cli", f"{module} imports {inside} inside a function"


@every_module
def test_heavy_packages_stay_where_models_work(module: str) -> None:
    heavy = {name.split(".")[0] for name in imports(module)} & HEAVY
    light_tokens = module in WITH_TOKENIZERS and heavy <= {"tokenizers"}
    assert not heavy or module in WITH_TORCH or light_tokens, f"{module} imports {heavy}"


@every_module
def test_names_say_what_a_file_holds(module: str) -> None:
    assert not BANNED_NAMES & set(module.split("."))


@every_module
def test_files_and_functions_fit_a_reader(module: str) -> None:
    assert len(FILES[module].read_text("utf-8").splitlines()) <= FILE_LINES
    for function in functions(module):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        assert lines <= FUNCTION_LINES, f"{module}.{function.name} has {lines} lines"


@every_module
def test_functions_take_few_parameters(module: str) -> None:
    for function in functions(module):
        arguments = function.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        assert count <= PARAMETERS or room(module) == "cli", f"{module}.{function.name} has {count} parameters"


def test_classes_inherit_in_at_most_one_step() -> None:
    classes = {
        node.name: (module, [dotted(base).rpartition(".")[2] for base in node.bases])
        for module in FILES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ClassDef)
    }

    def depth(name: str) -> int:
        return max((1 + depth(base) for base in classes[name][1] if base in classes and base != name), default=0)

    too_deep = {f"{module}.{name}" for name, (module, _) in classes.items() if depth(name) > DEPTH.get(room(module), 1)}
    assert not too_deep


@every_module
def test_nothing_is_unpickled_or_evaluated(module: str) -> None:
    assert not {name.split(".")[0] for name in imports(module)} & BANNED_IMPORTS
    calls = [node for node in ast.walk(tree(module)) if isinstance(node, ast.Call)]
    assert not {dotted(call.func) for call in calls} & BANNED_CALLS
    assert not [call for call in calls for keyword in call.keywords if keyword.arg == "allow_pickle"]


@every_module
def test_importing_changes_no_settings(module: str) -> None:
    for node in at_import(tree(module)):
        if isinstance(node, ast.Call):
            assert dotted(node.func) not in SETTINGS, f"{module}:{node.lineno}"
        targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else []
        for target in targets:
            assert not (isinstance(target, ast.Subscript) and dotted(target.value) == "os.environ"), module


def test_light_modules_import_no_torch_and_change_nothing() -> None:
    light = [module for module in FILES if room(module) not in BRING_TORCH and module not in WITH_TORCH]
    code = (
        "import importlib, json, logging, os, sys\n"
        "def state():\n"
        # scikit-learn sets up its OpenMP library, polars its allocator
        "    names = {n: v for n, v in os.environ.items() if not n.startswith(('KMP_', '_RJEM_'))}\n"
        "    return [names, logging.root.level, len(logging.root.handlers), os.getcwd()]\n"
        "before = state()\n"
        f"for name in {light!r}: importlib.import_module(name)\n"
        "print(json.dumps({'same': state() == before, 'modules': sorted(sys.modules)}))\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stderr
    result = json.loads(answer.stdout)
    assert not {"torch", "transformers"} & set(result["modules"])
    assert result["same"]


@pytest.mark.parametrize(
    ("module", "statement", "expected"),
    [
        ("reasoningrec.data.corpus", "from reasoningrec import errors", {"reasoningrec.errors"}),
        ("reasoningrec.data.corpus", "from reasoningrec import __version__", set()),
        ("reasoningrec.data.corpus", "from . import corpus", {"reasoningrec.data.corpus"}),
        ("reasoningrec.data.corpus", "from ..errors import DataError", {"reasoningrec.errors"}),
        ("reasoningrec.data", "from .corpus import Corpus", {"reasoningrec.data.corpus"}),
        ("reasoningrec.data.corpus", "import os.path, json", {"os.path", "json"}),
    ],
)
def test_imports_are_read_rightly(module: str, statement: str, expected: set[str]) -> None:
    assert set(imported(module, ast.parse(statement).body[0])) == expected
