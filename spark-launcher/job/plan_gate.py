"""The second gate: what Spark itself understood must stay inside the approved views.

The first gate reads SQL text before a run is admitted. Two parsers can disagree, so this one looks
at Spark's own plans, and twice, because some statements act while they are analysed. First the plan
that Spark's parser made: only known kinds of nodes anywhere in it, so that nothing in it acts. Then
the plan that its analyser made, with commands switched off, and that will be executed: data only
through registered views, exactly those that the first gate saw, no reflection, no user functions,
and a k-min column that really is a count.
"""

import re
from dataclasses import dataclass

from failure import refused
from pyspark.sql import DataFrame
from pyspark.sql.functions import lit

# What the parser may make. No commands: those act, some while they are analysed.
_PARSED_NODES = frozenset("""
    Aggregate Distinct Except Filter Generate GlobalLimit Intersect Join LateralJoin LocalLimit
    LocalRelation Offset OneRowRelation Pivot Project RebalancePartitions Repartition
    RepartitionByExpression Sample Sort SubqueryAlias Union Unpivot UnresolvedHaving
    UnresolvedInlineTable UnresolvedQualify UnresolvedRelation UnresolvedSubqueryColumnAliases
    UnresolvedTVFAliases UnresolvedTableValuedFunction UnresolvedWith WithWindowDefinition
""".split())

# What the analyser may make.
_NODES = frozenset("""
    Aggregate CTERelationDef CTERelationRef Deduplicate Distinct Except Expand Filter Generate
    GlobalLimit Intersect Join LateralJoin LocalLimit LocalRelation Offset OneRowRelation Pivot
    Project RebalancePartitions Repartition RepartitionByExpression ResolvedHint Sample Sort
    SubqueryAlias Union Unpivot View Window WithCTE WithWindowDefinition
""".split())

# Expressions with a plan inside.
_SUBQUERIES = frozenset(["ScalarSubquery", "Exists", "ListQuery", "LateralSubquery"])

# Casts that leave a count what it is. Others change the number: as INTERVAL DAY it is 86 400 times
# as many seconds.
_COUNT_TYPES = frozenset(["int", "bigint"])

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

    query: object  # the plan that Spark's parser made
    view: str | None


def parse(spark, sql):
    """Splits one statement into the view it makes, if any, and its query; Spark parses the query.

    Refuses whatever is not a query all the way down; nothing has been analysed or executed by then.
    The head is taken off as text, because Spark's parser refuses named parameters below CREATE VIEW.
    What remains is what will be executed, so nothing rests on how the head was read.
    """
    head = _VIEW_HEAD.match(sql)
    query = sql[head.end():] if head else sql
    plan = _state(spark).sqlParser().parsePlan(query)
    _check_parsed(_Classes(spark), plan, 0)
    return Statement(plan, head.group("name") if head else None)


def analyse(spark, statement, parameters):
    """The analysed plan of a parsed statement. Nothing is executed, not even commands."""
    jvm = spark._jvm
    plan = statement.query
    if parameters:
        names = list(parameters)
        values = [spark._jsparkSession.expression(lit(parameters[name])._jc) for name in names]
        plan = jvm.org.apache.spark.sql.catalyst.analysis.NameParameterizedQuery(
            plan, _sequence(jvm, names), _sequence(jvm, values)
        )
    skip = jvm.org.apache.spark.sql.execution.CommandExecutionMode.SKIP()
    return _state(spark).executePlan(plan, skip).analyzed()


def frame(spark, plan):
    """The data frame of an analysed plan that has been checked: what is executed is that plan."""
    return DataFrame(spark._jvm.org.apache.spark.sql.classic.Dataset.ofRows(spark._jsparkSession, plan), spark)


def check(plan, known, reads):
    """Refuses an analysed plan that reaches beyond the views in `known` (lower-case names), or that
    reads others than `reads`, which the first gate found in its text."""
    if views_read(plan, known) != set(reads):
        raise refused("spark reads other views than the first gate found in the query")


def views_read(plan, known):
    """The views that an analysed plan reads. Refuses it if it reaches beyond those in `known`."""
    found = set()
    _check_plan(plan, known, found, 0)
    return found


def check_count(plan, column):
    """Refuses a post-filter whose column is not a count aggregate."""
    found = [out for out in _items(plan.output()) if out.name().lower() == column.lower()]
    if len(found) != 1:
        raise refused(f"post-filter column {column} is not exactly one column of the result")
    definitions = {}
    _collect_definitions(plan, definitions)
    if not _is_count(plan, found[0].exprId(), definitions, 0):
        raise refused(f"post-filter column {column} is not derived from a count aggregate")


