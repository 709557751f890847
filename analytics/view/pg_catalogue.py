"""The catalogue of a PostgreSQL, made of the view's tables: what its clients look into before they show anything.

Source: the PostgreSQL manual, chapters "System Catalogs" and "The Information Schema". Columns that say nothing about
tables like ours are left out; tables that are always empty here are kept, so that a join over them finds nothing.
"""

import re
from collections.abc import Iterable, Mapping

import duckdb

from contracts.ports import Rows

LISTING = """
SELECT c.table_name, c.column_name, c.data_type, c.column_index, c.is_nullable, v.view_name IS NOT NULL AS is_view
FROM duckdb_columns() c LEFT JOIN duckdb_views() v
  ON v.view_name = c.table_name AND v.schema_name = c.schema_name AND v.database_name = c.database_name
WHERE c.schema_name = 'main' AND c.database_name = current_database() AND NOT c.internal
  AND NOT starts_with(c.table_name, '_')
ORDER BY c.table_name, c.column_index
"""
"""What the view has, as `catalogue` takes it."""

_TYPES: Mapping[str, tuple[int, int, str, str]] = {
    "bool": (16, 1, "B", "boolean"), "bytea": (17, -1, "U", "bytea"), "char": (18, 1, "Z", '"char"'),
    "name": (19, 64, "S", "name"), "int8": (20, 8, "N", "bigint"), "int2": (21, 2, "N", "smallint"),
    "int4": (23, 4, "N", "integer"), "text": (25, -1, "S", "text"), "oid": (26, 4, "N", "oid"),
    "json": (114, -1, "U", "json"), "float4": (700, 4, "N", "real"), "float8": (701, 8, "N", "double precision"),
    "_text": (1009, -1, "A", "text[]"), "bpchar": (1042, -1, "S", "character"),
    "varchar": (1043, -1, "S", "character varying"), "date": (1082, 4, "D", "date"),
    "time": (1083, 8, "D", "time without time zone"), "timestamp": (1114, 8, "D", "timestamp without time zone"),
    "timestamptz": (1184, 8, "D", "timestamp with time zone"), "interval": (1186, 16, "T", "interval"),
    "numeric": (1700, -1, "N", "numeric"), "uuid": (2950, 16, "U", "uuid"),
}  # fmt: skip
"""Name to number, size, category and what a person calls it."""

_OF_COLUMN: Mapping[str, str] = {
    "BOOLEAN": "bool", "BLOB": "bytea", "TINYINT": "int2", "SMALLINT": "int2", "UTINYINT": "int2", "INTEGER": "int4",
    "USMALLINT": "int4", "BIGINT": "int8", "UINTEGER": "int8", "UBIGINT": "numeric", "HUGEINT": "numeric",
    "UHUGEINT": "numeric", "FLOAT": "float4", "DOUBLE": "float8", "VARCHAR": "text", "VARCHAR[]": "_text", "DATE": "date",
    "TIME": "time", "TIMESTAMP": "timestamp", "TIMESTAMP WITH TIME ZONE": "timestamptz", "INTERVAL": "interval",
    "UUID": "uuid", "JSON": "json",
}  # fmt: skip

