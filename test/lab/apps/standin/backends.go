package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// backend is a service that a process was told to use.
type backend interface {
	name() string
	// use writes something, reads it again and removes it.
	use(context.Context) error
}

var errOther = errors.New("what was read is not what was written")

// Each process makes this table where it is missing, and writes into it.
const standinTable = `create table if not exists standin (
	id bigint generated always as identity primary key, who text not null, what text not null, at timestamptz not null default now())`

type postgres struct {
	*pgxpool.Pool
	me *self
}

// openPostgres connects with the first use. Its sessions have the process's name as their application_name.
func openPostgres(me *self, address string, connections int) (*postgres, error) {
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(address, "sslmode=") {
		// Else it would try with TLS first, and tell of that too when it fails.
		config.ConnConfig.TLSConfig, config.ConnConfig.Fallbacks = nil, nil
	}
	config.MaxConns = int32(connections)
	config.ConnConfig.ConnectTimeout = 5 * time.Second
	config.ConnConfig.RuntimeParams["application_name"] = me.String()[:min(len(me.String()), 63)]
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	return &postgres{pool, me}, err
}

func (db *postgres) name() string { return "postgres" }

func (db *postgres) use(ctx context.Context) error {
	if err := db.change(ctx, standinTable); err != nil {
		return err
	}
	written, read := rand.Text(), ""
	id, err := db.write(ctx, written)
	if err == nil {
		err = db.QueryRow(ctx, "delete from standin where id = $1 returning what", id).Scan(&read)
	}
	return differ(err, written, read)
}

// write leaves a row in the table standin.
func (db *postgres) write(ctx context.Context, what string) (id int64, err error) {
	err = db.QueryRow(ctx, "insert into standin (who, what) values ($1, $2) returning id", db.me.String(), what).Scan(&id)
	return id, err
}

// change makes tables in one transaction, one process at a time, as the real ones' migrations do.
func (db *postgres) change(ctx context.Context, statements ...string) error {
	return pgx.BeginFunc(ctx, db.Pool, func(tx pgx.Tx) error {
		for _, statement := range append([]string{"select pg_advisory_xact_lock(1005)"}, statements...) {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
}

// has says whether there is such a table.
func (db *postgres) has(ctx context.Context, table string) (there bool, err error) {
	err = db.QueryRow(ctx, "select to_regclass($1) is not null", table).Scan(&there)
	return there, err
}

// keeps refuses a key that is another one than at the first start: what was encrypted with that could not be read. Of the
// key itself the database gets a part of its hash.
func (db *postgres) keeps(ctx context.Context, variables ...string) error {
	if err := db.change(ctx, "create table if not exists standin_keys (name text primary key, hash text not null)"); err != nil {
		return err
	}
	for _, variable := range variables {
		sum := sha256.Sum256([]byte(variable + db.me.vars(variable)))
		hash, kept := hex.EncodeToString(sum[:6]), ""
		_, err := db.Exec(ctx, "insert into standin_keys values ($1, $2) on conflict do nothing", variable, hash)
		if err == nil {
			err = db.QueryRow(ctx, "select hash from standin_keys where name = $1", variable).Scan(&kept)
		}
		if err == nil && kept != hash {
			err = fmt.Errorf("%s is not the one that the database was written with (table standin_keys)", variable)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type redisBackend struct{ *redis.Client }

func openRedis(options *redis.Options) *redisBackend {
	options.DialTimeout, options.ContextTimeoutEnabled, options.PoolSize = 5*time.Second, true, 200
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return &redisBackend{redis.NewClient(options)}
}

// openRedisURL takes redis://:password@host:port/database; the password may also come by itself.
func openRedisURL(address, password string) (*redisBackend, error) {
	options, err := redis.ParseURL(address)
	if err != nil {
		return nil, err
	}
	if password != "" {
		options.Password = password
	}
	return openRedis(options), nil
}

func (store *redisBackend) name() string { return "redis" }

func (store *redisBackend) use(ctx context.Context) error {
	key, written := "standin:"+rand.Text(), rand.Text()
	if err := store.Set(ctx, key, written, time.Minute).Err(); err != nil {
		return err
	}
	read, err := store.GetDel(ctx, key).Result()
	return differ(err, written, read)
}

type rabbitmq struct{ url string }

func (broker rabbitmq) name() string { return "rabbitmq" }

func (broker rabbitmq) use(ctx context.Context) error {
	connection, err := amqp.DialConfig(broker.url, amqp.Config{Dial: amqp.DefaultDial(5 * time.Second)})
	if err != nil {
		return err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	queue, err := channel.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return err
	}
	messages, err := channel.ConsumeWithContext(ctx, queue.Name, "", true, true, false, false, nil)
	if err != nil {
		return err
	}
	written := rand.Text()
	if err := channel.PublishWithContext(ctx, "", queue.Name, false, false, amqp.Publishing{Body: []byte(written)}); err != nil {
		return err
	}
	select {
	case message := <-messages:
		return differ(nil, written, string(message.Body))
	case <-ctx.Done():
		return ctx.Err()
	}
}

type bucket struct {
	*minio.Client
	bucket string
}

func openBucket(endpoint, name, region, accessKey, secretKey string) (*bucket, error) {
	address, err := url.Parse(endpoint)
	if err != nil || address.Host == "" {
		return nil, fmt.Errorf("%q is no address of a store of objects", endpoint)
	}
	client, err := minio.New(address.Host, &minio.Options{
		Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Secure: address.Scheme == "https", Region: region,
		BucketLookup: minio.BucketLookupPath, MaxRetries: 2,
	})
	return &bucket{client, name}, err
}

func (store *bucket) name() string { return "objects" }

func (store *bucket) use(ctx context.Context) error {
	object, written := "standin/"+rand.Text(), []byte(rand.Text())
	put := minio.PutObjectOptions{ContentType: "text/plain"}
	if _, err := store.PutObject(ctx, store.bucket, object, bytes.NewReader(written), int64(len(written)), put); err != nil {
		return err
	}
	var read []byte
	body, err := store.GetObject(ctx, store.bucket, object, minio.GetObjectOptions{})
	if err == nil {
		read, err = io.ReadAll(body)
	}
	return errors.Join(differ(err, string(written), string(read)),
		store.RemoveObject(ctx, store.bucket, object, minio.RemoveObjectOptions{}))
}

func differ(err error, written, read string) error {
	if err == nil && written != read {
		return errOther
	}
	return err
}

// useAll uses each backend once, and says in one line which ones do not work.
func useAll(ctx context.Context, backends []backend) error {
	var faults []error
	for _, one := range backends {
		if err := used(ctx, one); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", one.name(), err))
		}
	}
	return oneLine(faults)
}

func used(ctx context.Context, one backend) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return one.use(ctx)
}

// postgresURL makes an address of parts, any of which may hold any character.
func postgresURL(host, port, database, user, password string) string {
	address := url.URL{Scheme: "postgresql", Host: host + ":" + port, Path: "/" + database, User: url.UserPassword(user, password)}
	return address.String()
}