class _Classes:
    """Java classes that tell what an object is."""

    def __init__(self, spark):
        find = spark._jvm.java.lang.Class.forName
        self.plan = find("org.apache.spark.sql.catalyst.plans.logical.LogicalPlan")
        self.subquery = find("org.apache.spark.sql.catalyst.expressions.PlanExpression")


def _check_parsed(classes, plan, depth):
    if depth > _DEPTH_MAX:
        raise refused("the query is nested too deeply")
    kind = _kind(plan)
    if kind not in _PARSED_NODES:
        raise refused(f"only queries are permitted, and {kind} is none")
    if kind == "UnresolvedWith" and plan.allowRecursion():
        raise refused("the query uses WITH RECURSIVE, which is not permitted")
    for expression in _items(plan.expressions()):
        _check_parsed_expression(classes, expression, depth + 1)
    for child in _items(plan.children()):
        _check_parsed(classes, child, depth + 1)
    # Common table expressions are no children of the query that uses them.
    for inner in _items(plan.innerChildren()):
        if not classes.plan.isInstance(inner):
            raise refused(f"the query uses {_kind(inner)}, which is not permitted")
        _check_parsed(classes, inner, depth + 1)


def _check_parsed_expression(classes, expression, depth):
    if depth > _DEPTH_MAX:
        raise refused("the query is nested too deeply")
    kind = _kind(expression)
    if not _package(expression).startswith("org.apache.spark.sql.catalyst."):
        raise refused(f"the query uses {kind}, which is not permitted")
    if classes.subquery.isInstance(expression):
        if kind not in _SUBQUERIES:
            raise refused(f"the query uses {kind}, which is not permitted")
        _check_parsed(classes, expression.plan(), depth + 1)
    children = _items(expression.children())
    counts = kind == "UnresolvedFunction" and [part.lower() for part in _items(expression.nameParts())] == ["count"]
    if not counts and any(_kind(child).startswith("UnresolvedStar") for child in children):
        # It would hand over columns that the query does not name.
        raise refused("the query gives * to a function other than COUNT")
    for child in children:
        _check_parsed_expression(classes, child, depth + 1)


def _check_plan(plan, known, found, depth):
    if depth > _DEPTH_MAX:
        raise refused("the query is nested too deeply")
    kind = _kind(plan)
    if kind not in _NODES:
        raise refused(f"the query uses {kind}, which is not permitted")
    for expression in _items(plan.expressions()):
        _check_expression(expression, known, found, depth + 1)
    if kind == "View":
        name = plan.desc().identifier().table().lower()
        # A registered view was checked when it was made; what is below it is its own business.
        if not plan.isTempView() or name not in known:
            raise refused("the query reads a view that is not agreed")
        found.add(name)
        return
    for child in _items(plan.children()):
        _check_plan(child, known, found, depth + 1)


def _check_expression(expression, known, found, depth):
    if depth > _DEPTH_MAX:
        raise refused("the query is nested too deeply")
    kind = _kind(expression)
    if kind in _EXPRESSIONS_REFUSED or not _package(expression).startswith("org.apache.spark.sql.catalyst."):
        raise refused(f"the query uses {kind}, which is not permitted")
    if kind in _SUBQUERIES:
        _check_plan(expression.plan(), known, found, depth + 1)
    elif "Subquery" in kind and kind not in ("InSubquery", "OuterReference"):
        raise refused(f"the query uses {kind}, which is not permitted")
    for child in _items(expression.children()):
        _check_expression(child, known, found, depth + 1)


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
    """What a projected column is made of, seen through aliases and casts between integers."""
    listed = plan.projectList() if kind == "Project" else plan.aggregateExpressions()
    for item in _items(listed):
        if item.exprId().equals(expr_id):
            while _kind(item) == "Alias" or _is_harmless_cast(item):
                item = item.child()
            return item
    return None


def _is_harmless_cast(item):
    if _kind(item) != "Cast" or item.evalMode().toString() == "TRY":
        return False
    return {item.dataType().simpleString(), item.child().dataType().simpleString()} <= _COUNT_TYPES


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


def _state(spark):
    return spark._jsparkSession.sessionState()


def _sequence(jvm, items):
    """A Scala sequence."""
    listed = jvm.java.util.ArrayList()
    for item in items:
        listed.add(item)
    return jvm.scala.jdk.javaapi.CollectionConverters.asScala(listed).toSeq()


def _items(sequence):
    return [sequence.apply(place) for place in range(sequence.size())]


def _kind(thing):
    return thing.getClass().getSimpleName().rstrip("$")


def _package(thing):
    return thing.getClass().getName()
