"""Questions and answers from parsed modules: what things do, what expressions return, options, function bodies."""

import ast
import doctest
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from switchpoint.components.data.documents import Document
from switchpoint.components.data.python_text import MAX_ANSWER_CHARACTERS, docstrings, first_sentences, prompt_of

MIN_ANSWER_CHARACTERS = 20
MAX_QUESTION_CHARACTERS = 600
SIGNATURE = re.compile(r"[\w.]+\s*\(.*|.*\$self\b.*|--", re.DOTALL)
UNDERLINED = re.compile(r"[^\n]*\n\s*([=\-~*^.#`])\1{2,}\s*", re.DOTALL)
PLACEHOLDER_LINE = re.compile(r"^(\w[\w ]*:\n)?\s*\{\w+\}[ ]*\n?", re.MULTILINE)
# Output that another run would not print again.
CHANGING = re.compile(r"\.\.\.|0x[0-9a-f]{4}|<BLANKLINE>|\brand|random|\bempty\(|\btime\b|\bid\(|\bhash\(|\bgetpid\b")
HELP = re.compile(r"\bhelp\s*=|[\"']help[\"']\s*:")
OPTION_CALLS = {"add_argument", "add_option", "addoption", "argument", "option", "Argument", "Option"}


@dataclass(frozen=True)
class Module:
    name: str
    source: str
    tree: ast.Module

    @cached_property
    def described(self) -> list[tuple[str, str, str]]:
        """The docstrings as (kind, qualified name, text), in the code and attached to what is compiled."""
        return [*docstrings(self.name, self.tree), *attached_docstrings(self.name, self.tree)]


def qa_document(module: Module, part: str, question: str, answer: str) -> Document:
    text = f"{prompt_of(question)} {answer}"
    return Document(unit=module.name, part=part, text=text, question=question, answer=answer)


