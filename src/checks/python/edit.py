# The one insertion that lets a table definition extend an earlier one, as a byte offset and a text. The
# source comes as data, so that the offset belongs to exactly those bytes. Where the place is not
# beyond doubt there is no edit: the edited text must parse to the old tree with that one addition.
import ast as _ast
import copy as _copy
import io as _io
import re as _re
import tokenize as _tokenize

_OPTION = '"extend_existing": True'


class _Unclear(Exception):
    pass


class _Text:
    def __init__(self, text):
        self.data = text.encode("utf-8")
        try:
            encoding, _ = _tokenize.detect_encoding(_io.BytesIO(self.data).readline)
        except SyntaxError:
            encoding = "unknown"
        if encoding not in ("utf-8", "utf-8-sig"):
            raise _Unclear("the file is not UTF-8")
        starts = [3 if self.data.startswith(b"\xef\xbb\xbf") else 0]
        ends = []
        for match in _re.finditer(rb"\r\n|\r|\n", self.data):
            ends.append((match.start(), match.end()))
            starts.append(match.end())
        ends.append((len(self.data), len(self.data)))
        self.starts, self.ends = starts, ends
        self.newline = "\n"
        if ends[0][1] > ends[0][0]:
            self.newline = self.data[ends[0][0] : ends[0][1]].decode()

    def offset(self, line, column):
        return self.starts[line - 1] + column

    def start(self, node):
        return self.offset(node.lineno, node.col_offset)

    def end(self, node):
        return self.offset(node.end_lineno, node.end_col_offset)


def _named(statement, name):
    if isinstance(statement, _ast.Assign):
        return len(statement.targets) == 1 and getattr(statement.targets[0], "id", "") == name
    return isinstance(statement, _ast.AnnAssign) and getattr(statement.target, "id", "") == name


def _mentions(node, name):
    """The class body gives the name a value in a way that is no plain statement."""
    return any(
        getattr(inner, "name", "") == name or getattr(inner, "id", "") == name
        for inner in _ast.walk(node)
    )


def _option_node():
    return _ast.Constant(value="extend_existing"), _ast.Constant(value=True)


def _into_dict(text, node):
    """The insertion into a dictionary display; changes the node to what must come out."""
    if any(getattr(key, "value", None) == "extend_existing" for key in node.keys):
        raise _Unclear("extend_existing is there already")
    at = text.start(node) + 1
    if text.data[at - 1 : at] != b"{":
        raise _Unclear("the dictionary does not begin where it should")
    key, value = _option_node()
    inserted = _OPTION
    if node.keys:
        inserted += "," if text.data[at : at + 1] in b" \t\r\n" else ", "
    node.keys.insert(0, key)
    node.values.insert(0, value)
    return at, inserted


def _into_tuple(text, node):
    if node.elts and isinstance(node.elts[-1], _ast.Dict):
        return _into_dict(text, node.elts[-1])
    key, value = _option_node()
    option = _ast.Dict(keys=[key], values=[value])
    if not node.elts:
        at = text.start(node) + 1
        inserted = "{%s}," % _OPTION
    else:
        last = node.elts[-1]
        if not isinstance(last, _ast.Call) or getattr(last.func, "id", "") == "dict":
            raise _Unclear("the last table argument may be a dictionary")
        at = text.end(last)
        inserted = ", {%s}" % _OPTION
    node.elts.append(option)
    return at, inserted


def _into_class(text, node):
    arguments = [s for s in node.body if _named(s, "__table_args__")]
    if len(arguments) > 1:
        raise _Unclear("__table_args__ is set twice")
    if arguments:
        value = arguments[0].value
        if isinstance(value, _ast.Dict):
            return _into_dict(text, value)
        if isinstance(value, _ast.Tuple):
            return _into_tuple(text, value)
        raise _Unclear("__table_args__ is computed")
    if _mentions(node, "__table_args__"):
        raise _Unclear("__table_args__ is computed")
    names = [s for s in node.body if _named(s, "__tablename__")]
    if len(names) != 1:
        raise _Unclear("__tablename__ is not set exactly once")
    statement = names[0]
    begin = text.starts[statement.lineno - 1]
    indent = text.data[begin : text.start(statement)]
    line_end, next_line = text.ends[statement.end_lineno - 1]
    rest = text.data[text.end(statement) : line_end].strip()
    if indent.strip() or not indent or (rest and not rest.startswith(b"#")):
        raise _Unclear("__tablename__ is not on a line of its own")
    line = "%s__table_args__ = {%s}" % (indent.decode(), _OPTION)
    key, value = _option_node()
    added = _ast.Assign(
        targets=[_ast.Name(id="__table_args__", ctx=_ast.Store())],
        value=_ast.Dict(keys=[key], values=[value]),
    )
    node.body.insert(node.body.index(statement) + 1, added)
    if next_line == line_end:
        return line_end, text.newline + line
    return next_line, line + text.data[line_end:next_line].decode()


def _into_call(text, node):
    if any(k.arg is None or k.arg == "extend_existing" for k in node.keywords):
        raise _Unclear("the options of the table are computed")
    arguments = node.args + [k.value for k in node.keywords]
    last = max(arguments, key=lambda argument: text.end(argument))
    node.keywords.append(_ast.keyword(arg="extend_existing", value=_ast.Constant(value=True)))
    return text.end(last), ", extend_existing=True"


def _edit(source, line, column):
    text = _Text(source)
    tree = _ast.parse(text.data)
    wanted = _copy.deepcopy(tree)
    for node in _ast.walk(wanted):
        if getattr(node, "lineno", 0) != line or getattr(node, "col_offset", -1) != column:
            continue
        if isinstance(node, _ast.ClassDef):
            at, inserted = _into_class(text, node)
            break
        if isinstance(node, _ast.Call) and len(node.args) > 2:
            at, inserted = _into_call(text, node)
            break
    else:
        raise _Unclear("the definition is not there")
    edited = text.data[:at] + inserted.encode() + text.data[at:]
    if _ast.dump(_ast.parse(edited)) != _ast.dump(wanted):
        raise _Unclear("the edited text would mean something else")
    return {"offset": at, "text": inserted}


def _try(edit):
    try:
        return _edit(edit["text"], edit["line"], edit["column"])
    except _Unclear as reason:
        return {"unclear": _text(reason)}
    except (SyntaxError, ValueError, RecursionError, MemoryError, IndexError):
        return {"unclear": "the file cannot be understood"}


answer({"edits": [_try(edit) for edit in given["edits"]]})