_TABLES = """
CREATE TABLE pg_namespace AS SELECT * FROM (VALUES (11, 'pg_catalog', 10, NULL::VARCHAR[]), (2200, 'main', 10, NULL),
  (13000, 'information_schema', 10, NULL)) t(oid, nspname, nspowner, nspacl);
CREATE TABLE pg_database AS SELECT 16384 AS oid, 'thingstorm' AS datname, 10 AS datdba, 6 AS encoding, 'c' AS datlocprovider,
  false AS datistemplate, true AS datallowconn, -1 AS datconnlimit, 1663 AS dattablespace, 'C' AS datcollate, 'C' AS datctype,
  NULL::VARCHAR AS daticulocale, NULL::VARCHAR AS datcollversion, NULL::VARCHAR[] AS datacl;
CREATE TABLE pg_authid AS SELECT 10 AS oid, 'thingstorm' AS rolname, false AS rolsuper, true AS rolinherit, false AS rolcreaterole,
  false AS rolcreatedb, true AS rolcanlogin, false AS rolreplication, -1 AS rolconnlimit, NULL::TIMESTAMP AS rolvaliduntil,
  false AS rolbypassrls, NULL::VARCHAR[] AS rolconfig, NULL::VARCHAR AS rolpassword;
CREATE TABLE pg_roles AS SELECT * FROM pg_authid;
CREATE TABLE pg_user AS SELECT rolname AS usename, oid AS usesysid, rolsuper AS usesuper, rolcreatedb AS usecreatedb FROM pg_authid;
CREATE TABLE pg_tablespace AS SELECT 1663 AS oid, 'pg_default' AS spcname, 10 AS spcowner, NULL::VARCHAR[] AS spcacl,
  NULL::VARCHAR[] AS spcoptions;
CREATE TABLE pg_am AS SELECT * FROM (VALUES (2, 'heap', 't'), (403, 'btree', 'i')) t(oid, amname, amtype);
CREATE TABLE pg_collation AS SELECT 100 AS oid, 'default' AS collname, 11 AS collnamespace, 'd' AS collprovider, -1 AS collencoding,
  true AS collisdeterministic;
CREATE TABLE pg_language AS SELECT 14 AS oid, 'sql' AS lanname;
CREATE TABLE pg_type AS SELECT oid, typname, 11 AS typnamespace, 10 AS typowner,
  typlen, false AS typbyval, 'b' AS typtype, typcategory, typname IN ('text', 'float8', 'bool', 'timestamptz') AS typispreferred,
  true AS typisdefined, ',' AS typdelim, 0 AS typrelid, CASE WHEN typname = '_text' THEN 25 ELSE 0 END AS typelem,
  CASE WHEN typname = 'text' THEN 1009 ELSE 0 END AS typarray, typname || 'in' AS typinput, typname || 'out' AS typoutput,
  false AS typnotnull, 0 AS typbasetype, -1 AS typtypmod, 0 AS typndims, 0 AS typcollation, NULL::VARCHAR AS typdefault,
  NULL::VARCHAR[] AS typacl, told FROM _types;
CREATE TABLE pg_class AS SELECT DISTINCT oid, name AS relname, 2200 AS relnamespace, 0 AS reltype, 0 AS reloftype, 10 AS relowner,
  2 AS relam, oid AS relfilenode, 0 AS reltablespace, 1 AS relpages, -1.0::FLOAT AS reltuples, 0 AS relallvisible,
  0 AS reltoastrelid, has_key AS relhasindex, false AS relisshared, 'p' AS relpersistence,
  CASE WHEN is_view THEN 'v' ELSE 'r' END AS relkind, columns AS relnatts, 0 AS relchecks, false AS relhasrules,
  false AS relhastriggers, false AS relhassubclass, false AS relrowsecurity, false AS relforcerowsecurity, true AS relispopulated,
  'd' AS relreplident, false AS relispartition, false AS relhasoids, 0 AS relrewrite, NULL::VARCHAR[] AS relacl,
  NULL::VARCHAR[] AS reloptions, NULL::VARCHAR AS relpartbound FROM _shown
  UNION ALL SELECT DISTINCT oid + 1, name || '_pkey', 2200, 0, 0, 10, 403, oid + 1, 0, 1, -1.0, 0, 0, false, false, 'p', 'i', 1, 0,
  false, false, false, false, false, true, 'n', false, false, 0, NULL::VARCHAR[], NULL::VARCHAR[], NULL FROM _shown WHERE has_key;
CREATE TABLE pg_attribute AS SELECT oid AS attrelid, column_name AS attname, type_oid AS atttypid, -1 AS attstattarget,
  typlen AS attlen, position AS attnum, 0 AS attndims, -1 AS attcacheoff, -1 AS atttypmod, false AS attbyval, 'p' AS attstorage,
  '' AS attcompression, 'i' AS attalign, not_null AS attnotnull, false AS atthasdef, false AS atthasmissing, '' AS attidentity,
  '' AS attgenerated, false AS attisdropped, true AS attislocal, 0 AS attinhcount, 0 AS attcollation, NULL::VARCHAR[] AS attacl,
  NULL::VARCHAR[] AS attoptions, NULL::VARCHAR[] AS attfdwoptions FROM _shown;
CREATE TABLE pg_index AS SELECT oid + 1 AS indexrelid, oid AS indrelid, 1 AS indnatts, 1 AS indnkeyatts, true AS indisunique,
  true AS indisprimary, false AS indisexclusion, true AS indimmediate, false AS indisclustered, true AS indisvalid,
  false AS indcheckxmin, true AS indisready, true AS indislive, false AS indisreplident, false AS indnullsnotdistinct,
  [position] AS indkey, [0] AS indcollation, [0] AS indclass, [0] AS indoption, NULL::VARCHAR AS indexprs, NULL::VARCHAR AS indpred
  FROM _shown WHERE column_name = '_id' AND NOT is_view;
CREATE TABLE pg_constraint AS SELECT oid + 2 AS oid, name || '_pkey' AS conname, 2200 AS connamespace, 'p' AS contype,
  false AS condeferrable, false AS condeferred, true AS convalidated, oid AS conrelid, 0 AS contypid, oid + 1 AS conindid,
  0 AS conparentid, 0 AS confrelid, ' ' AS confupdtype, ' ' AS confdeltype, ' ' AS confmatchtype, true AS conislocal, 0 AS coninhcount,
  true AS connoinherit, [position] AS conkey, NULL::INTEGER[] AS confkey, NULL::VARCHAR AS conbin FROM _shown
  WHERE column_name = '_id' AND NOT is_view;
CREATE TABLE pg_settings AS SELECT * FROM (VALUES ('server_version', '15.0'), ('server_version_num', '150000'), ('search_path', 'main'),
  ('standard_conforming_strings', 'on'), ('max_index_keys', '32'), ('TimeZone', 'UTC'), ('lc_collate', 'C'))
  t(name, setting);
CREATE TABLE pg_tables AS SELECT DISTINCT 'main' AS schemaname, name AS tablename, 'thingstorm' AS tableowner, NULL::VARCHAR AS tablespace,
  has_key AS hasindexes, false AS hasrules, false AS hastriggers, false AS rowsecurity FROM _shown WHERE NOT is_view;
CREATE TABLE pg_views AS SELECT DISTINCT 'main' AS schemaname, name AS viewname, 'thingstorm' AS viewowner, '' AS definition
  FROM _shown WHERE is_view;
CREATE TABLE pg_indexes AS SELECT DISTINCT 'main' AS schemaname, name AS tablename, name || '_pkey' AS indexname,
  NULL::VARCHAR AS tablespace, '' AS indexdef FROM _shown WHERE has_key;
CREATE TABLE pg_stat_user_tables AS SELECT DISTINCT oid AS relid, 'main' AS schemaname, name AS relname, 0 AS n_live_tup FROM _shown;
CREATE TABLE information_schema_schemata AS SELECT 'thingstorm' AS catalog_name, nspname AS schema_name, 'thingstorm' AS schema_owner
  FROM pg_namespace;
CREATE TABLE information_schema_tables AS SELECT DISTINCT 'thingstorm' AS table_catalog, 'main' AS table_schema, name AS table_name,
  CASE WHEN is_view THEN 'VIEW' ELSE 'BASE TABLE' END AS table_type, 'NO' AS is_insertable_into FROM _shown;
CREATE TABLE information_schema_views AS SELECT DISTINCT 'thingstorm' AS table_catalog, 'main' AS table_schema, name AS table_name,
  '' AS view_definition FROM _shown WHERE is_view;
CREATE TABLE information_schema_columns AS SELECT 'thingstorm' AS table_catalog, 'main' AS table_schema, name AS table_name, column_name,
  position AS ordinal_position, NULL::VARCHAR AS column_default, CASE WHEN not_null THEN 'NO' ELSE 'YES' END AS is_nullable,
  CASE WHEN type_name = '_text' THEN 'ARRAY' ELSE told END AS data_type, NULL::INTEGER AS character_maximum_length,
  NULL::INTEGER AS numeric_precision, NULL::INTEGER AS numeric_scale, NULL::INTEGER AS datetime_precision, 'pg_catalog' AS udt_schema,
  type_name AS udt_name, 'NO' AS is_identity, 'NEVER' AS is_generated, 'NO' AS is_updatable FROM _shown;
CREATE TABLE information_schema_table_constraints AS SELECT 'thingstorm' AS constraint_catalog, 'main' AS constraint_schema,
  name || '_pkey' AS constraint_name, 'main' AS table_schema, name AS table_name, 'PRIMARY KEY' AS constraint_type FROM _shown
  WHERE column_name = '_id' AND NOT is_view;
CREATE TABLE information_schema_key_column_usage AS SELECT 'main' AS constraint_schema, name || '_pkey' AS constraint_name,
  'main' AS table_schema, name AS table_name, column_name, 1 AS ordinal_position FROM _shown
  WHERE column_name = '_id' AND NOT is_view;
"""

