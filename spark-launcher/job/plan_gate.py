"""The second gate: what Spark itself understood must stay inside the approved views.

The first gate reads SQL text before a run is admitted. Two parsers can disagree, so this one looks
at the plan that Spark's analyser made and that will be executed: only known kinds of nodes, data
only through registered views, no reflection, no user functions, and a k-min column that really is
a count.
"""

import re
from dataclasses import dataclass

from failure import refused

_NODES = frozenset("""
    Aggregate CTERelationDef CTERelationRef Deduplicate Distinct Except Expand Filter Generate
    GlobalLimit Intersect Join LateralJoin LocalLimit LocalRelation Offset OneRowRelation Pivot
    Project RebalancePartitions Repartition RepartitionByExpression ResolvedHint Sample Sort
    SubqueryAlias Union Unpivot View Window WithCTE WithWindowDefinition
""".split())

# Expressions that leave the data: the machine, the session, other code, or an error's text.
_EXPRESSIONS_REFUSED = frozenset("""
    AesDecrypt AesEncrypt AssertTrue CallMethodViaReflection CurrentCatalog CurrentDatabase CurrentUser
    FromAvro HiveGenericUDF HiveSimpleUDF InputFileBlockLength InputFileBlockStart InputFileName JavaUDF
    PythonUDAF PythonUDF PythonUDTF RaiseError RaiseErrorExpressionBuilder ScalaAggregator ScalaUDAF
    ScalaUDF SparkVersion TryReflect UserDefinedGenerator Uuid VariableReference
""".split())

_ONE_CHILD = frozenset("""
    Filter GlobalLimit LocalLimit Offset Sort SubqueryAlias View ResolvedHint Distinct Deduplicate Sample
    Repartition RepartitionByExpression RebalancePartitions
""".split())

_VIEW_HEAD = re.compile(
    r"\s*CREATE\s+(?:OR\s+REPLACE\s+)?TEMP(?:ORARY)?\s+VIEW\s+(?P<tick>`?)(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P=tick)\s+AS\s+",
    re.IGNORECASE | re.ASCII,
)

_DEPTH_MAX = 200


@dataclass(frozen=True)
class Statement:
    """A query, and the name of the temporary view it makes, if it makes one."""

    query: str
    view: str | None


def parse(spark, sql):
    """Splits one statement into the view it makes, if any, and its query; Spark parses the query.

    The head is taken off as text, because Spark's parser refuses named parameters below CREATE VIEW.
    What remains is what will be executed, so nothing rests on how the head was read.
    """
    head = _VIEW_HEAD.match(sql)
    query = sql[head.end():] if head else sql
    plan = spark._jsparkSession.sessionState().sqlParser().parsePlan(query)
    _refuse_command(spark, plan)
    return Statement(query, head.group("name") if head else None)


def analysed(frame):
    """The analysed plan of a data frame."""
    return frame._jdf.queryExecution().analyzed()


def check(spark, plan, known):
    """Refuses a plan that reaches beyond the views in `known` (lower-case names)."""
    _check_plan(spark, plan, known, 0)


def check_count(plan, column):
    """Refuses a post-filter whose column is not a count aggregate."""
    found = [out for out in _items(plan.output()) if out.name().lower() == column.lower()]
    if len(found) != 1:
        raise refused(f"post-filter column {column} is not exactly one column of the result")
    definitions = {}
    _collect_definitions(plan, definitions)
    if not _is_count(plan, found[0].exprId(), definitions, 0):
        raise refused(f"post-filter column {column} is not derived from a count aggregate")


def _refuse_command(spark, plan):
    jvm = spark._jvm
    command = jvm.java.lang.Class.forName("org.apache.spark.sql.catalyst.plans.logical.Command")
    statement = jvm.java.lang.Class.forName("org.apache.spark.sql.catalyst.plans.logical.ParsedStatement")
    if command.isInstance(plan) or statement.isInstance(plan):
        raise refused(f"only queries are permitted, not {_kind(plan)}")


