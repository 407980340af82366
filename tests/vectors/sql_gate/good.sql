-- grouped count
SELECT carrier, COUNT(DISTINCT tailnum) AS n FROM flights GROUP BY carrier
-- three-way join
SELECT p.manufacturer, AVG(f.dep_delay) AS mean, COUNT(DISTINCT f.tailnum) AS n FROM flights f JOIN planes p ON f.tailnum = p.tailnum JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour GROUP BY p.manufacturer
-- cte chain
WITH late AS (SELECT * FROM flights WHERE dep_delay > 15), by_day AS (SELECT day, COUNT(*) AS n FROM late GROUP BY day) SELECT day, n FROM by_day WHERE n > 3
-- window
SELECT carrier, n, RANK() OVER (ORDER BY n DESC) AS place FROM (SELECT carrier, COUNT(*) AS n FROM flights GROUP BY carrier) t
-- named window
SELECT carrier, SUM(distance) OVER w AS total FROM flights WINDOW w AS (PARTITION BY carrier ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
-- qualify
SELECT carrier, day, dep_delay FROM flights QUALIFY ROW_NUMBER() OVER (PARTITION BY carrier ORDER BY dep_delay DESC) = 1
-- semi and anti joins
SELECT tailnum FROM planes LEFT SEMI JOIN flights ON planes.tailnum = flights.tailnum UNION ALL SELECT tailnum FROM planes LEFT ANTI JOIN flights ON planes.tailnum = flights.tailnum
-- null-safe join
SELECT COUNT(*) AS n FROM flights f JOIN weather w ON f.origin <=> w.origin
-- lateral view
SELECT word, COUNT(*) AS n FROM planes LATERAL VIEW explode(split(model, '-')) t AS word GROUP BY word
-- grouping sets
SELECT origin, carrier, COUNT(*) AS n FROM flights GROUP BY GROUPING SETS ((origin, carrier), (origin), ())
-- rollup
SELECT origin, carrier, COUNT(*) AS n FROM flights GROUP BY ROLLUP (origin, carrier)
-- filter clause
SELECT origin, COUNT(*) FILTER (WHERE dep_delay > 30) AS late, COUNT(*) AS n FROM flights GROUP BY origin
-- higher-order functions
SELECT tailnum, size(filter(array(1, 2, 3), x -> x > 1)) AS big FROM planes
-- case and casts
SELECT CASE WHEN visib < 2 THEN 'low' WHEN visib < 8 THEN 'middle' ELSE 'high' END AS band, CAST(COUNT(*) AS BIGINT) AS n FROM weather GROUP BY 1
-- scalar subquery
SELECT carrier, COUNT(*) AS n FROM flights WHERE dep_delay > (SELECT AVG(dep_delay) FROM flights) GROUP BY carrier
-- exists and in
SELECT COUNT(*) AS n FROM flights f WHERE EXISTS (SELECT 1 FROM planes p WHERE p.tailnum = f.tailnum) AND f.origin IN (SELECT origin FROM weather)
-- intervals and dates
SELECT date_trunc('month', time_hour) AS m, COUNT(*) AS n FROM flights WHERE time_hour < TIMESTAMP '2013-06-01 00:00:00' + INTERVAL 2 DAYS GROUP BY date_trunc('month', time_hour)
-- named parameter
SELECT carrier, COUNT(*) AS n FROM flights WHERE dep_delay >= :late GROUP BY carrier HAVING COUNT(*) > 10 ORDER BY n DESC LIMIT 10
-- set operations
SELECT origin FROM flights INTERSECT SELECT origin FROM weather
-- pivot
SELECT * FROM (SELECT origin, month, COUNT(*) AS n FROM flights GROUP BY origin, month) PIVOT (SUM(n) FOR month IN (1, 2, 3))
-- earlier view by star
SELECT * FROM earlier
-- temporary view
CREATE OR REPLACE TEMPORARY VIEW joined AS SELECT f.*, p.manufacturer FROM flights f JOIN planes p USING (tailnum)
-- non-ascii literal and comment
SELECT COUNT(*) AS n FROM planes WHERE manufacturer = 'Müller' -- a comment
-- a cte may hide a view behind the same name for others
WITH a AS (SELECT origin FROM flights) SELECT COUNT(*) AS n FROM (WITH b AS (SELECT origin FROM a) SELECT origin FROM b) t
-- case does not matter
SELECT Count(*) AS n FROM FLIGHTS
-- bracketed comment and quoted comment signs
SELECT /* per carrier */ carrier, COUNT(*) AS n FROM flights WHERE carrier <> '/* -- */' GROUP BY carrier
-- a common table expression that nothing uses
WITH unused AS (SELECT model FROM planes) SELECT carrier, COUNT(*) AS n FROM flights GROUP BY carrier
-- counts of chosen columns
SELECT carrier, COUNT(DISTINCT tailnum, origin) AS n FROM flights f GROUP BY carrier
-- values
SELECT f.carrier, COUNT(*) AS n FROM flights f JOIN (VALUES ('AA'), ('UA')) AS v(carrier) ON f.carrier = v.carrier GROUP BY f.carrier
-- lateral subquery
SELECT f.carrier, t.late FROM flights f, LATERAL (SELECT f.dep_delay > 15 AS late) AS t
-- column aliases
WITH c (k, n) AS (SELECT carrier, COUNT(*) FROM flights GROUP BY carrier) SELECT k, n FROM c
-- unpivot
SELECT k, SUM(v) AS total FROM (SELECT dep_delay, distance FROM flights) UNPIVOT (v FOR k IN (dep_delay, distance)) GROUP BY k
