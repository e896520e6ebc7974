"""Counts what core and wire do: a number that is the same on every machine and at every load.

``counting()`` must come before their first import. Their source is then rewritten while it is imported, and each of these
adds to the count: a call of a function, a turn of a loop or comprehension, a look at every item of a sequence (``in``,
``list()``, ``sorted()``, ``.index()`` and the like), and bytes that are copied (slices, ``+``, ``bytes()``, ``.join()``), of
which COPIED cost as much as a call. What C does for a single item of a dict or heap is not counted.
"""

import ast
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType
from typing import Any

COPIED = 64
COUNTED = ("spoe_guard.core", "spoe_guard.wire")

_FLAT = (bytes, bytearray, str)  # copied and searched by the byte
_SIZED = (*_FLAT, list, tuple, set, frozenset, dict)
_TAKES_ALL = frozenset(
    ("bytes", "bytearray", "list", "tuple", "set", "frozenset", "dict", "sorted", "sum", "min", "max", "any", "all", "reversed")
)
_LOOKS = frozenset(
    ("find", "index", "count", "remove", "startswith", "copy", "insert", "pop", "clear", "sort", "reverse", "replace", "split")
)
_ADDS = frozenset(("join", "extend", "update", "union", "intersection", "difference", "issuperset", "isdisjoint"))


class Work:
    """``steps`` and ``copied`` bytes so far."""

    def __init__(self) -> None:
        self.steps = 0
        self.copied = 0

    def spent(self) -> int:
        """The work so far, in parts of which a step has COPIED."""
        return self.steps * COPIED + self.copied

    def tick(self) -> bool:
        self.steps += 1
        return True

    def passed(self, value: Any) -> None:
        """The whole of ``value`` is read or written."""
        kind = type(value)
        if kind in _FLAT:
            self.copied += len(value)
        elif kind in _SIZED:
            self.steps += len(value)

    def made(self, value: Any) -> Any:
        """``value`` was just made of another one: a slice, a sum."""
        kind = type(value)
        if kind in _FLAT:
            self.copied += len(value)
        elif kind in _SIZED:
            self.copied += 8 * len(value)
        return value

    def grown(self, value: Any, by: Any) -> Any:
        """``value += by``: what can change grows in place."""
        self.made(by)
        if type(value) in (bytes, str, tuple):
            self.made(value)
        return by

    def taken(self, function: Any, *args: Any, **named: Any) -> Any:
        for arg in args:
            self.passed(arg)
        return function(*args, **named)

    def method(self, owner: Any, name: str, *args: Any, **named: Any) -> Any:
        if type(owner) in _SIZED and name in _ADDS:
            for arg in args:
                for each in arg if name == "join" and type(arg) in (list, tuple) else (arg,):
                    self.passed(each)
        elif type(owner) is list:
            self.passed(owner) if name != "pop" or args else None
        elif type(owner) in _FLAT and name != "startswith":
            start = args[1] if name == "find" and len(args) > 1 else 0
            found = getattr(owner, name)(*args, **named)
            self.copied += (found if name == "find" and found >= 0 else len(owner)) - start
            return found
        return getattr(owner, name)(*args, **named)

    def member(self, item: Any, of: Any) -> bool:
        if type(of) in (list, tuple, *_FLAT):
            self.passed(of)
        return item in of


WORK = Work()


class _Rewriting(ast.NodeTransformer):
    """Puts calls of WORK into a module."""

    def _of_work(self, name: str, *args: ast.expr, keywords: Sequence[ast.keyword] = ()) -> ast.Call:
        return ast.Call(ast.Attribute(ast.Name("__work__", ast.Load()), name, ast.Load()), list(args), list(keywords))

    def _ticking(self, body: list[ast.stmt]) -> list[ast.stmt]:
        at = int(isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant))  # a docstring stays in front
        return [*body[:at], ast.Expr(self._of_work("tick")), *body[at:]]

    def _with_body(self, node: Any) -> Any:
        self.generic_visit(node)
        node.body = self._ticking(node.body)
        return node

    visit_FunctionDef = visit_For = visit_While = _with_body  # noqa: N815  named by ast

    def _comprehending(self, node: Any) -> Any:
        self.generic_visit(node)
        for each in node.generators:
            each.ifs.insert(0, self._of_work("tick"))
        return node

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehending  # noqa: N815

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        return self._of_work("made", node) if isinstance(node.slice, ast.Slice) and isinstance(node.ctx, ast.Load) else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        return self._of_work("made", node) if isinstance(node.op, ast.Add | ast.Mult) else node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AugAssign:
        self.generic_visit(node)
        if isinstance(node.op, ast.Add):
            value = ast.parse(ast.unparse(node.target), mode="eval").body  # reading it changes nothing
            node.value = self._of_work("grown", value, node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        function = node.func
        if isinstance(function, ast.Name) and function.id in _TAKES_ALL:
            return self._of_work("taken", function, *node.args, keywords=node.keywords)
        if isinstance(function, ast.Attribute) and function.attr in _LOOKS | _ADDS:
            return self._of_work("method", function.value, ast.Constant(function.attr), *node.args, keywords=node.keywords)
        return node

    def visit_List(self, node: ast.List) -> ast.expr:
        self.generic_visit(node)
        return self._of_work("made", node) if any(isinstance(item, ast.Starred) for item in node.elts) else node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        if len(node.ops) > 1 or not isinstance(node.ops[0], ast.In | ast.NotIn):
            return node
        found = self._of_work("member", node.left, node.comparators[0])
        return found if isinstance(node.ops[0], ast.In) else ast.UnaryOp(ast.Not(), found)


class _Loader(importlib.machinery.SourceFileLoader):
    finish: Callable[[CodeType], CodeType] | None = None

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = ast.fix_missing_locations(_Rewriting().visit(ast.parse(self.get_data(path), path)))
        code = compile(tree, path, "exec", dont_inherit=True)
        return self.finish(code) if self.finish is not None else code

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__work__"] = WORK
        super().exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, finish: Callable[[CodeType], CodeType] | None) -> None:
        self._finish = finish

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith(COUNTED):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.origin is not None
        assert spec.origin.endswith(".py"), f"{spec.origin} is compiled: work is counted in the source"
        spec.loader = _Loader(name, spec.origin)
        spec.loader.finish = self._finish
        return spec


def counting(finish: Callable[[CodeType], CodeType] | None = None) -> Work:
    """Count from now on; ``finish`` may change the code of each module further."""
    known = [name for name in sys.modules if name.startswith(COUNTED)]
    assert not known, f"imported before anything could be counted: {known}"
    sys.meta_path.insert(0, _Finder(finish))
    return WORK