_EMPTY = """
pg_attrdef(oid, adrelid, adnum, adbin) pg_description(objoid, classoid, objsubid, description)
pg_shdescription(objoid, classoid, description) pg_enum(oid, enumtypid, enumsortorder, enumlabel)
pg_range(rngtypid, rngsubtype, rngmultitypid) pg_inherits(inhrelid, inhparent, inhseqno, inhdetachpending)
pg_trigger(oid, tgrelid, tgname, tgfoid, tgtype, tgenabled, tgisinternal, tgconstraint, tgparentid, tgdeferrable, tginitdeferred)
pg_policy(oid, polname, polrelid, polcmd, polpermissive, polroles, polqual, polwithcheck)
pg_statistic_ext(oid, stxrelid, stxname, stxnamespace, stxkind, stxstattarget, stxkeys) pg_extension(oid, extname, extnamespace, extversion)
pg_publication(oid, pubname, puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, pubowner)
pg_publication_rel(oid, prpubid, prrelid, prqual, prattrs) pg_publication_namespace(oid, pnpubid, pnnspid)
pg_depend(classid, objid, objsubid, refclassid, refobjid, refobjsubid, deptype) pg_shdepend(dbid, classid, objid, refclassid, refobjid)
pg_proc(oid, proname, pronamespace, proowner, prolang, prokind, prorettype, proargtypes, proargnames, prosrc, proretset, provolatile, proacl)
pg_aggregate(aggfnoid, aggkind) pg_operator(oid, oprname, oprnamespace) pg_opclass(oid, opcname, opcnamespace, opcmethod, opcdefault)
pg_sequence(seqrelid, seqtypid, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle) pg_sequences(schemaname, sequencename)
pg_rewrite(oid, rulename, ev_class, ev_type, ev_enabled, is_instead) pg_partitioned_table(partrelid, partstrat, partnatts, partattrs)
pg_foreign_table(ftrelid, ftserver, ftoptions) pg_foreign_server(oid, srvname, srvowner, srvfdw) pg_foreign_data_wrapper(oid, fdwname)
pg_matviews(schemaname, matviewname, matviewowner, ispopulated, definition) pg_auth_members(roleid, member, grantor, admin_option)
pg_event_trigger(oid, evtname) pg_conversion(oid, conname) pg_cast(oid, castsource, casttarget, castcontext) pg_locks(pid, locktype)
pg_stat_activity(pid, datname, usename, application_name, client_addr, state, query, query_start)
pg_db_role_setting(setdatabase, setrole, setconfig) pg_user_mapping(oid, umuser) pg_default_acl(oid, defaclrole) pg_timezone_names(name)
information_schema_referential_constraints(constraint_schema, constraint_name, unique_constraint_name, update_rule, delete_rule)
information_schema_constraint_column_usage(table_schema, table_name, column_name, constraint_schema, constraint_name)
information_schema_routines(routine_schema, routine_name, routine_type, specific_name, data_type)
information_schema_triggers(trigger_schema, trigger_name, event_object_table) information_schema_sequences(sequence_schema, sequence_name)
information_schema_table_privileges(grantee, table_schema, table_name, privilege_type)
"""

