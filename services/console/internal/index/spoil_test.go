package index_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
)

func setVersion(ctx context.Context, path string, version int) error {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version))
	return errors.Join(err, db.Close())
}

func spoilFile(path string) error {
	return os.WriteFile(path, []byte(strings.Repeat("garbage ", 1000)), 0o600)
}
