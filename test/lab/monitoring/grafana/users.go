package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/lib/pq"
)

// users is Grafana's database as far as the stand-in has one: the administrator's password. As with the real one, that of
// the settings is taken when the database is made, and never again.
type users struct {
	admin string
	file  string
	base  *sql.DB
}

func openUsers(given settings) (*users, error) {
	found := &users{admin: given.get("security", "admin_user")}
	switch kind := given.get("database", "type"); kind {
	case "sqlite3":
		found.file = filepath.Join(given.get("paths", "data"), "grafana.db")
	case "postgres":
		base, err := sql.Open("postgres", connection(given))
		if err != nil {
			return nil, err
		}
		found.base = base
		base.SetMaxOpenConns(5)
		if _, err := base.Exec("CREATE TABLE IF NOT EXISTS standin_grafana (admin text PRIMARY KEY, hash text NOT NULL)"); err != nil {
			return nil, fmt.Errorf("database: %w", err)
		}
	default:
		return nil, fmt.Errorf("[database] type: the stand-in knows sqlite3 and postgres, not %q", kind)
	}
	hash, err := found.hash()
	if err == nil && hash == "" {
		err = found.set(given.get("security", "admin_password"))
	}
	return found, err
}

func connection(given settings) string {
	if address := given.get("database", "url"); address != "" {
		return address
	}
	host, port, err := net.SplitHostPort(given.get("database", "host"))
	if err != nil {
		host, port = given.get("database", "host"), "5432"
	}
	words := []string{}
	for name, value := range map[string]string{
		"host": host, "port": port, "dbname": given.get("database", "name"), "user": given.get("database", "user"),
		"password": given.get("database", "password"), "sslmode": given.get("database", "ssl_mode"), "connect_timeout": "5",
	} {
		words = append(words, name+"='"+strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value)+"'")
	}
	return strings.Join(words, " ")
}

func hashOf(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

func (u *users) hash() (string, error) {
	if u.base == nil {
		content, err := os.ReadFile(u.file)
		if errors.Is(err, os.ErrNotExist) {
			return "", nil
		}
		return strings.TrimSpace(string(content)), err
	}
	var hash string
	err := u.base.QueryRow("SELECT hash FROM standin_grafana WHERE admin = $1", u.admin).Scan(&hash)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return hash, err
}

func (u *users) set(password string) error {
	if u.base == nil {
		return os.WriteFile(u.file, []byte(hashOf(password)+"\n"), 0o600)
	}
	_, err := u.base.Exec("INSERT INTO standin_grafana VALUES ($1, $2) ON CONFLICT (admin) DO UPDATE SET hash = excluded.hash",
		u.admin, hashOf(password))
	return err
}

// knows tells whether these are the administrator's name and password.
func (u *users) knows(name, password string) bool {
	hash, err := u.hash()
	return err == nil && name == u.admin && hash != "" && hash == hashOf(password)
}

func (u *users) ping() error {
	if u.base == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return u.base.PingContext(ctx)
}