_MACROS = """
version() AS 'PostgreSQL 15.0 (thingstorm, on DuckDB)'; current_database() AS 'thingstorm'; current_catalog() AS 'thingstorm';
current_schemas(implicit) AS CASE WHEN implicit THEN ['pg_catalog', 'main'] ELSE ['main'] END;
to_regclass(n) AS (SELECT max(oid) FROM pg_class WHERE relname = trim(split_part(n::VARCHAR, '.', -1), '"') OR oid = TRY_CAST(n AS BIGINT));
to_regtype(n) AS (SELECT max(oid) FROM pg_type WHERE typname = n OR told = n);
to_regnamespace(n) AS (SELECT max(oid) FROM pg_namespace WHERE nspname = n OR oid = TRY_CAST(n AS BIGINT));
regclass_name(o) AS (SELECT max(relname) FROM pg_class WHERE oid = o);
format_type(o, m) AS (SELECT max(told) FROM pg_type WHERE pg_type.oid = o);
pg_get_userbyid(o) AS 'thingstorm'; pg_table_is_visible(o) AS true; pg_type_is_visible(o) AS true; pg_function_is_visible(o) AS true;
pg_get_expr(e, r) AS NULL::VARCHAR, (e, r, p) AS NULL::VARCHAR;
pg_get_constraintdef(o) AS 'PRIMARY KEY (_id)', (o, p) AS 'PRIMARY KEY (_id)';
pg_get_indexdef(o) AS (SELECT 'CREATE UNIQUE INDEX ' || max(relname) || ' ON ' || replace(max(relname), '_pkey', '') || ' USING btree (_id)'
  FROM pg_class WHERE oid = o), (o, c, p) AS CASE WHEN c = 0 THEN (SELECT 'CREATE UNIQUE INDEX ' || max(relname) || ' ON ' ||
  replace(max(relname), '_pkey', '') || ' USING btree (_id)' FROM pg_class WHERE oid = o) ELSE '_id' END;
pg_get_viewdef(o) AS '', (o, p) AS ''; pg_get_partkeydef(o) AS NULL::VARCHAR; pg_get_statisticsobjdef_columns(o) AS NULL::VARCHAR;
pg_get_serial_sequence(t, c) AS NULL::VARCHAR; pg_get_function_result(o) AS NULL::VARCHAR; pg_get_function_arguments(o) AS NULL::VARCHAR; pg_get_triggerdef(o, p) AS NULL::VARCHAR;
pg_get_function_identity_arguments(o) AS NULL::VARCHAR; pg_relation_is_publishable(o) AS false; pg_get_keywords() AS NULL::VARCHAR;
pg_encoding_to_char(e) AS 'UTF8'; pg_is_in_recovery() AS true; pg_backend_pid() AS 1; pg_my_temp_schema() AS 0;
pg_is_other_temp_schema(o) AS false; pg_relation_size(o) AS 0, (o, f) AS 0; pg_total_relation_size(o) AS 0; pg_table_size(o) AS 0;
pg_database_size(o) AS 0; pg_postmaster_start_time() AS now(); pg_conf_load_time() AS now(); pg_index_column_has_property(i, c, p) AS false;
pg_indexam_has_property(o, p) AS false; pg_index_has_property(o, p) AS false; pg_advisory_unlock_all() AS NULL::VARCHAR;
obj_description(o) AS NULL::VARCHAR, (o, c) AS NULL::VARCHAR; shobj_description(o, c) AS NULL::VARCHAR; col_description(o, c) AS NULL::VARCHAR;
current_setting(n) AS (SELECT max(setting) FROM pg_settings WHERE lower(name) = lower(n)),
  (n, m) AS (SELECT max(setting) FROM pg_settings WHERE lower(name) = lower(n));
set_config(n, v, l) AS v; quote_ident(n) AS n; quote_literal(n) AS '''' || n || ''''; array_lower(a, d) AS 1; array_upper(a, d) AS len(a);
array_remove(a, e) AS list_filter(a, lambda x: x IS DISTINCT FROM e); pg_collation_is_visible(o) AS true;
has_table_privilege(t, p) AS p ILIKE 'select%', (u, t, p) AS p ILIKE 'select%'; has_schema_privilege(t, p) AS p ILIKE 'usage%', (u, t, p) AS p ILIKE 'usage%';
has_database_privilege(t, p) AS p ILIKE 'connect%', (u, t, p) AS p ILIKE 'connect%'; has_any_column_privilege(t, p) AS p ILIKE 'select%', (u, t, p) AS p ILIKE 'select%';
has_column_privilege(t, c, p) AS p ILIKE 'select%', (u, t, c, p) AS p ILIKE 'select%'; has_sequence_privilege(t, p) AS false, (u, t, p) AS false;
has_function_privilege(t, p) AS false, (u, t, p) AS false; pg_has_role(u, p) AS true, (u, r, p) AS true;
inet_server_addr() AS '127.0.0.1'; inet_server_port() AS 5432; inet_client_addr() AS '127.0.0.1'; inet_client_port() AS 0;
txid_current() AS 1; pg_size_pretty(n) AS n::VARCHAR || ' bytes'
"""

