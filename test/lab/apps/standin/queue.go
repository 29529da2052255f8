package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// job is what one process asks another for, over a list in Redis.
type job struct {
	ID   string `json:"id"`
	Path string `json:"path"`
	Body string `json:"body"`
	MS   int    `json:"ms"`
}

// done is what came of a job.
type done struct {
	Worker *self  `json:"worker,omitempty"`
	Runner *self  `json:"runner,omitempty"`
	Row    int64  `json:"row,omitempty"`
	Error  string `json:"error,omitempty"`
}

// queue is two lists: what waits, and what is being worked on. What a lost worker had stays in the second one for ever.
type queue struct {
	store           *redisBackend
	waiting, active string
}

const longest = time.Minute

// ask leaves a job and waits for what comes of it.
func (q queue) ask(ctx context.Context, wanted job) (result done, err error) {
	content, _ := json.Marshal(wanted)
	if err := q.store.LPush(ctx, q.waiting, content).Err(); err != nil {
		return result, err
	}
	found, err := q.store.BRPop(ctx, longest, "standin:answer:"+wanted.ID).Result()
	if err != nil {
		return result, err
	}
	return result, json.Unmarshal([]byte(found[1]), &result)
}

// take works on jobs, so many at once, until the context is done and those that have begun are finished.
func (q queue) take(ctx context.Context, atOnce int, work func(context.Context, job) done) {
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for ctx.Err() == nil {
				content, err := q.store.BLMove(ctx, q.waiting, q.active, "RIGHT", "LEFT", time.Second).Result()
				if err != nil {
					if !errors.Is(err, redis.Nil) && ctx.Err() == nil {
						time.Sleep(time.Second)
					}
					continue
				}
				q.finish(context.WithoutCancel(ctx), content, work)
			}
		})
	}
	workers.Wait()
}

func (q queue) finish(ctx context.Context, content string, work func(context.Context, job) done) {
	var wanted job
	json.Unmarshal([]byte(content), &wanted)
	time.Sleep(time.Duration(wanted.MS) * time.Millisecond)
	came := work(ctx, wanted)
	result, _ := json.Marshal(came)
	outcome := "completed"
	if came.Error != "" {
		outcome = "failed"
	}
	q.store.Pipelined(ctx, func(all redis.Pipeliner) error {
		all.LPush(ctx, "standin:answer:"+wanted.ID, result)
		all.Expire(ctx, "standin:answer:"+wanted.ID, longest)
		all.LRem(ctx, q.active, 1, content)
		all.Incr(ctx, "standin:"+outcome)
		return nil
	})
}

// counts are those that the real one's main tells. Who finishes a job counts it.
func (q queue) counts(ctx context.Context) map[string]int64 {
	counts := map[string]int64{}
	for name, list := range map[string]string{"waiting": q.waiting, "active": q.active} {
		counts[name], _ = q.store.LLen(ctx, list).Result()
	}
	for _, name := range []string{"completed", "failed"} {
		counts[name], _ = q.store.Get(ctx, "standin:"+name).Int64()
	}
	return counts
}

// tellAlive has Redis know that a process takes jobs.
func (q queue) tellAlive(ctx context.Context, me *self) {
	for ; ctx.Err() == nil; time.Sleep(5 * time.Second) {
		q.store.Set(ctx, "standin:alive:"+me.Pod, me.String(), 10*time.Minute)
	}
}

// alive says why no process of this pod takes jobs.
func (q queue) alive(ctx context.Context, me *self) error {
	found, err := q.store.Exists(ctx, "standin:alive:"+me.Pod).Result()
	if err == nil && found == 0 {
		err = errors.New("nothing of this pod takes jobs")
	}
	return err
}

// handler has a job done for a request, ms milliseconds long, and tells who asked and who did it.
func (q queue) handler(me *self) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			answer(w, http.StatusBadRequest, done{Error: err.Error()})
			return
		}
		ms := int(milliseconds(r).Milliseconds())
		result, err := q.ask(r.Context(), job{ID: rand.Text(), Path: r.URL.Path, Body: string(body), MS: ms})
		status := http.StatusOK
		switch {
		case errors.Is(err, redis.Nil):
			result.Error, status = "no worker took it", http.StatusGatewayTimeout
		case err != nil:
			result.Error, status = err.Error(), http.StatusServiceUnavailable
		case result.Error != "":
			status = http.StatusInternalServerError
		}
		answer(w, status, struct {
			Asked *self `json:"asked"`
			done
		}{me, result})
	}
}

// writes is a job's work: a row.
func (db *postgres) writes(ctx context.Context, wanted job) done {
	row, err := db.write(ctx, "job "+wanted.Path)
	if err != nil {
		return done{Worker: db.me, Error: err.Error()}
	}
	return done{Worker: db.me, Row: row}
}
