-- leave refused refused: a file by its path
SELECT * FROM csv.`file:///etc/passwd`
-- leave refused refused: a file by path in text form
SELECT * FROM text.`/etc/shadow`
-- leave refused refused: a parquet folder by path
SELECT carrier FROM parquet.`/data/other-owner`
-- leave refused refused: a binary file by path
SELECT content FROM binaryFile.`/etc/hostname`
-- leave refused refused: a quoted path
SELECT * FROM `csv.file:///etc/passwd`
-- leave refused refused: a path below a subquery
SELECT carrier FROM flights WHERE carrier IN (SELECT _c0 FROM csv.`/etc/passwd`)
-- leave refused refused: a path in a common table expression
WITH p AS (SELECT _c0 FROM csv.`/etc/passwd`) SELECT _c0 FROM p
-- leave refused refused: reflection
SELECT reflect('java.lang.System', 'getProperty', 'user.dir') AS e FROM flights
-- leave refused refused: reflection by its other name
SELECT java_method('java.lang.System', 'getenv', 'PATH') AS e FROM flights
-- leave refused refused: reflection that does not fail
SELECT try_reflect('java.lang.System', 'getProperty', 'user.dir') AS e FROM flights
-- leave refused refused: reflection in a filter
SELECT carrier FROM flights WHERE reflect('java.lang.System', 'getProperty', 'x') IS NULL
-- leave refused refused: reflection in a lambda
SELECT transform(array(1), x -> reflect('java.lang.System', 'getProperty', 'a')) AS a FROM flights
-- leave refused refused: reflection in a window
SELECT SUM(distance) OVER (PARTITION BY reflect('java.lang.System', 'getProperty', 'a')) AS s FROM flights
-- leave refused refused: reflection under a qualified name
SELECT system.builtin.reflect('java.lang.System', 'getProperty', 'a') AS a FROM flights
-- leave refused refused: a program by TRANSFORM
SELECT TRANSFORM (carrier) USING 'cat /etc/passwd' AS (b) FROM flights
-- leave refused refused: a program by MAP
FROM flights MAP carrier USING 'id' AS (b)
-- leave refused refused: a name made of text
SELECT _c0 FROM IDENTIFIER('csv.`/etc/passwd`')
-- leave refused refused: a function name made of text
SELECT IDENTIFIER('reflect')('java.lang.System', 'getProperty', 'a') AS a FROM flights
-- leave refused admitted: a column name made of text
SELECT IDENTIFIER('carrier') AS a FROM flights
-- leave refused refused: a statement made of text
EXECUTE IMMEDIATE 'SELECT carrier FROM flights'
-- leave refused refused: a statement behind a hint in a comment
/* /*+ */ EXECUTE IMMEDIATE 'SELECT * FROM hidden -- */ SELECT carrier FROM flights --'
-- leave refused refused: a hint that holds a quote
SELECT /*+ X('*/ carrier FROM flights -- ') */ secret FROM hidden
-- leave refused refused: an ordinary hint
SELECT /*+ BROADCAST(flights) */ carrier FROM flights
-- leave refused admitted: a comment within a comment
SELECT carrier /* a /* b */ c */ FROM flights
-- leave refused fails: a comment without an end
SELECT carrier FROM flights /* and more
-- leave refused fails: a table function that reads files
SELECT * FROM read_files('/etc/passwd')
-- leave refused fails: a table function with a lateral join
SELECT carrier FROM flights, LATERAL read_files('/etc/passwd')
-- leave refused fails: a table function over Kafka
SELECT * FROM read_kafka('127.0.0.1:9092')
-- leave refused refused: rows out of nothing
SELECT id FROM range(1000)
-- leave refused admitted: the words of SQL
SELECT * FROM sql_keywords()
-- leave refused admitted: the collations of the session
SELECT * FROM collations()
-- leave refused refused: an earlier version of a table
SELECT carrier FROM flights VERSION AS OF 1
-- leave refused refused: a table at an earlier time
SELECT carrier FROM flights TIMESTAMP AS OF '2013-01-01'
-- leave refused refused: a view that nobody approved
SELECT secret FROM hidden
-- leave refused refused: such a view below EXISTS
SELECT carrier FROM flights WHERE EXISTS (SELECT 1 FROM hidden)
-- leave refused refused: such a view in a scalar subquery
SELECT (SELECT MAX(secret) FROM hidden) AS m FROM flights
-- leave refused refused: such a view in a lateral subquery
SELECT carrier FROM flights, LATERAL (SELECT secret FROM hidden)
-- leave refused refused: such a view in ORDER BY
SELECT carrier FROM flights ORDER BY (SELECT MAX(secret) FROM hidden)
-- leave refused refused: a view of the whole session
SELECT secret FROM global_temp.shared
-- leave refused refused: another catalogue
SELECT carrier FROM spark_catalog.default.flights
-- leave refused admitted: an approved view made anew
CREATE OR REPLACE TEMP VIEW flights AS SELECT tailnum FROM planes
-- leave refused admitted: an approved view made anew in capitals
CREATE OR REPLACE TEMP VIEW FLIGHTS AS SELECT tailnum FROM planes
-- leave refused refused: a view for the whole session
CREATE GLOBAL TEMPORARY VIEW v AS SELECT carrier FROM flights
-- leave refused refused: a view over a file
CREATE TEMPORARY VIEW v USING csv OPTIONS (path '/etc/passwd')
-- leave refused refused: a lookalike name
SELECT carrier FROM `ﬂights`
-- leave refused refused: a folder written
INSERT OVERWRITE DIRECTORY '/tmp/none' USING csv SELECT carrier FROM flights
-- leave refused refused: a folder written behind a common table expression
WITH a AS (SELECT 1 AS x) INSERT OVERWRITE DIRECTORY '/tmp/none' USING csv SELECT x FROM a
-- leave refused refused: a table made of a query
CREATE TABLE t USING csv LOCATION '/tmp/none' AS SELECT carrier FROM flights
-- leave refused refused: a setting
SET spark.sql.runSQLOnFiles = true
-- leave refused refused: a library
ADD JAR '/tmp/none.jar'
-- leave refused refused: a second statement
SELECT carrier FROM flights; DROP VIEW flights
-- leave refused refused: a block of statements
BEGIN SELECT 1; END
-- leave refused refused: the user of the machine
SELECT current_user() AS u FROM flights
-- leave admitted refused: the user of the machine without brackets
SELECT user AS u FROM flights
-- leave refused refused: the file of a row
SELECT input_file_name() AS f FROM flights
-- leave admitted refused: the hidden column of a file
SELECT _metadata.file_path AS f FROM flights
-- leave refused refused: an error that quotes a value
SELECT raise_error(tailnum) AS u FROM flights
-- count refused refused: a literal as the count
SELECT tailnum, 1000 AS n FROM flights
-- count refused refused: a sum as the count
SELECT tailnum, SUM(1) AS n FROM flights GROUP BY tailnum
-- count refused refused: a sum of weights
SELECT tailnum, SUM(distance) AS n FROM flights GROUP BY tailnum
-- count refused refused: arithmetic on the count
SELECT tailnum, COUNT(*) + 1000 AS n FROM flights GROUP BY tailnum
-- count refused refused: a product with the count
SELECT tailnum, COUNT(*) * 100 AS n FROM flights GROUP BY tailnum
-- count refused refused: the greatest of count and a literal
SELECT tailnum, GREATEST(COUNT(*), 1000) AS n FROM flights GROUP BY tailnum
-- count refused refused: a count in a window
SELECT tailnum, COUNT(*) OVER () AS n FROM flights
-- count refused refused: a count in a window by carrier
SELECT tailnum, COUNT(*) OVER (PARTITION BY carrier) AS n FROM flights
-- count refused refused: a rank as the count
SELECT tailnum, ROW_NUMBER() OVER (ORDER BY tailnum) AS n FROM flights
-- count refused refused: a scalar count
SELECT tailnum, (SELECT COUNT(*) FROM flights) AS n FROM flights
-- count refused refused: a count by way of seconds
SELECT tailnum, CAST(CAST(CAST(COUNT(*) AS INTERVAL DAY) AS INTERVAL SECOND) AS BIGINT) AS n FROM flights GROUP BY tailnum
-- count refused refused: a count by way of a time
SELECT tailnum, CAST(CAST(COUNT(*) AS TIMESTAMP) AS BIGINT) AS n FROM flights GROUP BY tailnum
-- count refused refused: a count as text
SELECT tailnum, CAST(COUNT(*) AS STRING) AS n FROM flights GROUP BY tailnum
-- count refused refused: a count tried as a number
SELECT tailnum, TRY_CAST(COUNT(*) AS INT) AS n FROM flights GROUP BY tailnum
-- count refused refused: a pivot of counts
SELECT * FROM (SELECT carrier, origin, tailnum FROM flights) PIVOT (COUNT(tailnum) AS n FOR origin IN ('JFK' AS jfk))
-- count refused refused: an unpivot of a count
SELECT carrier, n FROM (SELECT carrier, COUNT(*) AS a, 1000 AS b FROM flights GROUP BY carrier) UNPIVOT (n FOR kind IN (a, b))
-- count refused refused: a join behind the count
SELECT f.tailnum, e.n FROM flights f JOIN earlier e ON f.carrier = e.carrier
-- count refused refused: a join behind a counted subquery
SELECT f.tailnum, c.n FROM flights f JOIN (SELECT carrier, COUNT(*) AS n FROM flights GROUP BY carrier) c ON f.carrier = c.carrier
-- count refused refused: the name of the count twice
SELECT COUNT(*) AS n, 1000 AS n FROM flights
-- count refused refused: the name of the count in capitals too
SELECT tailnum, COUNT(*) AS n, 1000 AS N FROM flights GROUP BY tailnum
-- count refused refused: a lateral alias of the count
SELECT tailnum, 1000 AS m, m AS n FROM flights
-- count refused refused: a generator behind the count
SELECT t, n FROM earlier LATERAL VIEW explode(array(carrier)) v AS t
-- count refused refused: a generator of the count
SELECT tailnum, n FROM flights LATERAL VIEW explode(array(1000)) v AS n
-- count refused refused: a union of count and literal
SELECT carrier, COUNT(*) AS n FROM flights GROUP BY carrier UNION ALL SELECT tailnum, CAST(1000 AS BIGINT) AS n FROM flights
-- count refused refused: a case about the count
SELECT tailnum, CASE WHEN COUNT(*) > 0 THEN 1000 ELSE 0 END AS n FROM flights GROUP BY tailnum
-- count refused refused: a default for the count
SELECT tailnum, COALESCE(NULLIF(COUNT(*), 1), 1000) AS n FROM flights GROUP BY tailnum
-- count refused refused: a count of another name
SELECT tailnum, COUNT(*) AS m FROM flights GROUP BY tailnum
-- count refused refused: a literal in a view that an earlier step made
SELECT tailnum, n FROM (SELECT tailnum, 1000 AS n FROM flights)
-- count refused refused: a count that counts conditions
SELECT tailnum, COUNT_IF(distance > 0) AS n FROM flights GROUP BY tailnum
-- count refused refused: a guess at a count
SELECT tailnum, APPROX_COUNT_DISTINCT(day) AS n FROM flights GROUP BY tailnum
-- count refused refused: an average of counts
SELECT carrier, AVG(n) AS n FROM earlier GROUP BY carrier
-- count refused refused: a largest count
SELECT f.tailnum, MAX(e.n) AS n FROM flights f JOIN earlier e ON true GROUP BY f.tailnum
-- count admitted refused: an intersection of counted rows
SELECT tailnum, COUNT(*) AS n FROM flights GROUP BY tailnum INTERSECT SELECT tailnum, COUNT(*) AS n FROM flights GROUP BY tailnum
-- count admitted admitted: a count over a cross join
SELECT a.tailnum, COUNT(*) AS n FROM flights a CROSS JOIN flights b GROUP BY a.tailnum
-- count admitted admitted: a count over a cross join with made rows
SELECT f.tailnum, COUNT(*) AS n FROM flights f CROSS JOIN (SELECT explode(sequence(1, 100)) AS i) s GROUP BY f.tailnum
-- count admitted admitted: a count over an exploded sequence
SELECT tailnum, COUNT(*) AS n FROM flights LATERAL VIEW explode(sequence(1, 100)) v AS i GROUP BY tailnum
-- count admitted admitted: a count over an exploded list
SELECT tailnum, COUNT(*) AS n FROM (SELECT tailnum, explode(array(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)) AS i FROM flights) GROUP BY tailnum
-- count admitted admitted: a count over a union with itself
SELECT tailnum, COUNT(*) AS n FROM (SELECT tailnum FROM flights UNION ALL SELECT tailnum FROM flights UNION ALL SELECT tailnum FROM flights) GROUP BY tailnum
-- count admitted admitted: a count over a self-join
SELECT a.tailnum, COUNT(*) AS n FROM flights a JOIN flights b ON a.carrier = b.carrier GROUP BY a.tailnum
-- count admitted admitted: a count over rows of one person
SELECT tailnum, COUNT(*) AS n FROM flights GROUP BY tailnum
-- count admitted admitted: a count over rolled up groups
SELECT carrier, tailnum, COUNT(*) AS n FROM flights GROUP BY ROLLUP (carrier, tailnum)
-- count admitted admitted: a count over a cube
SELECT carrier, tailnum, COUNT(*) AS n FROM flights GROUP BY CUBE (carrier, tailnum)
-- count admitted admitted: a count over grouping sets
SELECT carrier, tailnum, COUNT(*) AS n FROM flights GROUP BY GROUPING SETS ((carrier), (carrier, tailnum))
-- count admitted admitted: a count over values beside a person
SELECT f.tailnum, COUNT(*) AS n FROM flights f JOIN (VALUES (1), (2), (3), (4), (5)) v(i) ON true GROUP BY f.tailnum
-- count admitted admitted: a count of a step before
SELECT tailnum, COUNT(*) AS n FROM (SELECT f.tailnum FROM flights f JOIN weather w ON f.origin = w.origin) GROUP BY tailnum
-- count admitted admitted: a value in a key
SELECT CONCAT(carrier, tailnum) AS k, COUNT(*) AS n FROM flights GROUP BY CONCAT(carrier, tailnum)
-- count admitted admitted: the smallest value beside the count
SELECT carrier, MIN(tailnum) AS v, COUNT(*) AS n FROM flights GROUP BY carrier
-- count admitted admitted: the largest value beside the count
SELECT carrier, MAX(tailnum) AS v, COUNT(*) AS n FROM flights GROUP BY carrier
-- count admitted admitted: the first value beside the count
SELECT carrier, FIRST(tailnum) AS v, COUNT(*) AS n FROM flights GROUP BY carrier
-- count admitted admitted: any value beside the count
SELECT carrier, ANY_VALUE(tailnum) AS v, COUNT(*) AS n FROM flights GROUP BY carrier
-- count admitted admitted: all values beside the count
SELECT carrier, COLLECT_LIST(tailnum) AS v, COUNT(*) AS n FROM flights GROUP BY carrier
-- count admitted admitted: each value beside the count
SELECT carrier, COLLECT_SET(tailnum) AS v, COUNT(*) AS n FROM flights GROUP BY carrier
-- count admitted admitted: a listing beside the count
SELECT carrier, LISTAGG(tailnum, ',') AS v, COUNT(*) AS n FROM flights GROUP BY carrier
-- count admitted admitted: one value beside the count by its largest neighbour
SELECT carrier, MAX_BY(tailnum, distance) AS v, COUNT(*) AS n FROM flights GROUP BY carrier
-- count admitted admitted: a percentile beside the count
SELECT carrier, PERCENTILE(distance, 1.0) AS v, COUNT(*) AS n FROM flights GROUP BY carrier
-- count admitted admitted: one person's sum beside the count
SELECT carrier, SUM(distance) FILTER (WHERE tailnum = 'N14228') AS v, COUNT(*) AS n FROM flights GROUP BY carrier
-- count admitted admitted: one person's sum by CASE beside the count
SELECT carrier, SUM(CASE WHEN tailnum = 'N14228' THEN distance END) AS v, COUNT(*) AS n FROM flights GROUP BY carrier