_NAMES = ("regproc", "regprocedure", "regoper", "regtype", "regrole", "regnamespace", "regclass", "name", "xid", "int2vector",
          "oidvector", "pg_node_tree", "aclitem", "pg_lsn")  # fmt: skip

_REGCLASS = re.compile(
    r"('(?:[^']|'')*'|\$\d+)(\s*::\s*(?:pg_catalog\.)?(?:text|varchar))?\s*::\s*(?:pg_catalog\.)?regclass\b(?:\s*::\s*(?:pg_catalog\.)?oid\b)?",
    re.IGNORECASE,
)
_REGTYPE = re.compile(
    r"('(?:[^']|'')*'|\$\d+)\s*::\s*(?:pg_catalog\.)?regtype\b(?:\s*::\s*(?:pg_catalog\.)?oid\b)?",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"([A-Za-z_][\w.]*)\s*::\s*(?:pg_catalog\.)?regclass\b(?!\s*::\s*(?:pg_catalog\.)?oid)", re.IGNORECASE
)
_NUMBERS = re.compile(r"'\{([\d,]*)\}'")
_STRING = re.compile(r"'(?:[^']|'')*'")
_REWRITES = (
    (re.compile(r"\boperator\s*\(\s*pg_catalog\s*\.\s*([^\s)]+)\s*\)", re.IGNORECASE), r"\1"),
    (re.compile(r"\bjson_build_object\b", re.IGNORECASE), "json_object"),
    (re.compile(r"\bcollate\s+(?:pg_catalog\s*\.\s*)?(?:\"\w+\"|\w+)", re.IGNORECASE), ""),
    (re.compile(r"(?<!\w)\"?pg_catalog\"?\s*\.\s*", re.IGNORECASE), ""),
    (
        re.compile(r"(?<!\w)\"?information_schema\"?\s*\.\s*\"?(\w+)\"?", re.IGNORECASE),
        r"information_schema_\1",
    ),
    (
        re.compile(
            r"\bcurrent_(?:user|role)\b(?!\s*\()|\b(?:session_)?user\b(?=\s*(?:,|$|\bas\b))", re.IGNORECASE
        ),
        "'thingstorm'",
    ),
    (re.compile(r"\bcurrent_catalog\b(?!\s*\()", re.IGNORECASE), "'thingstorm'"),
)