def _check_plan(spark, plan, known, depth):
    if depth > _DEPTH_MAX:
        raise refused("the query is nested too deeply")
    kind = _kind(plan)
    if kind not in _NODES:
        raise refused(f"the query uses {kind}, which is not permitted")
    for expression in _items(plan.expressions()):
        _check_expression(spark, expression, known, depth + 1)
    if kind == "View":
        name = plan.desc().identifier()
        # A registered view was checked when it was made; what is below it is its own business.
        if not plan.isTempView() or name.table().lower() not in known:
            raise refused("the query reads a view that is not agreed")
        return
    for child in _items(plan.children()):
        _check_plan(spark, child, known, depth + 1)


def _check_expression(spark, expression, known, depth):
    if depth > _DEPTH_MAX:
        raise refused("the query is nested too deeply")
    kind = _kind(expression)
    if kind in _EXPRESSIONS_REFUSED or not _package(expression).startswith("org.apache.spark.sql.catalyst."):
        raise refused(f"the query uses {kind}, which is not permitted")
    # Expressions with a plan inside: scalar, IN and EXISTS subqueries.
    if kind in ("ScalarSubquery", "Exists", "ListQuery", "LateralSubquery"):
        _check_plan(spark, expression.plan(), known, depth + 1)
    elif "Subquery" in kind and kind not in ("InSubquery", "OuterReference"):
        raise refused(f"the query uses {kind}, which is not permitted")
    for child in _items(expression.children()):
        _check_expression(spark, child, known, depth + 1)


def _collect_definitions(plan, definitions):
    """CTE definitions by id."""
    if _kind(plan) == "CTERelationDef":
        definitions[plan.id()] = plan.child()
    if _kind(plan) != "View":
        for child in _items(plan.children()):
            _collect_definitions(child, definitions)


def _is_count(plan, expr_id, definitions, depth):
    """Whether the output attribute `expr_id` of `plan` is a count of the rows of a group.

    Joins, windows and generators end the search: after them a row may carry a count that belongs
    to something else.
    """
    if depth > _DEPTH_MAX:
        return False
    kind = _kind(plan)
    if kind in _ONE_CHILD:
        child = plan.child()
        return _is_count(child, _through(plan, child, expr_id), definitions, depth + 1)
    if kind == "WithCTE":
        return _is_count(plan.plan(), expr_id, definitions, depth + 1)
    if kind == "CTERelationRef":
        child = definitions.get(plan.cteId())
        return child is not None and _is_count(child, _by_place(plan, child, expr_id), definitions, depth + 1)
    if kind == "Union":
        children = _items(plan.children())
        return all(_is_count(c, _by_place(plan, c, expr_id), definitions, depth + 1) for c in children)
    if kind not in ("Project", "Aggregate"):
        return False
    source = _source(plan, kind, expr_id)
    if source is None:
        return False
    if kind == "Aggregate":
        return _kind(source) == "AggregateExpression" and _kind(source.aggregateFunction()) == "Count"
    if _kind(source) == "AttributeReference":
        return _is_count(plan.child(), source.exprId(), definitions, depth + 1)
    return False


def _source(plan, kind, expr_id):
    """What a projected column is made of, seen through aliases and casts."""
    listed = plan.projectList() if kind == "Project" else plan.aggregateExpressions()
    for item in _items(listed):
        if item.exprId().equals(expr_id):
            while _kind(item) in ("Alias", "Cast"):
                item = item.child()
            return item
    return None


def _through(plan, child, expr_id):
    """A node with one child keeps its child's attributes, or renames them in their places."""
    for out in _items(child.output()):
        if out.exprId().equals(expr_id):
            return expr_id
    return _by_place(plan, child, expr_id)


def _by_place(plan, child, expr_id):
    for out, inner in zip(_items(plan.output()), _items(child.output())):
        if out.exprId().equals(expr_id):
            return inner.exprId()
    return expr_id


def _items(sequence):
    return [sequence.apply(place) for place in range(sequence.size())]


def _kind(thing):
    return thing.getClass().getSimpleName().rstrip("$")


def _package(thing):
    return thing.getClass().getName()
