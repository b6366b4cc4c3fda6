package sql

import (
	"errors"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// dialect is what differs between the databases.
type dialect struct {
	name  string
	goose goose.Dialect
	// writer says that one committer writes for all (SQLite).
	writer bool
	// dollar placeholders are $1, $2, ... instead of question marks.
	dollar bool
	// returning says that UPDATE ... RETURNING is understood.
	returning bool
	// conflict begins the tail of an upsert after which assignments follow, given the
	// key columns; incoming is a column of the row that was to be inserted.
	conflict func(keys string) string
	incoming func(column string) string
	// sweep deletes at most ? rows of table that meet the condition.
	sweep func(table, condition string) string
	// retry reports a deadlock or serialization failure: the transaction may run again.
	retry func(error) bool
	// duplicate reports a unique violation.
	duplicate func(error) bool
	// down reports that the server is away or refuses to work for now.
	down func(error) bool
	// noTable reports that a table does not exist.
	noTable func(error) bool
	// enterLog makes a writer's transaction one that settle waits for; empty when
	// revisions commit in order. appendLog is the head of the statement that appends
	// to the log.
	enterLog, appendLog, appendLogTail string
	// settle waits for every transaction that entered the log.
	settle string
	// lock and unlock hold other migrations back for a session; empty when the
	// database does it itself.
	lock, unlock string
}

var sqliteDialect = &dialect{
	name:      "sqlite",
	goose:     goose.DialectSQLite3,
	writer:    true,
	returning: true,
	conflict:  onConflict,
	incoming:  func(column string) string { return "excluded." + column },
	sweep: func(table, condition string) string {
		return "DELETE FROM " + table + " WHERE rowid IN (SELECT rowid FROM " + table + " WHERE " + condition + " LIMIT ?)"
	},
	retry:     func(error) bool { return false },
	duplicate: sqliteCode(sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE),
	down:      sqliteCode(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY),
	noTable: func(err error) bool {
		return sqliteCode(sqlite3.SQLITE_ERROR)(err) && strings.Contains(err.Error(), "no such table")
	},
	appendLog: "INSERT INTO gw_revisions (topic, item, created_at) VALUES ",
}

var postgresDialect = &dialect{
	name:      "postgres",
	goose:     goose.DialectPostgres,
	dollar:    true,
	returning: true,
	conflict:  onConflict,
	incoming:  func(column string) string { return "excluded." + column },
	sweep: func(table, condition string) string {
		return "DELETE FROM " + table + " WHERE ctid = ANY (ARRAY(SELECT ctid FROM " + table + " WHERE " + condition + " LIMIT ? FOR UPDATE SKIP LOCKED))"
	},
	retry:     postgresState("40001", "40P01"),
	duplicate: postgresState("23505"),
	down: func(err error) bool {
		var connect *pgconn.ConnectError
		return errors.As(err, &connect) || postgresState("08", "53", "57P", "58")(err)
	},
	noTable: postgresState("42P01"),
	// The lock is shared and taken before the identity column draws its number: the
	// subquery is volatile and cannot be flattened, so it runs first.
	appendLog: "INSERT INTO gw_revisions (topic, item, created_at) SELECT v.topic, v.item, v.created_at" +
		" FROM (SELECT pg_advisory_xact_lock_shared(" + revisionLock + ") OFFSET 0) AS entered, (VALUES ",
	appendLogTail: ") AS v (topic, item, created_at)",
	settle:        "SELECT pg_advisory_xact_lock(" + revisionLock + ")",
	lock:          "SELECT pg_advisory_lock(" + migrationLock + ")",
	unlock:        "SELECT pg_advisory_unlock(" + migrationLock + ")",
}

var mysqlDialect = &dialect{
	name:     "mysql",
	goose:    goose.DialectMySQL,
	conflict: func(string) string { return " ON DUPLICATE KEY UPDATE " },
	incoming: func(column string) string { return "VALUES(" + column + ")" },
	sweep: func(table, condition string) string {
		return "DELETE FROM " + table + " WHERE " + condition + " LIMIT ?"
	},
	retry:     mysqlNumber(1205, 1213),
	duplicate: mysqlNumber(1062),
	down: func(err error) bool {
		return errors.Is(err, mysql.ErrInvalidConn) || mysqlNumber(1040, 1053, 1203, 1290, 1836, 3024)(err)
	},
	noTable:   mysqlNumber(1146),
	enterLog:  "SELECT trimmed FROM gw_revision_log WHERE id = 1 LOCK IN SHARE MODE",
	appendLog: "INSERT INTO gw_revisions (topic, item, created_at) VALUES ",
	settle:    "SELECT trimmed FROM gw_revision_log WHERE id = 1 FOR UPDATE",
	// GET_LOCK is per server, so the name holds the database's.
	lock:   "SELECT GET_LOCK(CONCAT('gatewarden:', LEFT(MD5(DATABASE()), 32)), 300)",
	unlock: "SELECT RELEASE_LOCK(CONCAT('gatewarden:', LEFT(MD5(DATABASE()), 32)))",
}

// The keys of PostgreSQL's advisory locks, which are per database.
const (
	revisionLock  = "7310868735422198901"
	migrationLock = "7310868735422198902"
)

func onConflict(keys string) string { return " ON CONFLICT (" + keys + ") DO UPDATE SET " }

// upsert returns a statement that inserts or replaces one row; keys come first in
// columns.
func (d *dialect) upsert(table string, keys int, columns ...string) string {
	var b strings.Builder
	b.WriteString("INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES (?" + strings.Repeat(", ?", len(columns)-1) + ")")
	b.WriteString(d.conflict(strings.Join(columns[:keys], ", ")))
	set := columns[keys:]
	if len(set) == 0 {
		set = columns[:1] // nothing to replace: leave the row as it is
	}
	for i, column := range set {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(column + " = " + d.incoming(column))
	}
	return b.String()
}

// rebind numbers the placeholders where the dialect wants that. No statement here
// holds a question mark in a literal.
func (d *dialect) rebind(query string) string {
	if !d.dollar {
		return query
	}
	var b strings.Builder
	b.Grow(len(query) + 16)
	n := 0
	for i := range len(query) {
		if query[i] != '?' {
			b.WriteByte(query[i])
			continue
		}
		n++
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
	}
	return b.String()
}

// sqliteCode matches extended codes, and primary ones in any extension.
func sqliteCode(codes ...int) func(error) bool {
	return func(err error) bool {
		var e *sqlite.Error
		if !errors.As(err, &e) {
			return false
		}
		for _, code := range codes {
			if e.Code() == code || code < 256 && e.Code()&0xff == code {
				return true
			}
		}
		return false
	}
}

// postgresState matches SQLSTATEs by prefix.
func postgresState(prefixes ...string) func(error) bool {
	return func(err error) bool {
		var e *pgconn.PgError
		if !errors.As(err, &e) {
			return false
		}
		for _, prefix := range prefixes {
			if strings.HasPrefix(e.Code, prefix) {
				return true
			}
		}
		return false
	}
}

func mysqlNumber(numbers ...uint16) func(error) bool {
	return func(err error) bool {
		var e *mysql.MySQLError
		if !errors.As(err, &e) {
			return false
		}
		for _, number := range numbers {
			if e.Number == number {
				return true
			}
		}
		return false
	}
}