def rewrite(sql: str) -> str:
    """What DuckDB has no words for, in its own: names of schemas, casts to `regclass`, collations, operators by schema."""
    told = _REGTYPE.sub(r"to_regtype(\1)", _REGCLASS.sub(r"to_regclass(\1)", sql))
    told = _NUMBERS.sub(r"[\1]", _NAMED.sub(r"regclass_name(\1)", told))
    pieces: list[str] = []
    at = 0
    for string in _STRING.finditer(told):
        pieces += [_plain(told[at : string.start()]), string[0]]
        at = string.end()
    return "".join((*pieces, _plain(told[at:])))


def _plain(sql: str) -> str:
    for pattern, to in _REWRITES:
        sql = pattern.sub(to, sql)
    return sql


def fill(connection: duckdb.DuckDBPyConnection, listing: Rows | Iterable[Iterable[object]]) -> None:
    """Make the catalogue anew, of the rows of `LISTING`."""
    rows = list(listing.rows if isinstance(listing, Rows) else listing)
    connection.execute(
        "CREATE OR REPLACE TABLE _types (oid INTEGER, typname VARCHAR, typlen INTEGER, typcategory VARCHAR, told VARCHAR)"
    )
    connection.executemany(
        "INSERT INTO _types VALUES (?, ?, ?, ?, ?)",
        [(oid, name, size, category, told) for name, (oid, size, category, told) in _TYPES.items()],
    )
    connection.execute(
        "CREATE OR REPLACE TABLE _columns (name VARCHAR, column_name VARCHAR, type VARCHAR, position INTEGER, nullable BOOLEAN, is_view BOOLEAN, type_name VARCHAR)"
    )
    if rows:
        connection.executemany(
            "INSERT INTO _columns VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(*row, _name_of(str(list(row)[2]))) for row in rows],
        )
    connection.execute("""CREATE OR REPLACE TABLE _shown AS
        SELECT 100000 + 4 * (dense_rank() OVER (ORDER BY name))::INTEGER AS oid, name, column_name, position, is_view, type_name,
               t.oid AS type_oid, t.typlen, t.told, column_name = '_id' AS not_null,
               (count(*) OVER (PARTITION BY name))::INTEGER AS columns,
               (max((column_name = '_id' AND NOT is_view)::INTEGER) OVER (PARTITION BY name)) = 1 AS has_key
        FROM _columns JOIN _types t ON t.typname = type_name""")
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            connection.execute(statement.strip().replace("CREATE TABLE", "CREATE OR REPLACE TABLE", 1))