def attached_docstrings(module: str, tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """Yield docstrings of statements like `add_docstr(torch.abs, "...")` and `add_newdoc("numpy", "flatiter", ("base",
    "..."))`.
    """
    for node in tree.body:
        call = node.value if isinstance(node, ast.Expr | ast.Assign) else None
        if not isinstance(call, ast.Call) or len(call.args) < 2:
            continue
        function = called(call)
        if function.lstrip("_") not in {"add_docstr", "add_docstr_all", "add_newdoc"}:
            continue
        *owner, last = call.args
        if isinstance(last, ast.Tuple) and len(last.elts) == 2:
            owner, last = [*owner, last.elts[0]], last.elts[1]
        name = ".".join(string_of(arg) or ast.unparse(arg) for arg in owner)
        text = inspect.cleandoc(PLACEHOLDER_LINE.sub("", string_of(last)))
        if text:
            yield "function", name if "." in name else f"{module}.{name}", text


def string_of(node: ast.expr) -> str:
    """Return the text of a string, a sum of strings or a template, "" for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp):
        return string_of(node.left) + string_of(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return string_of(node.func.value).replace("{{", "{").replace("}}", "}")
    return ""


def called(call: ast.Call) -> str:
    """Return the last name of what is called."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def definition_documents(module: Module, part: str) -> Iterator[Document]:
    """Yield "What is it for?" questions. The answer is the first paragraph that is neither a signature nor a
    heading.
    """
    for kind, name, text in module.described:
        answer = first_sentences(without_signature(text))
        if len(answer) >= MIN_ANSWER_CHARACTERS and "(" not in answer.split(" ")[0]:
            question = f"What is the module {name} for?" if kind == "module" else f"What does the {kind} {name} do?"
            yield qa_document(module, part, question, answer)


def without_signature(docstring: str) -> str:
    paragraphs = re.split(r"\n\s*\n", docstring.strip())
    while paragraphs and (SIGNATURE.fullmatch(paragraphs[0]) or UNDERLINED.fullmatch(paragraphs[0])):
        del paragraphs[0]
    return "\n\n".join(paragraphs)


def result_documents(module: Module, part: str) -> Iterator[Document]:
    """Yield "What does the last line return?" questions, which hold the lines before it that the answer may depend
    on.
    """
    parser = doctest.DocTestParser()
    for _, _, text in module.described:
        try:
            examples = parser.get_examples(text)
        except ValueError:
            continue  # indented in a way that doctest does not read
        session: list[str] = []
        for example in examples:
            source = re.sub(r"\s*# *doctest:.*", "", example.source.rstrip())
            session.append(">>> " + source.replace("\n", "\n... "))
            question = "What does the last of these lines return?\n" + "\n".join(session)
            answer = textwrap.dedent(example.want).strip()
            if len(question) > MAX_QUESTION_CHARACTERS:
                break
            if not answer or len(answer) > MAX_ANSWER_CHARACTERS or example.exc_msg is not None:
                continue
            if not CHANGING.search(question + answer):
                yield qa_document(module, part, question, answer)


def help_documents(module: Module, part: str) -> Iterator[Document]:
    """Yield "What does an option do?" questions from the help texts of argparse, optparse, click, typer and
    dataclasses.
    """
    asked: set[str] = set()
    if not HELP.search(module.source):
        return
    for kind, name, text in helps(module.tree):
        answer = clean_help(text)
        program = module.name.removesuffix(".__main__")
        question = f"What does the {kind} {name} of {program} do?"
        if len(answer) >= MIN_ANSWER_CHARACTERS and question not in asked:
            asked.add(question)
            yield qa_document(module, part, question, answer)


def helps(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """Yield (kind, name, help text) of options, arguments and commands, in order."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            names = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            options = [name for name in names if name.startswith("-")]
            text = help_of(node)
            if not text or not names:
                continue
            if called(node) == "add_parser":
                yield "command", names[0], text
            elif called(node) in OPTION_CALLS and options:
                yield "option", max(options, key=len), text
            elif called(node) in {"add_argument", "argument"}:
                yield "argument", names[0], text
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from parameter_helps(node)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(node.value, ast.Call):
            metadata = [keyword.value for keyword in node.value.keywords if keyword.arg == "metadata"]
            for entry in metadata:
                keys = entry.keys if isinstance(entry, ast.Dict) else []
                values = entry.values if isinstance(entry, ast.Dict) else []
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "help":
                        yield "option", f"--{node.target.id}", string_of(value)


def parameter_helps(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, str, str]]:
    """Yield the help texts of typer's parameters, which are named after the function's own."""
    arguments = [*function.args.posonlyargs, *function.args.args]
    defaults: list[ast.expr | None] = [None] * (len(arguments) - len(function.args.defaults))
    pairs = [*zip(arguments, [*defaults, *function.args.defaults], strict=True)]
    pairs += zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    for argument, default in pairs:
        for place in (argument.annotation, default):
            for node in ast.walk(place) if place else ():
                if isinstance(node, ast.Call) and called(node) in {"Option", "Argument"}:
                    named = any(isinstance(arg, ast.Constant) and str(arg.value).startswith("-") for arg in node.args)
                    text = help_of(node)
                    if text and not named:
                        dashed = argument.arg.replace("_", "-")
                        is_option = called(node) == "Option"
                        yield ("option", f"--{dashed}", text) if is_option else ("argument", dashed, text)


def help_of(call: ast.Call) -> str:
    return "".join(string_of(keyword.value) for keyword in call.keywords if keyword.arg == "help")


def clean_help(text: str) -> str:
    """Return the help text in one line, without what the program fills in; "" if that leaves gaps."""
    line = " ".join(text.split())
    line = re.sub(r"\s*[(\[][^()\[\]]*%(\(\w+\)s|default)[^()\[\]]*[)\]]", "", line)
    return "" if re.search(r"%\(|%default", line) else first_sentences(line.replace("%%", "%"))


def body_documents(module: Module, part: str) -> Iterator[Document]:
    """Yield "Which code does what is described?" questions, for functions with a docstring and a short body."""
    lines = module.source.splitlines()
    for name, function in functions(module.name, module.tree):
        docstring_end, end = function.body[0].end_lineno or 0, function.end_lineno
        if len(function.body) < 2 or not ast.get_docstring(function) or docstring_end >= function.body[1].lineno:
            continue
        head = textwrap.dedent("\n".join(lines[function.lineno - 1 : docstring_end]))
        answer = textwrap.dedent("\n".join(lines[docstring_end:end])).strip()
        question = f"What is the body of the function {name}?\n{head}"
        if MIN_ANSWER_CHARACTERS <= len(answer) <= MAX_ANSWER_CHARACTERS and len(question) <= MAX_QUESTION_CHARACTERS:
            yield qa_document(module, part, question, answer)


def functions(name: str, node: ast.AST) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield all functions of a module or class by their qualified names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name}.{child.name}", child
        if isinstance(child, ast.ClassDef):
            yield from functions(f"{name}.{child.name}", child)
