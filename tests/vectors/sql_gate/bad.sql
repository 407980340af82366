-- file by path: not a plain name
SELECT * FROM csv.`file:///etc/passwd`
-- quoted path: not a plain name
SELECT * FROM `csv.file:///etc/passwd`
-- other catalog: not a plain name
SELECT a FROM spark_catalog.default.flights
-- unknown relation: secrets is not
SELECT a FROM secrets
-- reflection: function reflect
SELECT reflect('java.lang.System', 'getenv') AS e FROM flights
-- java method: function java_method
SELECT java_method('java.lang.Runtime', 'getRuntime') AS e FROM flights
-- shell transform: not understood
SELECT TRANSFORM (a) USING 'id' AS (b) FROM flights
-- setting: exactly one SELECT
SET spark.sql.runSQLOnFiles = true
-- jar: not understood
ADD JAR 'http://127.0.0.1/x.jar'
-- create function: exactly one
CREATE FUNCTION f AS 'com.example.F' USING JAR '/tmp/x.jar'
-- insert directory: not understood
INSERT OVERWRITE DIRECTORY '/tmp/out' USING csv SELECT * FROM flights
-- insert: exactly one SELECT
INSERT INTO flights SELECT * FROM flights
-- create table: exactly one
CREATE TABLE t LOCATION '/tmp/t' AS SELECT * FROM flights
-- view over files: exactly one
CREATE TEMPORARY VIEW v USING csv OPTIONS (path '/etc/passwd')
-- permanent view: exactly one
CREATE VIEW v AS SELECT carrier FROM flights
-- global view: exactly one
CREATE GLOBAL TEMPORARY VIEW v AS SELECT carrier FROM flights
-- view with columns: exactly one
CREATE TEMPORARY VIEW v (a) AS SELECT carrier FROM flights
-- view of a qualified name: exactly one
CREATE TEMPORARY VIEW a.v AS SELECT carrier FROM flights
-- two statements: exactly one SELECT
SELECT 1; SELECT 2
-- hidden second statement: exactly one SELECT
SELECT 1; DROP VIEW flights
-- describe: exactly one SELECT
DESCRIBE flights
-- show: exactly one SELECT
SHOW TABLES
-- nothing: exactly one SELECT