def _name_of(kind: str) -> str:
    if kind in _OF_COLUMN:
        return _OF_COLUMN[kind]
    if kind.startswith("DECIMAL"):
        return "numeric"
    if kind.startswith("TIMESTAMP"):
        return "timestamp"
    return "json" if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")) else "text"


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """An empty catalogue with its functions; `fill` comes next."""
    connection.execute("ATTACH ':memory:' AS thingstorm")
    connection.execute("USE thingstorm")
    for name in _NAMES:
        connection.execute(f"CREATE TYPE {name} AS VARCHAR")
    for name, columns in re.findall(r"(\w+)\(([^)]*)\)", _EMPTY):
        kinds = ", ".join(f"{column.strip()} {_kind(column.strip())}" for column in columns.split(","))
        connection.execute(f"CREATE TABLE {name} ({kinds})")
    fill(connection, [])
    for macro in _MACROS.split(";"):
        connection.execute(f"CREATE MACRO {macro.strip()}")


def _kind(column: str) -> str:
    """Of a column of an empty table: numbers are joined with numbers."""
    if column.endswith(("keys", "attrs", "roles", "argtypes")):
        return "BIGINT[]"
    if column.endswith(("argnames", "config", "options", "acl", "stxkind")):
        return "VARCHAR[]"
    numbers = (
        "oid",
        "relid",
        "id",
        "num",
        "class",
        "type",
        "namespace",
        "owner",
        "parent",
        "no",
        "server",
        "role",
        "order",
        "constraint",
        "member",
    )
    return "BIGINT" if column.endswith(numbers) and column != "deptype" else "VARCHAR"
