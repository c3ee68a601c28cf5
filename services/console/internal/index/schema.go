// Package index answers what flows there are. It is a table that follows the
// flows' commits, and can be dropped at any time: it is filled again from them.
package index

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the database's driver
)

// version is the schema's. A file of another one is dropped and filled anew.
const version = 2

const schema = `
CREATE TABLE shards (
	shard    INTEGER PRIMARY KEY,
	created  INTEGER NOT NULL, -- of the stream, in Unix nanoseconds: another one is another history
	sequence INTEGER NOT NULL  -- of the last commit that is in
);
CREATE TABLE flows (
	place     INTEGER PRIMARY KEY,
	id        TEXT NOT NULL UNIQUE,
	shard     INTEGER NOT NULL,
	sequence  INTEGER NOT NULL, -- of the commit that the row is from
	status    TEXT NOT NULL,
	created   INTEGER NOT NULL,
	completed INTEGER NOT NULL, -- 0 while it runs
	error     TEXT NOT NULL,
	child     INTEGER NOT NULL, -- 1 where it has a parent
	tags      TEXT NOT NULL     -- as a JSON list
);
CREATE INDEX flows_by_time ON flows (created, id);
CREATE INDEX flows_by_status ON flows (status, created, id);
CREATE INDEX parents_by_time ON flows (created, id) WHERE child = 0;
CREATE INDEX parents_by_status ON flows (status, created, id) WHERE child = 0;
CREATE INDEX flows_by_end ON flows (completed) WHERE completed > 0;
CREATE TABLE tags (
	tag     TEXT NOT NULL,
	created INTEGER NOT NULL,
	id      TEXT NOT NULL,
	PRIMARY KEY (tag, created, id)
) WITHOUT ROWID;
`

// Index is the table of flows.
type Index struct {
	write *sql.DB // one connection: SQLite has one writer
	read  *sql.DB
}

// readers is how many queries run at once.
const readers = 4

// Open opens the index at path, and makes it where there is none.
func Open(ctx context.Context, path string) (*Index, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("make the index's folder: %w", err)
	}
	x, err := open(ctx, path)
	if err != nil {
		// It holds nothing that FLOWS does not: a file that cannot be read is replaced.
		if err := remove(path); err != nil {
			return nil, err
		}
		if x, err = open(ctx, path); err != nil {
			return nil, err
		}
	}
	return x, nil
}

func open(ctx context.Context, path string) (*Index, error) {
	write, err := connect(path, 1)
	if err != nil {
		return nil, err
	}
	x := &Index{write: write}
	var found int
	if err := write.QueryRowContext(ctx, "PRAGMA user_version").Scan(&found); err != nil {
		return nil, x.fail(fmt.Errorf("read the index's version: %w", err))
	}
	switch found {
	case version:
	case 0:
		if _, err := write.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
			return nil, x.fail(fmt.Errorf("make the index's tables: %w", err))
		}
	default:
		return nil, x.fail(fmt.Errorf("the index has version %d, not %d", found, version))
	}
	if x.read, err = connect(path, readers); err != nil {
		return nil, x.fail(err)
	}
	return x, nil
}

// fail closes what was opened and returns err.
func (x *Index) fail(err error) error {
	x.Close()
	return err
}

func connect(path string, connections int) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find the index: %w", err)
	}
	// What a power cut takes is read from FLOWS again, so nothing is synced at
	// each transaction.
	pragmas := url.Values{"_pragma": {"journal_mode(WAL)", "synchronous(NORMAL)", "busy_timeout(5000)"}}
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(abs), RawQuery: pragmas.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, fmt.Errorf("open the index: %w", err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

func remove(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("replace the index: %w", err)
		}
	}
	return nil
}

// Close closes the index.
func (x *Index) Close() {
	_ = x.write.Close() // nothing is lost that FLOWS does not have
	if x.read != nil {
		_ = x.read.Close() // it only reads
	}
}