-- redefine an approved view: view flights exists
CREATE OR REPLACE TEMP VIEW flights AS SELECT tailnum FROM planes
-- redefine in other case: view FLIGHTS exists
CREATE OR REPLACE TEMP VIEW FLIGHTS AS SELECT tailnum FROM planes
-- redefine an earlier view: view earlier exists
CREATE TEMP VIEW earlier AS SELECT tailnum FROM planes
-- a cte does not see itself: other is not
WITH other AS (SELECT * FROM other) SELECT a FROM other
-- a cte does not see later ones: b is not
WITH a AS (SELECT x FROM b), b AS (SELECT 1 AS x) SELECT x FROM a
-- a cte of a subquery is not seen outside: inner_cte is not
SELECT a FROM (WITH inner_cte AS (SELECT 1 AS a) SELECT a FROM inner_cte) t JOIN inner_cte ON true
-- recursive: WITH RECURSIVE
WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT n FROM r
-- in subquery: secrets is not
SELECT a FROM flights WHERE a IN (SELECT a FROM secrets)
-- exists subquery: secrets is not
SELECT a FROM flights WHERE EXISTS (SELECT 1 FROM secrets)
-- scalar subquery: secrets is not
SELECT (SELECT MAX(a) FROM secrets) AS m FROM flights
-- subquery in filter: secrets is not
SELECT COUNT(*) FILTER (WHERE a IN (SELECT a FROM secrets)) AS n FROM flights
-- subquery in order: secrets is not
SELECT a FROM flights ORDER BY (SELECT MAX(a) FROM secrets)
-- subquery in limit: secrets is not
SELECT a FROM flights LIMIT (SELECT MAX(a) FROM secrets)
-- subquery in having: secrets is not
SELECT COUNT(*) AS n FROM flights GROUP BY a HAVING COUNT(*) > (SELECT 1 FROM secrets)
-- subquery in join condition: secrets is not
SELECT a FROM flights JOIN planes ON flights.a IN (SELECT a FROM secrets)
-- function in over: function reflect
SELECT SUM(a) OVER (PARTITION BY reflect('x', 'y')) AS s FROM flights
-- function in lateral view: function reflect
SELECT a FROM flights LATERAL VIEW reflect('x', 'y') t AS b
-- lambda body: function reflect
SELECT transform(array(1), x -> reflect('a', x)) AS a FROM flights
-- table function: function read_files
SELECT * FROM read_files('/etc/passwd')
-- lateral table function: function read_files
SELECT a FROM flights, LATERAL read_files('/etc/passwd')
-- identifier clause: not
SELECT a FROM IDENTIFIER('csv.`/etc/passwd`')
-- qualified function: function system.builtin.reflect
SELECT system.builtin.reflect('x', 'y') AS a FROM flights
-- table statement: not understood
TABLE flights
-- union with table statement: TABLE in place
SELECT a FROM flights UNION ALL TABLE secrets
-- into: INTO
SELECT a INTO t FROM flights
-- backslash hides a quote: backslash
SELECT '\' AS a FROM flights WHERE x = ' UNION SELECT * FROM secrets -- '
-- variable substitution: ${
SELECT '${env:HOME}' AS h FROM flights
-- undeclared parameter: :other
SELECT a FROM flights WHERE a = :other
-- positional parameter: without a name
SELECT a FROM flights WHERE a = ?
-- star over an owner's view: must name its columns
SELECT * FROM flights
-- star through a cte: must name its columns
WITH a AS (SELECT * FROM flights) SELECT * FROM a
-- qualified star: must name its columns
SELECT f.* FROM flights f JOIN earlier e ON true
-- time travel: not
SELECT a FROM flights VERSION AS OF 1
-- file name: function input_file_name
SELECT input_file_name() AS f, COUNT(*) AS n FROM flights GROUP BY 1
-- user: function current_user
SELECT current_user() AS u FROM flights
-- errors that quote values: function raise_error
SELECT raise_error(tailnum) AS u FROM flights
-- randomness: function rand
SELECT a FROM flights WHERE rand() < 0.5
-- unicode fold of a view name: not a plain name
SELECT a FROM `ﬂights`
-- pipe operator: pipe operator
SELECT a FROM flights |> WHERE a > 1
-- hint inside a comment: comment inside a comment
/* /*+ */ EXECUTE IMMEDIATE 'INSERT OVERWRITE DIRECTORY "/tmp/x" USING csv SELECT * FROM flights -- */ SELECT carrier FROM flights --'
-- string inside a hint: a hint
SELECT /*+ X('*/ carrier, COUNT(*) AS n FROM flights GROUP BY carrier -- ') */ carrier, CAST(CAST(CAST(COUNT(*) AS INTERVAL DAY) AS INTERVAL SECOND) AS BIGINT) AS n FROM flights GROUP BY carrier
-- plain hint: a hint
SELECT /*+ BROADCAST(flights) */ carrier FROM flights
-- comment without an end: without an end
SELECT carrier FROM flights /* and more
-- dollar quotes: $ outside strings
SELECT $$ carrier $$ AS n FROM flights
-- star in a function: * as an argument
SELECT concat_ws('|', *) AS a FROM flights
-- qualified star in a function: * as an argument
SELECT array(f.*) AS a FROM flights f
-- star in a struct: not understood
SELECT struct(*) AS a FROM flights
-- star in a table function: * as an argument
SELECT a FROM flights, LATERAL stack(1, *) AS t(a)
-- comment before a view: head of CREATE VIEW
/* by carrier */ CREATE TEMP VIEW v AS SELECT carrier FROM flights
-- comment in the head of a view: head of CREATE VIEW
CREATE TEMP VIEW /* name */ v AS SELECT carrier FROM flights
-- no blank behind AS: head of CREATE VIEW
CREATE TEMP VIEW v AS(SELECT carrier FROM flights)
-- statement behind a common table expression: not
WITH a AS (SELECT 1 AS x) INSERT OVERWRITE DIRECTORY '/tmp/out' USING csv SELECT x FROM a
-- insert after from: not
FROM flights INSERT INTO a SELECT carrier INSERT INTO b SELECT carrier
-- execute immediate: exactly one SELECT
EXECUTE IMMEDIATE 'SELECT 1'
-- call: exactly one SELECT
CALL system.run('x')
